"""What a field takes, in words, for errors and docs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.sizes import length_words
from airflow_provider_evolink.api.redaction import count

_ADDRESSES = {
    "uri": "an http or https link",
    "media": "an http or https link, inline data or an id",
    "callback": "an https link to a public address",
}


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

    :param parameter: ModelSpec of the field.
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

    :param parameter: ModelSpec of the field.
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


_WORDS: dict[str, Callable[[Parameter], str]] = {
    "string": _text_words,
    "integer": _whole_words,
    "number": _number_words,
    "boolean": lambda _: "true or false",
    "array": _list_words,
    "object": _object_words,
}
