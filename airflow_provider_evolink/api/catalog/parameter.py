"""One parameter of a model: its row in the catalog and its rule in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from airflow_provider_evolink.api.catalog.media_limits import Media
from airflow_provider_evolink.api.catalog.sizes import Pixels, Unit

_IDS = ("job_id", "id", "task_id")


class Parameter(BaseModel):
    """
    A parameter as the catalog writes it, in the words of JSON Schema where it has one.

    :param blank: Whether a text may be empty; if not stated, unless it is required.
    :param default: What EvoLink assumes when the field is absent. Never sent.
    :param any_case: Capital and small letters are the same in ``enum``.
    :param cut: EvoLink cuts text beyond ``maxLength`` silently, so that is only warned about.
    :param length_unit: Unit of ``maxLength``. Tokens can only be guessed here, so too many are only warned about.
    :param max_bytes: Most bytes of a text in UTF-8.
    :param format: ``uri`` is a media link, ``media`` such a link, inline data or an id, ``callback`` a public HTTPS
        address.
    :param media: What the file behind a link may be, or behind each link of a list. Held against files that are
        uploaded; nobody looks behind a link.
    :param pixels: The text is a size in pixels within these limits.
    :param from_job: The field takes the id of an earlier job, or something that job made.
    :param soft: Limits by name that EvoLink states in words only: what breaks them is sent with a warning.
    :param phrase: What to say of the values instead of what would be said by themselves.
    :param properties: FieldValidator of an object; any other is refused. Without it every field passes.
    :param additional_properties: What every value of a free map must be.
    :param variants: Alternative shapes of the value, instead of ``type``.
    :param unit: Noun for whole numbers in messages, e.g. ``seconds``.
    :param note: For readers of the catalog.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

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
    length_unit: Unit = Field("characters", alias="length_unit")
    max_bytes: int | None = None
    cut: bool = False
    format: Literal["uri", "media", "callback"] | None = None
    pattern: str | None = None
    media: Media | None = None
    pixels: Pixels | None = None
    from_job: JobReference | None = None
    min_items: int | None = None
    max_items: int | None = None
    items: Parameter | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    properties: dict[str, Parameter] | None = None
    additional_properties: Parameter | None = None
    variants: tuple[Parameter, ...] = ()
    unit: str | None = None
    phrase: str | None = None
    soft: tuple[str, ...] = ()
    note: str | None = None

    @model_validator(mode="after")
    def _has_a_shape(self) -> Self:
        if (self.type is None) is not bool(self.variants) and "variants" not in self.soft:
            raise ValueError("a parameter has either a type or variants")
        if self.soft and (unknown := {*self.soft} - {to_camel(name) for name in type(self).model_fields}):
            raise ValueError(f"no such limits: {', '.join(sorted(unknown))}")
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
    def longest(self) -> int | None:
        """Greatest length of a text, where that can be counted and EvoLink does not just cut the rest."""
        return None if self.cut or self.length_unit == "tokens" else self.max_length

    @property
    def is_soft(self) -> bool:
        """Whether a limit of it, or of something inside it, is only warned about."""
        return bool(self.soft) or any(inner.is_soft for inner in self._inside())

    def hard(self) -> Self:
        """Return the parameter without the limits that are only warned about."""
        if not self.is_soft:
            return self
        names = {to_camel(name): name for name in type(self).model_fields}
        changes: dict[str, Any] = {names[limit]: () if limit == "variants" else None for limit in self.soft}
        if self.items:
            changes["items"] = self.items.hard()
        if self.properties:
            changes["properties"] = {name: inner.hard() for name, inner in self.properties.items()}
        return self.model_copy(update=changes)

    def _inside(self) -> Iterator[Parameter]:
        yield from filter(None, (self.items, self.additional_properties))
        yield from (self.properties or {}).values()

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

    :param models: Models whose jobs fit, with their other names; empty: any.
    :param take: ``id`` for the id of the job, else a name in its ``made`` or ``result_data``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    take: str = "id"

    def read(self, job: Mapping[str, Any]) -> Any:
        """
        Return what the field takes, or ``None`` if the job has no such thing.

        :param job: The job.
        """
        if self.take == "id":
            return next((job[name] for name in _IDS if job.get(name)), None)
        data = job.get("result_data")
        places = [job, job.get("made"), data, *(data if isinstance(data, list | tuple) else ())]
        return next((place[self.take] for place in places if isinstance(place, Mapping) and place.get(self.take)), None)
