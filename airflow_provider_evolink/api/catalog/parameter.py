"""One parameter of a model, as a catalog file writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from airflow_provider_evolink.api.catalog.media_limits import Media
from airflow_provider_evolink.api.catalog.sizes import Pixels, Unit

Origin = Literal["schema", "prose", "convention"]

LIMITS = (
    *("enum", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "max_bytes", "pattern", "format"),
    *("pixels", "minItems", "maxItems", "minProperties", "maxProperties", "variants"),
)
# JSON Schema's own keywords keep their spelling in the files.
_JSON_SCHEMA = {"multiple_of", "additional_properties"} | {
    f"{end}_{what}" for end in ("min", "max") for what in ("length", "items", "properties")
}
_IDS = ("job_id", "id", "task_id")


def spelled(name: str) -> str:
    """Return how a file spells an attribute of :class:`Parameter`."""
    return to_camel(name) if name in _JSON_SCHEMA else name


class Parameter(BaseModel):
    """
    A parameter as a catalog file writes it: JSON Schema's keywords where it has one, else names of our own.

    :param type: JSON type of the value.
    :param required: Whether a request needs the field.
    :param blank: Whether a text may be empty; if not stated, unless it is required.
    :param default: What EvoLink assumes when the field is absent. Never sent.
    :param enum: Values that are allowed.
    :param any_case: ``enum`` ignores case.
    :param length_unit: Unit of ``maxLength``. Tokens can only be estimated, so too many only cause a warning.
    :param max_bytes: Maximum size of a text in UTF-8.
    :param cut: EvoLink silently cuts text beyond ``maxLength``, so that limit only causes a warning.
    :param format: ``uri`` is a media link, ``media`` such a link, inline data or an id, ``callback`` a public HTTPS
        address.
    :param pattern: Regular expression that the whole text must match.
    :param pixels: The text is a size in pixels within these limits.
    :param items: What every item of a list must be.
    :param properties: Fields of an object; any other is refused. Without it every field is allowed.
    :param additional_properties: What every value of a free-form object must be.
    :param variants: Alternative shapes of the value; it must fit one of them.
    :param media: What the file behind a link may be, or behind each link of a list. Checked for files that are
        uploaded; the content of links is not inspected.
    :param from_job: The field takes the id of an earlier job, or something that job made.
    :param unit: Noun for whole numbers in messages, e.g. ``seconds``.
    :param phrase: Replaces the generated description of the allowed values in messages.
    :param stated: Where EvoLink states a limit, by the name of the limit; not listed means ``schema``. ``schema``: in
        the request schema. ``prose``: only in the text of the page. ``convention``: the page says at most that
        breaking it may do harm, or that EvoLink ignores or cuts the excess. A ``convention`` causes a warning, the
        others refuse a request.
    :param note: For readers of the catalog.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=spelled)

    type: Literal["string", "integer", "number", "boolean", "array", "object"] | None = None
    required: bool = False
    blank: bool | None = None
    default: Any = None
    enum: tuple[Any, ...] | None = None
    any_case: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    multiple_of: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    length_unit: Unit = "characters"
    max_bytes: int | None = None
    cut: bool = False
    format: Literal["uri", "media", "callback"] | None = None
    pattern: str | None = None
    pixels: Pixels | None = None
    min_items: int | None = None
    max_items: int | None = None
    items: Parameter | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    properties: dict[str, Parameter] | None = None
    additional_properties: Parameter | None = None
    variants: tuple[Parameter, ...] = ()
    media: Media | None = None
    from_job: JobReference | None = None
    unit: str | None = None
    phrase: str | None = None
    stated: dict[str, Origin] = {}
    note: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.type is None and not self.variants:
            raise ValueError("a parameter needs a type or variants")
        for limit in self.stated:
            name = next((name for name in type(self).model_fields if spelled(name) == limit), "")
            if limit not in LIMITS or getattr(self, name) in (None, ()):
                raise ValueError(f"stated: the parameter has no limit {limit}")
        return self

    @property
    def private(self) -> bool:
        """Whether its text is free, so that it may be a prompt and is never shown."""
        return self.type == "string" and not (self.enum or self.format or self.pattern or self.variants)

    @property
    def may_be_blank(self) -> bool:
        """Whether a text may be empty."""
        return not self.required if self.blank is None else self.blank

    @property
    def takes_link(self) -> bool:
        """Whether the value is a link to media, or may be one."""
        return self.format in ("uri", "media")

    def contains(self, wanted: Callable[[Parameter], bool]) -> bool:
        """Return whether this parameter, or one inside of it, is wanted."""
        inside = [self.items, self.additional_properties, *self.variants, *(self.properties or {}).values()]
        return wanted(self) or any(parameter.contains(wanted) for parameter in inside if parameter)

    def origin(self, limit: str) -> Origin:
        """Return where EvoLink states a limit."""
        return "convention" if self.cut and limit == "maxLength" else self.stated.get(limit, "schema")

    def refuses(self, limit: str) -> bool:
        """Whether a request that breaks this limit is refused, instead of only warned about."""
        is_estimate = limit == "maxLength" and self.length_unit == "tokens"
        return not is_estimate and self.origin(limit) != "convention"

    def inner(self, key: str | int) -> Parameter | None:
        """Return the parameter that describes one entry of a list or object."""
        if isinstance(key, int):
            return self.items
        return (self.properties or {}).get(key) or self.additional_properties


def is_list(value: Any) -> bool:
    """Tell a list (also a tuple, also Airflow's lazy ones) from text and bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


class JobReference(BaseModel):
    """
    What a field takes from an earlier job.

    :param models: Models whose jobs fit, with their aliases; empty: any.
    :param take: ``id`` for the id of the job, else a name in its ``made`` or ``result_data``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    take: str = "id"

    def read(self, job: Mapping[str, Any]) -> Any:
        """Return what the field takes, or ``None`` if the job has no such thing."""
        if self.take == "id":
            return next((job[name] for name in _IDS if job.get(name)), None)
        data = job.get("result_data")
        places = [job, job.get("made"), data, *(data if isinstance(data, list | tuple) else ())]
        return next((place[self.take] for place in places if isinstance(place, Mapping) and place.get(self.take)), None)
