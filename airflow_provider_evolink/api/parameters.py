"""One parameter of a model: its row in the catalogue and its rule in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from airflow_provider_evolink.api.shown import count


class Parameter(BaseModel):
    """
    A parameter as the catalogue writes it, in the words of JSON Schema where it has one.

    :param default: What EvoLink assumes when the field is absent. Never sent.
    :param cut: EvoLink cuts text beyond ``maxLength`` silently, so that is only warned about.
    :param length_unit: Unit of ``maxLength``; tokens cannot be counted here and are not checked.
    :param format: ``uri`` is a media link, ``callback`` a public HTTPS address.
    :param properties: Fields of an object; any other is refused. Without it every field passes.
    :param additional_properties: What every value of a free map must be.
    :param variants: Alternative shapes of the value, instead of ``type``.
    :param unit: Noun for whole numbers in messages, e.g. ``seconds``.
    :param note: For readers of the catalogue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    type: Literal["string", "integer", "number", "boolean", "array", "object"] | None = None
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    multiple_of: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    length_unit: Literal["characters", "tokens"] = Field("characters", alias="length_unit")
    cut: bool = False
    format: Literal["uri", "callback"] | None = None
    pattern: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    items: Parameter | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    properties: dict[str, Parameter] | None = None
    additional_properties: Parameter | None = None
    variants: tuple[Parameter, ...] = ()
    unit: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _has_a_shape(self) -> Self:
        if (self.type is None) is not bool(self.variants):
            raise ValueError("a parameter has either a type or variants")
        return self

    @property
    def private(self) -> bool:
        """Whether its text is free, so that it may be a prompt and is never shown."""
        return self.type == "string" and not (self.enum or self.format or self.pattern)

    @property
    def longest(self) -> int | None:
        """Most characters of a text, where that can be counted."""
        return self.max_length if self.length_unit == "characters" else None

    def inner(self, key: str | int) -> Parameter | None:
        """Return the parameter that describes one entry of a list or object."""
        if isinstance(key, int):
            return self.items
        return (self.properties or {}).get(key) or self.additional_properties


def words(parameter: Parameter) -> str:
    """Say in words what values a parameter takes, counts of lists excluded (see :func:`size_fault`)."""
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
    if parameter.type == "array" and is_list(value):
        least, most, noun = parameter.min_items, parameter.max_items, ("item", "items")
    elif parameter.type == "object" and isinstance(value, Mapping):
        least, most, noun = parameter.min_properties, parameter.max_properties, ("entry", "entries")
    else:
        return None
    if len(value) >= (least or 0) and (most is None or len(value) <= most):
        return None
    if least == most and least is not None:
        return f"exactly {count(least, *noun)}"
    if least is None or most is None:
        return f"at most {count(most, *noun)}" if most is not None else f"at least {count(least or 0, *noun)}"
    return f"{least} to {most} {noun[1]}"


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
        return "an http or https link" if parameter.format == "uri" else "an https link to a public address"
    limits = ["not empty"] if parameter.required else []
    if parameter.min_length:
        limits.append(f"at least {count(parameter.min_length, 'character')}")
    if parameter.longest and not parameter.cut:
        limits.append(f"at most {count(parameter.longest, 'character')}")
    if parameter.pattern:
        limits.append(f"of the form {parameter.pattern}")
    return ", ".join(["text", *limits])


def _object_words(parameter: Parameter) -> str:
    if parameter.properties:
        return f"an object with {', '.join(parameter.properties)}"
    return "an object"


_WORDS: dict[str, Callable[[Parameter], str]] = {
    "string": _text_words,
    "integer": _whole_words,
    "number": _number_words,
    "boolean": lambda _: "true or false",
    "array": _list_words,
    "object": _object_words,
}
