"""
The cheap reading of a running job. A trigger needs a few fields of it, thousands of times a minute.

Whatever is not plainly a running job is parsed in full as `Job`, which is lenient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_evolink.api.jobs.job import EARLIEST, LATEST, Job, JobStatus
from airflow_provider_evolink.api.jobs.job_id import JOB_ID

_RUNNING = {str(status): status for status in (JobStatus.PENDING, JobStatus.PROCESSING)}
_MAX_TEXT = 80


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """
    What a wait needs of a running job. Names and meanings are those of
    :class:`~airflow_provider_evolink.api.jobs.job.Job`, so either can be a reading.
    """

    job_id: str
    status: JobStatus
    status_text: str
    model: str | None = None
    kind: str | None = None
    progress: float | None = None
    created: float | None = None
    estimated_time: float | None = None
    has_output: bool = False


JobReading: TypeAlias = Job | JobSnapshot


def read_snapshot(row: Any) -> JobSnapshot | None:
    """
    Parse a running job; ``None`` where it must be parsed in full.

    :param row: One job as EvoLink sends it.
    """
    if type(row) is not dict:
        return None
    job_id, status, info = row.get("id"), row.get("status"), row.get("task_info")
    created, progress, kind, model = row.get("created"), row.get("progress"), row.get("type"), row.get("model")
    estimate = info.get("estimated_time") if type(info) is dict else None
    if (
        type(job_id) is not str
        or not JOB_ID.fullmatch(job_id)
        or type(status) is not str
        or status not in _RUNNING
        or row.get("results")
        or row.get("result_data")
        or not (created is None or (type(created) is int and EARLIEST <= created < LATEST))
        or not (progress is None or (type(progress) is int and 0 <= progress <= 100))
        or not (estimate is None or (type(estimate) is int and 0 <= estimate < LATEST))
        or not (info is None or type(info) is dict)
        or not all(_is_plain(text) for text in (kind, model))
        or (kind is None and "kind" in row)
    ):
        return None
    return JobSnapshot(job_id, _RUNNING[status], status, model, kind, progress, created, estimate)


def _is_plain(text: Any) -> bool:
    if text is None:
        return True
    is_token = type(text) is str and text.isascii() and text.isprintable() and " " not in text
    return is_token and 0 < len(text) <= _MAX_TEXT
