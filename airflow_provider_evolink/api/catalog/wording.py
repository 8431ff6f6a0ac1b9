"""What a field takes, in words, for errors and docs. Pure."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_evolink.api.catalog.fields import Fault, Location, nearest
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.sizes import length_words, measure
from airflow_provider_evolink.api.catalog.values import address_fault
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import count, describe_value, sanitize

_ADDRESSES = {
    "uri": "an http or https link",
    "media": "an http or https link, inline data or an id",
    "callback": "an https link to a public address",
}


def violation(fault: Fault) -> Violation:
    """Describe a fault for which a request is refused."""
    field, parameter = written(fault.location), fault.parameter
    if fault.limit == "required":
        return Violation(field, "required")
    if parameter is None:
        return Violation(field, _unknown(fault), describe_value(fault.value, private=True))
    if fault.is_size:
        noun = ("item",) if is_list(fault.value) else ("entry", "entries")
        return Violation(field, size_words(parameter) or "", count(len(fault.value), *noun))
    rule = (fault.limit == "format" and address_fault(parameter, fault.value)) or words(parameter)
    return Violation(field, rule, describe_value(fault.value, private=parameter.private))


def warning(fault: Fault) -> str:
    """Describe a fault with which a request is sent."""
    parameter = fault.parameter
    if parameter and fault.limit == "maxLength" and (parameter.cut or parameter.length_unit == "tokens"):
        limit = length_words(parameter.max_length or 0, parameter.length_unit)
        length = measure(fault.value, parameter.length_unit)
        if parameter.cut:
            return f"{written(fault.location)}: EvoLink cuts it to {limit} (given: {length})"
        return f"{written(fault.location)}: EvoLink's limit is {limit} (given: about {length})"
    return f"{violation(fault)} - so say EvoLink's pages in words, the request is sent all the same"


def _unknown(fault: Fault) -> str:
    near = nearest(str(fault.location[-1]), fault.known)
    if near:
        return f"unknown field, did you mean {near}?"
    return f"unknown field, the model takes {', '.join(fault.known)}"


def written(location: Location) -> str:
    """Write a location as users do: ``shots[0].prompt``."""
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{sanitize(key, 40)}"
    return text.removeprefix(".")


def words(parameter: Parameter) -> str:
    """Say in words what values a parameter takes, counts of lists excluded (see :func:`size_words`)."""
    if parameter.phrase:
        return parameter.phrase
    if parameter.variants:
        return " or ".join(words(variant) for variant in parameter.variants)
    if parameter.enum:
        values = ", ".join(map(str, parameter.enum))
        return values if len(parameter.enum) == 1 else f"one of {values}"
    return _WORDS[parameter.type or "string"](parameter)


def size_words(parameter: Parameter) -> str | None:
    """
    Say in words how many items or entries are allowed; ``None`` if any number is.

    :param parameter: The field.
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
    if parameter.max_length and not parameter.cut and parameter.length_unit != "tokens":
        limits.append(f"at most {length_words(parameter.max_length, parameter.length_unit)}")
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
