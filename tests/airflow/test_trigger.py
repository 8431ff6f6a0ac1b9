"""The trigger and what all triggers of a process share: one client, no blocked loop, one late event."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent
from evolink_support import set_policy, until

from airflow_provider_evolink.api import client as api_client
from airflow_provider_evolink.api.polling import poller
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.triggers import EvoLinkJobTrigger
from airflow_provider_evolink.triggers import evolink as module

PROMPT = "a paper boat with the secret word xylophonist"
Submit = Callable[[], str]


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import beforehand what the first trigger of a process imports, which takes its time on a busy machine."""
    module._import()


@pytest.fixture
def submit(emulator: EmulatorServer, evolink_conn: str) -> Submit:
    """Return a function that submits a job and returns its id."""
    from airflow_provider_evolink.hooks import EvoLinkHook

    def submit_one() -> str:
        with EvoLinkHook().get_conn() as client:
            return client.submit({"model": "wan2.7-text-to-video", "prompt": PROMPT, "duration": 2}).job_id

    return submit_one


def trigger(job_id: str, **given: Any) -> EvoLinkJobTrigger:
    plain = {"evolink_conn_id": "evolink_default", "deadline": time.time() + 60, "started": time.time()}
    return EvoLinkJobTrigger(**{**plain, "job_id": job_id, "poll_interval": 0.05, "hold": 0.0, **given})


def fewest_polls(emulator: EmulatorServer) -> int:
    """Return how often the job with the fewest polls was polled."""
    return min(job["reads"] for job in emulator.books()["jobs"])


async def events(one: EvoLinkJobTrigger) -> list[TriggerEvent]:
    return [event async for event in one.run()]


async def payload(one: EvoLinkJobTrigger) -> Any:
    (event,) = await events(one)
    return event.payload


# --- what Airflow stores


def test_serialization_keeps_every_argument() -> None:
    given = {
        "evolink_conn_id": "other",
        "job_id": "task-unified-1-x",
        "deadline": 12.5,
        "started": 2.5,
        "poll_interval": 7.5,
        "model": "wan2.7-text-to-video",
        "kind": "video",
        "estimated_time": 120.0,
        "hold": 3.5,
    }
    named = set(inspect.signature(EvoLinkJobTrigger.__init__).parameters) - {"self", "_"}
    assert named == set(given)
    path, kwargs = EvoLinkJobTrigger(**given).serialize()
    assert kwargs == given
    assert path == f"{EvoLinkJobTrigger.__module__}.{EvoLinkJobTrigger.__qualname__}"
    assert json.loads(json.dumps(kwargs)) == kwargs
    again = EvoLinkJobTrigger(**kwargs)
    assert again.serialize() == (path, kwargs)
    assert {name: getattr(again, name) for name in given} == given


def test_a_trigger_stored_by_another_version_of_this_package_still_starts() -> None:
    kwargs = {"evolink_conn_id": "c", "job_id": "j", "deadline": 1.0, "started": 0.0, "of_a_later_version": 1}
    assert EvoLinkJobTrigger(**kwargs).job_id == "j"


def test_an_event_is_held_for_ten_seconds_by_default() -> None:
    made = EvoLinkJobTrigger(evolink_conn_id="c", job_id="j", deadline=1.0, started=0.0)
    assert made.hold == module.HOLD_EVENT == 10.0
    assert made.serialize()[1]["hold"] == 10.0


async def test_no_event_is_sent_before_the_hold(submit: Submit, emulator: EmulatorServer) -> None:
    job_id = submit()
    emulator.job(job_id, state="completed")
    began = time.monotonic()
    assert await payload(trigger(job_id, hold=0.6)) == {"job_id": job_id, "status": "completed"}
    assert time.monotonic() - began >= 0.6


async def test_a_wait_longer_than_the_hold_is_not_held_any_longer(submit: Submit, emulator: EmulatorServer) -> None:
    emulator.settings(polls=9)
    began = time.monotonic()
    await payload(trigger(submit(), hold=3.0, poll_interval=0.4))
    assert 3.2 <= time.monotonic() - began < 6.0, "nine polls, eight delays, and no hold behind them"


# --- the event


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_the_event_holds_id_and_status_and_nothing_else(
    submit: Submit, emulator: EmulatorServer, state: str
) -> None:
    job_id = submit()
    emulator.job(job_id, state=state)
    assert await payload(trigger(job_id)) == {"job_id": job_id, "status": state}


async def test_it_waits_while_the_job_runs_whatever_the_status_is_called(
    submit: Submit, emulator: EmulatorServer
) -> None:
    emulator.settings(polls=4)
    emulator.fault("unknown_status", status="paused", times=2)
    job_id = submit()
    assert (await payload(trigger(job_id)))["status"] == "completed"
    assert emulator.books()["jobs"][0]["reads"] >= 4


async def test_a_deadline_ends_the_wait_and_not_the_job(submit: Submit, emulator: EmulatorServer) -> None:
    emulator.settings(polls=10_000)
    job_id = submit()
    began = time.monotonic()
    event = await payload(trigger(job_id, deadline=time.time() + 0.3))
    assert event == {"job_id": job_id, "status": "timeout"}
    assert 0.25 <= time.monotonic() - began < 20
    assert emulator.job(job_id)["status"] in ("pending", "processing"), "pending if it was too late for a poll"


async def test_a_job_that_is_over_beats_a_deadline_long_past(submit: Submit, emulator: EmulatorServer) -> None:
    job_id = submit()
    emulator.job(job_id, state="completed")
    assert (await payload(trigger(job_id, deadline=1.0)))["status"] == "completed"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "code": "internal_error"},
        {"kind": "html"},
        {"kind": "cut_before"},
        {"kind": "malformed_json"},
        {"kind": "status", "status": 404, "code": "task_not_found"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_transient_faults_do_not_end_the_wait(
    submit: Submit, emulator: EmulatorServer, hurry: None, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.1)
    job_id = submit()
    emulator.fault(**fault, on="read", times=7)
    assert (await payload(trigger(job_id)))["status"] == "completed"
    assert emulator.faults()[0]["done"]


async def test_a_refused_key_ends_all_waits_and_later_triggers_read_the_connection_again(
    submit: Submit, emulator: EmulatorServer, clients: list[Any], logs: Any
) -> None:
    emulator.settings(polls=10_000)
    jobs = [submit() for _ in range(5)]
    waiting = [asyncio.create_task(payload(trigger(job_id))) for job_id in jobs]
    await until(lambda: fewest_polls(emulator) >= 1)
    emulator.fault("status", status=401, code="unauthorized", times=-1)
    event = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert event == [{"job_id": job_id, "status": "unreadable"} for job_id in jobs]
    assert len(clients) == 2, "the connection is read again, once"
    assert sum(fault["met"] for fault in emulator.faults()) <= len(jobs), "and nobody calls again with a refused key"
    assert logs.text.count("check the API key") == len(jobs), "each task's log says why"
    emulator.clear_faults()
    emulator.job(jobs[2], state="completed")
    assert (await payload(trigger(jobs[2])))["status"] == "completed"
    assert len(clients) == 3, "no client with a refused key is shared any more"
    assert not any(poller._pollers.values())


async def test_a_missing_connection_is_an_event_and_not_an_exception(evolink_conn: str, logs: Any) -> None:
    event = await payload(trigger("task-unified-1-x", evolink_conn_id="nowhere"))
    assert event == {"job_id": "task-unified-1-x", "status": "unreadable"}
    assert "the worker will check it" in logs.text


async def test_an_unusable_connection_is_an_event_and_its_key_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    bad = {"conn_type": "evolink", "host": "https://evil.example", "password": "test-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_BAD", json.dumps(bad))
    assert (await payload(trigger("task-unified-1-x", evolink_conn_id="bad")))["status"] == "unreadable"
    assert "refusing to send the API key" in logs.text
    assert "test-key-0123456789" not in logs.text


async def test_a_pace_that_makes_no_sense_is_an_event_and_not_an_exception(submit: Submit) -> None:
    job_id = submit()
    assert await payload(trigger(job_id, poll_interval="5")) == {"job_id": job_id, "status": "unreadable"}


async def test_a_kill_sends_nothing(submit: Submit, emulator: EmulatorServer, logs: Any) -> None:
    job_id = submit()
    await trigger(job_id).on_kill()
    assert "keeps running and is still billed" in logs.text
    assert "read" not in emulator.books()["requests"]


# --- what all share


async def test_twenty_triggers_share_one_client_and_the_last_one_closes_it(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    emulator.settings(polls=10_000)
    jobs = [submit() for _ in range(20)]
    waiting = [asyncio.create_task(payload(trigger(job_id))) for job_id in jobs]
    await until(lambda: fewest_polls(emulator) >= 1)
    assert len(clients) == 1
    (shared,) = poller._pollers[asyncio.get_running_loop()].values()
    assert shared.users == 20
    for job_id in jobs[:19]:
        emulator.job(job_id, state="completed")
    await asyncio.gather(*waiting[:19])
    assert not clients[0]._http.is_closed
    emulator.job(jobs[19], state="completed")
    assert {event["job_id"] for event in await asyncio.gather(*waiting)} == set(jobs)
    assert clients[0]._http.is_closed
    assert not any(poller._pollers.values())


def test_a_new_loop_gets_a_new_client_and_nothing_of_the_old_one_stays(
    submit: Submit, emulator: EmulatorServer, clients: list[Any]
) -> None:
    gc.collect()
    others = {id(loop) for loop in poller._pollers}  # of a test that has failed, whose frames are kept
    for _ in range(3):
        assert asyncio.run(payload(trigger(submit())))["status"] == "completed"
    assert len({id(client) for client in clients}) == 3
    assert all(client._http.is_closed for client in clients)
    emulator.settings(polls=10_000)
    one, two = submit(), submit()
    other = threading.Thread(target=lambda: asyncio.run(payload(trigger(one))))
    other.start()
    while not emulator.job(one)["reads"]:
        time.sleep(0.02)
    emulator.job(two, state="completed")
    asyncio.run(payload(trigger(two)))
    assert len(clients) == 5, "two loops at once share nothing"
    emulator.job(one, state="completed")
    other.join()
    clients.clear()  # a client holds its loop
    gc.collect()
    assert not any(poller._pollers.values())
    assert len({id(loop) for loop in poller._pollers} - others) <= 1, "at most the loop that Python itself still holds"


async def test_a_cancelled_trigger_leaves_nothing(submit: Submit, emulator: EmulatorServer) -> None:
    emulator.settings(polls=10_000)
    one, two = submit(), submit()
    tasks = [asyncio.create_task(payload(trigger(job_id))) for job_id in (one, two)]
    await until(lambda: fewest_polls(emulator) >= 1)
    (shared,) = poller._pollers[asyncio.get_running_loop()].values()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert shared.users == 1
    assert shared._reader.client
    assert not shared._reader.client._http.is_closed
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert shared.users == 0
    assert shared._reader.client._http.is_closed
    assert not any(poller._pollers.values())
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


async def test_a_trigger_cancelled_while_its_client_is_made_leaves_nothing(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    job_id = submit()
    monkeypatch.setattr(api_client.AsyncEvoLinkClient, "create", never)
    tasks = [asyncio.create_task(payload(trigger(job_id))) for _ in range(3)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(poller._pollers.values())


async def test_the_loop_is_never_blocked(submit: Submit, emulator: EmulatorServer) -> None:
    """Measured as Airflow does; a machine that is busy with something else is given more chances."""
    emulator.settings(polls=5)
    worst = []
    for _ in range(10):
        jobs = [submit() for _ in range(10)]
        await payload(trigger(jobs.pop()))
        api_client.ssl_context.cache_clear()
        lag = asyncio.create_task(_worst_lag())
        await asyncio.gather(*(payload(trigger(job_id, poll_interval=0.1)) for job_id in jobs))
        lag.cancel()
        worst.append(await lag)
        if worst[-1] < 0.05:
            return
    raise AssertionError(f"the loop was blocked for {worst} s")


async def _worst_lag() -> float:
    worst = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - began - 0.005)
    except asyncio.CancelledError:
        return worst


async def test_the_tls_context_is_built_off_the_loop(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    build = ssl.create_default_context

    def noted(*args: Any, **given: Any) -> Any:
        built.append(threading.get_ident())
        return build(*args, **given)

    job_id = submit()
    monkeypatch.setattr(ssl, "create_default_context", noted)
    api_client.ssl_context.cache_clear()
    assert (await payload(trigger(job_id)))["job_id"] == job_id
    assert len(built) == 1
    assert threading.get_ident() not in built


async def test_progress_is_logged_at_changes_and_quarters_and_not_at_every_poll(
    submit: Submit, emulator: EmulatorServer, logs: Any
) -> None:
    emulator.settings(polls=40)
    job_id = submit()
    await payload(trigger(job_id, poll_interval=0.01))
    assert emulator.books()["jobs"][0]["reads"] >= 40
    lines = [line for line in logs.lines if f"EvoLink job {job_id}: " in line]
    assert [line.split(job_id + ": ")[1].split(",")[0] for line in lines][:2] == ["pending", "processing"]
    assert "completed after " in lines[-1]
    assert 5 <= len(lines) <= 7, lines


# --- light to import


LIGHT = """
import sys
import airflow.sdk, airflow.triggers.base
import airflow.providers.common.compat.sdk as sdk
for name in ("BaseOperator", "BaseHook", "BaseOperatorLink", "XCom", "conf", "AirflowFailException"):
    getattr(sdk, name)
before = set(sys.modules)
import importlib
for room in ("operators", "triggers", "hooks", "links", "sensors"):
    module = importlib.import_module(f"airflow_provider_evolink.{room}")
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
heavy = ("httpx", "pydantic", "fsspec", "upath", "av", "tenacity", "PIL", "starlette", "uvicorn",
         "airflow_provider_evolink.emulator", "airflow_provider_evolink.api")
print([name for name in sorted(set(sys.modules) - before)
       if any(name == one or name.startswith(one + ".") for one in heavy)])
"""


def test_importing_the_rooms_brings_in_nothing_heavy(airflow_home: Any) -> None:
    ran = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip().splitlines()[-1] == "[]"


FIRST_POLL = """
import asyncio, sys
import airflow.triggers.base
from airflow_provider_evolink.triggers import evolink

async def poll():
    await asyncio.to_thread(evolink._import)
    from airflow_provider_evolink.api.client import AsyncEvoLinkClient
    from airflow_provider_evolink.api.errors import EvoLinkUnavailable
    from airflow_provider_evolink.api.settings import ClientSettings
    before = set(sys.modules)
    client = await AsyncEvoLinkClient.create(
        ClientSettings(api_key="test-key-0123456789", base_url="http://127.0.0.1:9")
    )
    try:
        await client.poll_job("task-unified-1-x")
    except EvoLinkUnavailable:
        print(sorted(set(sys.modules) - before))
    await client.aclose()

asyncio.run(poll())
"""


def test_the_first_poll_imports_nothing_on_the_loop(airflow_home: Any) -> None:
    ran = subprocess.run([sys.executable, "-c", FIRST_POLL], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip().splitlines()[-1] == "[]"
