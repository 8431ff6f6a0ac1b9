"""A row of the catalog: one model with its parameters and rules, and how a request is held against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from airflow_provider_evolink.api.catalog.fields import FieldValidator
from airflow_provider_evolink.api.catalog.job_references import resolve_references
from airflow_provider_evolink.api.catalog.parameter import Parameter
from airflow_provider_evolink.api.catalog.prices import Price
from airflow_provider_evolink.api.catalog.request_view import RequestView
from airflow_provider_evolink.api.catalog.rules import Rule
from airflow_provider_evolink.api.catalog.sizes import length_words, measure
from airflow_provider_evolink.api.errors import Violation


class Outputs(BaseModel):
    """
    Results of a job.

    :param media: Whether there are media links at all; a voice or an element may be all a job makes.
    :param least: Fewest media files of a job.
    :param most: Most media files; ``None`` if EvoLink states no limit.
    :param counted_by: Field that says how many are made, ``least`` if it is not set.
    :param data: What ``result_data`` holds beside or instead of links.
    :param link_hours: How long a link lives at least; ``None`` if EvoLink does not say.
    :param note: For readers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    media: bool = True
    least: int = 1
    most: int | None = 1
    counted_by: str | None = None
    data: Literal["songs", "layers", "voice", "element_id", "persona_id", "character", "audio_url"] | None = None
    link_hours: int | None = 24
    note: str | None = None


@dataclass(frozen=True)
class SharedSpecs:
    """
    What many rows say alike, so that the file says it once.

    :param groups: Groups of parameters, by the names in ``uses``.
    :param parameters: Single parameters, by a name that a row may give instead of the parameter.
    :param rules: Rules and notices, by a name that a row may give instead.
    """

    groups: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)


class ModelSpec(BaseModel):
    """
    One model.

    :param model: EvoLink's name of it.
    :param aliases: Other names EvoLink takes for it.
    :param family: Models of one maker and version.
    :param kind: What it makes.
    :param task: What it does, in a word.
    :param endpoint: Path that takes orders.
    :param source: Page of EvoLink's documentation the row was taken from.
    :param status: ``retired`` if EvoLink has withdrawn that page.
    :param retired_on: Day it did.
    :param as_of: About the month of the page.
    :param parameters: Name and row of every field but ``model``. In the file, groups named in ``uses`` come first; an
        own entry replaces the shared one if it has a type or variants, else it changes only the keys it states. A text
        instead of an entry is the name of a shared parameter.
    :param rules: What holds between fields.
    :param notices: The same shapes; EvoLink accepts what breaks them, but ignores it, or forbids it in words only.
    :param outputs: What a job hands back.
    :param price: What an order costs at the most, where it is published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    aliases: tuple[str, ...] = ()
    family: str | None = None
    kind: Literal["video", "image", "audio"]
    task: str | None = None
    endpoint: str
    source: str | None = None
    status: Literal["documented", "retired"] = "documented"
    retired_on: str | None = None
    as_of: str | None = None
    parameters: dict[str, Parameter]
    rules: tuple[Rule, ...] = ()
    notices: tuple[Rule, ...] = ()
    outputs: Outputs = Outputs()
    price: Price | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any], shared: SharedSpecs) -> Self:
        """
        Read a row as it is written in the file.

        :param data: The row.
        :param shared: What it may refer to.
        """
        merged: dict[str, Any] = {}
        for group in [*(shared.groups[name] for name in data.get("uses", ())), data.get("parameters", {})]:
            for name, given in group.items():
                stated = shared.parameters[given] if isinstance(given, str) else given
                whole = stated.keys() & {"type", "variants"}
                merged[name] = stated if whole else {**merged.get(name, {}), **stated}
        rules = {
            kind: [shared.rules[rule] if isinstance(rule, str) else rule for rule in data[kind]]
            for kind in ("rules", "notices")
            if kind in data
        }
        rest = {name: value for name, value in data.items() if name != "uses"}
        return cls.model_validate({**rest, **rules, "parameters": merged})

    def take_jobs(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
        """
        Put the id of an earlier job, or what it made, in the place of the job.

        :param given: FieldValidator that were set.
        :return: The fields, and jobs that do not fit.
        """
        return resolve_references(self.parameters, given)

    def check(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
        """
        Hold a request against the row.

        :param given: FieldValidator that were set.
        :return: The good fields, brought to their declared types, and everything that is wrong with the others.
        """
        given = {name: value for name, value in given.items() if name != "model"}
        values, violations, facts = self._facts(given)
        for rule in self.rules:
            violations += rule.check(facts)
        return values, violations

    def notices_about(self, given: Mapping[str, Any]) -> list[str]:
        """
        Say what EvoLink accepts in this request, but cuts or ignores, or forbids in the words of its pages only.

        :param given: FieldValidator that were set.
        """
        texts = [] if self.status == "documented" else [self._retired()]
        for name, parameter in self.parameters.items():
            texts += _length_notice(name, parameter, given.get(name))
        values, _, facts = self._facts(given)
        texts += [f"{broken.field}: {broken.rule}" for rule in self.notices for broken in rule.check(facts)]
        return texts + [
            f"{broken} - so say EvoLink's pages in words, the request is sent all the same"
            for broken in self._soft_faults({name: value for name, value in given.items() if name in values})
        ]

    def _facts(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation], RequestView]:
        values, violations, broken = self._hard.check(given)
        return values, violations, RequestView({**given, **values}, broken, self._private, self._defaults)

    def _soft_faults(self, given: Mapping[str, Any]) -> Iterator[Violation]:
        soft = {name: given[name] for name in given if name in self._soft_names}
        if soft:
            yield from self._soft.check(soft)[1]

    def _retired(self) -> str:
        day = f" on {self.retired_on}" if self.retired_on else ""
        return f"EvoLink has withdrawn the page of this model{day}, it may no longer answer"

    @cached_property
    def _hard(self) -> FieldValidator:
        return FieldValidator({name: parameter.hard() for name, parameter in self.parameters.items()})

    @cached_property
    def _soft_names(self) -> frozenset[str]:
        return frozenset(name for name, parameter in self.parameters.items() if parameter.is_soft)

    @cached_property
    def _soft(self) -> FieldValidator:
        optional = {"required": False}
        return FieldValidator({name: self.parameters[name].model_copy(update=optional) for name in self._soft_names})

    @cached_property
    def _private(self) -> frozenset[str]:
        return frozenset(path for path, parameter in _paths(self.parameters) if parameter.private)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {path: inner.default for path, inner in _paths(self.parameters) if inner.default is not None}


def _paths(parameters: Mapping[str, Parameter], around: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, parameter in parameters.items():
        yield f"{around}{name}", parameter
        yield from _paths(parameter.properties or {}, f"{around}{name}.")


def _length_notice(name: str, parameter: Parameter, value: Any) -> Iterator[str]:
    unit, most = parameter.length_unit, parameter.max_length
    if not isinstance(value, str) or most is None or parameter.longest is not None:
        return
    length = measure(value, unit)
    if length <= most:
        return
    if parameter.cut:
        yield f"{name}: EvoLink cuts it to {length_words(most, unit)} (given: {length})"
    else:
        yield f"{name}: EvoLink's limit is {length_words(most, unit)} (given: about {length})"
