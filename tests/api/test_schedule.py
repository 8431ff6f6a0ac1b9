"""The schedule: when to look again, and when to stop. No clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.pace import FARTHEST, NEAREST
from airflow_provider_evolink.api.jobs.schedule import (
    EARLY_404,
    LONGEST,
    Decision,
    PollSchedule,
    WaitEnd,
    worker_poll_delays,
)

T0 = 1_790_000_000.0
LINK = ["https://a.example/x"]
NOT_FOUND = errors.EvoLinkNotFoundError("x")
DOWN = errors.EvoLinkUnavailable("x")


def job(status="processing", *, kind="video", estimate=None, results=()):
    return Job.model_validate(
        {"id": "t", "status": status, "type": kind, "results": list(results), "task_info": {"estimated_time": estimate}}
    )


def watch(deadline=T0 + 1800, *, poll_interval=None, jitter=0.0):
    return PollSchedule(deadline=deadline, started=T0, poll_interval=poll_interval, jitter=lambda: jitter)


@pytest.mark.parametrize("late", [-100, 0, 5000])
def test_a_completed_job_is_over_before_the_clock_is_asked(late):
    assert watch().saw(job("completed", results=LINK), T0 + 1800 + late) == Decision(WaitEnd.OVER)


@pytest.mark.parametrize("late", [-100, 0, 5000])
@pytest.mark.parametrize("word", ["failed", "cancelled", "canceled"])
def test_a_failure_counts_once_it_was_read_twice(word, late):
    waiting = watch()
    assert waiting.saw(job(word), T0 + 1800 + late) == Decision(delay=2.0)
    assert waiting.failed(DOWN, T0 + 1700).end is None, "a look that fails in between changes nothing"
    assert waiting.saw(job("failed"), T0 + 1802 + late) == Decision(WaitEnd.OVER)


def test_a_failure_that_goes_away_starts_anew():
    waiting = watch()
    assert [waiting.saw(job(word), T0).delay for word in ("failed", "processing", "failed")] == [2.0, 8.0, 2.0]


@pytest.mark.parametrize("word", ["pending", "processing", "queued", "", None, 7, "success"])
def test_any_other_status_goes_on_until_the_deadline(word):
    assert watch().saw(job(word), T0 + 1799).end is None
    assert watch().saw(job(word), T0 + 1800) == Decision(WaitEnd.TIMEOUT)


@pytest.mark.parametrize(
    ("given_", "delay"), [(5.0, 5.0), (0.25, 0.25), (300.0, 300.0), (0, 8.0), (-5.0, 8.0), (None, 8.0)]
)
def test_a_fixed_interval(given_, delay):
    assert watch(poll_interval=given_).saw(job(), T0).delay == delay


def test_the_first_look_waits_for_what_is_known():
    assert watch().first(job(), T0) == 0.0
    assert watch().first(job(estimate=120), T0) == 30.0
    assert watch().first(job(estimate=120), T0 + 40) == 0.0, "it may be over"
    assert watch(deadline=T0 + 10).first(job(estimate=120), T0) == 10.0
    assert watch(poll_interval=5.0).first(job(estimate=120), T0) == 0.0


def test_a_wait_that_begins_anew_counts_from_the_order():
    old = job(estimate=120).model_copy(update={"created": T0 - 100})
    assert watch().saw(old, T0).delay == watch().saw(job(estimate=120), T0 + 100).delay == 0.04 * 120
    younger = job(estimate=120).model_copy(update={"created": T0 + 100})
    assert watch().saw(younger, T0 + 10).delay == 20.0, "EvoLink's clock may be ahead of ours"


def test_the_last_look_is_at_the_deadline():
    assert watch().saw(job(), T0 + 1797).delay == 3.0
    assert watch().failed(DOWN, T0 + 1799).delay == 1.0
    assert watch().failed(errors.EvoLinkRateLimited("x", retry_after=600), T0 + 1790).delay == 10.0


def test_completed_without_links_is_read_again_a_few_times():
    empty, watching = job("completed"), watch()
    steps = [watching.saw(empty, T0 + 1790 + 5 * look) for look in range(5)]
    assert steps == [Decision(delay=5.0)] * 4 + [Decision(WaitEnd.OVER)]
    watching = watch()
    for _ in range(4):
        assert watching.saw(empty, T0).end is None
    assert watching.saw(job("completed", results=LINK), T0) == Decision(WaitEnd.OVER)


def test_a_status_that_goes_back_starts_the_rereads_anew():
    watching = watch()
    for _ in range(10):
        assert watching.saw(job("completed"), T0).end is None
        assert watching.saw(job("processing"), T0).end is None


def test_a_job_not_found_right_after_its_order_is_waited_for():
    watching = watch()
    assert [watching.failed(NOT_FOUND, T0 + age).delay for age in (0, 2, 6, 14, 30, 62, 120)] == [
        2.0,
        4.0,
        8.0,
        16.0,
        32.0,
        60.0,
        60.0,
    ]


def test_a_job_that_vanished_is_given_up_after_some_looks():
    watching = watch()
    steps = [watching.failed(NOT_FOUND, T0 + EARLY_404 + 1 + 5 * look) for look in range(5)]
    assert steps == [Decision(delay=5.0)] * 4 + [Decision(WaitEnd.UNREADABLE, error=NOT_FOUND)]


@pytest.mark.parametrize(
    "error",
    [
        errors.EvoLinkAuthError("x"),
        errors.EvoLinkAccessError("x"),
        errors.EvoLinkCreditsError("x"),
        errors.EvoLinkInvalidError("x"),
        errors.EvoLinkRequestError("x", []),
        errors.EvoLinkConfigError("x"),
    ],
)
def test_what_looking_again_cannot_help_ends_the_wait_at_once(error):
    assert watch().failed(error, T0) == Decision(WaitEnd.UNREADABLE, error=error)


def test_a_storm_never_ends_the_wait_before_its_deadline():
    watching, now, looks = watch(deadline=T0 + 200_000), T0, 0
    while (step := watching.failed(DOWN, now)).end is None:
        assert 2.0 <= step.delay <= LONGEST or now + step.delay == T0 + 200_000
        now, looks = now + step.delay, looks + 1
    assert (step, now) == (Decision(WaitEnd.TIMEOUT, error=DOWN), T0 + 200_000)
    assert looks == pytest.approx(200_000 / LONGEST, abs=10)


def test_a_reading_resets_the_back_off():
    watching = watch()
    for _ in range(6):
        watching.failed(DOWN, T0)
    watching.saw(job(), T0)
    assert watching.failed(DOWN, T0).delay == 2.0


@pytest.mark.parametrize(
    ("kind", "retry_after", "delays"),
    [
        (errors.EvoLinkRateLimited, None, [30.0, 30.0, 30.0]),
        (errors.EvoLinkRateLimited, 0.0, [2.0, 4.0, 8.0]),
        (errors.EvoLinkRateLimited, 5.0, [5.0, 5.0, 8.0]),
        (errors.EvoLinkRateLimited, 120.0, [120.0] * 3),
        (errors.EvoLinkUnavailable, None, [2.0, 4.0, 8.0]),
        (errors.EvoLinkUnavailable, 0.0, [2.0, 4.0, 8.0]),
        (errors.EvoLinkUnavailable, 90.0, [90.0] * 3),
    ],
)
def test_retry_after_is_respected_and_never_a_hot_loop(kind, retry_after, delays):
    watching, error = watch(), kind("x", retry_after=retry_after)
    assert [watching.failed(error, T0).delay for _ in delays] == delays


def test_many_waits_do_not_run_in_step():
    assert watch(jitter=1.0).saw(job(), T0).delay == pytest.approx(8.8)
    assert watch(jitter=1.0).failed(DOWN, T0).delay == pytest.approx(2.2)
    delays = {PollSchedule(deadline=T0 + 1800, started=T0).saw(job(), T0).delay for _ in range(50)}
    assert len(delays) > 40
    assert all(8.0 <= delay <= 8.8 for delay in delays)


KINDS = st.sampled_from(["video", "audio", "image", "text", None])
LOOKS = st.lists(
    st.tuples(
        st.sampled_from(["run", "down", "429", "404"]),
        KINDS,
        st.none() | st.floats(0, 1e6),
        st.none() | st.floats(0, 3600),
    ),
    min_size=1,
    max_size=30,
)


@given(LOOKS, st.floats(0, 4000), st.none() | st.floats(0.1, 600), st.floats(0, 1))
def test_never_at_once_again_and_never_past_the_deadline(looks, timeout, interval, jitter):
    watching = PollSchedule(deadline=T0 + timeout, started=T0, poll_interval=interval, jitter=lambda: jitter)
    now = T0
    for what, kind, estimate, asked in looks:
        if what == "run":
            step = watching.saw(job(kind=kind, estimate=estimate), now)
            least = interval or NEAREST.get(kind or "", 2.0)
        else:
            kinds = {
                "down": errors.EvoLinkUnavailable,
                "429": errors.EvoLinkRateLimited,
                "404": errors.EvoLinkNotFoundError,
            }
            step = watching.failed(kinds[what]("x", retry_after=asked), now)
            least = max(asked or 0.0, 2.0)
            if what == "404" and now - T0 > EARLY_404:
                least = min(5.0, interval or 5.0)
                if step.end is None:
                    now += step.delay
                    continue
        if step.end is not None:
            assert step.end is WaitEnd.UNREADABLE or now >= watching.deadline
            return
        assert now + step.delay <= watching.deadline + 1e-6
        assert step.delay >= least or now + step.delay >= watching.deadline - 1e-6
        assert step.delay <= 1.1 * max(FARTHEST, interval or 0.0, asked or 0.0)
        now += step.delay


@pytest.mark.parametrize(
    ("estimate", "age", "expected"),
    [
        (120, 0, (2.0,)),
        (None, 0, (2.0,)),
        (15.1, 0, (2.0,)),
        (15, 0, (0.5, 1.0, 1.5, 2.0, 3.0)),
        (2.1, 0, (0.5, 1.0, 1.5, 2.0, 3.0)),
        (2, 0, (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)),
        (0, 0, (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)),
        (-4, 0, (2.0,)),
        (120, 15.1, ()),
        (1, 15.1, ()),
        (1, -3600, (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)),
    ],
)
def test_the_looks_of_the_worker(estimate, age, expected):
    assert worker_poll_delays(job(estimate=estimate), T0, T0 + age) == expected
    assert sum(expected) <= 10.0


@pytest.mark.parametrize(
    ("kind", "estimate", "patience", "age", "expected"),
    [
        ("image", 20, None, 0, (0.5, 1.0, 1.5, 2.0, 3.0)),
        ("image", 20, None, 19, (0.5, 1.0, 1.5, 2.0, 3.0)),
        ("video", 20, None, 0, (2.0,)),
        ("image", 2, 0, 0, ()),
        ("video", 120, 0, 0, ()),
        ("video", 120, 5, 0, (0.5, 1.0, 1.5, 2.0, 3.0)),
        ("video", None, 20, 0, (0.5, 1.0, 1.5, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0)),
        ("video", 120, 20, 9, (0.5, 1.0, 1.5, 2.0, 3.0, 3.0)),
        ("video", 120, 20, 21, ()),
    ],
)
def test_the_looks_of_the_worker_by_kind_and_by_choice(kind, estimate, patience, age, expected):
    assert worker_poll_delays(job(kind=kind, estimate=estimate), T0, T0 + age, patience) == expected
