"""
The numbers behind the schedule. Pure data: `pace` and `schedule` apply them.

The model. A poll makes EvoLink call its upstream provider, so polls are saved while the job cannot have ended and spent
where its end is likely. Durations of jobs of one model are log-normal around EvoLink's estimate (around a constant if
there is none): from their mean and standard deviation follow the first and the last moment at which a job is
expected to end. Progress is a power of the age, ``progress = (age / duration) ** power``: two readings give the power,
and with it the duration. Where neither is known, EvoLink's estimate alone decides, and without it the age.

Where a field names a row, it is the row of the table "The schedule" in ``docs/performance.md`` that it was tuned for,
and that moves most when it changes; run ``make bench ONLY=schedule`` then. The other fields bound the load on EvoLink,
or follow from how EvoLink behaves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PerKind:
    """Seconds for each kind of media; a job of another or an unknown kind counts as video."""

    video: float
    audio: float
    image: float

    def of(self, kind: str | None) -> float:
        """Return the seconds for a kind."""
        if kind == "image":
            return self.image
        return self.audio if kind == "audio" else self.video


@dataclass(frozen=True)
class PacePolicy:
    """
    When to poll a job, and when its wait ends. Seconds, unless a field says otherwise.

    Bounds of every delay:

    :param min_poll_interval: Shortest delay between two polls of a running job. (honest progress, jobs twice as fast)
    :param max_poll_interval: Longest delay between two polls that succeed. (honest progress, jobs twice as slow)
    :param upstream_poll_interval: The interval of EvoLink's own clients. On average no job is polled more often ...
        (no progress)
    :param extra_polls: ... except for this many polls.
    :param jitter_share: Share of a delay that is added at random, so that many waits do not run in step.
    :param max_poll_jitter: Upper bound of that for a job that can be read.

    Where only the estimate is known:

    :param earliest_share: Share of the estimate before which no job should end. (no progress, jobs twice as fast)
    :param estimate_steps: Pairs: up to this share of the estimate, poll every that share of it. (no progress, jobs
        twice as fast)
    :param overdue_step: Share of the age between polls once every expectation has passed. (no progress)

    By progress:

    :param min_progress: Percent below which progress means nothing.
    :param min_age_growth: Factor by which the age must grow between two readings to derive a power from them.
        (progress stuck at 30 %)
    :param min_power: Lower bound of that power.
    :param max_over_linear: Factor by which the time left may exceed that of linear progress. (bent progress)
    :param remaining_share: Share of the predicted time left after which to poll. (honest progress)
    :param first_reading_max_share: Longest delay after one reading, as a share of the age ... (bent progress, jobs
        twice as slow)
    :param first_reading_min_share: ... but at least this share of the time left by linear progress ... (bent progress)
    :param first_reading_min_cap: ... which counts up to this many seconds. (bent progress)
    :param moving_max_share: Longest delay after two readings, as a share of the age. (bent progress)
    :param stalled_growth: Factor by which the delay grows while progress stands still. (bent progress, jobs twice as
        slow)

    By the durations of other jobs of the model:

    :param samples_before_trust: Jobs of the model that must have completed before their durations count.
    :param samples_remembered: Jobs after which the oldest ones fade. (no progress)
    :param duration_step: Share of the median duration between polls while jobs end. (no progress)
    :param earliest_deviations: Standard deviations below the mean before which no job should end. (no progress, a good
        estimate)
    :param first_poll_deviations: The same for the first poll of a model whose progress predicts the end: one reading
        more, and next to no job has ended before it. (delay p99 with honest progress)
    :param first_poll_share: The same as a share of the shortest duration of late: some jobs may be far from the others.
    :param predictable_share: Share of its latest jobs whose progress must have allowed a prediction for that.
    :param latest_deviations: Standard deviations above it after which none should. (progress stuck at 30 %)
    :param min_variance: Lower bound of the variance of the logarithms.
    :param max_gap_share: Share of its age for which a job went unpolled before its end was seen: beyond it the duration
        is not known well enough to learn from. (no progress, jobs twice as fast)
    :param surprise_penalty: Samples that such a job takes away, so that outdated durations are forgotten. (no progress,
        jobs twice as fast)
    :param max_gap_correction: Share of the age by which a duration is corrected at most for its end being seen late.

    Errors and doubtful readings:

    :param max_error_backoff: Upper bound of the backoff while reads fail.
    :param default_retry_after: Delay after a 429 without ``Retry-After``.
    :param not_found_grace: Age up to which a 404 counts as transient: a read may overtake the submit at EvoLink.
    :param rereads: Polls after which a job that vanished, or completed without results, is given up.
    :param reread_after: Delay between them.
    :param confirm_failure_after: Delay before a failed job is polled again: a failure counts once it was read twice.

    Before a task defers:

    :param short_job: A job with an estimate up to this is awaited on the worker.
    :param instant_job: The same, with short delays from the start.
    :param short_job_delays: Delays between the worker's polls of a short job.
    :param instant_job_delays: Delays between the worker's polls of an instant job.
    :param review_poll_delay: Delay before the only poll of a longer job: it finds requests that review rejects at once.
    :param worker_poll_interval: Delay between further polls, up to ``defer_after``.
    """

    min_poll_interval: PerKind = PerKind(video=2.0, audio=2.0, image=1.0)
    max_poll_interval: float = 120.0
    upstream_poll_interval: PerKind = PerKind(video=8.0, audio=6.0, image=3.0)
    extra_polls: int = 3
    jitter_share: float = 0.1
    max_poll_jitter: float = 1.0

    earliest_share: float = 0.25
    estimate_steps: tuple[tuple[float, float], ...] = ((0.7, 0.07), (1.6, 0.04), (2.4, 0.07))
    overdue_step: float = 0.1

    min_progress: float = 1.0
    min_age_growth: float = 1.001
    min_power: float = 0.1
    max_over_linear: float = 1.5
    remaining_share: float = 0.9
    first_reading_max_share: float = 0.5
    first_reading_min_share: float = 0.2
    first_reading_min_cap: float = 30.0
    moving_max_share: float = 0.8
    stalled_growth: float = 1.5

    samples_before_trust: int = 20
    samples_remembered: int = 100
    duration_step: float = 0.038
    earliest_deviations: float = 1.6
    first_poll_deviations: float = 3.0
    first_poll_share: float = 0.7
    predictable_share: float = 0.5
    latest_deviations: float = 2.5
    min_variance: float = 0.001
    max_gap_share: float = 0.25
    surprise_penalty: int = 10
    max_gap_correction: float = 0.1

    max_error_backoff: float = 60.0
    default_retry_after: float = 30.0
    not_found_grace: float = 120.0
    rereads: int = 4
    reread_after: float = 5.0
    confirm_failure_after: float = 2.0

    short_job: PerKind = PerKind(video=15.0, audio=15.0, image=20.0)
    instant_job: float = 2.0
    short_job_delays: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    instant_job_delays: tuple[float, ...] = (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)
    review_poll_delay: float = 2.0
    worker_poll_interval: float = 3.0
