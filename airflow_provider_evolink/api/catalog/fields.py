"""The fields of a request, each held against its own parameter: types, limits, counts, unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.request_view import Path
from airflow_provider_evolink.api.catalog.validators import fields_validator
from airflow_provider_evolink.api.catalog.wording import size_fault, words
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import count, describe_value, sanitize

Location = tuple[str | int, ...]


class FieldValidator:
    """
    The parameters of one model.

    :param parameters: Name and row of each field.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters

    def check(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation], frozenset[Path]]:
        """
        Hold the fields of a request against their parameters.

        :param given: FieldValidator that were set.
        :return: The good fields in their declared types, what is wrong with the others, and where that is.
        """
        violations = [
            Violation(name, "required")
            for name, parameter in self._parameters.items()
            if parameter.required and name not in given
        ]
        locations: list[Location] = [(violation.field,) for violation in violations]
        try:
            read = self._validator.validate_python(given)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                locations.append(fault["loc"])
                violations.append(self._violation(fault["loc"], fault["type"], fault["msg"], fault["input"]))
            failed = {location[0] for location in locations}
            read = self._validator.validate_python({name: given[name] for name in given if name not in failed})
        violations += self._sizes(given)
        return read, violations, frozenset(map(_names, locations))

    @cached_property
    def _validator(self) -> SchemaValidator:
        return fields_validator(self._parameters)

    def _sizes(self, given: Mapping[str, Any]) -> Iterator[Violation]:
        for location, parameter, value in _walk(self._parameters, given):
            if fault := size_fault(parameter, value):
                noun = ("item",) if is_list(value) else ("entry", "entries")
                yield Violation(_written(location), fault, count(len(value), *noun))

    def _violation(self, location: Location, kind: str, message: str, value: Any) -> Violation:
        field = _written(location)
        if kind == "extra_forbidden":
            return Violation(field, self._unknown(location), describe_value(value, private=True))
        parameter = self._parameter(location)
        if kind == "missing":
            return Violation(field, "required")
        rule = message if kind == "address" or parameter is None else words(parameter)
        return Violation(field, rule, describe_value(value, private=parameter is None or parameter.private))

    def _parameter(self, location: Location) -> Parameter | None:
        parameter = self._parameters.get(str(location[0]))
        for key in location[1:]:
            parameter = parameter.inner(key) if parameter else None
        return parameter

    def _unknown(self, location: Location) -> str:
        around = self._parameter(location[:-1]) if len(location) > 1 else None
        siblings = list((around.properties or {}) if around else self._parameters)
        near = _nearest(str(location[-1]), siblings)
        return (
            f"unknown field, did you mean {near}?" if near else f"unknown field, the model takes {', '.join(siblings)}"
        )


def _walk(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> Iterator[tuple[Location, Parameter, Any]]:
    for name, parameter in parameters.items():
        if name in given:
            yield from _walk_one((name,), parameter, given[name])


def _walk_one(location: Location, parameter: Parameter, value: Any) -> Iterator[tuple[Location, Parameter, Any]]:
    yield location, parameter, value
    if parameter.properties and isinstance(value, Mapping):
        for inner, found, entry in _walk(parameter.properties, value):
            yield (*location, *inner), found, entry
    if parameter.items and parameter.items.properties and is_list(value):
        for at, entry in enumerate(value):
            yield from _walk_one((*location, at), parameter.items, entry)


def _nearest(name: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return near[0]
    # start_image is image_start with its words replace_strings.
    sorted_names = {"_".join(sorted(other.split("_"))): other for other in known}
    replace_strings = difflib.get_close_matches("_".join(sorted(name.split("_"))), sorted_names, n=1)
    return sorted_names[replace_strings[0]] if replace_strings else None


def _names(location: Location) -> Path:
    names = []
    for key in location:
        if isinstance(key, int):
            break
        names.append(key)
    return tuple(names)


def _written(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{sanitize(key, 40)}"
    return text.removeprefix(".")
