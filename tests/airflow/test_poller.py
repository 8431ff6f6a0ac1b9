"""The shared poller: real HTTP to the emulator, real triggers, two hundred at a time."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from evolink_support import until

from airflow_provider_evolink.api.errors import EvoLinkAuthError
from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.schedule import PollSchedule
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.api.polling import poller
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.triggers import EvoLinkJobTrigger, evolink

Orders = Callable[[int], list[str]]
Payload = dict[str, str]
load_settings = functools.partial(EvoLinkHook.aget_settings, "evolink_default")


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import beforehand what the first trigger of a process imports, which takes its time on a busy machine."""
    evolink._import()


@pytest.fixture
def orders(emulator: EmulatorServer, evolink_conn: str) -> Orders:
    """Return a function that orders some jobs, none of which ends by itself, and returns their ids."""
    emulator.settings(polls=10_000, balance=100_000.0)

    def place(count: int) -> list[str]:
        with EvoLinkHook().get_conn() as client:
            order = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
            return [client.submit({**order, "seed": seed + 1}).job_id for seed in range(count)]

    return place


def trigger(job_id: str, **given: Any) -> EvoLinkJobTrigger:
    facts = {"evolink_conn_id": "evolink_default", "deadline": time.time() + 300, "started": time.time()}
    return EvoLinkJobTrigger(**{**facts, "job_id": job_id, "poll_interval": 0.3, "hold": 0.0, **given})


async def told(one: EvoLinkJobTrigger) -> Payload:
    (event,) = [event async for event in one.run()]
    payload: Payload = event.payload
    return payload


def start(job_ids: list[str], **given: Any) -> list[asyncio.Task[Payload]]:
    return [asyncio.create_task(told(trigger(job_id, **given))) for job_id in job_ids]


async def leave(waiting: list[asyncio.Task[Payload]]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def calls(emulator: EmulatorServer, kind: str) -> int:
    """Return how many calls that read one job, or many, the emulator has met."""
    count: int = emulator.books()["requests"].get(kind, 0)
    return count


def looks(emulator: EmulatorServer) -> list[int]:
    """Return how often each job was looked at."""
    return [job["reads"] for job in emulator.books()["jobs"]]


def lent() -> poller.Poller:
    (one,) = poller._pollers[asyncio.get_running_loop()].values()
    return one


def sockets(client: Any) -> int:
    connector = client._http._transport.client.connector
    return sum(map(len, connector._conns.values())) + len(connector._acquired)


async def test_two_hundred_triggers_share_one_client_few_sockets_and_calls_of_fifty(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    jobs = orders(200)
    waiting = start(jobs)
    await until(lambda: min(looks(emulator)) >= 1)
    assert len(clients) == 1
    assert 1 <= sockets(clients[0]) <= 8
    assert lent().users == 200
    before, seen, began = calls(emulator, "batch"), min(looks(emulator)), time.monotonic()
    await until(lambda: min(looks(emulator)) >= seen + 4)  # none is forgotten
    rounds = 1 + (time.monotonic() - began) / 0.3
    assert calls(emulator, "batch") - before <= rounds * 200 / 50 * 2
    assert calls(emulator, "read") <= sum(looks(emulator)) / 100, "hardly a job is read on its own"
    for job_id in jobs:
        emulator.job(job_id, state="completed")
    assert await asyncio.gather(*waiting) == [{"job_id": job_id, "status": "completed"} for job_id in jobs]
    assert clients[0]._http.is_closed
    assert not any(poller._pollers.values())
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


async def test_a_trigger_that_is_cancelled_leaves_the_others(orders: Orders, emulator: EmulatorServer) -> None:
    jobs = orders(3)
    waiting = start(jobs, poll_interval=1.5)
    await until(lambda: min(looks(emulator)) >= 1)
    await leave(waiting[:1])
    place = [job["id"] for job in emulator.books()["jobs"]].index(jobs[0])
    reads = looks(emulator)
    await until(lambda: sum(looks(emulator)) >= sum(reads) + 4)
    assert looks(emulator)[place] == reads[place], "a job nobody waits for is not read any more"
    for job_id in jobs:
        emulator.job(job_id, state="completed")
    assert [payload["status"] for payload in await asyncio.gather(*waiting[1:])] == ["completed"] * 2


async def test_the_one_that_came_first_may_leave_while_the_connection_is_looked_up(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = orders(2)
    plain, go = EvoLinkHook.aget_settings, asyncio.Event()

    async def slow(conn_id: str) -> Any:
        await go.wait()
        return await plain(conn_id)

    monkeypatch.setattr(EvoLinkHook, "aget_settings", slow)
    waiting = start(jobs)
    await asyncio.sleep(0.5)
    await leave(waiting[:1])
    go.set()
    emulator.job(jobs[1], state="completed")
    assert (await asyncio.wait_for(waiting[1], 60))["status"] == "completed"


async def test_a_connection_that_cannot_be_read_is_looked_up_once_for_all(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    async def broken(conn_id: str) -> Any:
        looked.append(conn_id)
        await asyncio.sleep(0.2)
        raise RuntimeError

    monkeypatch.setattr(EvoLinkHook, "aget_settings", broken)
    payloads = await asyncio.gather(*start([f"task-unified-1-{number}" for number in range(50)]))
    assert {payload["status"] for payload in payloads} == {"unreadable"}
    assert len(looked) == 1
    assert not any(poller._pollers.values())


async def test_a_job_missing_in_an_answer_about_many_is_read_singly(orders: Orders, emulator: EmulatorServer) -> None:
    jobs = orders(2)
    gone = "task-unified-1790000000-gone0001"
    waiting = start([*jobs, gone], started=time.time() - 300)
    payload = await asyncio.wait_for(waiting[2], 60)
    assert payload == {"job_id": gone, "status": "unreadable"}
    assert emulator.books()["requests"]["read"] == 5, "and counts as gone after five single looks"
    await leave(waiting)


async def test_where_many_cannot_be_read_at_once_each_is_read_singly_and_that_is_found_out_once(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    emulator.fault("status", on="batch", status=404, body="not found", times=-1)
    jobs = orders(20)
    waiting = start(jobs[:10])
    await until(lambda: sum(looks(emulator)) >= 10)
    waiting += start(jobs[10:])
    await until(lambda: min(looks(emulator)) >= 2)
    assert calls(emulator, "batch") == 1
    assert sockets(clients[0]) <= 8
    await leave(waiting)


async def test_a_refused_call_about_many_says_nothing_about_one(orders: Orders, emulator: EmulatorServer) -> None:
    emulator.fault("status", on="batch", status=403, code="permission_denied", times=-1)
    jobs = orders(5)
    waiting = start(jobs)
    await until(lambda: min(looks(emulator)) >= 2)
    assert not any(task.done() for task in waiting)
    assert calls(emulator, "batch") == 1
    await leave(waiting)


async def test_somebody_elses_job_ends_its_own_wait_alone(orders: Orders, emulator: EmulatorServer) -> None:
    jobs = orders(3)
    emulator.fault("status", on="read", path=jobs[0], status=403, code="permission_denied", times=-1)
    emulator.job(jobs[0], vanish=True)
    waiting = start(jobs)
    assert (await asyncio.wait_for(waiting[0], 60))["status"] == "unreadable"
    reads = sum(looks(emulator))
    await until(lambda: sum(looks(emulator)) >= reads + 4)
    assert not any(task.done() for task in waiting[1:])
    await leave(waiting)


async def test_one_retry_after_pauses_all(orders: Orders, emulator: EmulatorServer) -> None:
    jobs = orders(120)
    waiting = start(jobs, poll_interval=0.2)
    await until(lambda: min(looks(emulator)) >= 1)
    emulator.fault("status", on="batch", status=429, headers={"Retry-After": "2"}, times=1)
    await until(lambda: emulator.faults()[0]["met"])
    met = time.monotonic()
    await asyncio.sleep(0.2)
    await until(lambda: not lent()._calls)  # those that were under way are back
    before = calls(emulator, "batch")
    while time.monotonic() - met < 1.5:
        now = calls(emulator, "batch")
        assert now == before or time.monotonic() - met > 1.8, "nobody calls"
        await asyncio.sleep(0.05)
    await until(lambda: calls(emulator, "batch") > before + 3)  # and then all go on
    assert not any(task.done() for task in waiting)
    await leave(waiting)


async def test_a_pause_beyond_a_deadline_ends_that_wait_in_time(orders: Orders, emulator: EmulatorServer) -> None:
    jobs = orders(2)
    emulator.fault("status", on="batch", status=429, headers={"Retry-After": "60"}, times=1)
    began = time.monotonic()
    waiting = start(jobs, deadline=time.time() + 1.5)
    late = start(jobs[:1])
    assert {payload["status"] for payload in await asyncio.gather(*waiting)} == {"timeout"}
    assert 1.0 <= time.monotonic() - began < 30.0
    assert not late[0].done()
    await leave(late)


async def test_a_storm_is_met_by_few_calls_and_ends_no_wait(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.jobs.schedule.LONGEST", 1.0)
    jobs = orders(150)
    waiting = start(jobs)
    await until(lambda: min(looks(emulator)) >= 1)
    emulator.fault("status", on="any", status=503, times=-1)
    began = time.monotonic()
    await asyncio.sleep(3.0)
    await until(lambda: emulator.faults()[0]["met"] >= 2)
    met, rounds = emulator.faults()[0]["met"], (time.monotonic() - began) / 0.3
    assert met <= 4 * rounds, "150 waits would be 3 calls a round for 50 jobs each, and 150 singly"
    emulator.clear_faults()
    assert not any(task.done() for task in waiting)
    for job_id in jobs:
        emulator.job(job_id, state="completed")
    payloads = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert {payload["status"] for payload in payloads} == {"completed"}


async def test_a_key_that_was_replaced_goes_on(
    orders: Orders, emulator: EmulatorServer, clients: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = orders(60)
    waiting = start(jobs)
    await until(lambda: min(looks(emulator)) >= 1)
    new = {"conn_type": "evolink", "host": emulator.url, "password": "new-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(new))
    emulator.fault("status", on="batch", status=401, code="unauthorized", times=1)
    await until(lambda: len(clients) == 2)
    assert [client.settings.api_key for client in clients][1:] == ["new-key-0123456789"]
    assert not any(task.done() for task in waiting)
    await leave(waiting)
    assert all(client._http.is_closed for client in clients)


async def test_calls_that_are_refused_together_read_the_connection_once_and_end_all_waits(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    jobs = orders(200)
    emulator.fault("status", on="batch", status=401, code="unauthorized", times=-1)
    payloads = await asyncio.wait_for(asyncio.gather(*start(jobs)), 60)
    assert payloads == [{"job_id": job_id, "status": "unreadable"} for job_id in jobs]
    assert len(clients) == 2
    assert 2 <= calls(emulator, "batch") <= 16
    assert all(client._http.is_closed for client in clients)


async def test_a_trigger_that_is_rebuilt_elsewhere_joins(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    jobs = orders(2)
    waiting = start(jobs)
    await until(lambda: min(looks(emulator)) >= 1)
    _, kwargs = trigger(jobs[0]).serialize()
    again = asyncio.create_task(told(EvoLinkJobTrigger(**json.loads(json.dumps(kwargs)))))
    await until(lambda: lent().users == 3)
    emulator.job(jobs[0], state="completed")
    assert await asyncio.wait_for(again, 60) == await asyncio.wait_for(waiting[0], 60)
    assert len(clients) == 1
    await leave(waiting)


async def test_a_job_whose_estimate_is_known_is_not_looked_at_at_once(orders: Orders, emulator: EmulatorServer) -> None:
    known = {"kind": "video", "model": "m", "estimated_time": 8.0, "poll_interval": None}
    jobs, began = orders(2), time.monotonic()
    waiting = start(jobs, **known)
    await until(lambda: calls(emulator, "batch"))
    assert time.monotonic() - began >= 1.7, "after a quarter of it"
    await leave(waiting)


async def test_each_line_goes_to_the_log_of_its_own_task(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextvars import ContextVar

    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    lines: list[tuple[str, str]] = []

    async def one(job_id: str) -> None:
        whose.set(job_id)
        made = trigger(job_id)
        monkeypatch.setattr(type(made.log), "info", lambda _, line: lines.append((whose.get(), line)), raising=False)
        await told(made)

    jobs = orders(3)
    waiting = [asyncio.create_task(one(job_id)) for job_id in jobs]
    await until(lambda: {owner for owner, _ in lines} >= set(jobs))
    await leave(waiting)
    assert {owner for owner, _ in lines} == set(jobs)
    assert all(owner in line for owner, line in lines)


async def test_there_is_one_timer_however_many_calls_were_made(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[asyncio.TimerHandle] = []
    later = poller.later
    monkeypatch.setattr(poller, "later", lambda *given: timers.append(later(*given)) or timers[-1])
    emulator.fault("status", on="batch", status=404, body="not found", times=-1)
    waiting = start(orders(5))
    await until(lambda: len(timers) > 20)
    now = asyncio.get_running_loop().time()
    assert len([timer for timer in timers if timer.when() > now and not timer.cancelled()]) <= 1
    await leave(waiting)


async def test_after_an_outage_jobs_are_read_together_again(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.jobs.schedule.LONGEST", 0.5)
    waiting = start(orders(30))
    await until(lambda: min(looks(emulator)) >= 1)
    emulator.fault("status", on="any", status=503, times=8)
    await until(lambda: emulator.faults()[0]["done"])
    await calls_more(emulator, 2)  # it is over, as is what each job was read singly for
    singly, seen = calls(emulator, "read"), sum(looks(emulator))
    await until(lambda: sum(looks(emulator)) >= seen + 150)
    singly, seen = calls(emulator, "read") - singly, sum(looks(emulator)) - seen
    assert singly <= seen / 5, "nobody is read on its own for the rest of its life"
    await leave(waiting)


async def test_calls_that_fail_together_are_one_failure(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789", "extra": {"timeout": 1}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(hasty))
    emulator.fault("status", on="batch", status=404, body="not found", times=1)
    waiting = start(orders(8), poll_interval=0.5)
    await until(lambda: min(looks(emulator)) >= 1)
    lent()._limits._jitter = lambda: 1.0
    emulator.fault("delay", on="read", seconds=3.0, times=8)
    await until(lambda: emulator.faults()[1]["done"])
    before = calls(emulator, "read")
    await until(lambda: calls(emulator, "read") >= before + 8, 20.0)  # a blip is not followed by a minute of silence
    await leave(waiting)


async def test_a_wait_that_begins_after_the_key_was_refused_ends_like_the_others(
    orders: Orders, emulator: EmulatorServer
) -> None:
    (job_id,) = orders(1)
    emulator.fault("status", on="read", status=401, code="unauthorized", times=-1)
    async with poller.shared_poller("evolink_default", load_settings) as one:
        watch = PollSchedule(deadline=time.time() + 60, started=time.time())
        known = JobSnapshot(job_id, JobStatus.PENDING, "")
        for _ in range(2):
            with pytest.raises(EvoLinkAuthError):
                await asyncio.wait_for(one.wait(watch, known, lambda _: None), 60)


async def test_a_trigger_that_is_cancelled_twice_leaves_no_connection(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    emulator.fault("delay", on="read", seconds=5.0, times=1)
    (waiting,) = start(orders(1))
    await until(lambda: calls(emulator, "read"))
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: clients[0]._http.is_closed)
    await until(lambda: clients[0]._http._transport.client.closed)
    assert not any(poller._pollers.values())


async def test_a_server_that_read_no_batch_for_a_moment_is_asked_again_later(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.polling.reader.ASK_AGAIN", 1.0)
    monkeypatch.setattr(poller, "ALONE_FOR", 1)
    emulator.fault("status", on="batch", status=404, body="not found", times=1)
    waiting = start(orders(10))
    await until(lambda: calls(emulator, "read") >= 10)
    await calls_more(emulator, 2)
    singly, seen = calls(emulator, "read"), sum(looks(emulator))
    await until(lambda: sum(looks(emulator)) >= seen + 50)
    singly, seen = calls(emulator, "read") - singly, sum(looks(emulator)) - seen
    assert singly <= seen / 3, "one that is due on its own is a call of one"
    await leave(waiting)


async def calls_more(emulator: EmulatorServer, count: int) -> None:
    """Wait until jobs were read together some times more."""
    goal = calls(emulator, "batch") + count
    await until(lambda: calls(emulator, "batch") >= goal)


async def test_a_key_that_is_refused_now_and_then_leaves_no_clients_behind(
    orders: Orders, emulator: EmulatorServer, clients: list[Any]
) -> None:
    waiting = start(orders(2))
    for made in range(2, 6):
        emulator.fault("status", on="batch", status=401, code="unauthorized", times=1)
        await until(lambda: len(clients) >= made)  # noqa: B023
        assert len(clients) == made
        await calls_more(emulator, 2)  # a second refusal in a row would be the end
    assert sum(not client._http.is_closed for client in clients) <= 2
    assert not any(task.done() for task in waiting)
    await leave(waiting)
    assert all(client._http.is_closed for client in clients)


async def test_a_job_that_can_never_be_read_does_not_pause_the_others(
    orders: Orders, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.jobs.schedule.LONGEST", 0.2)
    jobs = orders(5)
    emulator.fault("status", on="read", path=jobs[0], status=500, code="internal_error", times=-1)
    emulator.job(jobs[0], vanish=True)
    waiting = start(jobs, poll_interval=0.2)
    await until(lambda: emulator.faults()[0]["met"] >= 3)
    met, allowed = emulator.faults()[0]["met"], []
    while emulator.faults()[0]["met"] < met + 3:  # it is still looked for
        await asyncio.sleep(0.005)
        allowed.append(lent()._limits.at_once)
    assert min(allowed) == 8, "and the others go on as if nothing was"
    emulator.fault("status", on="any", status=503, times=-1)
    await until(lambda: lent()._limits.at_once == 1)  # but an outage concerns all
    await leave(waiting)
