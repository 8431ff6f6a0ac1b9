"""The pace, and the shared backoff: simulated, with a clock of their own."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.pace import DurationStats, Pace
from airflow_provider_evolink.api.jobs.schedule import POLICY, PollSchedule, WaitEnd
from airflow_provider_evolink.api.jobs.snapshot import read_snapshot
from airflow_provider_evolink.api.polling.backoff import SharedBackoff

ESTIMATE = 120.0
# The fewest polls possible where the distribution of durations is known, by dynamic programming, for a p95 of 4.75 s.
OPTIMUM = {0.1: 4.5, 0.25: 9.9}


def hints(progress=None, estimate=ESTIMATE, kind="video", model="m"):
    return SimpleNamespace(model=model, kind=kind, progress=progress, estimated_time=estimate)


PROGRESS = {
    "none": lambda share, bend: None,
    "even": lambda share, bend: share,
    "bent": lambda share, bend: share**bend,
    "stuck at zero": lambda share, bend: 0.0,
    "stuck early": lambda share, bend: min(share, 0.3),
    "stuck late": lambda share, bend: min(share, 0.9),
    "after a queue": lambda share, bend: max(0.0, (share - 0.3) / 0.7),
    "in quarters": lambda share, bend: math.floor(4 * share) / 4,
}


def simulate(**given):
    """Return the polls a job, and of the delays (in seconds and in parts of the job) the 95th percentile."""
    polls, delays = watch(**given)
    late = int(0.95 * len(delays))
    return polls, sorted(seconds for seconds, _ in delays)[late], sorted(part for _, part in delays)[late]


def watch(
    *,
    jobs=1500,
    spread=0.25,
    bias=1.0,
    progress="none",
    estimate=ESTIMATE,
    durations=None,
    joined=3.0,
    seed=1,
    fast_share=0.0,
):
    """Return the polls a job, and the delays in seconds and in parts of the job. A share may be four times as fast."""
    rng, polls, delays = random.Random(seed), 0, []
    for _ in range(jobs):
        takes = (
            ESTIMATE * bias * math.exp(rng.gauss(0, spread)) / (4 if fast_share and rng.random() < fast_share else 1)
        )
        bend = math.exp(rng.gauss(0, 0.3))
        schedule = PollSchedule(deadline=1e9, started=0.0, durations=durations, jitter=rng.random)
        later = None if joined == 3.0 else estimate  # EvoLink may send its estimate with the submit only
        at = joined + (schedule.first_delay(reading(None, estimate, done=False), joined) if joined == 3.0 else 0.0)
        while True:
            polls += 1
            share = min(1.0, at / takes)
            progressed = PROGRESS[progress](share, bend)
            percent = None if progressed is None else min(99, int(100 * progressed))
            decision = schedule.on_reading(reading(percent, later, done=at >= takes), at)
            if decision.end is WaitEnd.OVER:
                break
            at += decision.delay
        delays.append((at - takes, (at - takes) / takes))
    return polls / jobs, delays


def reading(progress, estimate, *, done):
    status = JobStatus.COMPLETED if done else JobStatus.PROCESSING
    links = ("https://a.example/x",) if done else ()
    return SimpleNamespace(
        **vars(hints(progress, estimate)),
        status=status,
        results=links,
        has_output=bool(links),
        created=None,
        job_id="t",
    )


@pytest.mark.parametrize("known", [True, False], ids=["estimate known before", "joined blind"])
def test_honest_progress_costs_few_polls_and_little_delay(known):
    polls, late, _ = simulate(progress="even", joined=3.0 if known else 5.0)
    assert polls <= 6.5
    assert late <= 4.0


@pytest.mark.parametrize("estimate", [ESTIMATE, None])
@pytest.mark.parametrize(
    ("crowd", "rank"),
    [
        ({"spread": 0.1}, 0.99),
        ({"spread": 0.25}, 0.99),
        ({"spread": 0.5}, 0.99),
        ({"spread": 0.25, "bias": 0.5}, 0.99),
        ({"spread": 0.25, "bias": 2.0}, 0.99),
        ({"spread": 0.1, "fast_share": 0.1}, 0.99),
        ({"spread": 0.1, "fast_share": 0.3}, 0.99),
    ],
)
def test_what_a_crowd_learns_does_not_delay_its_fastest_jobs(crowd, rank, estimate):
    """The first poll comes before next to all of them end, where its progress is worth one."""
    polls, delays = watch(progress="even", durations=DurationStats(), estimate=estimate, jobs=1000, **crowd)
    assert polls <= 6.5
    assert sorted(seconds for seconds, _ in delays)[int(rank * 1000)] <= 8.0 * max(1.0, crowd.get("bias", 1.0))


@pytest.mark.parametrize("estimate", [ESTIMATE, None])
def test_a_few_jobs_far_faster_than_the_others_are_noticed_soon(estimate):
    given = {"spread": 0.1, "fast_share": 0.03, "jobs": 2000}
    polls, delays = watch(progress="even", durations=DurationStats(), estimate=estimate, **given)
    assert polls <= 6.5
    assert sorted(seconds for seconds, _ in delays)[int(0.99 * 2000)] <= 20.0


@pytest.mark.parametrize("progress", ["none", "stuck at zero"])
def test_where_progress_predicts_nothing_the_first_poll_waits_for_the_first_ends(progress):
    durations, first = DurationStats(), []
    watch(progress="even", durations=durations, jobs=100)
    for _ in range(2):
        first.append(Pace(durations).first_delay(hints(), 0.0))
        watch(progress=progress, durations=durations, jobs=100)
    assert first[0] < 0.55 * ESTIMATE
    assert first[1] > 0.6 * ESTIMATE


def test_progress_that_stands_still_early_costs_seconds():
    """Where the durations of other jobs are known: its prediction moves away with every poll."""
    durations = DurationStats()
    simulate(progress="even", durations=durations, jobs=100)
    _, late, _ = simulate(progress="stuck early", durations=durations)
    assert late <= 8.0


def test_no_estimate_is_needed_where_progress_is_honest():
    polls, late, _ = simulate(progress="even", estimate=None, joined=5.0)
    assert polls <= 6.5
    assert late <= 4.0


@pytest.mark.parametrize("bias", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("progress", ["even", "bent", "none", "stuck at zero", "after a queue"])
def test_a_wrong_estimate_or_strange_progress_is_no_cliff(progress, bias):
    polls, late, part = simulate(progress=progress, bias=bias)
    assert late <= 10.0 or part <= 0.1
    assert polls <= 4 + bias * ESTIMATE / POLICY.upstream_poll_interval.video, (
        "no more than EvoLink's own clients, roughly"
    )


@pytest.mark.parametrize("progress", ["stuck late", "in quarters"])
def test_progress_that_stands_still_costs_seconds(progress):
    polls, late, _ = simulate(progress=progress)
    assert late <= 25.0
    assert polls <= 15


@pytest.mark.parametrize("spread", [0.1, 0.25])
@pytest.mark.parametrize("estimate", [ESTIMATE, None])
def test_without_progress_it_learns_to_be_nearly_as_good_as_the_optimum(spread, estimate):
    durations = DurationStats()
    simulate(jobs=60, spread=spread, durations=durations, estimate=estimate, seed=7)
    polls, late, _ = simulate(spread=spread, durations=durations, estimate=estimate, joined=3.0)
    assert late <= 4.95
    allowed = 1.15 if spread == 0.25 else 1.4
    assert polls <= allowed * OPTIMUM[spread] * 4.75 / min(late, 4.75)


def test_durations_are_forgotten_when_jobs_become_faster():
    durations = DurationStats()
    simulate(jobs=200, spread=0.1, durations=durations)
    simulate(jobs=20, spread=0.1, bias=0.5, durations=durations)
    _, late, _ = simulate(jobs=25, spread=0.1, bias=0.5, durations=durations)
    assert late <= 10.0


def test_an_outage_teaches_nothing_wrong():
    durations = DurationStats()
    simulate(jobs=100, durations=durations)
    known = durations.of(hints())
    before = known.ratio_at(0.0), known.ratio_at(2.0)
    for _ in range(5):
        durations.learn(hints(), last_running_age=60.0, age=700.0)
    assert (known.ratio_at(0.0), known.ratio_at(2.0)) == before
    for _ in range(5):
        durations.learn(hints(), last_running_age=60.0, age=700.0)
    assert not known.is_known, "but it is a surprise"


def test_nothing_is_learned_from_few_jobs_or_from_those_of_another_model():
    durations = DurationStats()
    for _ in range(19):
        durations.learn(hints(), 90.0, 100.0)
    assert not durations.of(hints()).is_known
    durations.learn(hints(), 90.0, 100.0)
    assert durations.of(hints()).is_known
    assert not durations.of(hints(model="other")).is_known
    assert not durations.of(hints(estimate=None)).is_known


@given(
    st.sampled_from(["video", "audio", "image", "text", None]),
    st.none() | st.floats(0, 1e5),
    st.lists(st.none() | st.integers(-5, 105), min_size=1, max_size=60),
    st.floats(0, 5000),
)
def test_never_more_often_than_evolinks_own_clients_except_for_a_few_polls(kind, estimate, progress, age):
    pace, began = Pace(), age
    for polls, percent in enumerate(progress, 1):
        wait = pace.next_delay(hints(percent, estimate, kind), age)
        assert POLICY.min_poll_interval.of(kind) <= wait <= POLICY.max_poll_interval
        age += wait
        assert polls <= 2 + POLICY.extra_polls + (age - began) / POLICY.upstream_poll_interval.of(kind)


def test_a_short_estimate_does_not_cause_fast_polls_for_long():
    pace, age, polls = Pace(), 0.0, 0
    while age < 60:
        age += pace.next_delay(hints(estimate=40.0), age)
        polls += 1
    assert polls <= 2 + 3 + 60 / 8


@pytest.mark.parametrize("ages", [(0.0, 2.0), (5.0, 5.0), (1e9, 1e9 + 2), (9.0, 3.0)])
def test_progress_at_odd_times_is_no_error(ages):
    pace = Pace()
    for percent, age in zip((1, 2), ages, strict=True):
        assert 2.0 <= pace.next_delay(hints(percent), age) <= POLICY.max_poll_interval


# --- the snapshot of a running job


ROWS = st.fixed_dictionaries(
    {"id": st.sampled_from(["task-unified-1-x", "", 7, None, "a b"])},
    optional={
        "status": st.sampled_from(["pending", "processing", "completed", "PENDING", "odd", None, 3]),
        "progress": st.sampled_from([0, 40, 100, 101, -1, 3.5, True, "5", None]),
        "created": st.sampled_from([1_790_000_000, 5, 1.79e9, "x", True, None]),
        "model": st.sampled_from(["wan2.7", "", "a b", "é", 5, None]),
        "type": st.sampled_from(["video", "", "a\nb", None]),
        "kind": st.sampled_from(["image", None]),
        "results": st.sampled_from([[], None, ["https://a.example/x"], "x"]),
        "task_info": st.sampled_from(
            [None, {}, {"estimated_time": 12}, {"estimated_time": True}, {"estimated_time": -1}, 5]
        ),
    },
)


@given(ROWS)
def test_a_snapshot_equals_a_full_reading(row):
    snapshot = read_snapshot(row)
    if snapshot is None:
        return
    job = Job.model_validate(row)
    for name in (
        "job_id",
        "status",
        "status_text",
        "model",
        "kind",
        "progress",
        "created",
        "estimated_time",
        "has_output",
    ):
        assert getattr(snapshot, name) == getattr(job, name), name


def test_a_running_job_as_evolink_sends_it_becomes_a_snapshot():
    row = {"id": "task-unified-1-x", "status": "processing", "progress": 40, "created": 1_790_000_000, "type": "video"}
    assert read_snapshot({**row, "model": "wan2.7-text-to-video", "task_info": {"estimated_time": 120}})
    assert read_snapshot(row)
    assert read_snapshot({**row, "status": "completed"}) is None
    assert read_snapshot([]) is None


# --- the backoff of a connection


DOWN = errors.EvoLinkUnavailable("x")


def pause(backoff, now):
    return max(0.0, backoff.paused_until - now)


def throttled(seconds):
    return errors.EvoLinkRateLimited("x", retry_after=seconds)


@pytest.mark.parametrize(("retry_after", "at_least", "at_most"), [(2.0, 2.0, 2.2), (None, 30.0, 33.0), (0.0, 0.5, 0.6)])
def test_one_retry_after_holds_for_all(retry_after, at_least, at_most):
    backoff = SharedBackoff(jitter=lambda: 0.5)
    backoff.record(throttled(retry_after), 100.0)
    assert at_least <= pause(backoff, 100.0) <= at_most
    assert pause(backoff, 100.0 + at_most) == 0.0
    backoff.record(DOWN, 100.0)
    assert pause(backoff, 100.0) >= at_least, "a shorter pause does not end a longer one"


def test_after_a_failure_one_call_probes_and_each_success_doubles_the_calls():
    backoff = SharedBackoff()
    assert backoff.max_calls == 8
    backoff.record(DOWN, 0.0)
    counts = [backoff.max_calls]
    for _ in range(4):
        backoff.record(None, 0.0)
        counts.append(backoff.max_calls)
    assert counts == [1, 2, 4, 8, 8]


def test_calls_that_ran_at_the_same_time_are_one_failure():
    backoff = SharedBackoff(jitter=lambda: 1.0)
    for ended in range(8):
        backoff.record(DOWN, 10.0 + 0.01 * ended, began=9.0)
    assert pause(backoff, 10.0) == 1.0
    backoff.record(throttled(7.0), 10.1, began=9.0)
    assert pause(backoff, 10.1) >= 7.0, "Retry-After counts whenever it comes"
    backoff.record(DOWN, 20.0, began=18.0)
    assert pause(backoff, 20.0) == 2.0, "the next call that fails is the second failure"


def test_an_unreadable_job_pauses_no_other_unless_no_call_succeeds():
    backoff = SharedBackoff(jitter=lambda: 1.0)
    for now in range(100):
        backoff.record(DOWN, float(now), isolated=True)
        backoff.record(None, float(now))
    assert backoff.max_calls == 8
    for _ in range(20):
        backoff.record(DOWN, 200.0, isolated=True)
    assert backoff.max_calls == 1
    assert pause(backoff, 200.0) > 0
    backoff = SharedBackoff()
    backoff.record(throttled(7.0), 100.0, isolated=True)
    assert pause(backoff, 100.0) >= 7.0


def test_a_refusal_of_one_job_counts_as_a_response():
    backoff = SharedBackoff()
    backoff.record(DOWN, 0.0)
    backoff.record(errors.EvoLinkNotFoundError("x"), 0.0)
    assert backoff.max_calls == 2


def test_ten_minutes_of_503_cost_few_calls_and_end_within_a_minute():
    for seed in range(20):
        backoff, now, calls = SharedBackoff(random.Random(seed).random), 0.0, 0
        while now < 600:
            backoff.record(DOWN, now)
            calls += 1
            now += pause(backoff, now)
        assert now <= 660
        assert calls <= 60, "a bucket, not a flood"
