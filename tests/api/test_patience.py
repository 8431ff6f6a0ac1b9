"""What a rate limit refuses comes back later, spread, and never before its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.http import patience
from airflow_provider_evolink.api.http.patience import Patience, PatiencePolicy, is_throttled, pause_after
from airflow_provider_evolink.api.http.retries import retry_after

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def real_numbers(monkeypatch):
    monkeypatch.setattr(patience, "POLICY", PatiencePolicy())


def date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("refusals", "requested", "left", "earliest", "latest"),
    [
        (1, None, 600, 0, 8),
        (2, None, 600, 0, 16),
        (4, None, 600, 0, 64),
        (5, None, 600, 0, 90),
        (10**6, None, 600, 0, 90),
        (1, 0.0, 600, 0, 8),
        (1, 30.0, 600, 30, 38),
        (3, 30.0, 600, 30, 62),
        (5, 30.0, 600, 30, 120),
        (5, 30.0, 40, 30, 40),
        (5, None, 1, 0, 1),
    ],
)
def test_a_call_returns_in_a_window_behind_what_was_requested(refusals, requested, left, earliest, latest):
    pauses = [pause_after(refusals, requested, left, jitter) for jitter in (0.0, 0.5, 1.0)]
    assert pauses == [earliest, (earliest + latest) / 2, latest]


@pytest.mark.parametrize(("requested", "left"), [(None, 0), (None, -1), (30.0, 30), (601.0, 600), (3600.0, 600)])
def test_what_cannot_return_in_time_is_given_up_at_once(requested, left):
    assert pause_after(1, requested, left, 0.5) is None


def test_sixty_four_come_back_one_by_one():
    """After the fourth refusal 64 calls return over a minute: no more than a few in any second."""
    moments = [pause_after(5, 1.0, 600, number / 64) for number in range(64)]
    assert max(sum(second <= moment < second + 1 for moment in moments) for second in range(90)) <= 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.EvoLinkRateLimited("x"), True),
        (errors.EvoLinkRateLimited("x", retry_after=5), True),
        (errors.EvoLinkUnavailable("x", retry_after=5), True),
        (errors.EvoLinkUnavailable("x", retry_after=0.0), True),
        (errors.EvoLinkUnavailable("x"), False),
        (errors.EvoLinkCreditsError("x", retry_after=5), False),
        (errors.EvoLinkAuthError("x"), False),
        (errors.EvoLinkNotFoundError("x", retry_after=5), False),
        (OSError("x"), False),
    ],
)
def test_what_is_a_refusal_for_now(error, expected):
    assert is_throttled(error) is expected


@pytest.mark.parametrize(
    ("text", "now", "seconds"),
    [
        ("30", None, 30),
        ("0.5", None, 0.5),
        (date(90), NOW, 90),
        (date(90), NOW - timedelta(minutes=40), 90),  # our clock is behind
        (date(90), NOW + timedelta(minutes=40), 90),  # or ahead
        (date(-90), NOW, 0),
        (date(90).replace("GMT", "-0000"), NOW, 90),
        ("Saturday, 31-Jan-26 12:01:30 GMT", NOW, 90),
        ("Sat Jan 31 12:01:30 2026", NOW, 90),
        ("1e9", None, 3600),
        ("-1", None, None),
        ("soon", None, None),
        ("nan", None, None),
        ("", None, None),
    ],
)
def test_retry_after_counts_from_the_date_of_the_response(text, now, seconds):
    assert retry_after({"retry-after": text, "date": date(0)}, now) == seconds


def test_without_a_date_our_own_clock_counts():
    assert retry_after({"retry-after": date(90)}, NOW) == 90
    assert retry_after({"retry-after": date(90), "date": "yesterday"}, NOW) == 90


def test_a_try_waits_ten_minutes_in_all(monkeypatch):
    slept = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: 1000.0 + sum(slept))
    one = Patience()
    for refusals in range(1, 1000):
        if not one.wait("x", refusals % 3 + 1, 20.0):
            break
    assert 560 < sum(slept) <= 600
    assert one.spent == pytest.approx(sum(slept))
    assert not one.wait("another call of the try", 1, 20.0)


def test_waits_of_several_threads_at_the_same_time_count_once(monkeypatch):
    slept = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: 1000.0)  # all of them wait now
    one = Patience()
    assert all(one.wait("x", 1, 20.0) for _ in range(50))
    assert one.spent == pytest.approx(max(slept))
    assert 20 <= one.spent <= 28


def test_a_wait_ends_before_the_try_does(monkeypatch):
    slept = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    assert not Patience(until=patience.time.time() + 10).wait("x", 1, 20.0)
    assert not Patience().wait("x", 1, 20.0, left=10)
    assert not slept
    assert Patience(until=patience.time.time() + 30).wait("x", 9, 20.0)
    assert 20 <= slept[0] <= 30


def test_other_errors_are_not_waited_out():
    with pytest.raises(errors.EvoLinkAuthError):
        Patience().outlast(lambda: (_ for _ in ()).throw(errors.EvoLinkAuthError("x")), "read job")
