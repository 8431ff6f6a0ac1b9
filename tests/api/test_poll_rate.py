"""How many single reads run at the same time, and the warning when they are not enough: decisions, then real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from airflow_provider_evolink.api import ClientSettings
from airflow_provider_evolink.api.errors import EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.http.connections import ConnectionCount
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.jobs.schedule import PollSchedule
from airflow_provider_evolink.api.polling import call_limit, lateness
from airflow_provider_evolink.api.polling.backoff import SharedBackoff
from airflow_provider_evolink.api.polling.call_limit import MAX_CALLS, MIN_CALLS, CallLimit, Demand, NextPoll
from airflow_provider_evolink.api.polling.lateness import Lateness, PollerState
from airflow_provider_evolink.api.polling.poller import Poller, until_next_poll


def after(limit: CallLimit, calls: int, seconds: float, wanted: float = 200.0, *, is_late: bool = True) -> int:
    """Let some calls succeed; return how many may run then."""
    for _ in range(calls):
        limit.on_success(seconds, wanted, is_late=is_late)
    return limit.value


@pytest.mark.parametrize(
    ("seconds", "wanted", "expected"),
    [
        (0.02, 200.0, (8, 8)),
        (0.02, 20.0, (8, 8)),
        (0.2, 20.0, (8, 8)),
        (0.1, 200.0, (24, 26)),
        (0.2, 200.0, (48, 52)),
        (0.2, 1000.0, (64, 64)),
        (10.0, 200.0, (64, 64)),
        (10.0, 0.0, (8, 8)),
    ],
)
def test_as_many_calls_as_the_wanted_polls_take_connections(seconds, wanted, expected):
    low, high = expected
    assert low <= after(CallLimit(), 1000, seconds, wanted) <= high


def test_the_first_calls_which_open_their_connections_raise_nothing():
    limit = CallLimit()
    assert after(limit, 8, 0.5) == MIN_CALLS
    assert all(after(limit, 1, 0.02) == MIN_CALLS for _ in range(100))


def test_nothing_rises_while_every_poll_is_made_in_time():
    limit = CallLimit()
    assert after(limit, 1000, 0.2, is_late=False) == MIN_CALLS
    for _ in range(50):
        after(limit, 40, 0.2)
        assert after(limit, 1, 0.2, is_late=False) == MIN_CALLS, "nor by a moment in which they are late"


def test_one_slow_call_opens_no_connections():
    limit = CallLimit()
    after(limit, 500, 0.02)
    limit.on_success(14.9, 200.0, is_late=True)
    assert after(limit, 50, 0.02) == MIN_CALLS


def test_a_busy_process_opens_no_connections():
    """Its own stalls make some round trips look long, of all calls that run at the time."""
    limit = CallLimit()
    for _ in range(100):
        after(limit, 100, 0.02)
        after(limit, 40, 1.0)
        after(limit, 1, 0.02, is_late=False)
        assert limit.value == MIN_CALLS


def test_a_server_that_is_slow_for_half_of_the_calls_counts_as_half_as_slow():
    limit = CallLimit()
    for _ in range(1000):
        after(limit, 1, 0.02)
        after(limit, 1, 0.38)
    assert 46 <= limit.value <= 54
    for _ in range(200):
        after(limit, 1, 0.02, is_late=False)
        after(limit, 1, 0.38, is_late=False)
    assert limit.value >= 46, "and stays so"


def test_an_interval_counts_from_one_poll_to_the_next():
    assert until_next_poll(5.0, 0.0) == 5.0
    assert until_next_poll(5.0, 0.2) == pytest.approx(4.8)
    assert until_next_poll(5.0, 10.0) == 2.5, "a slow server is not polled without a pause"


def test_a_server_that_becomes_slow_is_noticed_within_a_few_round_trips():
    limit = CallLimit()
    after(limit, 500, 0.02)
    assert after(limit, 160, 0.2) >= 40
    assert after(limit, 300, 10.0) == MAX_CALLS


def test_the_limit_falls_when_fewer_are_needed_and_not_for_a_little():
    limit = CallLimit()
    many = after(limit, 1000, 0.2)
    assert after(limit, 200, 0.2, wanted=170.0) == many
    assert after(limit, 400, 0.02) == MIN_CALLS


def test_trouble_halves_the_limit_and_it_comes_back_slowly():
    limit = CallLimit()
    many = after(limit, 1000, 0.2)
    limit.on_failure()
    assert limit.value == many // 2
    assert limit.is_reduced, "which the warning names as the reason"
    assert after(limit, 100, 0.2) <= many // 2 + 5
    assert after(limit, 1000, 0.2) == many
    for _ in range(9):
        limit.on_failure()
    assert limit.value == MIN_CALLS, "and never below what quick responses need"


@pytest.mark.parametrize("error", [EvoLinkRateLimited("x", retry_after=1.0), EvoLinkUnavailable("x", status_code=503)])
def test_calls_that_fail_together_halve_it_once(error):
    backoff = SharedBackoff()
    now = 0.0
    for _ in range(1000):
        now += 0.01
        backoff.record(None, now, now - 0.2, wanted=200.0, is_late=True)
    many = backoff.max_calls
    assert many >= 48
    for _ in range(many):
        backoff.record(error, now, now - 0.1)
    assert backoff.max_calls == 1, "one call probes"
    assert backoff.limit.value == many // 2
    for _ in range(10):
        backoff.record(None, now, now - 0.2, wanted=200.0, is_late=True)
    assert backoff.max_calls == many // 2


def test_an_unreadable_job_leaves_the_limit_alone():
    backoff = SharedBackoff()
    for now in range(1000):
        backoff.record(None, float(now), now - 0.2, wanted=200.0, is_late=True)
    many = backoff.limit.value
    backoff.record(EvoLinkUnavailable("x"), 1000.0, 999.0, isolated=True)
    assert backoff.limit.value == many


def test_the_demand_is_the_sum_over_the_waits_that_are_there():
    demand = Demand()
    polls = [NextPoll(0.0, delay) for delay in (0.0, 0.1, 0.3, 5.0, 120.0)]
    for poll in polls:
        demand.replace(None, poll)
    assert demand.rate == pytest.approx(0.5 + 0.5 + 1 / 0.3 + 0.2 + 1 / 120)
    assert demand.single_reads(reads_many=False) == demand.rate
    assert demand.single_reads(reads_many=True) == 0.0
    demand.replace(polls[2], NextPoll(9.0, 10.0))
    assert demand.rate == pytest.approx(0.5 + 0.5 + 0.1 + 0.2 + 1 / 120)
    for poll in (*polls[:2], NextPoll(9.0, 10.0), *polls[3:]):
        demand.replace(poll, None)
    assert demand.rate == 0.0


def test_connections_are_closed_one_call_each_until_as_few_are_left_as_needed():
    count = ConnectionCount()
    running = [count.begin() for _ in range(40)]
    assert not any(running), "as many calls as connections"
    for is_last in running:
        count.end(is_last=is_last, has_failed=False)
    count.keep = 8
    closed = 0
    for _ in range(100):
        is_last = count.begin()
        count.end(is_last=is_last, has_failed=False)
        closed += is_last
    assert closed == 32
    count.begin()
    count.end(is_last=False, has_failed=True)
    assert not any(count.begin() for _ in range(9)), "a new one replaces that of a call that failed"
    count.keep = 4
    assert not count.begin(), "all connections carry a call, and the next one opens one that may be needed"


def behind(watch: Lateness, *, late_by: float, interval: float, seconds: float, now: float, share: float = 1.0):
    """Make ten polls a second; return the warnings."""
    warnings = []
    for step in range(int(10 * seconds)):
        watch.note(late_by if step % 10 < 10 * share else 0.0, interval)
        warnings.append(watch.close_window(now + step / 10))
    return [warning for warning in warnings if warning is not None]


@pytest.mark.parametrize(
    ("late_by", "interval", "share", "count"),
    [
        (21.0, 5.0, 1.0, 1),
        (21.0, 5.0, 0.6, 1),
        (21.0, 5.0, 0.4, 0),
        (2.4, 5.0, 1.0, 0),
        (2.6, 5.0, 1.0, 1),
        (1.9, 0.3, 1.0, 0),
        (9.0, 120.0, 1.0, 0),
        (11.0, 120.0, 1.0, 1),
    ],
)
def test_polling_is_behind_where_most_polls_are_late_by_half_their_interval(late_by, interval, share, count):
    watch = Lateness()
    assert len(behind(watch, late_by=late_by, interval=interval, seconds=100, now=0.0, share=share)) == count


def test_there_is_one_warning_for_an_episode():
    watch = Lateness()
    assert behind(watch, late_by=21.0, interval=5.0, seconds=40, now=0.0) == [pytest.approx(21.0)]
    assert behind(watch, late_by=0.0, interval=5.0, seconds=40, now=40.0) == []
    assert behind(watch, late_by=21.0, interval=5.0, seconds=40, now=80.0) == [], "still the same"
    assert behind(watch, late_by=0.0, interval=5.0, seconds=100, now=120.0) == []
    assert len(behind(watch, late_by=21.0, interval=5.0, seconds=40, now=220.0)) == 1


@pytest.mark.parametrize(
    ("is_refused", "is_full", "why", "advice"),
    [
        (True, True, "so at most 64 run at a time", "rate limit"),
        (False, True, "a call takes 10 s, and at most 64", "more triggerers"),
        (False, False, "too busy", "blocks the event loop"),
    ],
)
def test_the_warning_says_how_far_behind_why_and_what_to_do(is_refused, is_full, why, advice):
    state = PollerState(waits=1000, max_calls=64, round_trip=10.0, is_refused=is_refused, is_full=is_full)
    text = Lateness("evolink_video").warning(21.4, state)
    for part in ("evolink_video", "1000 jobs", "21 s late", "Why: ", why, "No job is lost", "What to do: ", advice):
        assert part in text


# --- real HTTP


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():
            await asyncio.sleep(0.02)


class SlowServer:
    """Reads jobs singly, each response after some time. Counts connections and polls."""

    def __init__(self) -> None:
        self.delay = 0.02
        self.sockets = self.max_sockets = self.polls = 0
        self.url = ""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sockets += 1
        self.max_sockets = max(self.max_sockets, self.sockets)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(self.delay)
                status, row = "200 OK", {"id": head.split(b" ")[1].decode().rpartition("/")[2], "status": "processing"}
                if head.startswith(b"POST"):
                    status, row = "404 Not Found", {"id": "none"}
                else:
                    self.polls += 1
                body = json.dumps(row).encode()
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                if b"connection: close" in head.lower():
                    break
        self.sockets -= 1
        writer.close()


@asynccontextmanager
async def polled(server: SlowServer, count: int, interval: float) -> AsyncIterator[None]:
    """Let some jobs be polled by one poller, which was never told that the server has no batch call."""

    async def load_settings() -> ClientSettings:
        return ClientSettings(api_key="test-key-0123456789", base_url=server.url)

    async with server.run():
        poller = Poller(load_settings, "evolink_slow")
        await poller.open()
        waits = []
        for number in range(count):
            schedule = PollSchedule(deadline=time.time() + 99, started=time.time(), poll_interval=interval)
            wait = poller.wait(f"task-{number}", JobHints(), schedule, lambda _: None)
            waits.append(asyncio.create_task(wait))
        try:
            yield
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await poller.close()


async def test_connections_follow_the_round_trip_up_and_down(caplog):
    server = SlowServer()
    async with polled(server, 200, 1.5):
        await until(lambda: server.polls >= 220)
        assert server.max_sockets <= 16
        server.delay = 0.3
        await until(lambda: server.sockets >= 18)
        server.delay, server.max_sockets = 0.02, 0
        await until(lambda: server.sockets <= 12)
        assert server.max_sockets <= 64
    assert not caplog.records


async def test_that_polling_is_behind_is_in_the_log_once(caplog, monkeypatch):
    monkeypatch.setattr(lateness, "WINDOW", 0.4)
    monkeypatch.setattr(lateness, "MIN_LATE", 0.05)
    monkeypatch.setattr(call_limit, "MAX_CALLS", 8)
    server = SlowServer()
    server.delay = 0.1
    async with polled(server, 200, 0.5):
        await until(lambda: caplog.records)
        polls = server.polls
        await until(lambda: server.polls >= polls + 80)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "evolink_slow is behind: 200 jobs" in record.getMessage()
