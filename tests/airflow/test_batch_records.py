"""A batch reads few of its records, several at a time, and never orders because of what it has not read."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkJobFailed, EvoLinkLedgerError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger import folder_store
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import EvoLinkBatchOperator

Make = Callable[..., Callable[[], Any]]
MODEL = "wan2.7-text-to-video"
MANY = 40
RUN = 20
PROBED = (0, 1, 2, 4, 8, 11)  # of twelve


def requests(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"clip {number}", "duration": 2} for number in range(count)]


def paid(emulator: EmulatorServer) -> Counter[str]:
    return Counter(job["body"]["prompt"] for job in emulator.books()["jobs"])


def once(count: int) -> Counter[str]:
    return Counter({f"clip {number}": 1 for number in range(count)})


def deferred(stage: Any, operator: Callable[[], Any]) -> TaskDeferred:
    """Run a try until its jobs are waited for."""
    with pytest.raises(TaskDeferred) as raised:
        operator().execute(stage.context())
    return raised.value


def resumed(stage: Any, operator: Callable[[], Any], wait: TaskDeferred, ended: int) -> TaskDeferred:
    """Resume after some jobs have ended, until the others are waited for."""
    jobs = [job[0] for job in wait.trigger.jobs]
    event = {"running": jobs[ended:], "without_result": {}, "state": json.loads(json.dumps(wait.trigger.state))}
    with pytest.raises(TaskDeferred) as raised:
        operator().resume_execution(wait.method_name, {"event": event}, stage.context())
    return raised.value


@pytest.fixture
def long(emulator: EmulatorServer) -> EmulatorServer:
    """Serve jobs that take minutes, so that a try ends with a deferral; no order is recognized again."""
    emulator.settings(polls=3, estimated_time=600, idempotency=False)
    return emulator


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the threads, other than the main one, that ordered something."""
    threads: list[str] = []
    submit = EvoLinkClient.submit

    def noted(self: EvoLinkClient, *args: Any, **given: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            threads.append(threading.current_thread().name)
        return submit(self, *args, **given)

    monkeypatch.setattr(EvoLinkClient, "submit", noted)
    return threads


@pytest.fixture
def twelve(make: Make, tmp_path: Path, long: EmulatorServer, in_threads: list[str]) -> Any:
    """Return a batch of twelve with both stores; orders go out from the main thread."""
    folder = {"ledger_path": f"file://{tmp_path}/ledger"}
    yield lambda **given: make(
        EvoLinkBatchOperator, **{"model": MODEL, "requests": requests(12), "parameters": None, **folder, **given}
    )
    assert in_threads == []


def files(tmp_path: Path) -> dict[int, Path]:
    """Return the files of the records, by the number of the request."""
    found = {path: json.loads(path.read_text())["of"] for path in tmp_path.rglob("ledger/**/*.json")}
    return {int(of[4].removeprefix("request ")): path for path, of in found.items() if len(of) == 5}


# --- how much is read


class Counted:
    """A task state store that counts its reads."""

    def __init__(self, store: Any) -> None:
        self._store, self.reads = store, 0

    def get(self, *args: Any) -> Any:
        self.reads += 1
        return self._store.get(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Crowd:
    """How many calls an S3 serves at a time."""

    def __init__(self, narrow: Any) -> None:
        self._lock, self._now, self.largest = threading.Lock(), 0, 0
        narrow.fails, narrow.after = self.comes, self.goes

    def comes(self, *_: Any) -> None:
        with self._lock:
            self._now += 1
            self.largest = max(self.largest, self._now)
        time.sleep(0.01)

    def goes(self) -> None:
        with self._lock:
            self._now -= 1


def test_a_batch_reads_few_records_and_several_at_a_time(
    stage: Any, make: Make, long: EmulatorServer, narrow: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.store, narrow.denied = Counted(stage.store), set()
    given = {"model": MODEL, "requests": requests(MANY), "parameters": None, "max_active": RUN}
    batch = make(EvoLinkBatchOperator, **given, ledger_path=f"s3://narrow@{bucket}/ledger")
    before: list[tuple[int, int]] = []
    submit = EvoLinkClient.submit

    def counted(self: EvoLinkClient, *args: Any, **given: Any) -> Any:
        before.append((len(narrow.seen), stage.store.reads))
        return submit(self, *args, **given)

    def forget() -> None:
        before.clear()
        narrow.seen.clear()
        stage.store.reads = 0

    monkeypatch.setattr(EvoLinkClient, "submit", counted)
    forget()
    wait = deferred(stage, batch)
    assert before[0][0] <= 14, "a few of the records, then those of the first order"
    assert before[0][1] <= 6
    assert len(narrow.seen) <= 12 + 6 * RUN

    forget()
    crowd = Crowd(narrow)
    wait = deferred(stage.retry(), batch)
    assert len(narrow.seen) <= MANY - RUN + 5, "the index, and those that are not in it"
    assert stage.store.reads <= 3, "one copy names a job to wait for"
    assert crowd.largest >= 4

    forget()
    wait = resumed(stage, batch, wait, ended=5)
    assert len(before) == 5
    assert before[0][0] <= RUN + 5, "those of jobs that ran, and of the first order"
    assert before[0][1] <= 4
    assert paid(long) == once(RUN + 5)


# --- what was not read


@pytest.mark.parametrize(
    ("lost", "begin"),
    [("all files", "retry"), ("all entries", "retry"), ("half of each", "retry"), ("all files", "clear")],
)
def test_a_record_that_one_store_has_lost_is_not_paid_again(
    stage: Any, twelve: Any, long: EmulatorServer, tmp_path: Path, lost: str, begin: str
) -> None:
    deferred(stage, twelve())
    for number, path in files(tmp_path).items():
        if lost == "all files" or (lost == "half of each" and number % 2):
            path.unlink()
        else:
            stage.store.delete(f"evolink_generation_{number}")
    results = getattr(stage, begin)().run(twelve())
    assert [result["request"]["prompt"] for result in results] == [f"clip {number}" for number in range(12)]
    assert paid(long) == once(12)


@pytest.mark.parametrize("name", ["same run again", "retry"])
def test_records_behind_a_gap_are_found_before_they_are_paid_again(
    stage: Any, twelve: Any, long: EmulatorServer, tmp_path: Path, name: str
) -> None:
    """A run that was deleted and created again begins with try 1; a person has deleted some of the files."""
    deferred(stage, twelve())
    stage.store.rows.clear()
    found = files(tmp_path)
    for number in PROBED:
        found[number].unlink()
    if name == "retry":
        stage.retry()
    stage.run(twelve())
    assert paid(long) == once(12) + Counter(f"clip {number}" for number in PROBED)


@pytest.mark.parametrize("newer", ["entry", "file"])
def test_an_order_that_one_copy_does_not_know_is_not_followed_by_another(
    stage: Any, twelve: Any, long: EmulatorServer, tmp_path: Path, newer: str
) -> None:
    """The job of an older copy has failed, and its successor runs."""
    long.fault("job_fails", code="service_error", after=1)
    with pytest.raises(EvoLinkJobFailed, match="request 1 of 12"):
        stage.run(twelve())
    rows, texts = dict(stage.store.rows), {path: path.read_text() for path in files(tmp_path).values()}
    wait = deferred(stage.retry(), twelve())
    assert wait.trigger.jobs
    if newer == "entry":
        for path, text in texts.items():
            path.write_text(text)
    else:
        stage.store.rows = rows
    stage.retry().run(twelve())
    assert paid(long) == once(12) + Counter(["clip 1"])


def test_an_order_of_the_other_operator_is_not_written_over_a_record_that_was_not_read(
    stage: Any, make: Make, twelve: Any, long: EmulatorServer, tmp_path: Path
) -> None:
    folder = {"ledger_path": f"file://{tmp_path}/ledger"}
    deferred(stage, twelve(ledger_path=None))
    deferred(type(stage)(store=None), make(model=MODEL, parameters=requests(6)[5], **folder))
    with pytest.raises(AirflowFailException, match="open orders of another operator"):
        stage.retry().run(twelve())
    assert stage.store.get("evolink_generation_5")["job_id"] == long.books()["jobs"][5]["id"]
    assert sum(paid(long).values()) == 13, "the batch could not see the state store"


def test_a_folder_that_does_not_respond_stops_a_batch(
    stage: Any, twelve: Any, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred(stage, twelve())
    get = folder_store.FolderStore.get

    def fails(self: Any) -> Any:
        if self._owner[-1] == "request 7":
            raise OSError("no answer")
        return get(self)

    monkeypatch.setattr(folder_store.FolderStore, "get", fails)
    with pytest.raises(EvoLinkLedgerError, match="ledger folder could not be read"):
        stage.retry().run(twelve())
    assert paid(long) == once(12)


def test_a_wait_that_an_older_version_began_is_resumed(stage: Any, twelve: Any, long: EmulatorServer) -> None:
    wait = deferred(stage, twelve(max_active=8))
    assert wait.trigger.state.pop("running") == list(range(8))
    wait = resumed(stage, twelve(max_active=8), wait, ended=2)
    assert paid(long) == once(10)
    assert stage.resume(twelve(max_active=8), wait)
    assert paid(long) == once(12)


def test_an_event_that_names_an_unread_job_is_about_this_batch_all_the_same(
    stage: Any, twelve: Any, long: EmulatorServer
) -> None:
    wait = deferred(stage, twelve(max_active=8))
    wait.trigger.state["running"] = [0]
    resumed(stage, twelve(max_active=8), wait, ended=2)
    assert paid(long) == once(10)


@pytest.fixture
def indexed(twelve: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a batch of twelve that has an index, as large ones have."""
    monkeypatch.setattr("airflow_provider_evolink.execution.batch_records.INDEX_FROM", 2)
    monkeypatch.setattr("airflow_provider_evolink.execution.batch_records.INDEX_EVERY", 4)
    return twelve


def index_of(tmp_path: Path) -> Path:
    (found,) = tmp_path.rglob("ledger/**/*.batch.json")
    return found


HARM = ("gone", "a list", "of another batch", "old", "records gone")


@pytest.mark.parametrize("harm", HARM)
def test_an_index_that_is_wrong_harms_nothing(
    stage: Any, indexed: Any, long: EmulatorServer, tmp_path: Path, harm: str
) -> None:
    wait = deferred(stage, indexed(max_active=8))
    index = index_of(tmp_path)
    old = index.read_text()
    resumed(stage, indexed(max_active=8), wait, ended=4)
    found = json.loads(index.read_text())
    assert sorted(int(number) for number in found["records"]) == list(range(12))
    foreign = {number: {**value, "job_id": "task-of-another-batch"} for number, value in found["records"].items()}
    texts = {
        "a list": "[]",
        "of another batch": json.dumps({**found, "of": ["dag", "run", "other", -1], "records": foreign}),
        "old": old,
    }
    if harm == "gone":
        index.unlink()
    elif harm == "records gone":
        for path in files(tmp_path).values():
            path.unlink()
    elif harm in texts:
        index.write_text(texts[harm])
    results = stage.retry().run(indexed(max_active=8))
    assert [result["request"]["prompt"] for result in results] == [f"clip {number}" for number in range(12)]
    assert paid(long) == once(12)


def test_the_index_after_a_clear_does_not_bring_back_a_deleted_record(
    stage: Any, indexed: Any, long: EmulatorServer, tmp_path: Path
) -> None:
    deferred(stage, indexed())
    files(tmp_path)[3].unlink()
    stage.store.delete("evolink_generation_3")
    stage.clear().run(indexed())
    assert paid(long) == once(12) + Counter(["clip 3"])


def test_a_batch_that_was_killed_between_orders_goes_on_from_its_records(
    stage: Any, indexed: Any, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    write, intents = Ledger.write_intent, list[int]()

    def deadly(self: Ledger, record: Any) -> None:
        intents.append(1)
        if len(intents) in (7, 9):
            raise Killed
        write(self, record)

    monkeypatch.setattr(Ledger, "write_intent", deadly)
    for _ in range(2):
        with pytest.raises(Killed):
            stage.run(indexed())
        stage.retry()
    stage.run(indexed())
    assert paid(long) == once(12)


@pytest.mark.parametrize("harm", ["", "no numbers", "old"])
def test_an_index_in_the_task_state_store_saves_reads_and_harms_nothing(
    stage: Any, indexed: Any, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.ledger.batch_index.PAGE", 5)
    stage.store = Counted(stage.store)
    wait = deferred(stage, indexed(ledger_path=None, max_active=8))
    old = {name: row for name, row in stage.store.rows.items() if "index" in name}
    assert len(old) == 2
    resumed(stage, indexed(ledger_path=None, max_active=8), wait, ended=4)
    for name in [name for name in stage.store.rows if "index" in name]:
        if harm == "old":
            stage.store.rows[name] = old.get(name, "{}")
        elif harm:
            stage.store.rows[name] = '{"records": {"x": 1}}'
    stage.store.reads = 0
    wait = deferred(stage.retry(), indexed(ledger_path=None))
    assert harm or stage.store.reads <= 3 + 2, "three pages, one more request, and the single operator"
    stage.resume(indexed(ledger_path=None), wait)
    assert paid(long) == once(12)
