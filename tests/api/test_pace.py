"""The pace, and the shared limits: simulated, with a clock of their own."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.pace import FARTHEST, FLOOR, NEAREST, SPARE, DurationStats, Pace
from airflow_provider_evolink.api.jobs.schedule import PollSchedule, WaitEnd
from airflow_provider_evolink.api.jobs.snapshot import read_snapshot
from airflow_provider_evolink.api.polling.backoff import AT_ONCE, SharedBackoff

ESTIMATE = 120.0
# What the least requests are, computed by dynamic programming with the law of the times known, for a p95 of 4.75 s.
OPTIMUM = {0.1: 4.5, 0.25: 9.9}


def seen(progress=None, estimate=ESTIMATE, kind="video", model="m"):
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


def simulate(*, jobs=1500, spread=0.25, bias=1.0, progress="none", estimate=ESTIMATE, times=None, joined=3.0, seed=1):
    """Return requests for each job, and of the delays (in seconds and in parts of the job) the 95th percentile."""
    rng, requests, delays = random.Random(seed), 0, []
    for _ in range(jobs):
        takes = ESTIMATE * bias * math.exp(rng.gauss(0, spread))
        bend = math.exp(rng.gauss(0, 0.3))
        watch = PollSchedule(deadline=1e9, started=0.0, times=times, jitter=rng.random)
        told = None if joined == 3.0 else estimate  # EvoLink tells its estimate with the order, and not again
        at = joined + (watch.first(seen_job(None, estimate, done=False), joined) if joined == 3.0 else 0.0)
        while True:
            requests += 1
            share = min(1.0, at / takes)
            said = PROGRESS[progress](share, bend)
            percent = None if said is None else min(99, int(100 * said))
            step = watch.saw(seen_job(percent, told, done=at >= takes), at)
            if step.end is WaitEnd.OVER:
                break
            at += step.delay
        delays.append((at - takes, (at - takes) / takes))
    late = int(0.95 * jobs)
    return requests / jobs, sorted(one for one, _ in delays)[late], sorted(part for _, part in delays)[late]


def seen_job(progress, estimate, *, done):
    status = JobStatus.COMPLETED if done else JobStatus.PROCESSING
    links = ("https://a.example/x",) if done else ()
    return SimpleNamespace(
        **vars(seen(progress, estimate)), status=status, results=links, has_output=bool(links), created=None, job_id="t"
    )


@pytest.mark.parametrize("known", [True, False], ids=["estimate known before", "joined blind"])
def test_honest_progress_costs_few_requests_and_little_delay(known):
    requests, late, _ = simulate(progress="even", joined=3.0 if known else 5.0)
    assert requests <= 6.5
    assert late <= 4.0


def test_progress_that_promises_what_no_job_takes_is_not_believed():
    """Once the times of other jobs are known, the end that progress points at must be one of theirs."""
    times = DurationStats()
    simulate(progress="even", times=times, jobs=100)
    _, late, _ = simulate(progress="stuck early", times=times)
    assert late <= 8.0


def test_no_estimate_is_needed_where_progress_is_honest():
    requests, late, _ = simulate(progress="even", estimate=None, joined=5.0)
    assert requests <= 6.5
    assert late <= 4.0


@pytest.mark.parametrize("bias", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("progress", ["even", "bent", "none", "stuck at zero", "after a queue"])
def test_a_wrong_estimate_or_strange_progress_is_no_cliff(progress, bias):
    requests, late, part = simulate(progress=progress, bias=bias)
    assert late <= 10.0 or part <= 0.1
    assert requests <= 4 + bias * ESTIMATE / FLOOR["video"], "about as many as of EvoLink's own clients at most"


@pytest.mark.parametrize("progress", ["stuck late", "in quarters"])
def test_progress_that_stands_still_costs_seconds(progress):
    requests, late, _ = simulate(progress=progress)
    assert late <= 25.0
    assert requests <= 15


@pytest.mark.parametrize("spread", [0.1, 0.25])
@pytest.mark.parametrize("estimate", [ESTIMATE, None])
def test_without_progress_it_learns_to_be_nearly_as_good_as_the_optimum(spread, estimate):
    times = DurationStats()
    simulate(jobs=60, spread=spread, times=times, estimate=estimate, seed=7)
    requests, late, _ = simulate(spread=spread, times=times, estimate=estimate, joined=3.0)
    assert late <= 4.95
    allowed = 1.15 if spread == 0.25 else 1.4
    assert requests <= allowed * OPTIMUM[spread] * 4.75 / min(late, 4.75)


def test_what_was_learnt_is_forgotten_when_jobs_become_faster():
    times = DurationStats()
    simulate(jobs=200, spread=0.1, times=times)
    simulate(jobs=20, spread=0.1, bias=0.5, times=times)
    _, late, _ = simulate(jobs=25, spread=0.1, bias=0.5, times=times)
    assert late <= 10.0


def test_an_outage_teaches_nothing_wrong():
    times = DurationStats()
    simulate(jobs=100, times=times)
    typical = times.of(seen())
    before = typical.at(0.0), typical.at(2.0)
    for _ in range(5):
        times.learn(seen(), before=60.0, age=700.0)
    assert (typical.at(0.0), typical.at(2.0)) == before
    for _ in range(5):
        times.learn(seen(), before=60.0, age=700.0)
    assert not typical.is_known, "but it is a surprise"


def test_nothing_is_learnt_from_few_jobs_or_from_those_of_another_model():
    times = DurationStats()
    for _ in range(19):
        times.learn(seen(), 90.0, 100.0)
    assert not times.of(seen()).is_known
    times.learn(seen(), 90.0, 100.0)
    assert times.of(seen()).is_known
    assert not times.of(seen(model="other")).is_known
    assert not times.of(seen(estimate=None)).is_known


@given(
    st.sampled_from(["video", "audio", "image", "text", None]),
    st.none() | st.floats(0, 1e5),
    st.lists(st.none() | st.integers(-5, 105), min_size=1, max_size=60),
    st.floats(0, 5000),
)
def test_never_oftener_than_evolinks_own_clients_but_for_a_few_looks(kind, estimate, progress, age):
    pace, began = Pace(), age
    for looks, percent in enumerate(progress, 1):
        wait = pace.after(seen(percent, estimate, kind), age)
        assert NEAREST.get(kind or "", 2.0) <= wait <= FARTHEST
        age += wait
        assert looks <= 2 + SPARE + (age - began) / FLOOR.get(kind or "", 8.0)


def test_a_short_estimate_is_no_reason_to_look_every_two_seconds_for_long():
    pace, age, looks = Pace(), 0.0, 0
    while age < 60:
        age += pace.after(seen(estimate=40.0), age)
        looks += 1
    assert looks <= 2 + 3 + 60 / 8


@pytest.mark.parametrize("ages", [(0.0, 2.0), (5.0, 5.0), (1e9, 1e9 + 2), (9.0, 3.0)])
def test_progress_at_odd_times_is_no_error(ages):
    pace = Pace()
    for percent, age in zip((1, 2), ages, strict=True):
        assert 2.0 <= pace.after(seen(percent), age) <= FARTHEST


# --- a glance


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
def test_a_glance_sees_what_a_full_reading_sees(row):
    found = read_snapshot(row)
    if found is None:
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
        assert getattr(found, name) == getattr(job, name), name


def test_a_running_job_as_evolink_shows_it_is_read_at_a_glance():
    row = {"id": "task-unified-1-x", "status": "processing", "progress": 40, "created": 1_790_000_000, "type": "video"}
    assert read_snapshot({**row, "model": "wan2.7-text-to-video", "task_info": {"estimated_time": 120}})
    assert read_snapshot(row)
    assert read_snapshot({**row, "status": "completed"}) is None
    assert read_snapshot([]) is None


# --- limits of a connection


DOWN = errors.EvoLinkUnavailable("x")


def throttled(seconds):
    return errors.EvoLinkRateLimited("x", retry_after=seconds)


@pytest.mark.parametrize(("asked", "least", "most"), [(2.0, 2.0, 2.2), (None, 30.0, 33.0), (0.0, 0.5, 0.6)])
def test_one_retry_after_holds_for_all(asked, least, most):
    limits = SharedBackoff(jitter=lambda: 0.5)
    limits.told(throttled(asked), 100.0)
    assert least <= limits.left(100.0) <= most
    assert limits.left(100.0 + most) == 0.0
    limits.told(DOWN, 100.0)
    assert limits.left(100.0) >= least, "a shorter wait does not cut a longer one"


def test_after_a_failure_one_call_finds_out_and_each_answer_lets_twice_as_many_follow():
    limits = SharedBackoff()
    assert limits.at_once == AT_ONCE == 8
    limits.told(DOWN, 0.0)
    counts = [limits.at_once]
    for _ in range(4):
        limits.told(None, 0.0)
        counts.append(limits.at_once)
    assert counts == [1, 2, 4, 8, 8]


def test_calls_that_were_under_way_together_are_one_failure():
    limits = SharedBackoff(jitter=lambda: 1.0)
    for ended in range(8):
        limits.told(DOWN, 10.0 + 0.01 * ended, began=9.0)
    assert limits.left(10.0) == 1.0
    limits.told(throttled(7.0), 10.1, began=9.0)
    assert limits.left(10.1) >= 7.0, "what EvoLink asks for counts whenever it comes"
    limits.told(DOWN, 20.0, began=18.0)
    assert limits.left(20.0) == 2.0, "the next call that fails is the second failure"


def test_the_trouble_of_one_job_concerns_no_other_unless_nobody_is_answered():
    limits = SharedBackoff(jitter=lambda: 1.0)
    for now in range(100):
        limits.told(DOWN, float(now), of_one=True)
        limits.told(None, float(now))
    assert limits.at_once == 8
    for _ in range(20):
        limits.told(DOWN, 200.0, of_one=True)
    assert limits.at_once == 1
    assert limits.left(200.0) > 0
    limits = SharedBackoff()
    limits.told(throttled(7.0), 100.0, of_one=True)
    assert limits.left(100.0) >= 7.0


def test_a_refusal_of_one_job_is_an_answer():
    limits = SharedBackoff()
    limits.told(DOWN, 0.0)
    limits.told(errors.EvoLinkNotFoundError("x"), 0.0)
    assert limits.at_once == 2


def test_ten_minutes_of_503_cost_few_calls_and_end_within_a_minute():
    for seed in range(20):
        limits, now, calls = SharedBackoff(random.Random(seed).random), 0.0, 0
        while now < 600:
            limits.told(DOWN, now)
            calls += 1
            now += limits.left(now)
        assert now <= 660
        assert calls <= 60, "a bucket, not a flood"
