"""
The pace: after how many seconds one running job is worth another look. Pure, no I/O, no clock of its own.

A look costs EvoLink a call to its upstream provider, so looks are saved while the job cannot be over and spent where it
probably is: where its progress points, else where jobs of its model have ended, else around EvoLink's estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

# Seconds between looks of EvoLink's own clients. A job is never looked at more than SPARE times oftener than by them.
FLOOR = {"video": 8.0, "audio": 6.0, "image": 3.0}
SPARE = 3
NEAREST = {"video": 2.0, "audio": 2.0, "image": 1.0}  # seconds between two looks where the end seems near
FARTHEST = 120.0
# Where an estimate is all that is known: the part of it before which no job is expected to end; then, up to which part
# of it, after how much of it to look again.
NOT_BEFORE = 0.25
BY_ESTIMATE = ((0.7, 0.07), (1.6, 0.04), (2.4, 0.07))
PAST_ALL = 0.1  # of the age, once nothing is known any more
SHARE = 0.9  # of the rest that progress points at
CAREFUL, BOLD = 0.5, 0.8  # of the age: the longest wait by progress seen once, and twice
SLOWER = 1.5  # times the last wait, where progress stands still
STEP = 0.038  # of the typical time, between looks where jobs of a model end
KNOWN_FROM = 20  # jobs
REMEMBERED = 100  # jobs
VAGUE = 0.25  # of its age: a job whose end is known no better is a surprise
SURPRISE = 10  # jobs by which one that ended long before it was expected sets back what is known
FIRST, LAST = 1.6, 2.5  # standard deviations before and after which no job is expected to end


class JobView(Protocol):
    """What the pace reads of a job."""

    @property
    def model(self) -> str | None: ...
    @property
    def kind(self) -> str | None: ...
    @property
    def progress(self) -> float | None: ...
    @property
    def estimated_time(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class JobHints:
    """
    What is known of a job. EvoLink tells its estimate in the answer to the order and, as documented, never again.

    :param model: EvoLink's name of the model.
    :param kind: ``video``, ``image`` or ``audio``.
    :param progress: Percent, of the last reading alone.
    :param estimated_time: Seconds.
    """

    model: str | None = None
    kind: str | None = None
    progress: float | None = None
    estimated_time: float | None = None

    def and_now(self, job: JobView) -> JobHints:
        """
        Return what is known after a reading: what it does not tell is as before.

        :param job: As just read.
        """
        estimate = self.estimated_time if job.estimated_time is None else job.estimated_time
        return JobHints(job.model or self.model, job.kind or self.kind, job.progress, estimate)


class ModelDurations:
    """How long jobs of a model took, as mean and variance of the logarithm of their time over the estimate."""

    __slots__ = ("count", "mean", "variance")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.variance = 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough jobs were seen."""
        return self.count >= KNOWN_FROM

    def add(self, value: float) -> None:
        """
        Take note of a job.

        :param value: Its time over the estimate.
        """
        self.count = min(self.count + 1, REMEMBERED)
        off = math.log(value) - self.mean
        self.mean += off / self.count
        self.variance += (off * (math.log(value) - self.mean) - self.variance) / self.count

    def at(self, deviations: float) -> float:
        """
        Return a time over the estimate.

        :param deviations: Standard deviations from the mean.
        """
        return math.exp(self.mean + deviations * math.sqrt(max(self.variance, 0.001)))


class DurationStats:
    """What is known of the times of jobs, by their model. Belongs to a process; nothing depends on it but the pace."""

    def __init__(self) -> None:
        self._of: dict[tuple[str | None, bool], ModelDurations] = {}

    def of(self, job: JobView) -> ModelDurations:
        """
        Return what is known of jobs like this one.

        :param job: As just read.
        """
        key = (job.model, bool(job.estimated_time))
        if key not in self._of and len(self._of) >= 1000:
            self._of.clear()
        return self._of.setdefault(key, ModelDurations())

    def learn(self, job: JobView, before: float, age: float) -> None:
        """
        Take note of a job that completed.

        :param job: As just read.
        :param before: Its age in seconds when it was last seen running.
        :param age: Its age now.
        """
        typical, gap = self.of(job), age - before
        if age <= 0:
            return
        took = (age - min(gap / 2, 0.1 * age)) / (job.estimated_time or 1.0)
        if gap > VAGUE * age:  # over at the first look: jobs have become faster; or nobody could look for a while
            is_early = typical.is_known and took < typical.at(0.0)
            typical.count = max(0, typical.count - SURPRISE)
            if not is_early:
                return
        typical.add(took)


class Pace:
    """
    The looks at one job.

    :param times: What is known of other jobs; without it the estimate counts.
    """

    __slots__ = ("_age", "_joined", "_known", "_looks", "_progress", "_times", "_wait")

    def __init__(self, times: DurationStats | None = None) -> None:
        self._times = times
        self._joined: float | None = None
        self._known = JobHints()
        self._looks = 0
        self._age = 0.0
        self._progress = 0.0
        self._wait = 0.0

    def start(self, known: JobView, age: float) -> float:
        """
        Return the seconds until the first look: none, unless the job cannot be over before.

        :param known: What is known of the job so far.
        :param age: Seconds since its order.
        """
        self._joined = self._age = age
        self._known = self._known.and_now(known)
        return min(max(0.0, self._earliest(self._known) - age), FARTHEST)

    def after(self, job: JobView, age: float) -> float:
        """
        Return the seconds until the next look.

        :param job: As just read.
        :param age: Seconds since its order.
        """
        self._looks += 1
        if self._joined is None:
            self._joined = age
        job = self._known = self._known.and_now(job)
        wait = self._by_progress(job, age)
        if wait is None:
            wait = self._by_time(job, age)
        self._age, self._progress = age, job.progress or 0.0
        if self._looks > 1 + SPARE + (age + wait - self._joined) / _of_kind(FLOOR, job):
            wait = max(wait, _of_kind(FLOOR, job))
        self._wait = min(max(wait, _of_kind(NEAREST, job)), FARTHEST)
        return self._wait

    def over(self, job: JobView, age: float) -> None:
        """
        Take note that the job completed.

        :param job: As just read.
        :param age: Seconds since its order.
        """
        if self._times is not None and self._joined is not None:
            self._times.learn(self._known.and_now(job), self._age, age)

    def _by_progress(self, job: JobView, age: float) -> float | None:
        """
        Return the wait where progress tells something.

        Progress is taken for a power of the age, and the power is found from two looks: few models count evenly.
        """
        now, before = job.progress or 0.0, self._progress
        if not 1.0 <= now <= 100.0 or now < before or age <= 0:
            return None
        even = age * (100.0 - now) / now
        typical = self._typical(job)
        if typical is not None and age + even > typical.at(LAST) * (job.estimated_time or 1.0):
            return self._by_time(job, age)  # hardly any job takes so long: progress stands still, or is bent
        if before < 1.0 or self._age <= 0 or age <= 1.001 * self._age:
            careful = max(CAREFUL * age, min(0.2 * even, 30.0))
            return min(SHARE * even, max(careful, NOT_BEFORE * (job.estimated_time or 0.0) - age))
        if now == before:
            return min(SLOWER * self._wait, self._by_time(job, age))
        power = math.log(now / before) / math.log(age / self._age)
        rest = age * (math.pow(100.0 / now, 1.0 / max(power, 0.1)) - 1.0)
        return min(SHARE * min(rest, SLOWER * even), BOLD * age)

    def _earliest(self, job: JobView) -> float:
        """Return the age before which the job is hardly over; 0 where nobody knows."""
        typical = self._typical(job)
        if typical is not None:
            return typical.at(-FIRST) * (job.estimated_time or 1.0)
        return NOT_BEFORE * (job.estimated_time or 0.0)

    def _typical(self, job: JobView) -> ModelDurations | None:
        typical = self._times.of(job) if self._times is not None else None
        return typical if typical is not None and typical.is_known else None

    def _by_time(self, job: JobView, age: float) -> float:
        earliest, typical, estimate = self._earliest(job), self._typical(job), job.estimated_time or 0.0
        if typical is not None:
            unit = estimate or 1.0
            if age < unit * typical.at(LAST):
                return max(earliest - age, STEP * unit * typical.at(0.0))
        elif age < earliest:
            return earliest - age
        elif estimate > 0:
            for limit, step in BY_ESTIMATE:
                if age < limit * estimate:
                    return step * estimate
        return max(_of_kind(FLOOR, job), PAST_ALL * age)


def _of_kind(seconds: Mapping[str, float], job: JobView) -> float:
    return seconds.get(job.kind or "video", seconds["video"])
