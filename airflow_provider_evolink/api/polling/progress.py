"""Progress lines for the task log: at a change of status and at every quarter, never one for each poll."""

from __future__ import annotations

from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.snapshot import JobReading

STEP_PERCENT = 25.0


class Progress:
    """
    Decides which readings of a job deserve a line.

    :param started: Epoch seconds when the job was submitted.
    :param estimated_time: EvoLink's estimate in seconds, which comes with the submit and may be missing later.
    """

    __slots__ = ("_estimated_time", "_logged_percent", "_started", "_status_text")

    def __init__(self, started: float, estimated_time: float | None = None) -> None:
        self._started = started
        self._estimated_time = estimated_time
        self._status_text: str | None = None
        self._logged_percent = -STEP_PERCENT

    def line(self, job: JobReading, now: float) -> str | None:
        """
        Return a line for the log, or ``None`` if the job has not moved enough.

        :param job: The job as just read.
        :param now: Epoch seconds.
        """
        percent = job.progress or 0.0
        if job.status_text == self._status_text and percent < self._logged_percent + STEP_PERCENT:
            return None
        self._status_text, self._logged_percent = job.status_text, percent
        elapsed = max(0.0, now - self._started)
        if job.status.is_over:
            return f"EvoLink job {job.job_id}: {job.status_text} after {elapsed:.0f} s"
        estimate = self._estimated_time if job.estimated_time is None else job.estimated_time
        times = f"{elapsed:.0f} s elapsed" + ("" if estimate is None else f", ETA {estimate:.0f} s")
        unknown = " (unknown status, treated as running)" if job.status is JobStatus.UNKNOWN else ""
        return f"EvoLink job {job.job_id}: {job.status_text}{unknown}, {percent:.0f}% ({times})"
