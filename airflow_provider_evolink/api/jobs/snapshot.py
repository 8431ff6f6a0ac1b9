"""
A job that still runs, read at a glance. A waiting trigger needs five fields of it, a thousand times a minute.

Whatever is not plainly a running job is read in full, as `Job`, which knows how to be lenient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.jobs.job import EARLIEST, JOB_ID, LATEST, JobStatus

_RUNNING = {str(status): status for status in (JobStatus.PENDING, JobStatus.PROCESSING)}
_LONGEST_TEXT = 80


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """What a wait needs of a running job, named and meant as in :class:`~airflow_provider_evolink.api.jobs.job.Job`."""

    job_id: str
    status: JobStatus
    status_text: str
    model: str | None = None
    kind: str | None = None
    progress: float | None = None
    created: float | None = None
    estimated_time: float | None = None
    has_output: bool = False


def read_snapshot(row: Any) -> JobSnapshot | None:
    """
    Read a running job at a glance; ``None`` where it must be read in full.

    :param row: One job as EvoLink shows it.
    """
    if type(row) is not dict:
        return None
    job_id, word, info = row.get("id"), row.get("status"), row.get("task_info")
    created, progress, kind, model = row.get("created"), row.get("progress"), row.get("type"), row.get("model")
    estimate = info.get("estimated_time") if type(info) is dict else None
    if (
        type(job_id) is not str
        or not JOB_ID.fullmatch(job_id)
        or type(word) is not str
        or word not in _RUNNING
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
    return JobSnapshot(job_id, _RUNNING[word], word, model, kind, progress, created, estimate)


def _is_plain(text: Any) -> bool:
    if text is None:
        return True
    is_word = type(text) is str and text.isascii() and text.isprintable() and " " not in text
    return is_word and 0 < len(text) <= _LONGEST_TEXT
