"""
The schedule: what a reading of a job means, and when to poll again. Pure, no I/O, no clock of its own.

A `PollSchedule` is fed with readings and errors by whoever does the I/O: the worker's loop, or the triggerer's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobTimeout,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.pace import DurationStats, JobView, Pace
from airflow_provider_evolink.api.jobs.pace_policy import PacePolicy
from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.redaction import Redactor

POLICY = PacePolicy()


WAIT_AGAIN = "wait again with this job ID and a longer timeout"


class WaitEnd(StrEnum):
    """Why a wait ended. The worker reads the job once more before it decides anything."""

    OVER = "over"
    TIMEOUT = "timeout"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Decision:
    """
    What to do next: stop for the reason ``end``, or poll again after ``delay`` seconds.

    :param error: The last error, where the wait ends with one.
    """

    end: WaitEnd | None = None
    delay: float = 0.0
    error: EvoLinkError | None = None


class PollSchedule:
    """
    The wait for one job: decides after each poll whether it is over and when to poll again.

    :param deadline: Epoch seconds after which the wait ends. The job itself keeps running.
    :param started: Epoch seconds when the job was submitted, or first read. An earlier ``created`` of the job counts
        instead, so that a wait that starts again continues where it was.
    :param poll_interval: Fixed seconds between polls instead of the pace.
    :param jitter: Returns a number from 0 to 1, so that many waits do not run in step.
    :param durations: Durations of other jobs.
    :param policy: The numbers; default: ``POLICY``.
    """

    __slots__ = (
        "_errors",
        "_has_failed",
        "_jitter",
        "_pace",
        "_policy",
        "_rereads",
        "deadline",
        "poll_interval",
        "started",
    )

    def __init__(
        self,
        *,
        deadline: float,
        started: float,
        poll_interval: float | None = None,
        jitter: Callable[[], float] = random.random,
        durations: DurationStats | None = None,
        policy: PacePolicy | None = None,
    ) -> None:
        self.deadline = deadline
        self.started = started
        self.poll_interval = poll_interval if poll_interval and poll_interval > 0 else None
        self._jitter = jitter
        self._policy = policy or POLICY
        self._pace = Pace(durations, self._policy)
        self._errors = 0  # in a row
        self._rereads = 0
        self._has_failed = False

    def first_delay(self, hints: JobView, now: float) -> float:
        """
        Return the seconds until the first poll: none, unless the job cannot end earlier.

        :param hints: What is known of the job so far.
        :param now: Epoch seconds.
        """
        delay = self._pace.first_delay(hints, max(0.0, now - self.started))
        return 0.0 if self.poll_interval else self._poll_after(delay, now).delay

    def on_reading(self, job: JobReading, now: float) -> Decision:
        """
        Decide after a poll. The status comes before the clock: a late success is a success.

        :param job: The job as just read.
        :param now: Epoch seconds.
        """
        self._errors = 0
        had_failed, self._has_failed = self._has_failed, job.status.is_failure
        if had_failed and self._has_failed:
            return Decision(WaitEnd.OVER)
        if self._has_failed:
            return self._confirm_after(self._policy.confirm_failure_after)
        if job.status is JobStatus.COMPLETED and not job.has_output:
            return self._reread_or(Decision(WaitEnd.OVER))
        age = max(0.0, now - min(self.started, job.created or self.started))
        if job.status is JobStatus.COMPLETED:
            self._pace.on_completed(job, age)
            return Decision(WaitEnd.OVER)
        self._rereads = 0
        if now >= self.deadline:
            return Decision(WaitEnd.TIMEOUT)
        return self._poll_after(self.poll_interval or self._pace.next_delay(job, age), now)

    def on_error(self, error: EvoLinkError, now: float) -> Decision:
        """
        Decide after a poll that failed. A transient error never ends the wait before its deadline.

        :param error: What the read raised.
        :param now: Epoch seconds.
        """
        if isinstance(error, EvoLinkNotFoundError) and now - self.started > self._policy.not_found_grace:
            return self._reread_or(Decision(WaitEnd.UNREADABLE, error=error))
        if not isinstance(error, EvoLinkNotFoundError | EvoLinkRateLimited | EvoLinkUnavailable):
            return Decision(WaitEnd.UNREADABLE, error=error)
        if now >= self.deadline:
            return Decision(WaitEnd.TIMEOUT, error=error)
        self._errors += 1
        retry_after = error.retry_after
        if retry_after is None:
            retry_after = self._policy.default_retry_after if isinstance(error, EvoLinkRateLimited) else 0.0
        backoff = min(self._policy.max_error_backoff, 2.0 ** min(self._errors, 6))
        return self._spread(max(retry_after, backoff), now)

    def _reread_or(self, give_up: Decision) -> Decision:
        """Poll a few more times before a paid job is given up as empty or vanished."""
        self._rereads += 1
        return give_up if self._rereads > self._policy.rereads else self._confirm_after(self._policy.reread_after)

    def _confirm_after(self, delay: float) -> Decision:
        """Poll soon, whatever the deadline: nothing is concluded from one doubtful reading."""
        delay = min(delay, self.poll_interval or delay)
        return Decision(delay=delay + self._policy.jitter_share * delay * self._jitter())

    def _poll_after(self, delay: float, now: float) -> Decision:
        return self._spread(delay, now, max_jitter=self._policy.max_poll_jitter)

    def _spread(self, delay: float, now: float, max_jitter: float = math.inf) -> Decision:
        delay += min(self._policy.jitter_share * delay, max_jitter) * self._jitter()
        return Decision(delay=min(delay, max(0.0, self.deadline - now)))


def worker_poll_delays(
    job: JobReading, started: float, now: float, defer_after: float | None = None
) -> tuple[float, ...]:
    """
    Return the delays, in seconds, of the worker's polls before it defers.

    A deferral costs Airflow about 3 s, and its event must not arrive within 10 s, so a short job is awaited on the
    worker. A longer job is polled once, early, which finds requests that review rejects at once.

    :param job: The job as just read.
    :param started: Epoch seconds when it was submitted.
    :param now: Epoch seconds.
    :param defer_after: Age up to which to poll, whatever EvoLink expects; 0 for no poll.
    """
    policy = POLICY
    short = policy.short_job.of(job.kind)
    age = max(0.0, now - started)
    if age > (short if defer_after is None else defer_after) or defer_after == 0:
        return ()
    expected = job.estimated_time
    if defer_after is None and (expected is None or expected > short):
        return (policy.review_poll_delay,)
    is_instant = expected is not None and expected <= policy.instant_job
    delays = policy.instant_job_delays if is_instant else policy.short_job_delays
    if defer_after is None:
        return delays
    left = max(0.0, defer_after - age - sum(delays))
    return delays + (policy.worker_poll_interval,) * int(left / policy.worker_poll_interval)


def timeout_error(job_id: str, cause: BaseException | None = None, todo: str = WAIT_AGAIN) -> EvoLinkJobTimeout:
    """
    Return the error of a wait that has timed out.

    :param job_id: EvoLink's id.
    :param cause: Why the last poll failed, if it did.
    :param todo: What the user can do.
    """
    why = "still runs after the timeout"
    if cause is not None:
        why = f"could not be read until the timeout ({type(cause).__name__})"
    return EvoLinkJobTimeout(
        f"the job {why}. It keeps running and is still billed; nothing was lost. What to do: {todo}", job_id=job_id
    )


def result_or_raise(
    job_id: str, end: WaitEnd, job: Job | None, error: EvoLinkError | None, redactor: Redactor | None = None
) -> Job:
    """
    Return the job of a wait that is over, with its results, or raise why there are none.

    :param job_id: EvoLink's id.
    :param end: Why the wait ended.
    :param job: The last reading, if the last poll succeeded.
    :param error: The error that ended the wait, if one did.
    :param redactor: Hides quotes of the request in EvoLink's messages.
    :raises EvoLinkJobTimeout: the job may still be running.
    :raises EvoLinkJobError: the job failed, or completed without results.
    """
    if end is WaitEnd.TIMEOUT:
        raise timeout_error(job_id, error) from error
    if job is None:
        raise error or EvoLinkError("the job could not be read", job_id=job_id)
    if failure := job_error(job, redactor):
        raise failure
    return job
