"""
The schedule: what one reading of a job means now, and when to look again. Pure, no I/O, no clock of its own.

A `PollSchedule` is fed with readings and failures by whoever does the I/O, the worker's loop or the triggerer's.
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
from airflow_provider_evolink.api.jobs.pace import DurationStats, Pace
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor

LONGEST = 60.0  # seconds between looks that fail
APART = 1.0  # seconds by which looks of many waits are spread
EARLY_404 = 120.0  # a read may run ahead of the order on EvoLink's side
REREADS = 4  # of "completed" without links, or of a job that vanished
REREAD_AFTER = 5.0
CONFIRM_AFTER = 2.0  # a failure counts once it was read twice
DEFAULT_RETRY_AFTER = 30.0
SHORT_JOB = {"video": 15.0, "audio": 15.0, "image": 20.0}  # seconds: such a job is finished on the worker


class WaitEnd(StrEnum):
    """Why a watch is over. The worker reads the job once more before it decides anything."""

    OVER = "over"
    TIMEOUT = "timeout"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Decision:
    """
    What to do next: stop for the reason ``end``, or look again after ``delay`` seconds.

    :param error: The failure that ended the watch as unreadable.
    """

    end: WaitEnd | None = None
    delay: float = 0.0
    error: EvoLinkError | None = None


class PollSchedule:
    """
    Waiting for one job: says after each look whether it is over and when to look again.

    :param deadline: Epoch seconds after which the wait ends (the job itself goes on).
    :param poll_interval: Fixed seconds between looks instead of the schedule's own choice.
    :param started: Epoch seconds when the job was ordered or first seen by us. An earlier ``created`` of the job counts
        instead, so that a wait that begins anew goes on where it was.
    :param jitter: Returns a number from 0 to 1, so that many waits do not run in step.
    :param times: What is known of the times of other jobs.
    """

    __slots__ = (
        "_ended",
        "_failures",
        "_jitter",
        "_missing",
        "_pace",
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
        times: DurationStats | None = None,
    ) -> None:
        self.deadline = deadline
        self.started = started
        self.poll_interval = poll_interval if poll_interval and poll_interval > 0 else None
        self._jitter = jitter
        self._failures = 0
        self._missing = 0
        self._ended = False
        self._pace = Pace(times)

    def first(self, known: Job | JobSnapshot, now: float) -> float:
        """
        Return the seconds until the first look: none, unless the job cannot be over before.

        :param known: What is known of the job so far.
        :param now: Epoch seconds.
        """
        wait = self._pace.start(known, self._age(known, now))
        return 0.0 if self.poll_interval else self._again(wait, now, apart=APART).delay

    def saw(self, job: Job | JobSnapshot, now: float) -> Decision:
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
            if not self._ended:
                self._pace.over(job, self._age(job, now))
            return Decision(WaitEnd.OVER)
        if job.status is JobStatus.COMPLETED:
            return self._missed(Decision(WaitEnd.OVER), now)
        self._missing = 0
        if now >= self.deadline:
            return Decision(WaitEnd.TIMEOUT)
        wait = self.poll_interval or self._pace.after(job, self._age(job, now))
        return self._again(wait, now, apart=APART)

    def failed(self, error: EvoLinkError, now: float) -> Decision:
        """
        Take a look that failed. Passing faults never end the wait before its deadline.

        :param error: What the read raised.
        :param now: Epoch seconds.
        """
        if isinstance(error, EvoLinkNotFoundError) and now - self.started > EARLY_404:
            return self._missed(Decision(WaitEnd.UNREADABLE, error=error), now)
        if not isinstance(error, EvoLinkNotFoundError | EvoLinkRateLimited | EvoLinkUnavailable):
            return Decision(WaitEnd.UNREADABLE, error=error)
        if now >= self.deadline:
            return Decision(WaitEnd.TIMEOUT, error=error)
        self._failures += 1
        asked = error.retry_after
        if asked is None:
            asked = DEFAULT_RETRY_AFTER if isinstance(error, EvoLinkRateLimited) else 0.0
        return self._again(max(asked, min(LONGEST, 2.0 ** min(self._failures, 6))), now)

    def _age(self, job: Job | JobSnapshot, now: float) -> float:
        return max(0.0, now - min(self.started, job.created or self.started))

    def _missed(self, end: Decision, now: float) -> Decision:
        """Look a few times more before a paid job is given up as empty or vanished."""
        self._missing += 1
        if self._missing > REREADS:
            return end
        return self._again(min(REREAD_AFTER, self.poll_interval or REREAD_AFTER), now, bounded=False)

    def _again(self, delay: float, now: float, *, bounded: bool = True, apart: float = math.inf) -> Decision:
        spread = delay + min(0.1 * delay, apart) * self._jitter()
        return Decision(delay=min(spread, max(0.0, self.deadline - now)) if bounded else spread)


def worker_poll_delays(job: Job, started: float, now: float, patience: float | None = None) -> tuple[float, ...]:
    """
    Return the waits, in seconds, of the looks the worker takes itself before it defers.

    A deferral costs Airflow about 3 s and its event must not come within 10 s, so a job that ends at once is
    finished on the worker. A job that EvoLink expects to take long gets one early look, which finds orders
    that review refuses at once.

    :param job: The job as just read.
    :param started: Epoch seconds of the order.
    :param now: Epoch seconds.
    :param patience: Seconds after the order up to which to look, whatever EvoLink expects; 0 for no look.
    """
    short = SHORT_JOB.get(job.kind or "video", SHORT_JOB["video"])
    age = max(0.0, now - started)
    if age > (short if patience is None else patience) or patience == 0:
        return ()
    expected = job.estimated_time
    if patience is None and (expected is None or expected > short):
        return (2.0,)
    quick = expected is not None and expected <= 2.0
    waits = (0.2, 0.3, 0.5, 1.0, 1.0, 2.0) if quick else (0.5, 1.0, 1.5, 2.0, 3.0)
    if patience is None:
        return waits
    more = max(0.0, patience - age - sum(waits))
    return (*waits, *(3.0 for _ in range(int(more / 3.0))))


def result_or_raise(
    job_id: str, end: WaitEnd, job: Job | None, error: EvoLinkError | None, redactor: Redactor = LINKS_ONLY
) -> Job:
    """
    Return the job of a wait that is over with links, or raise why there is none.

    :param job_id: EvoLink's id.
    :param end: Why the wait ended.
    :param job: The last reading, if the last look was one.
    :param error: The failure that ended the wait, if one did.
    :param redactor: Hides what no error may quote from the request.
    """
    if end is WaitEnd.TIMEOUT:
        state = "the job still runs" if error is None else f"the job could not be read ({type(error).__name__})"
        raise EvoLinkJobTimeout(
            f"{state} at our deadline. It goes on and stays billable; nothing was lost. What to do: "
            "retry the task (it waits for the same job) or raise its timeout",
            job_id=job_id,
        ) from error
    if job is None:
        raise error or EvoLinkError("the job could not be read", job_id=job_id)
    if failure := job_error(job, redactor):
        raise failure
    return job
