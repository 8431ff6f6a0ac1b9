"""One value and its parameter: read it as the declared type, and find the limits it breaks. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow_provider_evolink.api.addresses import callback_fault, link_fault, media_fault
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.sizes import measure

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}(\.0+)?\s*")
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{1,20})?\s*")
_BOOLEANS = {"true": True, "false": False}
_ADDRESS_FAULTS = {"uri": link_fault, "media": media_fault, "callback": callback_fault}
# What a template writes for a value that is not there. None of them is a prompt that somebody wants to pay for.
MISSING = frozenset({"None", "[]", "{}", "nan", "undefined"})
_STEP_TOLERANCE = 1e-9  # 1.25 is not exactly 125 times 0.01 in binary


class WrongType(Exception):
    """The value cannot be read as the type of its parameter."""


def broken_limits(parameter: Parameter, value: Any) -> Iterator[str]:
    """Yield the limits that a value of the right type breaks, by their names in the catalog."""
    if parameter.type == "string":
        yield from _text_limits(parameter, value)
    elif parameter.type in ("integer", "number"):
        yield from _number_limits(parameter, value)
    elif parameter.type == "array":
        yield from _count_limits(len(value), parameter.min_items, parameter.max_items, "Items")
    elif parameter.type == "object":
        yield from _count_limits(len(value), parameter.min_properties, parameter.max_properties, "Properties")
    if parameter.enum is not None and not _is_listed(parameter, value):
        yield "enum"


def address_fault(parameter: Parameter, text: str) -> str | None:
    """Say what is wrong with a link, or return ``None``."""
    return _ADDRESS_FAULTS[parameter.format](text) if parameter.format else None


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongType
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a broken character: no JSON can carry it
        raise WrongType from None
    return value


def _to_integer(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType
    return value


def _to_number(value: Any) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return _to_integer(value) if _WHOLE.fullmatch(value) else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongType
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise WrongType
    return value


def _to_boolean(value: Any) -> bool:
    if isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise WrongType
    return value


def _to_list(value: Any) -> list[Any]:
    if not is_list(value):
        raise WrongType
    return list(value)


def _to_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongType
    return {str(key): entry for key, entry in value.items()}


# Return a value as the type its parameter declares, or raise WrongType. Airflow templates render to text, so text is
# read as a number.
CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _to_text,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "array": _to_list,
    "object": _to_object,
}


def _text_limits(parameter: Parameter, text: str) -> Iterator[str]:
    if parameter.min_length is not None and len(text) < parameter.min_length:
        yield "minLength"
    if parameter.max_length is not None and measure(text, parameter.length_unit) > parameter.max_length:
        yield "maxLength"
    if parameter.max_bytes is not None and len(text.encode()) > parameter.max_bytes:
        yield "max_bytes"
    if parameter.pattern is not None and not re.fullmatch(parameter.pattern, text):
        yield "pattern"
    if parameter.format and address_fault(parameter, text):
        yield "format"
    if not text.strip() and not parameter.may_be_blank:
        yield "blank"
    if parameter.pixels is not None and not parameter.pixels.fits(text):
        yield "pixels"
    if text.strip() in MISSING:
        yield "missing"


def _number_limits(parameter: Parameter, number: float) -> Iterator[str]:
    if parameter.minimum is not None and number < parameter.minimum:
        yield "minimum"
    if parameter.maximum is not None and number > parameter.maximum:
        yield "maximum"
    if parameter.multiple_of is not None and not _is_multiple(number, parameter.multiple_of):
        yield "multipleOf"


def _is_multiple(number: float, step: float) -> bool:
    if isinstance(number, int) and isinstance(step, int):
        return number % step == 0
    rest = abs(float(number) % step)
    return min(rest, abs(rest - step)) <= abs(number) * _STEP_TOLERANCE


def _count_limits(count: int, minimum: int | None, maximum: int | None, noun: str) -> Iterator[str]:
    if minimum is not None and count < minimum:
        yield f"min{noun}"
    if maximum is not None and count > maximum:
        yield f"max{noun}"


def _is_listed(parameter: Parameter, value: Any) -> bool:
    if parameter.any_case:
        return value.casefold() in {str(one).casefold() for one in parameter.enum or ()}
    return value in (parameter.enum or ())
