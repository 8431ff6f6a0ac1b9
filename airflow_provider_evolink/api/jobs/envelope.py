"""
The job in a response, also where it lies inside a wrapper. Pure.

EvoLink documents none, but gateways wrap: ``{"code": 200, "data": {"task_id": "..."}}``. An order whose id was not
found would be unknown, though it is paid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ID_NAMES = ("id", "task_id", "job_id", "taskId", "jobId")
_WRAPPERS = frozenset({"data", "task", "tasks", "job", "jobs", "result", "response", "output", "body", "payload"})
_ID_LISTS = frozenset({"ids", "task_ids", "job_ids"})
_OTHER_JOBS = re.compile(r"(?i)error|source|parent|previous|request|input|param|user|account|usage|message|result_data")
_EVOLINK_ID = re.compile(r"task-[A-Za-z0-9._-]*[0-9][A-Za-z0-9._-]*")
_MAX_DEPTH = 4


def job_in(payload: Mapping[str, Any], job_id: str | None = None) -> dict[str, Any]:
    """
    Return the object that describes a job, with what its wrappers say beside it; the response itself if none does.

    Of several ids, that of the wanted job counts, then one of EvoLink's form, then the outermost. Two jobs inside
    wrappers are none: nobody knows which of them was ordered.

    :param payload: The JSON object of a response.
    :param job_id: The job that was asked for.
    """
    outer = _named(payload)
    inner = list(_inner_jobs(payload))
    named = ([outer] if outer else []) + inner
    if job_id is not None and (wanted := next((job for job in named if str(job["id"]) == job_id), None)):
        return {**payload, **wanted}
    by_form = [job for job in named if _has_evolink_id(job)]
    if outer and (outer in by_form or not by_form):
        return outer
    found = by_form or inner
    return {**payload, **found[0]} if len({str(job["id"]) for job in found}) == 1 else dict(payload)


def id_in(value: Mapping[str, Any]) -> Any:
    """
    Return the id that an object states, whatever its type; ``None`` if it has none.

    :param value: A job as EvoLink sent it.
    """
    return next((value[name] for name in ID_NAMES if value.get(name)), None)


def _named(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an object with its id under EvoLink's name; ``None`` if it has none that can be one."""
    job_id = id_in(value)
    is_id = isinstance(job_id, str | int) and not isinstance(job_id, bool)
    return {**value, "id": job_id} if is_id else None


def _has_evolink_id(job: Mapping[str, Any]) -> bool:
    return isinstance(job["id"], str) and _EVOLINK_ID.fullmatch(job["id"]) is not None


def _inner_jobs(value: Any, *, is_wrapped: bool = False, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Find the objects inside a response that have an id, and ids that stand alone."""
    if depth > _MAX_DEPTH or not isinstance(value, dict | list):
        return
    entries = value.items() if isinstance(value, dict) else [("", entry) for entry in value]
    for name, entry in entries:
        if _OTHER_JOBS.search(name):
            continue
        in_wrapper = is_wrapped if isinstance(value, list) else name in _WRAPPERS | _ID_LISTS
        if in_wrapper and isinstance(entry, str) and _EVOLINK_ID.fullmatch(entry):
            yield {"id": entry}
        elif isinstance(entry, dict) and (job := _named(entry)) and (in_wrapper or _has_evolink_id(job)):
            yield job
        else:
            yield from _inner_jobs(entry, is_wrapped=in_wrapper, depth=depth + 1)
