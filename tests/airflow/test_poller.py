"""The shared poller: real HTTP to the emulator, real triggers, two hundred at a time."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from evolink_support import set_policy, until

from airflow_provider_evolink.api.errors import EvoLinkAuthError, EvoLinkConfigError
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.jobs.schedule import Decision, PollSchedule
from airflow_provider_evolink.api.polling import poller
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.triggers import EvoLinkJobTrigger, evolink

Submit = Callable[[int], list[str]]
Payload = dict[str, str]
load_settings = functools.partial(EvoLinkHook.aget_settings, "evolink_default")


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import beforehand what the first trigger of a process imports, which takes its time on a busy machine."""
    evolink._import()


@pytest.fixture
def submit(emulator: EmulatorServer, evolink_conn: str) -> Submit:
    """Return a function that submits some jobs, none of which ends by itself, and returns their ids."""
    emulator.settings(polls=10_000, balance=100_000.0)

    def submit_jobs(count: int) -> list[str]:
        with EvoLinkHook().get_conn() as client:
            body = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
            return [client.submit({**body, "seed": seed + 1}).job_id for seed in range(count)]

    return submit_jobs


def trigger(job_id: str, **given: Any) -> EvoLinkJobTrigger:
    plain = {"evolink_conn_id": "evolink_default", "deadline": time.time() + 300, "started": time.time()}
    return EvoLinkJobTrigger(**{**plain, "job_id": job_id, "poll_interval": 0.3, "hold": 0.0, **given})


async def event_of(one: EvoLinkJobTrigger) -> Payload:
    (event,) = [event async for event in one.run()]
    payload: Payload = event.payload
    return payload


def start(job_ids: list[str], **given: Any) -> list[asyncio.Task[Payload]]:
    return [asyncio.create_task(event_of(trigger(job_id, **given))) for job_id in job_ids]


async def cancel(waiting: list[asyncio.Task[Payload]]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def calls(emulator: EmulatorServer, kind: str) -> int:
    """Return how many calls that read one job, or many, the emulator has met."""
    count: int = emulator.books()["requests"].get(kind, 0)
    return count


def polls(emulator: EmulatorServer) -> list[int]:
    """Return how often each job was polled."""
    return [job["reads"] for job in emulator.books()["jobs"]]


def shared() -> poller.Poller:
    (one,) = poller._pollers[asyncio.get_running_loop()].values()
    return one


def sockets(client: Any) -> int:
    connector = client._http._transport.client.connector
    return sum(map(len, connector._conns.values())) + len(connector._acquired)


async def test_two_hundred_triggers_share_one_client_few_sockets_and_calls_of_fifty(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    jobs = submit(200)
    waiting = start(jobs)
    await until(lambda: min(polls(emulator)) >= 1)
    assert len(clients) == 1
    assert 1 <= sockets(clients[0]) <= 8
    assert shared().users == 200
    before, polled, began = calls(emulator, "batch"), min(polls(emulator)), time.monotonic()
    await until(lambda: min(polls(emulator)) >= polled + 4)  # none is forgotten
    rounds = 1 + (time.monotonic() - began) / 0.3
    assert calls(emulator, "batch") - before <= rounds * 200 / 50 * 2
    assert calls(emulator, "read") <= sum(polls(emulator)) / 100, "hardly any job is read singly"
    for job_id in jobs:
        emulator.job(job_id, state="completed")
    assert await asyncio.gather(*waiting) == [{"job_id": job_id, "status": "completed"} for job_id in jobs]
    assert clients[0]._http.is_closed
    assert not any(poller._pollers.values())
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


async def test_a_cancelled_trigger_does_not_disturb_the_others(submit: Submit, emulator: EmulatorServer) -> None:
    jobs = submit(3)
    waiting = start(jobs, poll_interval=1.5)
    await until(lambda: min(polls(emulator)) >= 1)
    await cancel(waiting[:1])
    number = [job["id"] for job in emulator.books()["jobs"]].index(jobs[0])
    reads = polls(emulator)
    await until(lambda: sum(polls(emulator)) >= sum(reads) + 4)
    assert polls(emulator)[number] == reads[number], "a job nobody waits for is no longer polled"
    for job_id in jobs:
        emulator.job(job_id, state="completed")
    assert [payload["status"] for payload in await asyncio.gather(*waiting[1:])] == ["completed"] * 2


async def test_the_first_trigger_may_be_cancelled_while_the_connection_is_read(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submit(2)
    plain, go = EvoLinkHook.aget_settings, asyncio.Event()

    async def slow(conn_id: str) -> Any:
        await go.wait()
        return await plain(conn_id)

    monkeypatch.setattr(EvoLinkHook, "aget_settings", slow)
    waiting = start(jobs)
    await asyncio.sleep(0.5)
    await cancel(waiting[:1])
    go.set()
    emulator.job(jobs[1], state="completed")
    assert (await asyncio.wait_for(waiting[1], 60))["status"] == "completed"


async def test_a_connection_that_cannot_be_read_is_read_once_for_all(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = []

    async def broken(conn_id: str) -> Any:
        lookups.append(conn_id)
        await asyncio.sleep(0.2)
        raise RuntimeError

    monkeypatch.setattr(EvoLinkHook, "aget_settings", broken)
    payloads = await asyncio.gather(*start([f"task-unified-1-{number}" for number in range(50)]))
    assert {payload["status"] for payload in payloads} == {"unreadable"}
    assert len(lookups) == 1
    assert not any(poller._pollers.values())


async def test_a_job_missing_from_a_batch_response_is_read_singly(submit: Submit, emulator: EmulatorServer) -> None:
    jobs = submit(2)
    gone = "task-unified-1790000000-gone0001"
    waiting = start([*jobs, gone], started=time.time() - 300)
    payload = await asyncio.wait_for(waiting[2], 60)
    assert payload == {"job_id": gone, "status": "unreadable"}
    assert emulator.books()["requests"]["read"] == 5, "and counts as gone after five single polls"
    await cancel(waiting)


async def test_without_the_batch_call_each_job_is_read_singly_and_that_is_found_out_once(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    emulator.fault("status", on="batch", status=404, body="not found", times=-1)
    jobs = submit(20)
    waiting = start(jobs[:10])
    await until(lambda: sum(polls(emulator)) >= 10)
    waiting += start(jobs[10:])
    await until(lambda: min(polls(emulator)) >= 2)
    assert calls(emulator, "batch") == 1
    assert sockets(clients[0]) <= 8
    await cancel(waiting)


async def test_a_refused_batch_call_proves_nothing_about_one_job(submit: Submit, emulator: EmulatorServer) -> None:
    emulator.fault("status", on="batch", status=403, code="permission_denied", times=-1)
    jobs = submit(5)
    waiting = start(jobs)
    await until(lambda: min(polls(emulator)) >= 2)
    assert not any(task.done() for task in waiting)
    assert calls(emulator, "batch") == 1
    await cancel(waiting)


async def test_a_job_of_another_account_ends_only_its_own_wait(submit: Submit, emulator: EmulatorServer) -> None:
    jobs = submit(3)
    emulator.fault("status", on="read", path=jobs[0], status=403, code="permission_denied", times=-1)
    emulator.job(jobs[0], vanish=True)
    waiting = start(jobs)
    assert (await asyncio.wait_for(waiting[0], 60))["status"] == "unreadable"
    reads = sum(polls(emulator))
    await until(lambda: sum(polls(emulator)) >= reads + 4)
    assert not any(task.done() for task in waiting[1:])
    await cancel(waiting)


async def test_one_retry_after_pauses_all(submit: Submit, emulator: EmulatorServer) -> None:
    jobs = submit(120)
    waiting = start(jobs, poll_interval=0.2)
    await until(lambda: min(polls(emulator)) >= 1)
    emulator.fault("status", on="batch", status=429, headers={"Retry-After": "2"}, times=1)
    await until(lambda: emulator.faults()[0]["met"])
    met = time.monotonic()
    await asyncio.sleep(0.2)
    await until(lambda: not shared()._calls)  # running calls have returned
    before = calls(emulator, "batch")
    while time.monotonic() - met < 1.5:
        now = calls(emulator, "batch")
        assert now == before or time.monotonic() - met > 1.8, "nobody calls"
        await asyncio.sleep(0.05)
    await until(lambda: calls(emulator, "batch") > before + 3)  # and then all continue
    assert not any(task.done() for task in waiting)
    await cancel(waiting)


async def test_a_pause_beyond_a_deadline_ends_that_wait_in_time(submit: Submit, emulator: EmulatorServer) -> None:
    jobs = submit(2)
    emulator.fault("status", on="batch", status=429, headers={"Retry-After": "60"}, times=1)
    began = time.monotonic()
    waiting = start(jobs, deadline=time.time() + 1.5)
    late = start(jobs[:1])
    assert {payload["status"] for payload in await asyncio.gather(*waiting)} == {"timeout"}
    assert 1.0 <= time.monotonic() - began < 30.0
    assert not late[0].done()
    await cancel(late)


async def test_an_outage_costs_few_calls_and_ends_no_wait(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, max_error_backoff=1.0)
    jobs = submit(150)
    waiting = start(jobs)
    await until(lambda: min(polls(emulator)) >= 1)
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


async def test_a_replaced_key_is_picked_up(
    submit: Submit, emulator: EmulatorServer, clients: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submit(60)
    waiting = start(jobs)
    await until(lambda: min(polls(emulator)) >= 1)
    new = {"conn_type": "evolink", "host": emulator.url, "password": "new-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(new))
    emulator.fault("status", on="batch", status=401, code="unauthorized", times=1)
    await until(lambda: len(clients) == 2)
    assert [client.settings.api_key for client in clients][1:] == ["new-key-0123456789"]
    assert not any(task.done() for task in waiting)
    await cancel(waiting)
    assert all(client._http.is_closed for client in clients)


async def test_calls_refused_together_read_the_connection_once_and_end_all_waits(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    jobs = submit(200)
    emulator.fault("status", on="batch", status=401, code="unauthorized", times=-1)
    payloads = await asyncio.wait_for(asyncio.gather(*start(jobs)), 60)
    assert payloads == [{"job_id": job_id, "status": "unreadable"} for job_id in jobs]
    assert len(clients) == 2
    assert 2 <= calls(emulator, "batch") <= 16
    assert all(client._http.is_closed for client in clients)


async def test_a_trigger_that_is_rebuilt_joins(submit: Submit, emulator: EmulatorServer, clients: list[Any]) -> None:
    jobs = submit(2)
    waiting = start(jobs)
    await until(lambda: min(polls(emulator)) >= 1)
    _, kwargs = trigger(jobs[0]).serialize()
    again = asyncio.create_task(event_of(EvoLinkJobTrigger(**json.loads(json.dumps(kwargs)))))
    await until(lambda: shared().users == 3)
    emulator.job(jobs[0], state="completed")
    assert await asyncio.wait_for(again, 60) == await asyncio.wait_for(waiting[0], 60)
    assert len(clients) == 1
    await cancel(waiting)


async def test_a_job_with_a_known_estimate_is_not_polled_at_once(submit: Submit, emulator: EmulatorServer) -> None:
    hints = {"kind": "video", "model": "m", "estimated_time": 8.0, "poll_interval": None}
    jobs, began = submit(2), time.monotonic()
    waiting = start(jobs, **hints)
    await until(lambda: calls(emulator, "batch"))
    assert time.monotonic() - began >= 1.7, "after a quarter of it"
    await cancel(waiting)


async def test_each_line_goes_to_the_log_of_its_own_task(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextvars import ContextVar

    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    lines: list[tuple[str, str]] = []

    async def one(job_id: str) -> None:
        whose.set(job_id)
        made = trigger(job_id)
        monkeypatch.setattr(type(made.log), "info", lambda _, line: lines.append((whose.get(), line)), raising=False)
        await event_of(made)

    jobs = submit(3)
    waiting = [asyncio.create_task(one(job_id)) for job_id in jobs]
    await until(lambda: {owner for owner, _ in lines} >= set(jobs))
    await cancel(waiting)
    assert {owner for owner, _ in lines} == set(jobs)
    assert all(owner in line for owner, line in lines)


async def test_there_is_one_timer_after_any_number_of_calls(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[asyncio.TimerHandle] = []
    call_later = poller.call_later
    monkeypatch.setattr(poller, "call_later", lambda *given: timers.append(call_later(*given)) or timers[-1])
    emulator.fault("status", on="batch", status=404, body="not found", times=-1)
    waiting = start(submit(5))
    await until(lambda: len(timers) > 20)
    now = asyncio.get_running_loop().time()
    assert len([timer for timer in timers if timer.when() > now and not timer.cancelled()]) <= 1
    await cancel(waiting)


async def test_after_an_outage_jobs_are_read_together_again(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.5)
    waiting = start(submit(30))
    await until(lambda: min(polls(emulator)) >= 1)
    emulator.fault("status", on="any", status=503, times=8)
    await until(lambda: emulator.faults()[0]["done"])
    await more_batch_calls(emulator, 2)  # it has ended, and so have the isolated polls
    singly, polled = calls(emulator, "read"), sum(polls(emulator))
    await until(lambda: sum(polls(emulator)) >= polled + 150)
    singly, polled = calls(emulator, "read") - singly, sum(polls(emulator)) - polled
    assert singly <= polled / 5, "no job is read singly for the rest of its life"
    await cancel(waiting)


async def test_calls_that_fail_together_are_one_failure(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789", "extra": {"timeout": 1}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(hasty))
    emulator.fault("status", on="batch", status=404, body="not found", times=1)
    waiting = start(submit(8), poll_interval=0.5)
    await until(lambda: min(polls(emulator)) >= 1)
    shared()._backoff._jitter = lambda: 1.0
    emulator.fault("delay", on="read", seconds=3.0, times=8)
    await until(lambda: emulator.faults()[1]["done"])
    before = calls(emulator, "read")
    await until(lambda: calls(emulator, "read") >= before + 8, 20.0)  # a blip is not followed by a minute of silence
    await cancel(waiting)


async def test_a_wait_that_starts_after_the_key_was_refused_ends_like_the_others(
    submit: Submit, emulator: EmulatorServer
) -> None:
    (job_id,) = submit(1)
    emulator.fault("status", on="read", status=401, code="unauthorized", times=-1)
    async with poller.shared_poller("evolink_default", load_settings) as one:
        schedule = PollSchedule(deadline=time.time() + 60, started=time.time())
        for _ in range(2):
            with pytest.raises(EvoLinkAuthError):
                await asyncio.wait_for(one.wait(job_id, JobHints(), schedule, lambda _: None), 60)


class Unusable(PollSchedule):
    """A schedule that returns no moment to poll at."""

    def on_reading(self, *_: Any) -> Decision:
        return Decision(delay=float("nan"))


OWN = "the id of a job"
odd: list[asyncio.Task[Any]] = []  # the wait that misbehaves


def raises(error: BaseException) -> Callable[[Any], None]:
    def on_poll(_: Any) -> None:
        raise error

    return on_poll


@pytest.mark.parametrize(
    ("kind", "on_poll", "error"),
    [
        (PollSchedule, raises(ValueError()), ValueError),
        (PollSchedule, raises(StopIteration()), RuntimeError),
        (PollSchedule, raises(asyncio.CancelledError()), RuntimeError),
        (PollSchedule, lambda _: odd[-1].cancel(), asyncio.CancelledError),
        (Unusable, lambda _: None, ValueError),
    ],
    ids=["raises", "raises what no future holds", "is cancelled", "cancels itself", "cannot say when"],
)
async def test_whatever_one_wait_does_no_other_loses_its_next_poll(
    submit: Submit, emulator: EmulatorServer, kind: type[PollSchedule], on_poll: Callable[[Any], None], error: Any
) -> None:
    jobs = submit(3)
    async with poller.shared_poller("evolink_default", load_settings) as shared:

        def wait(job_id: str, kind: type[PollSchedule], on_poll: Callable[[Any], None]) -> asyncio.Task[Any]:
            schedule = kind(deadline=time.time() + 60, started=time.time(), poll_interval=0.2)
            return asyncio.create_task(shared.wait(job_id, JobHints(), schedule, on_poll))

        before = wait(jobs[0], PollSchedule, lambda _: None)
        odd.append(wait(jobs[1], kind, on_poll))
        after = wait(jobs[2], PollSchedule, lambda _: None)
        with pytest.raises(error):
            await asyncio.wait_for(odd[-1], 30)
        assert calls(emulator, "batch") == 1, "all three were read together"
        polled = polls(emulator)
        await until(lambda: min(polls(emulator)[0] - polled[0], polls(emulator)[2] - polled[2]) >= 2)
        await cancel([before, after])


@pytest.mark.parametrize(
    ("job_id", "deadline"),
    [({"job_id": "task-1"}, 60), (["task-1"], 60), (None, 60), (7, 60), ("", 60), ("a b", 60), ("x" * 200, 60)]
    + [(OWN, value) for value in (float("nan"), float("inf"), "soon", None)],
)
async def test_a_wait_that_cannot_be_is_refused_and_disturbs_no_other(
    submit: Submit, emulator: EmulatorServer, job_id: Any, deadline: Any
) -> None:
    (job,) = submit(1)
    until_when = time.time() + deadline if isinstance(deadline, int) else deadline
    async with poller.shared_poller("evolink_default", load_settings) as shared:
        pace = PollSchedule(deadline=time.time() + 60, started=time.time(), poll_interval=0.2)
        beside = asyncio.create_task(shared.wait(job, JobHints(), pace, lambda _: None))
        wrong = PollSchedule(deadline=until_when, started=time.time(), poll_interval=0.2)
        with pytest.raises(EvoLinkConfigError):
            await asyncio.wait_for(shared.wait(job if job_id is OWN else job_id, JobHints(), wrong, lambda _: None), 10)
        await until(lambda: polls(emulator)[0] >= 2)
        await cancel([beside])


async def test_a_trigger_cancelled_twice_leaves_no_connection(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    emulator.fault("delay", on="read", seconds=5.0, times=1)
    (waiting,) = start(submit(1))
    await until(lambda: calls(emulator, "read"))
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: clients[0]._http.is_closed)
    await until(lambda: clients[0]._http._transport.client.closed)
    assert not any(poller._pollers.values())


async def test_the_batch_call_is_tried_again_later(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.polling.reader.BATCH_RETRY_AFTER", 1.0)
    monkeypatch.setattr(poller, "ISOLATED_POLLS", 1)
    emulator.fault("status", on="batch", status=404, body="not found", times=1)
    waiting = start(submit(10))
    await until(lambda: calls(emulator, "read") >= 10)
    await more_batch_calls(emulator, 2)
    singly, polled = calls(emulator, "read"), sum(polls(emulator))
    await until(lambda: sum(polls(emulator)) >= polled + 50)
    singly, polled = calls(emulator, "read") - singly, sum(polls(emulator)) - polled
    assert singly <= polled / 3, "a job that is due alone is a call of one"
    await cancel(waiting)


async def more_batch_calls(emulator: EmulatorServer, count: int) -> None:
    """Wait for some more batch calls."""
    goal = calls(emulator, "batch") + count
    await until(lambda: calls(emulator, "batch") >= goal)


async def test_a_key_that_is_refused_now_and_then_leaves_no_clients_behind(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    waiting = start(submit(2))
    for made in range(2, 6):
        emulator.fault("status", on="batch", status=401, code="unauthorized", times=1)
        await until(lambda: len(clients) >= made)  # noqa: B023
        assert len(clients) == made
        await more_batch_calls(emulator, 2)  # a second refusal in a row would be the end
    assert sum(not client._http.is_closed for client in clients) <= 2
    assert not any(task.done() for task in waiting)
    await cancel(waiting)
    assert all(client._http.is_closed for client in clients)


async def test_a_job_that_can_never_be_read_does_not_pause_the_others(
    submit: Submit, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.2)
    jobs = submit(5)
    emulator.fault("status", on="read", path=jobs[0], status=500, code="internal_error", times=-1)
    emulator.job(jobs[0], vanish=True)
    waiting = start(jobs, poll_interval=0.2)
    await until(lambda: emulator.faults()[0]["met"] >= 3)
    met, allowed = emulator.faults()[0]["met"], []
    while emulator.faults()[0]["met"] < met + 3:  # it is still polled
        await asyncio.sleep(0.005)
        allowed.append(shared()._backoff.max_calls)
    assert min(allowed) == 8, "and the others are polled as before"
    emulator.fault("status", on="any", status=503, times=-1)
    await until(lambda: shared()._backoff.max_calls == 1)  # but an outage concerns all
    await cancel(waiting)
