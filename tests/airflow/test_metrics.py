"""Metrics as a StatsD server gets them: Airflow's own client, real datagrams. The page *Operate* lists them all."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.observability.metrics import stats_utils as of_the_core
from airflow.observability.stats import initialize as initialize_core
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from airflow.sdk.observability.metrics import stats_utils as of_tasks
from airflow.sdk.observability.stats import initialize as initialize_tasks

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkLedgerError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.ledger.ledger import FolderStore
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity
from airflow_provider_evolink.ledger.stored_records import Damaged
from airflow_provider_evolink.metrics import METRICS, send
from airflow_provider_evolink.operators import EvoLinkRecoverOperator
from airflow_provider_evolink.recovery.report import Books
from airflow_provider_evolink.task_failures import EvoLinkTaskFailed

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
SETTINGS = {  # those that the page shows, but for the server
    "AIRFLOW__METRICS__STATSD_ON": "True",
    "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
    "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
    "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
}
HOUR = 3600.0
HASH = "0123456789abcdef0123456789abcdef"
Lines = Callable[[], list[str]]


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Serve StatsD, and set Airflow up as the page shows; return what has arrived since the last time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))

        def lines() -> list[str]:
            found = []
            while True:
                try:
                    found.append(server.recv(4096).decode())
                except BlockingIOError:
                    return found

        set_up(initialize_tasks, of_tasks)
        yield lines
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    set_up(initialize_tasks, of_tasks)
    set_up(initialize_core, of_the_core)


def set_up(initialize: Any, stats_utils: Any) -> None:
    """Do what Airflow does at the start of a task, and of a triggerer with the metrics of its core."""
    initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)


def test_the_page_lists_every_metric_with_its_type_and_its_tags() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| (counter|gauge) \| (.*?) \|", page, re.MULTILINE)
    assert [(name, (kind, tuple(re.findall(r"`(\w+)`", tags)))) for name, kind, tags in rows] == list(METRICS.items())


def test_the_lines_that_the_page_shows_are_those_of_a_task(
    stage: Any, make: Any, emulator: EmulatorServer, statsd: Lines
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    settings = dict(re.findall(r"^export (AIRFLOW__METRICS__\w+)=(\S+)", page, re.MULTILINE))
    where = {name: settings.pop(f"AIRFLOW__METRICS__STATSD_{name}") for name in ("HOST", "PORT")}
    assert {**settings, "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1"} == SETTINGS
    assert where == {"HOST": "statsd.example.com", "PORT": "8125"}
    shown = page.partition("<!-- the lines of one task -->\n```text\n")[2].partition("```")[0]
    stage.run(make(model="z-image-turbo", parameters={"prompt": "a paper boat"}))
    assert [line for line in statsd() if line.startswith("airflow.")] == shown.splitlines()
    assert len(shown.splitlines()) == 3


def name_of(line: str) -> str:
    """Return the name of the metric of a line in the form of InfluxDB, and check its tags and its type."""
    text, _, value = line.partition(":")
    name, *tags = text.removeprefix("airflow.").split(",")
    kind, names = METRICS[name]
    assert tuple(tag.partition("=")[0] for tag in tags) == names
    assert value.endswith({"counter": "|c", "gauge": "|g"}[kind])
    return name


def test_a_task_that_is_run_again_counts_what_it_decides(
    stage: Any, make: Any, slow: EmulatorServer, statsd: Lines
) -> None:
    slow.fault("job_fails", code="service_error")
    with pytest.raises(EvoLinkError):
        stage.run(make())
    with pytest.raises(TaskDeferred):
        make()().execute(stage.retry().context())
    stage.retry().run(make())
    stage.retry().run(make())
    found = [name_of(line) for line in statsd()]
    expected = {name for name in METRICS if name.startswith(("resumable_job.", "evolink.credits"))}
    assert set(found) == expected
    ends = ("reconnect_success", "already_succeeded", "terminal_resubmit")
    assert found.count("resumable_job.reconnect_attempt") == sum(found.count(f"resumable_job.{end}") for end in ends)


@pytest.mark.parametrize("what", ["single", "batch"])
def test_an_unknown_outcome_is_counted_in_each_try_that_ends_with_it(
    stage: Any, make: Any, emulator: EmulatorServer, statsd: Lines, what: str
) -> None:
    from airflow_provider_evolink.operators import EvoLinkBatchOperator

    one = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
    start = make() if what == "single" else make(EvoLinkBatchOperator, requests=[one], on_failed_job="collect")
    emulator.fault("lost_answer")
    for number in (1, 2):
        with contextlib.suppress(AirflowException):
            stage.run(start)
        found = [line for line in statsd() if "unknown" in line]
        assert found == [f"airflow.evolink.unknown_outcome,operator={start().__class__.__name__}:1|c"], number
        stage.retry()
    assert emulator.books()["orders"] == 1


def test_a_429_is_counted_on_the_worker_and_in_the_triggerer(
    stage: Any, make: Any, slow: EmulatorServer, statsd: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "0"}}
    slow.fault("status", on="submit", **limit)
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    assert [line for line in statsd() if "rate_limited" in line] == [
        "airflow.evolink.rate_limited,component=worker:1|c"
    ]
    # As in the triggerer of Airflow 3.3: it sets up the metrics of the core, and those of tasks stay as they are.
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    set_up(initialize_tasks, of_tasks)
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    set_up(initialize_core, of_the_core)
    slow.job(stage.store.record["job_id"], state="completed")
    slow.fault("status", on="read", **limit)

    async def wait() -> None:
        async for _ in deferred.value.trigger.run():
            return

    asyncio.run(wait())
    assert [line for line in statsd() if "rate_limited" in line] == [
        "airflow.evolink.rate_limited,component=triggerer:1|c"
    ]


AGES = {"young": (11.9, 0), "old": (12.1, 1)}


@pytest.mark.parametrize(("hours", "expected"), AGES.values(), ids=list(AGES))
@pytest.mark.parametrize("state", ["running", "no file", "archived"])
def test_a_recovery_reports_paid_jobs_that_are_old_and_not_archived(
    stage: Any, emulator: EmulatorServer, statsd: Lines, tmp_path: Path, state: str, hours: float, expected: int
) -> None:
    emulator.settings(polls=0 if state != "running" else 10_000)
    with EvoLinkHook().get_conn() as client:
        job_id = client.submit({"model": "z-image-turbo", "prompt": "a paper boat"}).job_id
    identity = TaskIdentity("films", "run", "shot", -1, clear_count=0)
    ordered = time.time() - hours * HOUR
    record = Record(State.SUBMITTED, "key", 0, 0, HASH, "z-image-turbo", ordered, job_id)
    ledger = tmp_path.joinpath("ledger").as_uri()
    FolderStore(ledger, identity).set(record.to_json())
    if state == "no file":
        emulator.fault("status", on="media", status=403, times=-1)
    common = {"task_id": "recover", "destination": tmp_path.as_uri(), "archive_path": tmp_path.joinpath("a").as_uri()}
    given = {"ledger_path": ledger, "deferrable": False, "poll_interval": 0.05, "timeout": 0.2, "posters": False}

    def recover(**more: Any) -> None:
        try:
            stage.run(lambda: EvoLinkRecoverOperator(**common, **given, **more))
        except (AirflowException, EvoLinkError):
            assert state == "no file"

    recover()
    expected = 0 if state == "archived" else expected
    tags = "operator=EvoLinkRecoverOperator,source=ledger,dag_id=dag"
    assert [one for one in statsd() if "paid" in one] == [f"airflow.evolink.paid_not_archived,{tags}:{expected}|g"]
    recover(job_ids=[job_id])
    assert [one for one in statsd() if "paid" in one] == [], "one job by hand says nothing about the others"


@pytest.mark.parametrize(("fault", "is_final"), [("403 AccessDenied", True), ("500 InternalError", False)])
def test_a_recovery_that_cannot_read_all_records_fails_and_reports_no_number(
    stage: Any,
    emulator: EmulatorServer,
    statsd: Lines,
    tmp_path: Path,
    bucket: str,
    narrow: Any,
    fault: str,
    is_final: bool,
) -> None:
    """Any of them may be the record of a paid job; the others are archived all the same."""
    emulator.settings(polls=0)
    ledger = f"s3://narrow@{bucket}/ledger"
    with EvoLinkHook().get_conn() as client:
        jobs = [client.submit({"model": "z-image-turbo", "prompt": "a paper boat"}).job_id for _ in range(2)]
    for job_id, dag in zip(jobs, ("films", "songs"), strict=True):
        record = Record(State.SUBMITTED, "key", 0, 0, HASH, "z-image-turbo", time.time() - 13 * HOUR, job_id)
        FolderStore(ledger, TaskIdentity(dag, "run", "shot", -1, clear_count=0)).set(record.to_json())
    narrow.denied, narrow.fails = set(), lambda right, key: fault if right == "get" and "/films/" in key else None
    archive = tmp_path / "archive"
    places = {"destination": tmp_path.as_uri(), "archive_path": archive.as_uri(), "ledger_path": ledger}
    recovery = EvoLinkRecoverOperator(task_id="recover", posters=False, deferrable=False, **places)
    wanted = EvoLinkTaskFailed if is_final else EvoLinkLedgerError
    with pytest.raises(wanted, match="1 record of the ledger folder could not be read, so paid jobs may be missing"):
        stage.run(lambda: recovery)
    assert [one for one in statsd() if "paid" in one] == []
    assert len(list(archive.rglob("manifest.json"))) == 1


@pytest.mark.parametrize(("is_denied", "is_final"), [(False, False), (True, True)])
def test_a_job_that_is_lost_for_good_keeps_no_retry_from_records_that_were_not_read(
    is_denied: bool, is_final: bool
) -> None:
    books = Books(must_find=True)
    books.note_error("task-1", EvoLinkError("it is gone"), is_final=True)
    books.unread = [Damaged("films/shot/1.json", "it cannot be read", is_unread=True, is_denied=is_denied)]
    error = books.error()
    assert error is not None
    assert error.permanent is is_final
    assert "task-1: it is gone" in error.message
    assert "1 record of the ledger folder could not be read" in error.message


def test_a_metric_that_cannot_be_sent_is_lost_without_a_word() -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            def fail(*_: Any, **__: Any) -> None:
                raise OSError("no route to statsd")

            return fail

    for name, (_, tags) in METRICS.items():
        send(name, stats=Down(), **dict.fromkeys(tags, "x"))
