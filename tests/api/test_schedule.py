"""The schedule: when to poll again, and when to stop. No clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.schedule import (
    POLICY,
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


def schedule(deadline=T0 + 1800, *, poll_interval=None, jitter=0.0):
    return PollSchedule(deadline=deadline, started=T0, poll_interval=poll_interval, jitter=lambda: jitter)


@pytest.mark.parametrize("late", [-100, 0, 5000])
def test_a_completed_job_is_over_whatever_the_clock_says(late):
    assert schedule().on_reading(job("completed", results=LINK), T0 + 1800 + late) == Decision(WaitEnd.OVER)


@pytest.mark.parametrize("late", [-100, 0, 5000])
@pytest.mark.parametrize("status", ["failed", "cancelled", "canceled"])
def test_a_failure_counts_once_it_was_read_twice(status, late):
    waiting = schedule()
    assert waiting.on_reading(job(status), T0 + 1800 + late) == Decision(delay=2.0)
    assert waiting.on_error(DOWN, T0 + 1700).end is None, "a poll that fails in between changes nothing"
    assert waiting.on_reading(job("failed"), T0 + 1802 + late) == Decision(WaitEnd.OVER)


def test_a_failure_that_goes_away_is_confirmed_again():
    waiting = schedule()
    assert [waiting.on_reading(job(status), T0).delay for status in ("failed", "processing", "failed")] == [
        2.0,
        8.0,
        2.0,
    ]


@pytest.mark.parametrize("status", ["pending", "processing", "queued", "", None, 7, "success"])
def test_any_other_status_is_polled_until_the_deadline(status):
    assert schedule().on_reading(job(status), T0 + 1799).end is None
    assert schedule().on_reading(job(status), T0 + 1800) == Decision(WaitEnd.TIMEOUT)


@pytest.mark.parametrize(
    ("given_", "delay"), [(5.0, 5.0), (0.25, 0.25), (300.0, 300.0), (0, 8.0), (-5.0, 8.0), (None, 8.0)]
)
def test_a_fixed_interval(given_, delay):
    assert schedule(poll_interval=given_).on_reading(job(), T0).delay == delay


def test_the_first_poll_uses_what_is_known():
    assert schedule().first_delay(job(), T0) == 0.0
    assert schedule().first_delay(job(estimate=120), T0) == 30.0
    assert schedule().first_delay(job(estimate=120), T0 + 40) == 0.0, "it may have ended"
    assert schedule(deadline=T0 + 10).first_delay(job(estimate=120), T0) == 10.0
    assert schedule(poll_interval=5.0).first_delay(job(estimate=120), T0) == 0.0


def test_a_wait_that_starts_again_counts_from_the_submit():
    old = job(estimate=120).model_copy(update={"created": T0 - 100})
    assert (
        schedule().on_reading(old, T0).delay == schedule().on_reading(job(estimate=120), T0 + 100).delay == 0.04 * 120
    )
    younger = job(estimate=120).model_copy(update={"created": T0 + 100})
    assert schedule().on_reading(younger, T0 + 10).delay == 20.0, "EvoLink's clock may be ahead of ours"


def test_the_last_poll_is_at_the_deadline():
    assert schedule().on_reading(job(), T0 + 1797).delay == 3.0
    assert schedule().on_error(DOWN, T0 + 1799).delay == 1.0
    assert schedule().on_error(errors.EvoLinkRateLimited("x", retry_after=600), T0 + 1790).delay == 10.0


def test_completed_without_links_is_read_again_a_few_times():
    empty, waiting = job("completed"), schedule()
    decisions = [waiting.on_reading(empty, T0 + 1790 + 5 * poll) for poll in range(5)]
    assert decisions == [Decision(delay=5.0)] * 4 + [Decision(WaitEnd.OVER)]
    waiting = schedule()
    for _ in range(4):
        assert waiting.on_reading(empty, T0).end is None
    assert waiting.on_reading(job("completed", results=LINK), T0) == Decision(WaitEnd.OVER)


def test_a_status_that_goes_back_resets_the_rereads():
    waiting = schedule()
    for _ in range(10):
        assert waiting.on_reading(job("completed"), T0).end is None
        assert waiting.on_reading(job("processing"), T0).end is None


def test_a_job_not_found_right_after_its_submit_is_waited_for():
    waiting = schedule()
    assert [waiting.on_error(NOT_FOUND, T0 + age).delay for age in (0, 2, 6, 14, 30, 62, 120)] == [
        2.0,
        4.0,
        8.0,
        16.0,
        32.0,
        60.0,
        60.0,
    ]


def test_a_job_that_vanished_is_given_up_after_some_polls():
    waiting = schedule()
    decisions = [waiting.on_error(NOT_FOUND, T0 + POLICY.not_found_grace + 1 + 5 * poll) for poll in range(5)]
    assert decisions == [Decision(delay=5.0)] * 4 + [Decision(WaitEnd.UNREADABLE, error=NOT_FOUND)]


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
def test_an_error_that_polling_cannot_help_ends_the_wait_at_once(error):
    assert schedule().on_error(error, T0) == Decision(WaitEnd.UNREADABLE, error=error)


def test_an_outage_never_ends_the_wait_before_its_deadline():
    waiting, now, polls = schedule(deadline=T0 + 200_000), T0, 0
    while (decision := waiting.on_error(DOWN, now)).end is None:
        assert 2.0 <= decision.delay <= POLICY.max_error_backoff or now + decision.delay == T0 + 200_000
        now, polls = now + decision.delay, polls + 1
    assert (decision, now) == (Decision(WaitEnd.TIMEOUT, error=DOWN), T0 + 200_000)
    assert polls == pytest.approx(200_000 / POLICY.max_error_backoff, abs=10)


def test_a_reading_resets_the_back_off():
    waiting = schedule()
    for _ in range(6):
        waiting.on_error(DOWN, T0)
    waiting.on_reading(job(), T0)
    assert waiting.on_error(DOWN, T0).delay == 2.0


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
    waiting, error = schedule(), kind("x", retry_after=retry_after)
    assert [waiting.on_error(error, T0).delay for _ in delays] == delays


def test_many_waits_do_not_run_in_step():
    assert schedule(jitter=1.0).on_reading(job(), T0).delay == pytest.approx(8.8)
    assert schedule(jitter=1.0).on_error(DOWN, T0).delay == pytest.approx(2.2)
    delays = {PollSchedule(deadline=T0 + 1800, started=T0).on_reading(job(), T0).delay for _ in range(50)}
    assert len(delays) > 40
    assert all(8.0 <= delay <= 8.8 for delay in delays)


KINDS = st.sampled_from(["video", "audio", "image", "text", None])
POLLS = st.lists(
    st.tuples(
        st.sampled_from(["run", "down", "429", "404"]),
        KINDS,
        st.none() | st.floats(0, 1e6),
        st.none() | st.floats(0, 3600),
    ),
    min_size=1,
    max_size=30,
)


@given(POLLS, st.floats(0, 4000), st.none() | st.floats(0.1, 600), st.floats(0, 1))
def test_no_delay_is_too_short_and_none_ends_past_the_deadline(polls, timeout, interval, jitter):
    waiting = PollSchedule(deadline=T0 + timeout, started=T0, poll_interval=interval, jitter=lambda: jitter)
    now = T0
    for what, kind, estimate, retry_after in polls:
        if what == "run":
            decision = waiting.on_reading(job(kind=kind, estimate=estimate), now)
            at_least = interval or POLICY.min_poll_interval.of(kind)
        else:
            kinds = {
                "down": errors.EvoLinkUnavailable,
                "429": errors.EvoLinkRateLimited,
                "404": errors.EvoLinkNotFoundError,
            }
            decision = waiting.on_error(kinds[what]("x", retry_after=retry_after), now)
            at_least = max(retry_after or 0.0, 2.0)
            if what == "404" and now - T0 > POLICY.not_found_grace:
                at_least = min(5.0, interval or 5.0)
                if decision.end is None:
                    now += decision.delay
                    continue
        if decision.end is not None:
            assert decision.end is WaitEnd.UNREADABLE or now >= waiting.deadline
            return
        assert now + decision.delay <= waiting.deadline + 1e-6
        assert decision.delay >= at_least or now + decision.delay >= waiting.deadline - 1e-6
        assert decision.delay <= 1.1 * max(POLICY.max_poll_interval, interval or 0.0, retry_after or 0.0)
        now += decision.delay


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
def test_the_polls_of_the_worker(estimate, age, expected):
    assert worker_poll_delays(job(estimate=estimate), T0, T0 + age) == expected
    assert sum(expected) <= 10.0


@pytest.mark.parametrize(
    ("kind", "estimate", "defer_after", "age", "expected"),
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
def test_the_polls_of_the_worker_by_kind_and_by_choice(kind, estimate, defer_after, age, expected):
    assert worker_poll_delays(job(kind=kind, estimate=estimate), T0, T0 + age, defer_after) == expected
