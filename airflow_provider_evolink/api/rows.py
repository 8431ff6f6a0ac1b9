"""A row of the catalogue: one model with its parameters and rules, and how a request is held against it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.field_types import fields_model
from airflow_provider_evolink.api.parameters import Parameter, is_list, size_fault, words
from airflow_provider_evolink.api.prices import Price
from airflow_provider_evolink.api.rules import Facts, Rule
from airflow_provider_evolink.api.shown import count, show
from airflow_provider_evolink.api.texts import clean_text

Location = tuple[str | int, ...]


class Row(BaseModel):
    """
    One model.

    :param model: EvoLink's name of it.
    :param kind: What it makes.
    :param endpoint: Path that takes orders.
    :param source: Page of EvoLink's documentation the row was taken from.
    :param parameters: Name and row of every field but ``model``. In the file, groups named in ``uses`` come first; an
        own entry replaces the shared one if it has a type or variants, else it changes only the keys it states.
    :param rules: What holds between fields.
    :param price: What an order costs at the most, where it is published.
    :param notices: The same shapes; what breaks them is accepted by EvoLink, but has no effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    kind: Literal["video", "image", "audio"]
    endpoint: str
    source: str | None = None
    parameters: dict[str, Parameter]
    rules: tuple[Rule, ...] = ()
    notices: tuple[Rule, ...] = ()
    price: Price | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any], shared: Mapping[str, Any]) -> Self:
        """
        Read a row as it is written in the file.

        :param data: The row, with ``uses``.
        :param shared: Parameter groups by name.
        """
        merged: dict[str, Any] = {}
        for group in [*(shared[name] for name in data.get("uses", ())), data.get("parameters", {})]:
            for name, stated in group.items():
                whole = stated.keys() & {"type", "variants"}
                merged[name] = stated if whole else {**merged.get(name, {}), **stated}
        return cls.model_validate({**{k: v for k, v in data.items() if k != "uses"}, "parameters": merged})

    def check(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
        """
        Hold a request against the row.

        :param given: Fields that were set.
        :return: The good fields, brought to their declared types, and everything that is wrong with the others.
        """
        given = {name: value for name, value in given.items() if name != "model"}
        values, violations, broken = self._check_fields(given)
        facts = Facts({**given, **values}, broken, self._private)
        for rule in self.rules:
            violations += rule.check(facts)
        return values, violations

    def notices_about(self, given: Mapping[str, Any]) -> list[str]:
        """Say what EvoLink accepts in this request, but cuts or ignores."""
        texts = [
            f"{name}: EvoLink cuts it to {parameter.longest} characters (given: {len(given[name])})"
            for name, parameter in self.parameters.items()
            if parameter.cut and parameter.longest and _length(given.get(name)) > parameter.longest
        ]
        values, _, broken = self._check_fields(given)
        facts = Facts({**given, **values}, broken, self._private)
        return texts + [f"{useless.field}: {useless.rule}" for rule in self.notices for useless in rule.check(facts)]

    @cached_property
    def _fields(self) -> type[BaseModel]:
        return fields_model(self.parameters, name=self.model, required=False)

    @cached_property
    def _private(self) -> frozenset[str]:
        return frozenset(name for name, parameter in self.parameters.items() if parameter.private)

    def _check_fields(
        self, given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Violation], frozenset[tuple[str, ...]]]:
        violations = [
            Violation(name, "required")
            for name, parameter in self.parameters.items()
            if parameter.required and name not in given
        ]
        locations: list[Location] = [(violation.field,) for violation in violations]
        good = given
        try:
            self._fields.model_validate(given)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                locations.append(fault["loc"])
                violations.append(self._violation(fault["loc"], fault["type"], fault["msg"], fault["input"]))
            failed = {location[0] for location in locations}
            good = {name: value for name, value in given.items() if name not in failed}
        values = self._fields.model_validate(good).model_dump(exclude_unset=True)
        violations += self._sizes(given)
        return values, violations, frozenset(map(_names, locations))

    def _sizes(self, given: Mapping[str, Any]) -> Iterator[Violation]:
        for location, parameter, value in _walk(self.parameters, given):
            if fault := size_fault(parameter, value):
                noun = ("item",) if is_list(value) else ("entry", "entries")
                yield Violation(_written(location), fault, count(len(value), *noun))

    def _violation(self, location: Location, kind: str, message: str, value: Any) -> Violation:
        field = _written(location)
        if kind == "extra_forbidden":
            return Violation(field, self._unknown(location), show(value, private=True))
        parameter = self._parameter(location)
        if kind == "missing":
            return Violation(field, "required")
        rule = message if kind == "address" or parameter is None else words(parameter)
        return Violation(field, rule, show(value, private=parameter is None or parameter.private))

    def _parameter(self, location: Location) -> Parameter | None:
        parameter = self.parameters.get(str(location[0]))
        for key in location[1:]:
            parameter = parameter.inner(key) if parameter else None
        return parameter

    def _unknown(self, location: Location) -> str:
        around = self._parameter(location[:-1]) if len(location) > 1 else None
        siblings = list((around.properties or {}) if around else self.parameters)
        near = _nearest(str(location[-1]), siblings)
        return (
            f"unknown field, did you mean {near}?" if near else f"unknown field, the model takes {', '.join(siblings)}"
        )


def _walk(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> Iterator[tuple[Location, Parameter, Any]]:
    for name, parameter in parameters.items():
        if name not in given:
            continue
        yield (name,), parameter, given[name]
        if parameter.properties and isinstance(given[name], Mapping):
            for location, inner, value in _walk(parameter.properties, given[name]):
                yield (name, *location), inner, value


def _nearest(name: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return near[0]
    # start_image is image_start with its words swapped.
    sorted_names = {"_".join(sorted(other.split("_"))): other for other in known}
    swapped = difflib.get_close_matches("_".join(sorted(name.split("_"))), sorted_names, n=1)
    return sorted_names[swapped[0]] if swapped else None


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def _names(location: Location) -> tuple[str, ...]:
    names = []
    for key in location:
        if isinstance(key, int):
            break
        names.append(key)
    return tuple(names)


def _written(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{clean_text(key, 40)}"
    return text.removeprefix(".")
