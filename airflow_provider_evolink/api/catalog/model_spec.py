"""One model of the catalog: its parameters and rules, and how a request is checked against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from airflow_provider_evolink.api.catalog.fields import check_fields
from airflow_provider_evolink.api.catalog.job_references import resolve_references
from airflow_provider_evolink.api.catalog.parameter import Parameter
from airflow_provider_evolink.api.catalog.prices import Price
from airflow_provider_evolink.api.catalog.request_view import RequestView
from airflow_provider_evolink.api.catalog.rules import Rule
from airflow_provider_evolink.api.catalog.wording import violation, warning
from airflow_provider_evolink.api.errors import Violation


class Outputs(BaseModel):
    """
    Results of a job.

    :param media: Whether there are media links at all; a voice or an element may be all a job makes.
    :param min_files: Minimum number of media files of a job.
    :param max_files: Maximum number; ``null`` if EvoLink states no limit.
    :param counted_by: Field with the number of files to make, ``min_files`` if it is not set.
    :param data: What ``result_data`` contains beside or instead of links.
    :param link_hours: How long a link is valid at least; ``null`` if EvoLink does not say.
    :param note: For readers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    media: bool = True
    min_files: int = 1
    max_files: int | None = 1
    counted_by: str | None = None
    data: Literal["songs", "layers", "voice", "element_id", "persona_id", "character", "audio_url"] | None = None
    link_hours: int | None = 24
    note: str | None = None


@dataclass(frozen=True)
class CheckedRequest:
    """
    A request after the check against its model.

    :param values: The fields, those without faults in their declared types; ids in place of jobs.
    :param violations: Why the request is refused.
    :param warnings: What EvoLink ignores or cuts, and limits that only the text of its pages states.
    """

    values: dict[str, Any]
    violations: tuple[Violation, ...] = ()
    warnings: tuple[str, ...] = ()


class ModelSpec(BaseModel):
    """
    One model.

    :param model: EvoLink's name of it.
    :param aliases: Other names EvoLink accepts for it.
    :param family: Models of one maker and version.
    :param kind: What it makes.
    :param task: What it does, in a word.
    :param endpoint: Path that takes its requests.
    :param source: Page of EvoLink's documentation that states all this.
    :param as_of: Month of that page.
    :param status: ``retired`` if EvoLink has withdrawn that page.
    :param retired_on: When it did.
    :param parameters: Every field of the request but ``model``.
    :param rules: Rules between fields.
    :param outputs: What a job returns.
    :param price: Maximum cost of a request, where it is published.
    :param unchecked: What the page states but no request shows, each with the reason why it is not checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    aliases: tuple[str, ...] = ()
    family: str | None = None
    kind: Literal["video", "image", "audio"]
    task: str | None = None
    endpoint: str
    source: str | None = None
    as_of: str | None = None
    status: Literal["documented", "retired"] = "documented"
    retired_on: str | None = None
    parameters: dict[str, Parameter]
    rules: tuple[Rule, ...] = ()
    outputs: Outputs = Outputs()
    price: Price | None = None
    unchecked: dict[str, str] = {}

    def check(self, given: Mapping[str, Any]) -> CheckedRequest:
        """
        Check a request once: its jobs, its fields, then the rules between fields.

        :param given: Fields that were set, without ``model``.
        """
        resolved, violations = self.resolve(given) if self._takes_jobs else (given, [])
        fields = check_fields(self.parameters, resolved)
        violations += map(violation, fields.refused)
        warnings = [self._retirement] if self._retirement else []
        warnings += map(warning, fields.warned)
        view = RequestView(fields.values, fields.invalid, self._private, self.defaults)
        for rule in self.rules:
            for broken in rule.check(view):
                if rule.is_refused:
                    violations.append(broken)
                else:
                    warnings.append(f"{broken.field}: {broken.rule}")
        return CheckedRequest(fields.values, tuple(violations), tuple(warnings))

    def resolve(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
        """
        Replace every job in a request by its id, or by what it made.

        :return: The fields, and jobs that do not fit.
        """
        return resolve_references(self.parameters, given)

    @cached_property
    def media_parameters(self) -> dict[str, Parameter]:
        """The parameters that take links to media, themselves or inside."""
        takes_link = [name for name, one in self.parameters.items() if one.contains(lambda inner: inner.takes_link)]
        return {name: self.parameters[name] for name in takes_link}

    @cached_property
    def _takes_jobs(self) -> bool:
        return any(parameter.contains(lambda inner: bool(inner.from_job)) for parameter in self.parameters.values())

    @cached_property
    def _retirement(self) -> str | None:
        if self.status != "retired":
            return None
        day = f" on {self.retired_on}" if self.retired_on else ""
        return f"EvoLink has withdrawn the page of this model{day}; it may no longer work"

    @cached_property
    def _private(self) -> frozenset[str]:
        return frozenset(path for path, parameter in _paths(self.parameters) if parameter.private)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """What EvoLink assumes for fields that are not set, by path."""
        return {path: inner.default for path, inner in _paths(self.parameters) if inner.default is not None}


def _paths(parameters: Mapping[str, Parameter], around: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, parameter in parameters.items():
        yield f"{around}{name}", parameter
        yield from _paths(parameter.properties or {}, f"{around}{name}.")
