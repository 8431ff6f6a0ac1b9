"""One parameter of a model: its row in the catalogue and its rule in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from airflow_provider_evolink.api.chains import FromJob
from airflow_provider_evolink.api.lengths import Unit, length_words
from airflow_provider_evolink.api.media_limits import Media
from airflow_provider_evolink.api.pixels import Pixels
from airflow_provider_evolink.api.shown import count


class Parameter(BaseModel):
    """
    A parameter as the catalogue writes it, in the words of JSON Schema where it has one.

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
    :param properties: Fields of an object; any other is refused. Without it every field passes.
    :param additional_properties: What every value of a free map must be.
    :param variants: Alternative shapes of the value, instead of ``type``.
    :param unit: Noun for whole numbers in messages, e.g. ``seconds``.
    :param note: For readers of the catalogue.
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
    from_job: FromJob | None = None
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


def words(parameter: Parameter) -> str:
    """Say in words what values a parameter takes, counts of lists excluded (see :func:`size_fault`)."""
    if parameter.phrase:
        return parameter.phrase
    if parameter.variants:
        return " or ".join(words(variant) for variant in parameter.variants)
    if parameter.enum:
        values = ", ".join(map(str, parameter.enum))
        return values if len(parameter.enum) == 1 else f"one of {values}"
    return _WORDS[parameter.type or "string"](parameter)


def size_fault(parameter: Parameter, value: Any) -> str | None:
    """
    Tell in words which number of items or entries is allowed, if the value has another one.

    :param parameter: Row of the field.
    :param value: What the user gave, of any type.
    """
    fits_type = (parameter.type == "array" and is_list(value)) or (
        parameter.type == "object" and isinstance(value, Mapping)
    )
    if not fits_type:
        return None
    least, most, _ = _size(parameter)
    return None if len(value) >= (least or 0) and (most is None or len(value) <= most) else size_words(parameter)


def size_words(parameter: Parameter) -> str | None:
    """
    Say in words how many items or entries are allowed; ``None`` if any number is.

    :param parameter: Row of the field.
    """
    least, most, noun = _size(parameter)
    if least is None and most is None:
        return None
    if least == most and least is not None:
        return f"exactly {count(least, *noun)}"
    if least is None or most is None:
        return f"at most {count(most, *noun)}" if most is not None else f"at least {count(least or 0, *noun)}"
    return f"{least} to {most} {noun[1]}"


def _size(parameter: Parameter) -> tuple[int | None, int | None, tuple[str, str]]:
    if parameter.type == "object":
        return parameter.min_properties, parameter.max_properties, ("entry", "entries")
    return parameter.min_items, parameter.max_items, ("item", "items")


def is_list(value: Any) -> bool:
    """Tell a list (also a tuple, also Airflow's lazy ones) from text and bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"


def _whole_words(parameter: Parameter) -> str:
    unit = f"whole {parameter.unit}" if parameter.unit else "a whole number"
    return unit + _range(parameter.minimum, parameter.maximum)


def _number_words(parameter: Parameter) -> str:
    step = f" in steps of {parameter.multiple_of}" if parameter.multiple_of else ""
    return "a number" + _range(parameter.minimum, parameter.maximum) + step


def _list_words(parameter: Parameter) -> str:
    return "a list" if parameter.items is None else f"a list, each entry {words(parameter.items)}"


def _text_words(parameter: Parameter) -> str:
    if parameter.format:
        return _ADDRESSES[parameter.format]
    if parameter.pixels:
        return parameter.pixels.words()
    limits = [] if parameter.may_be_blank else ["not empty"]
    if parameter.min_length:
        limits.append(f"at least {count(parameter.min_length, 'character')}")
    if parameter.longest:
        limits.append(f"at most {length_words(parameter.longest, parameter.length_unit)}")
    if parameter.max_bytes:
        limits.append(f"at most {parameter.max_bytes} bytes in UTF-8")
    if parameter.pattern:
        limits.append(f"of the form {parameter.pattern}")
    return ", ".join(["text", *limits])


def _object_words(parameter: Parameter) -> str:
    if parameter.properties:
        return f"an object with {', '.join(parameter.properties)}"
    return "an object"


_ADDRESSES = {
    "uri": "an http or https link",
    "media": "an http or https link, inline data or an id",
    "callback": "an https link to a public address",
}
_WORDS: dict[str, Callable[[Parameter], str]] = {
    "string": _text_words,
    "integer": _whole_words,
    "number": _number_words,
    "boolean": lambda _: "true or false",
    "array": _list_words,
    "object": _object_words,
}
