"""
The pace: after how many seconds a running job is worth another poll. Pure, no I/O, no clock of its own.

The delay follows progress where it moves, else the durations of other jobs of the model, else EvoLink's estimate. The
model behind it and its numbers are in `pace_policy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from airflow_provider_evolink.api.jobs.pace_policy import PacePolicy

MODELS_REMEMBERED = 1000
_DEFAULT = PacePolicy()


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
    What is known of a job. EvoLink sends its estimate with the response to the submit, later responses may lack it.

    :param model: EvoLink's name of the model.
    :param kind: ``video``, ``image`` or ``audio``.
    :param progress: Percent, from the last reading alone.
    :param estimated_time: Seconds.
    """

    model: str | None = None
    kind: str | None = None
    progress: float | None = None
    estimated_time: float | None = None

    def updated_with(self, job: JobView) -> JobHints:
        """
        Return the hints after a reading; what it lacks is kept, except progress.

        :param job: As just read.
        """
        estimate = self.estimated_time if job.estimated_time is None else job.estimated_time
        return JobHints(job.model or self.model, job.kind or self.kind, job.progress, estimate)


class ModelDurations:
    """
    How long jobs of a model took: mean and variance of the logarithm of duration over estimate.

    ``fastest`` is about the shortest of the latest ones, which need not be near the others. ``predictable`` is the
    share of the jobs, newer ones counting more, whose progress allowed a prediction.

    :param policy: How many samples count, and the minimum variance.
    """

    __slots__ = ("_policy", "count", "fastest", "mean", "predictable", "variance")

    def __init__(self, policy: PacePolicy = _DEFAULT) -> None:
        self._policy = policy
        self.count = 0
        self.mean = 0.0
        self.variance = 0.0
        self.fastest = math.inf
        self.predictable = 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough jobs have completed."""
        return self.count >= self._policy.samples_before_trust

    def add(self, ratio: float) -> None:
        """
        Learn from a completed job.

        :param ratio: Its duration over its estimate.
        """
        self.count = min(self.count + 1, self._policy.samples_remembered)
        off = math.log(ratio) - self.mean
        self.mean += off / self.count
        if self.fastest < math.inf:  # forget it slowly
            self.fastest += (math.exp(self.mean) - self.fastest) / self._policy.samples_remembered
        self.fastest = min(self.fastest, ratio)
        self.variance += (off * (math.log(ratio) - self.mean) - self.variance) / self.count

    def note_progress(self, *, was_usable: bool) -> None:
        """
        Learn whether progress is worth an early poll.

        :param was_usable: Whether the progress of a job, once it was read as running, allowed a prediction.
        """
        self.predictable += (was_usable - self.predictable) / self._policy.samples_before_trust

    def ratio_at(self, deviations: float) -> float:
        """
        Return a duration over the estimate.

        :param deviations: Standard deviations from the mean.
        """
        return math.exp(self.mean + deviations * math.sqrt(max(self.variance, self._policy.min_variance)))


class DurationStats:
    """
    Durations of jobs by model, learned in this process and forgotten with it. Only the pace depends on them.

    :param policy: What to learn from, and how much of it to keep.
    """

    def __init__(self, policy: PacePolicy = _DEFAULT) -> None:
        self._policy = policy
        self._by_model: dict[tuple[str | None, bool], ModelDurations] = {}

    def of(self, job: JobView) -> ModelDurations:
        """
        Return the durations of jobs like this one: of its model, and with an estimate as well or without as well.

        :param job: The job.
        """
        key = (job.model, bool(job.estimated_time))
        if key not in self._by_model and len(self._by_model) >= MODELS_REMEMBERED:
            self._by_model.clear()
        return self._by_model.setdefault(key, ModelDurations(self._policy))

    def learn(self, job: JobView, last_running_age: float, age: float) -> None:
        """
        Learn from a job that completed.

        One that nobody polled for long before its end shows that the durations are outdated (it had ended at the first
        poll: jobs have become faster), or that polls failed for a while. Either way it counts against what is known.

        :param job: As just read.
        :param last_running_age: Its age in seconds when it was last read as running.
        :param age: Its age now.
        """
        durations, gap, policy = self.of(job), age - last_running_age, self._policy
        if age <= 0:
            return
        ratio = (age - min(gap / 2, policy.max_gap_correction * age)) / (job.estimated_time or 1.0)
        if gap > policy.max_gap_share * age:
            is_early = durations.is_known and ratio < durations.ratio_at(0.0)
            durations.count = max(0, durations.count - policy.surprise_penalty)
            if not is_early:
                return
        durations.add(ratio)


class Pace:
    """
    The polls of one job.

    :param durations: Durations of other jobs; without them the estimate counts.
    :param policy: The numbers.
    """

    __slots__ = ("_age", "_delay", "_durations", "_first_age", "_hints", "_policy", "_polls", "_predicted", "_progress")

    def __init__(self, durations: DurationStats | None = None, policy: PacePolicy = _DEFAULT) -> None:
        self._durations = durations
        self._policy = policy
        self._first_age: float | None = None
        self._hints = JobHints()
        self._polls = 0
        self._predicted = False
        self._age = self._progress = self._delay = 0.0  # of the last reading

    def first_delay(self, hints: JobView, age: float) -> float:
        """
        Return the seconds until the first poll: none, unless the job cannot end earlier.

        :param hints: What is known of the job so far.
        :param age: Seconds since it was submitted.
        """
        self._first_age = self._age = age
        self._hints = self._hints.updated_with(hints)
        return min(max(0.0, self._first_age_worth_a_poll(self._hints) - age), self._policy.max_poll_interval)

    def next_delay(self, job: JobView, age: float) -> float:
        """
        Return the seconds until the next poll.

        :param job: As just read; it runs.
        :param age: Seconds since it was submitted.
        """
        self._polls += 1
        if self._first_age is None:
            self._first_age = age
        hints = self._hints = self._hints.updated_with(job)
        delay = self._by_progress(hints, age)
        self._predicted |= delay is not None
        if delay is None:
            delay = self._by_duration(hints, age)
        self._age, self._progress = age, hints.progress or 0.0
        self._delay = self._bounded(delay, hints.kind, age + delay - self._first_age)
        return self._delay

    def on_completed(self, job: JobView, age: float) -> None:
        """
        Learn from the end of the job.

        :param job: As just read.
        :param age: Seconds since it was submitted.
        """
        if self._durations is not None and self._first_age is not None:
            if self._polls:
                self._durations.of(self._hints).note_progress(was_usable=self._predicted)
            self._durations.learn(self._hints.updated_with(job), self._age, age)

    def _bounded(self, delay: float, kind: str | None, polled_for: float) -> float:
        policy = self._policy
        upstream = policy.upstream_poll_interval.of(kind)
        if self._polls > 1 + policy.extra_polls + polled_for / upstream:
            delay = max(delay, upstream)
        return min(max(delay, policy.min_poll_interval.of(kind)), policy.max_poll_interval)

    def _by_progress(self, job: JobView, age: float) -> float | None:
        """Return the delay where progress allows a prediction."""
        policy, progress, before = self._policy, job.progress or 0.0, self._progress
        if not policy.min_progress <= progress <= 100.0 or progress < before or age <= 0:
            return None
        linear = age * (100.0 - progress) / progress
        if before < policy.min_progress or self._age <= 0 or age <= policy.min_age_growth * self._age:
            return self._by_one_reading(job, age, linear)
        if progress == before:
            return min(policy.stalled_growth * self._delay, self._by_duration(job, age))
        power = math.log(progress / before) / math.log(age / self._age)
        left = age * (math.pow(100.0 / progress, 1.0 / max(power, policy.min_power)) - 1.0)
        left = min(left, policy.max_over_linear * linear)
        return min(policy.remaining_share * left, policy.moving_max_share * age)

    def _by_one_reading(self, job: JobView, age: float, linear: float) -> float:
        """Return the delay where progress was read once, so that its power is unknown: few models are linear."""
        policy = self._policy
        at_least = min(policy.first_reading_min_share * linear, policy.first_reading_min_cap)
        careful = max(policy.first_reading_max_share * age, at_least)
        before_estimate = policy.earliest_share * (job.estimated_time or 0.0) - age
        return min(policy.remaining_share * linear, max(careful, before_estimate))

    def _by_duration(self, job: JobView, age: float) -> float:
        """Return the delay by the durations of other jobs, else by the estimate, else by the age."""
        policy, known, estimate = self._policy, self._known_durations(job), job.estimated_time or 0.0
        earliest = self._earliest_end(job)
        if known is not None:
            unit = estimate or 1.0
            if age < unit * known.ratio_at(policy.latest_deviations):
                return max(earliest - age, policy.duration_step * unit * known.ratio_at(0.0))
        elif age < earliest:
            return earliest - age
        elif estimate > 0:
            for up_to, step in policy.estimate_steps:
                if age < up_to * estimate:
                    return step * estimate
        return max(policy.upstream_poll_interval.of(job.kind), policy.overdue_step * age)

    def _first_age_worth_a_poll(self, job: JobView) -> float:
        """Return when to poll first: earlier than jobs end where the progress read then can predict the end."""
        policy, known = self._policy, self._known_durations(job)
        if known is None or known.predictable < policy.predictable_share:
            return self._earliest_end(job)
        earliest = min(known.ratio_at(-policy.first_poll_deviations), policy.first_poll_share * known.fastest)
        return earliest * (job.estimated_time or 1.0)

    def _earliest_end(self, job: JobView) -> float:
        """Return the age before which the job hardly ends; 0 where nothing is known."""
        known = self._known_durations(job)
        if known is not None:
            return known.ratio_at(-self._policy.earliest_deviations) * (job.estimated_time or 1.0)
        return self._policy.earliest_share * (job.estimated_time or 0.0)

    def _known_durations(self, job: JobView) -> ModelDurations | None:
        durations = self._durations.of(job) if self._durations is not None else None
        return durations if durations is not None and durations.is_known else None
