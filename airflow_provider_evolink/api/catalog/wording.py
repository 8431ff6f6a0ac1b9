"""The values a parameter takes, and what is wrong with one, in words: for errors, command line and docs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airflow_provider_evolink.api.catalog.fields import Fault, Location, nearest
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.sizes import describe_length, describe_range, measure
from airflow_provider_evolink.api.catalog.values import address_fault
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import count, describe_value, sanitize

_ADDRESSES = {
    "uri": "an http or https link",
    "media": "an http or https link, inline data or an ID",
    "callback": "an https link to a public address",
}


def violation(fault: Fault) -> Violation:
    """Describe a fault for which a request is refused."""
    field, parameter = written(fault.location), fault.parameter
    if fault.limit == "required":
        return Violation(field, "is required")
    if parameter is None:
        return Violation(field, _unknown(fault))
    if fault.is_size:
        noun = ("item",) if is_list(fault.value) else ("entry", "entries")
        return Violation(field, f"must have {describe_size(parameter)}", count(len(fault.value), *noun))
    return Violation(field, _rule(fault, parameter), describe_value(fault.value, private=parameter.private))


def warning(fault: Fault) -> str:
    """Describe a fault with which a request is sent."""
    parameter = fault.parameter
    if parameter and fault.limit == "maxLength" and (parameter.cut or parameter.length_unit == "tokens"):
        limit = describe_length(parameter.max_length or 0, parameter.length_unit)
        length = measure(fault.value, parameter.length_unit)
        if parameter.cut:
            return f"{written(fault.location)}: EvoLink cuts it to {limit}, got {length}"
        return f"{written(fault.location)}: should be at most {limit}, got about {length}"
    return f"{violation(fault)} (only a convention; the request is still sent)"


def _rule(fault: Fault, parameter: Parameter) -> str:
    if fault.limit == "format" and (address := address_fault(parameter, fault.value)):
        return address
    if fault.limit == "missing":
        return f"must not be the text {fault.value.strip()}, which templates write for a missing value"
    if fault.limit == "type" and parameter.type == "string" and isinstance(fault.value, str):
        return "must be valid Unicode, without unpaired surrogates"
    return f"must be {describe(parameter)}"


def _unknown(fault: Fault) -> str:
    near, known = nearest(str(fault.location[-1]), fault.known), ", ".join(fault.known)
    return f"is not a known field; {f'did you mean {near}?' if near else f'known are {known}'}"


def written(location: Location) -> str:
    """Write a location as users do: ``shots[0].prompt``."""
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{sanitize(key, 40)}"
    return text.removeprefix(".")


def describe(parameter: Parameter) -> str:
    """Describe the values a parameter takes, without the number of items (see :func:`describe_size`)."""
    if parameter.phrase:
        return parameter.phrase
    if parameter.variants:
        return any_of([word for one in parameter.variants for word in _alternatives(one)])
    if parameter.enum:
        return any_of(_alternatives(parameter))
    return _DESCRIPTIONS[parameter.type or "string"](parameter)


def _alternatives(parameter: Parameter) -> list[str]:
    return [str(value) for value in parameter.enum] if parameter.enum else [describe(parameter)]


def any_of(words: Sequence[str]) -> str:
    """Write a list of alternatives: ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def describe_size(parameter: Parameter) -> str | None:
    """Describe how many items or entries are allowed; ``None`` if any number is."""
    is_object = parameter.type == "object"
    minimum = parameter.min_properties if is_object else parameter.min_items
    maximum = parameter.max_properties if is_object else parameter.max_items
    noun = ("entry", "entries") if is_object else ("item", "items")
    if minimum is None and maximum is None:
        return None
    if minimum is None or maximum is None:
        return f"at most {count(maximum, *noun)}" if maximum is not None else f"at least {count(minimum or 0, *noun)}"
    return f"exactly {count(minimum, *noun)}" if minimum == maximum else f"{minimum} to {maximum} {noun[1]}"


def _integer(parameter: Parameter) -> str:
    return f"an integer{describe_range(parameter.minimum, parameter.maximum)}"


def _number(parameter: Parameter) -> str:
    step = f" in steps of {parameter.multiple_of}" if parameter.multiple_of else ""
    return f"a number{describe_range(parameter.minimum, parameter.maximum)}{step}"


def _list(parameter: Parameter) -> str:
    return "a list" if parameter.items is None else f"a list; each item must be {describe(parameter.items)}"


def _text(parameter: Parameter) -> str:
    if parameter.format:
        return _ADDRESSES[parameter.format]
    if parameter.pixels:
        return parameter.pixels.describe()
    limits = []
    if parameter.min_length:
        limits.append(f"at least {count(parameter.min_length, 'character')}")
    if parameter.max_length and not parameter.cut and parameter.length_unit != "tokens":
        limits.append(f"at most {describe_length(parameter.max_length, parameter.length_unit)}")
    if parameter.max_bytes:
        limits.append(f"at most {parameter.max_bytes} bytes in UTF-8")
    if parameter.pattern:
        limits.append(f"the form {parameter.pattern}")
    noun = "a string" if parameter.may_be_blank else "a non-empty string"
    return f"{noun} of {' and '.join(limits)}" if limits else noun


def _object(parameter: Parameter) -> str:
    return f"an object with {', '.join(parameter.properties)}" if parameter.properties else "an object"


_DESCRIPTIONS: dict[str, Callable[[Parameter], str]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _: "true or false",
    "array": _list,
    "object": _object,
}
