"""The fields of a request, each checked against its own parameter in one pass, limits that only warn included. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.catalog.parameter import Parameter
from airflow_provider_evolink.api.catalog.values import CONVERTERS, WrongType, broken_limits

Location = tuple[str | int, ...]

_SIZES = frozenset({"minItems", "maxItems", "minProperties", "maxProperties"})


@dataclass(frozen=True)
class Fault:
    """
    A limit that a value breaks.

    :param limit: Name of the limit in the catalog; or ``type``, ``required``, ``unknown``.
    :param parameter: ``None`` for a field that the model does not have.
    :param known: Names of the fields around an unknown one.
    """

    location: Location
    limit: str
    value: Any = None
    parameter: Parameter | None = None
    known: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the request is refused for it, or only warned about."""
        return self.parameter is None or self.parameter.refuses(self.limit)

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the fields down to it; an item of a list counts as the list."""
        return tuple(itertools.takewhile(lambda key: isinstance(key, str), self.location))  # type: ignore[arg-type]

    @property
    def is_size(self) -> bool:
        """Whether only the number of items or entries is wrong: the value itself can be used by rules."""
        return self.limit in _SIZES


@dataclass(frozen=True)
class CheckedFields:
    """
    The fields of a request after the check of each one.

    :param values: Those without faults in their declared types, the others as they were given.
    :param refused: Faults for which the request is refused.
    :param warned: Faults with which it is sent.
    :param invalid: Paths of the values that rules cannot use.
    """

    values: dict[str, Any]
    refused: tuple[Fault, ...]
    warned: tuple[Fault, ...]
    invalid: frozenset[tuple[str, ...]]


def check_fields(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> CheckedFields:
    """Check the fields of a request. Of a field that is refused, nothing is warned about."""
    faults: list[Fault] = []
    read = _check_object(parameters, given, faults)
    refused = tuple(fault for fault in faults if fault.is_refused)
    invalid = frozenset(fault.path for fault in refused if not fault.is_size)
    wrong = {path[0] for path in invalid}
    warned = tuple(fault for fault in faults if not fault.is_refused and fault.location[0] not in wrong)
    values = {name: given[name] if name in wrong else read[name] for name in given}
    return CheckedFields(values, refused, warned, invalid)


def _check_object(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], faults: list[Fault], around: Location = ()
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        location = (*around, name)
        if name in given:
            values[name] = _check(parameter, given[name], location, faults)
        elif parameter.required:
            faults.append(Fault(location, "required", parameter=parameter))
    for name in given:
        if name not in parameters:
            values[name] = given[name]
            faults.append(Fault((*around, name), "unknown", given[name], known=tuple(parameters)))
    return values


def _check(parameter: Parameter, value: Any, location: Location, faults: list[Fault]) -> Any:
    try:
        read = CONVERTERS[parameter.type](value) if parameter.type else value
    except WrongType:
        faults.append(Fault(location, "type", value, parameter))
        return value
    if isinstance(read, list | dict):
        read = _check_inside(parameter, read, location, faults)
    if parameter.variants:
        read, fits = _first_fitting(parameter.variants, read, location)
        if not fits:
            faults.append(Fault(location, "variants", value, parameter))
    if broken := list(broken_limits(parameter, read)):
        faults += _worst([Fault(location, limit, read, parameter) for limit in broken])
    return read


def _check_inside(parameter: Parameter, value: Any, location: Location, faults: list[Fault]) -> Any:
    if parameter.items is not None:
        return [_check(parameter.items, entry, (*location, at), faults) for at, entry in enumerate(value)]
    if parameter.properties is not None:
        return _check_object(parameter.properties, value, faults, location)
    if (inner := parameter.additional_properties) is not None:
        return {name: _check(inner, entry, (*location, name), faults) for name, entry in value.items()}
    return value


def _first_fitting(variants: tuple[Parameter, ...], value: Any, location: Location) -> tuple[Any, bool]:
    for variant in variants:
        faults: list[Fault] = []
        read = _check(variant, value, location, faults)
        if not faults:
            return read, True
    return value, False


def _worst(faults: list[Fault]) -> list[Fault]:
    """Keep of the faults of one value the first that refuses, else the first that warns; and its number of items."""
    sizes = [fault for fault in faults if fault.is_size]
    others = sorted((fault for fault in faults if not fault.is_size), key=lambda fault: not fault.is_refused)
    return others[:1] + sizes


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is most like another one."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return near[0]
    # start_image is image_start with its words swapped.
    by_words = {"_".join(sorted(other.split("_"))): other for other in known}
    near = difflib.get_close_matches("_".join(sorted(name.split("_"))), by_words, n=1)
    return by_words[near[0]] if near else None
