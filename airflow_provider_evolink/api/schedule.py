"""
The schedule: what one reading of a job means now, and when to look again. Pure, no I/O, no clock of its own.

A `Watch` is fed with readings and failures by whoever does the I/O, the worker's loop or the triggerer's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobTimeout,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.failures import job_error
from airflow_provider_evolink.api.models import Job, JobStatus

# Seconds between looks by kind, as EvoLink's own clients do: each look makes EvoLink ask the upstream provider.
FLOOR = {"video": 8.0, "audio": 6.0, "image": 3.0}
LONGEST = 60.0
EARLY_404 = 120.0  # a read may run ahead of the order on EvoLink's side
REREADS = 4  # of "completed" without links, or of a job that vanished
REREAD_AFTER = 5.0
CONFIRM_AFTER = 2.0  # a failure counts once it was read twice
DEFAULT_RETRY_AFTER = 30.0
SHORT_JOB = 15.0


class End(StrEnum):
    """Why a watch is over. The worker reads the job once more before it decides anything."""

    OVER = "over"
    TIMEOUT = "timeout"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Step:
    """
    What to do next: stop for the reason ``end``, or look again after ``delay`` seconds.

    :param error: The failure that ended the watch as unreadable.
    """

    end: End | None = None
    delay: float = 0.0
    error: EvoLinkError | None = None


class Watch:
    """
    Waiting for one job: says after each look whether it is over and when to look again.

    :param deadline: Epoch seconds after which the wait ends (the job itself goes on).
    :param poll_interval: Fixed seconds between looks instead of the schedule's own choice.
    :param started: Epoch seconds when the job was ordered or first seen by us.
    :param jitter: Returns a number from 0 to 1, so that many waits do not run in step.
    """

    def __init__(
        self,
        *,
        deadline: float,
        started: float,
        poll_interval: float | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.deadline = deadline
        self.started = started
        self.poll_interval = poll_interval if poll_interval and poll_interval > 0 else None
        self._jitter = jitter
        self._failures = 0
        self._missing = 0
        self._ended = False

    def saw(self, job: Job, now: float) -> Step:
        """
        Take one reading of the job. The status comes before the clock: a late success is a success.

        :param job: The job as just read.
        :param now: Epoch seconds.
        """
        self._failures = 0
        ended, self._ended = self._ended, job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        if self._ended and not ended:
            return self._again(min(CONFIRM_AFTER, self.poll_interval or CONFIRM_AFTER), now, bounded=False)
        if self._ended or (job.status is JobStatus.COMPLETED and job.has_output):
            return Step(End.OVER)
        if job.status is JobStatus.COMPLETED:
            return self._missed(Step(End.OVER), now)
        self._missing = 0
        if now >= self.deadline:
            return Step(End.TIMEOUT)
        return self._again(self.poll_interval or self._interval(job, now), now)

    def failed(self, error: EvoLinkError, now: float) -> Step:
        """
        Take a look that failed. Passing faults never end the wait before its deadline.

        :param error: What the read raised.
        :param now: Epoch seconds.
        """
        if isinstance(error, EvoLinkNotFoundError) and now - self.started > EARLY_404:
            return self._missed(Step(End.UNREADABLE, error=error), now)
        if not isinstance(error, EvoLinkNotFoundError | EvoLinkRateLimited | EvoLinkUnavailable):
            return Step(End.UNREADABLE, error=error)
        if now >= self.deadline:
            return Step(End.TIMEOUT, error=error)
        self._failures += 1
        asked = error.retry_after
        if asked is None:
            asked = DEFAULT_RETRY_AFTER if isinstance(error, EvoLinkRateLimited) else 0.0
        return self._again(max(asked, min(LONGEST, 2.0 ** min(self._failures, 6))), now)

    def _missed(self, end: Step, now: float) -> Step:
        """Look a few times more before a paid job is given up as empty or vanished."""
        self._missing += 1
        if self._missing > REREADS:
            return end
        return self._again(min(REREAD_AFTER, self.poll_interval or REREAD_AFTER), now, bounded=False)

    def _again(self, delay: float, now: float, *, bounded: bool = True) -> Step:
        spread = delay * (1.0 + 0.1 * self._jitter())
        return Step(delay=min(spread, max(0.0, self.deadline - now)) if bounded else spread)

    def _interval(self, job: Job, now: float) -> float:
        """
        Early in the job wait for a share of the time it should still take, later for the floor of its kind.

        Only a job that should end sooner than its floor is looked at more often, and only while it is young.
        """
        floor = FLOOR.get(job.kind or "video", FLOOR["video"])
        expected, age = job.estimated_time or 0.0, now - self.started
        if 0.0 < expected < floor and age < 2 * floor:
            return max(1.0, expected / 2)
        left = expected - max(0.0, age)
        return min(LONGEST, max(floor, 0.6 * left))


def worker_looks(job: Job, started: float, now: float) -> tuple[float, ...]:
    """
    Return the waits, in seconds, of the looks the worker takes itself before it defers.

    A deferral costs Airflow about 3 s and its event must not come within 10 s, so a job that ends at once is
    finished on the worker. A job that EvoLink expects to take long gets one early look, which finds orders
    that review refuses at once.

    :param job: The job as just read.
    :param started: Epoch seconds of the order.
    :param now: Epoch seconds.
    """
    if now - started > SHORT_JOB:
        return ()
    expected = job.estimated_time
    if expected is None or expected > SHORT_JOB:
        return (2.0,)
    return (0.5, 1.0, 1.5, 2.0, 3.0) if expected > 2.0 else (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)


def conclude(job_id: str, end: End, job: Job | None, error: EvoLinkError | None, private: Sequence[str] = ()) -> Job:
    """
    Return the job of a wait that is over with links, or raise why there is none.

    :param job_id: EvoLink's id.
    :param end: Why the wait ended.
    :param job: The last reading, if the last look was one.
    :param error: The failure that ended the wait, if one did.
    :param private: Texts of the order that no error may repeat.
    """
    if end is End.TIMEOUT:
        state = "the job still runs" if error is None else f"the job could not be read ({type(error).__name__})"
        raise EvoLinkJobTimeout(
            f"{state} at our deadline. It goes on and stays billable; nothing was lost. What to do: "
            "retry the task (it waits for the same job) or raise its timeout",
            job_id=job_id,
        ) from error
    if job is None:
        raise error or EvoLinkError("the job could not be read", job_id=job_id)
    if failure := job_error(job, private):
        raise failure
    return job
