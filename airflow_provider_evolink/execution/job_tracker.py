"""Waiting on the worker: polls of one job, and what the last of them showed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkNotFoundError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.polling.progress import Progress

if TYPE_CHECKING:
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.http.patience import Patience
    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import OrderRequest
    from airflow_provider_evolink.execution.task_run import TaskRun
    from airflow_provider_evolink.ledger.record import Record


# By which limit has ended the wait.
NEEDS_LONGER_TIMEOUT = (
    "give the task a longer timeout and clear it: it continues to wait for this job and submits nothing. A retry with "
    "the same timeout only polls the job once more"
)
NEXT_TRY_WAITS = (
    "nothing if retries are left: the next try continues to wait for this job and submits nothing. Otherwise give the "
    "task a longer execution_timeout and clear it"
)
NOT_RECORDED = (
    "wait for it with EvoLinkJobSensor and this job ID: it is recorded nowhere, so a retry submits, and pays, again"
)


@dataclass(frozen=True)
class JobWait:
    """
    The wait for a job.

    :param job_id: EvoLink's id.
    :param started: Epoch seconds of the order, as far as known.
    :param deadline: Epoch seconds when the wait of this try ends.
    :param on_worker: The triggerer cannot poll this job, this worker can.
    :param todo: What helps once the wait has timed out.
    """

    job_id: str
    started: float
    deadline: float
    on_worker: bool = False
    todo: str = NEEDS_LONGER_TIMEOUT

    def timeout_error(self, cause: BaseException | None = None) -> EvoLinkJobTimeout:
        """
        Return the error of this wait once its deadline is over.

        :param cause: Why the last poll failed, if it did.
        """
        return schedule.timeout_error(self.job_id, cause, self.todo)

    @property
    def may_defer(self) -> bool:
        """Whether the triggerer can wait."""
        return not self.on_worker and time.time() < self.deadline


@dataclass(frozen=True)
class Reading:
    """
    The outcome of one poll.

    :param job: The job; a running one may be a snapshot.
    :param error: Why it could not be read.
    """

    job: JobReading | None = None
    error: EvoLinkError | None = None

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.job is not None and self.job.status.is_over

    @property
    def has_failed(self) -> bool:
        """Whether EvoLink reported the job as failed or canceled."""
        return self.job is not None and self.job.status in (JobStatus.FAILED, JobStatus.CANCELLED)

    @property
    def ended_job(self) -> Job:
        """The job, which has ended; only running ones are snapshots."""
        if not isinstance(self.job, Job):
            raise EvoLinkError("the job was not read to its end")
        return self.job


@dataclass
class JobTracker:
    """
    Polls the job of one try on the worker.

    :param options: The arguments of the operator.
    :param run: The running try.
    :param client: EvoLink.
    :param request: What was submitted.
    :param reading: The last poll; ``None``: not polled yet, or to be polled again.
    """

    options: GenerationOptions
    run: TaskRun
    client: EvoLinkClient
    request: OrderRequest
    reading: Reading | None = None
    _estimated_time: float | None = field(default=None, init=False)
    _credits_reserved: float | None = field(default=None, init=False)
    _request_id: str | None = field(default=None, init=False)
    _completed_at: float | None = field(default=None, init=False)

    @property
    def clock_offset(self) -> float:
        """Seconds to add to this worker's clock to get EvoLink's, as far as they differ by more than a few."""
        return self.client.clock.offset(time.time())

    @property
    def has_failed(self) -> bool:
        """Whether the last poll showed a failed job."""
        return self.reading is not None and self.reading.has_failed

    def start_with(self, job: Job) -> None:
        """
        Take the response to the order. It alone states the estimated time and the credits reserved.

        :param job: The job; one that has ended is polled again.
        """
        self.reading = None if job.status.is_over else Reading(job)
        self._estimated_time, self._credits_reserved = job.estimated_time, job.credits_reserved
        self._request_id = job.request_id

    def reserved_by(self, record: Record | None) -> float | None:
        """
        Return the credits that an order reserved, as far as its record or this try knows them.

        :param record: The record of the order.
        """
        recorded = record.credits_reserved if record else None
        return self._credits_reserved if recorded is None else recorded

    def completed_at(self, record: Record | None) -> float:
        """
        Return when a worker first took the finished job, in epoch seconds.

        :param record: The record of the order.
        """
        recorded = record.completed_at if record else None
        if self._completed_at is None:
            self._completed_at = time.time() if recorded is None else recorded
        return self._completed_at

    def origin(self, record: Record | None, job: JobReading | None, *, is_over: bool = False) -> dict[str, Any]:
        """
        Return what was submitted, and when: the part of a result that the job itself does not report.

        :param record: The record of the order.
        :param job: The job as last polled.
        :param is_over: It has a result.
        """
        ordered = record.ordered_at if record else job.created if job else None
        return {
            "request": self.request.shown(record),
            "fingerprint": self.request.fingerprint(record),
            "submitted": _moment(ordered),
            "completed": _moment(self.completed_at(record)) if is_over else None,
            "request_id": record.request_id if record else self._request_id,
        }

    def poll(self, job_id: str, started: float, patience: Patience | None = None) -> Reading:
        """
        Read a job; a failed one twice, since money hangs on it. A transient failure must not fail a waiting try.

        :param job_id: EvoLink's id.
        :param started: Epoch seconds of the order: shortly after it, EvoLink may not know the job yet.
        :param patience: For a job that has probably ended: wait out a rate limit, as many end at once.
        """
        redactor = self.request.redactor()
        try:
            job = self.client.get_job(job_id, redactor=redactor, patience=patience)
            if not Reading(job).has_failed:
                return Reading(job)
            time.sleep(schedule.POLICY.confirm_failure_after)
            return Reading(self.client.get_job(job_id, redactor=redactor, patience=patience))
        except (EvoLinkRateLimited, EvoLinkUnavailable, EvoLinkNotFoundError) as error:
            if isinstance(error, EvoLinkNotFoundError) and time.time() - started > schedule.POLICY.not_found_grace:
                raise
            self.run.log.warning("EvoLink job %s cannot be polled right now, still waiting: %s", job_id, error)
            return Reading(error=error)

    def poll_before_defer(self, wait: JobWait) -> Reading:
        """
        Poll for some seconds on the worker, which costs less than a deferral, and return the last reading.

        :param wait: The wait for the job.
        """
        is_known = self.reading is not None and self.reading.job is not None
        reading = self.reading if self.reading and is_known else self.poll(wait.job_id, wait.started)
        for delay in self.poll_delays(reading, wait):
            if reading.job is None or reading.is_over:
                break
            time.sleep(delay)
            reading = self.poll(wait.job_id, wait.started)
        return reading

    def poll_delays(self, reading: Reading | None, wait: JobWait) -> tuple[float, ...]:
        """
        Return the seconds before each poll of the worker.

        :param reading: The last poll.
        :param wait: The wait for the job.
        """
        if reading is None or reading.job is None:
            return ()
        return schedule.worker_poll_delays(reading.job, wait.started, time.time(), self.options.defer_after)

    def hints(self) -> dict[str, Any]:
        """Return what a poll would show, so that the trigger can poll later."""
        job = self.reading.job if self.reading else None
        known = JobHints(estimated_time=self._estimated_time).updated_with(job) if job else None
        return {name: getattr(known, name) for name in ("model", "kind", "estimated_time")} if known else {}

    def wait(self, wait: JobWait, patience: Patience | None = None) -> Job:
        """
        Wait on the worker until the job has ended.

        :param wait: The wait for the job.
        :param patience: For a job that has ended without results: wait out a rate limit.
        """
        progress = Progress(wait.started, self._estimated_time)

        def on_poll(job: Job) -> None:
            self.reading = Reading(job)
            if line := progress.line(job, time.time()):
                self.run.log.info(line)
            if self.run.is_stopping() and not job.status.is_over:
                raise EvoLinkOrderStopped(
                    "this worker is being terminated; the job keeps running and is still billed. A retry waits for it",
                    job_id=job.job_id,
                )

        try:
            return self.client.wait(
                wait.job_id,
                timeout=max(0.0, wait.deadline - time.time()),
                poll_interval=self.options.poll_interval,
                started=wait.started,
                estimated_time=self._estimated_time,
                on_poll=on_poll,
                redactor=self.request.redactor(),
                patience=patience,
            )
        except EvoLinkJobFailed:
            if self.reading is None:
                raise
            return self.reading.ended_job
        except EvoLinkJobTimeout as error:
            raise wait.timeout_error(error.__cause__) from error.__cause__


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
