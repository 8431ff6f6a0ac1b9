"""How far running jobs are: read from EvoLink rarely, however many people watch, and never without the right to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from airflow_rows import Run
from ui_samples import record

from airflow_provider_evolink.api import ClientSettings, EvoLinkClient, build_request
from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.snapshot import JobReading, JobSnapshot
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.plugins.server import progress, routes_tasks

numbers = itertools.count()
KEY = "test-key-0123456789"


@pytest.fixture
def account() -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs take their time."""
    with EmulatorServer(mode="seconds", seconds=40) as server:
        yield server


@pytest.fixture
def conn_id(account: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a connection of the API server, and start with a board that knows nothing."""
    monkeypatch.setattr(routes_tasks, "BOARD", progress.ProgressBoard(progress.read_jobs))
    name = f"account_{next(numbers)}"
    facts = {"conn_type": "evolink", "host": account.url, "password": KEY}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(facts))
    return name


def order(account: EmulatorServer, count: int = 1) -> list[str]:
    """Order clips; return their jobs."""
    body = build_request("wan2.7-text-to-video", {"prompt": "a boat", "duration": 2})
    with EvoLinkClient(ClientSettings(api_key=KEY, base_url=account.url)) as client:
        return [client.submit(body).job_id for _ in range(count)]


def watched(job_id: str, conn_id: str | None, state: str = "deferred") -> Run:
    """Return a run whose task instance waits for a job."""
    run = Run(f"progress_{next(numbers)}")
    run.task("generate", state=state)
    run.record("generate", record(job_id, state="submitted", estimated_time=120.0))
    if conn_id:
        run.renders("generate", {"prompt": "a boat", "evolink_conn_id": conn_id})
    return run


def jobs(client: Any, run: Run) -> dict[str, Any]:
    """Return what the small route says of the jobs."""
    found: dict[str, Any] = client.get(run.address("state", "generate")).json()["jobs"]
    return found


def test_twenty_viewers_cost_one_read(account: EmulatorServer, conn_id: str, admin: Any) -> None:
    """Percent and EvoLink's estimate, of whatever job they watch, by one call in ten seconds."""
    ids = order(account, 5)
    runs = [watched(job_id, conn_id) for job_id in ids]
    first = jobs(admin, runs[0])
    for _ in range(4):
        for run in runs:
            jobs(admin, run)

    assert list(first) == [ids[0]]
    assert 0 <= first[ids[0]]["percent"] <= 100
    assert first[ids[0]]["words"].startswith(f"{first[ids[0]]['percent']:.0f} %, ")
    assert first[ids[0]]["words"].endswith(" s of about 120 s")
    assert "it takes about 2 min" in admin.get(runs[0].address("task", "generate")).text
    assert sum(count for name, count in account.books()["requests"].items() if name != "submit") == 1


def test_the_jobs_of_all_viewers_are_read_together() -> None:
    """Who comes when a read is due reads for the others too; who has gone is forgotten; no response means a pause."""
    clock, calls, reading = [0.0], [], JobSnapshot("a", JobStatus.PROCESSING, "processing")

    def read(conn_id: str, job_ids: list[str]) -> Mapping[str, JobReading]:
        calls.append((conn_id, sorted(job_ids)))
        return dict.fromkeys(job_ids, reading) if conn_id == "one" else {}

    board = progress.ProgressBoard(read, lambda: clock[0])
    for moment, job_id in ((0.0, "a"), (1.0, "b"), (9.9, "c"), (10.0, "a"), (15.0, "b"), (41.0, "b")):
        clock[0] = moment
        board.of("one", [job_id])
    board.of("three", [])
    for moment in (41.0, 60.0, 110.9, 111.0):
        clock[0] = moment
        assert board.of("two", ["z"]) == {}

    assert calls == [("one", ["a"]), ("one", ["a", "b", "c"]), ("one", ["b"]), ("two", ["z"]), ("two", ["z"])]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"conn_id": None}, "no field was kept"),
        ({"conn_id": "nobody"}, "the API server has no such connection"),
        ({"state": "success"}, "the task is over"),
    ],
)
def test_what_cannot_be_known_is_left_out(
    given: dict[str, Any], why: str, account: EmulatorServer, conn_id: str, admin: Any
) -> None:
    """The state is reported all the same."""
    run = watched(order(account)[0], **{"conn_id": conn_id, **given})
    response = admin.get(run.address("state", "generate"))

    assert response.json()["jobs"] == {}, why
    assert response.json()["state"] == given.get("state", "deferred")
    assert set(account.books()["requests"]) == {"submit"}


def test_an_account_that_does_not_respond_costs_a_moment(
    account: EmulatorServer, conn_id: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not tried again before it is due."""
    run = watched(order(account)[0], conn_id)
    monkeypatch.setattr(progress, "PATIENCE", 0.3)
    account.fault("delay", seconds=5, on="read")
    assert [jobs(admin, run) for _ in range(3)] == [{}, {}, {}]
    assert sum(count for name, count in account.books()["requests"].items() if name != "submit") <= 1


def test_the_right_to_the_state_is_none_to_the_jobs(account: EmulatorServer, conn_id: str, browser: Any) -> None:
    """Who may see a task, but not its XComs, sees its state alone."""
    run = watched(order(account)[0], conn_id)
    response = browser("no_xcoms").get(run.address("state", "generate"))
    assert response.json() == {"state": "deferred", "is_over": False, "jobs": {}}
