"""
Jobs as inputs of jobs: a field that takes the id of an earlier job, or a voice, an element or a persona it made.

Instead of the id, users may pass the whole job (a ``Job``, or the XCom of an operator): the field then takes what it
needs from it, and the model of that job is checked.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from airflow_provider_evolink.api.catalog.parameter import JobReference
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import sanitize

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.parameter import Parameter

_MAX_RENDERED_JOB = 200_000  # characters


def resolve_references(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], *, path: str = ""
) -> tuple[dict[str, Any], list[Violation]]:
    """
    Replace every job in a request by what its field takes from a job.

    :param parameters: Parameters of the fields.
    :param given: Fields that were set. It is not changed.
    :param path: Where these fields are, for messages.
    :return: The fields, and jobs that do not fit.
    """
    found: list[Violation] = []
    values = dict(given)
    for name, parameter in parameters.items():
        if name in values:
            values[name], faults = _resolved(parameter, values[name], f"{path}{name}")
            found += faults
    return values, found


def _resolved(parameter: Parameter, value: Any, path: str) -> tuple[Any, list[Violation]]:
    if parameter.from_job:
        job = _job(value)
        return (value, []) if job is None else _read(parameter.from_job, job, path)
    if parameter.properties and isinstance(value, Mapping):
        return resolve_references(parameter.properties, value, path=f"{path}.")
    if parameter.items and parameter.items.properties and isinstance(value, list | tuple):
        pairs = [_resolved(parameter.items, entry, f"{path}[{at}]") for at, entry in enumerate(value)]
        return [entry for entry, _ in pairs], [fault for _, faults in pairs for fault in faults]
    return value, []


def _read(reference: JobReference, job: Mapping[str, Any], path: str) -> tuple[Any, list[Violation]]:
    faults = []
    value = reference.read(job)
    model = job.get("model")
    if value is None:
        faults.append(Violation(path, f"must be a job with a {reference.take}"))
    if reference.models and model and model not in reference.models:
        rule = f"must be a job of {' or '.join(reference.models)}"
        faults.append(Violation(path, rule, f"a job of {sanitize(model, 40)}"))
    return value, faults


def _job(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    elif isinstance(value, str) and value.lstrip().startswith("{") and len(value) <= _MAX_RENDERED_JOB:
        value = _parse_rendered(value)
    return value if isinstance(value, Mapping) else None


def _parse_rendered(text: str) -> Any:
    """Read a job that a template has rendered to text: ``{{ ti.xcom_pull(...) }}`` writes it as Python does."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
