"""Progress lines for the task log: at a status change and at sensible steps, never one per look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot

STEP = 25.0


class Progress:
    """
    Says which readings of a job deserve a line.

    :param started: Epoch seconds when the wait began.
    :param estimated_time: EvoLink's estimate in seconds: it tells it with the order, and not each time again.
    """

    __slots__ = ("_estimated_time", "_started", "_status", "_told")

    def __init__(self, started: float, estimated_time: float | None = None) -> None:
        self._started = started
        self._estimated_time = estimated_time
        self._status: str | None = None
        self._told = -STEP

    def line(self, job: Job | JobSnapshot, now: float) -> str | None:
        """
        Return a line for the log, or ``None`` if the job has not moved enough.

        :param job: The job as just read.
        :param now: Epoch seconds.
        """
        percent = job.progress or 0.0
        if job.status_text == self._status and percent < self._told + STEP:
            return None
        self._status, self._told = job.status_text, percent
        seconds = self._estimated_time if job.estimated_time is None else job.estimated_time
        estimate = "" if seconds is None else f" of about {seconds:.0f} s"
        known = "" if job.status != "unknown" else " (a status we do not know: treated as running)"
        elapsed = max(0.0, now - self._started)
        return f"EvoLink job {job.job_id}: {job.status_text}{known}, {percent:.0f} %, {elapsed:.0f} s{estimate}"
