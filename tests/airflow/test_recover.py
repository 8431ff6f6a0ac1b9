"""Recovery of many: every paid job that no manifest knows is archived, once; nothing is ever submitted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Asset, AssetAlias, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_evolink.api.catalog.cli import main
from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError, EvoLinkUnavailable
from airflow_provider_evolink.api.http import retries
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger import stored_records
from airflow_provider_evolink.ledger.ledger import FolderStore
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity
from airflow_provider_evolink.operators import EvoLinkRecoverOperator
from airflow_provider_evolink.recovery.report import RecoveryReport
from airflow_provider_evolink.storage.archive import EvoLinkArchive, fold
from airflow_provider_evolink.storage.archive.commands import add_commands

MODEL = "z-image-turbo"
HASH = "0123456789abcdef0123456789abcdef"
HOUR = 3600.0


@dataclass
class Desk:
    """An account with paid jobs, a ledger folder with their records, and the recovery of them."""

    emulator: EmulatorServer
    stage: Any
    folder: Path
    ledger: str
    archive: str

    def order(self, count: int = 1, **fields: Any) -> list[str]:
        """Pay for jobs, by nobody's task."""
        settings = ClientSettings(api_key="test-key-0123456789", base_url=self.emulator.url)
        with EvoLinkClient(settings) as client:
            bodies = [{"model": MODEL, "prompt": f"Boat {number}", **fields} for number in range(count)]
            return [client.submit({**body, "model": "gpt-image-2"} if fields else body).job_id for body in bodies]

    def record(self, job_id: str | None, state: State = State.DELIVERED, *, age: float = 0.0, **about: Any) -> None:
        """Write the record of the task that ordered a job."""
        identity = TaskIdentity("films", f"run {job_id} {state}", "shot", 3, clear_count=0)
        made = Record(
            state, "af1-key", 0, 0, HASH, about.pop("model", MODEL), time.time() - age, job_id, request_fingerprint=HASH
        )
        FolderStore(self.ledger, identity).set(replace(made, attempt=2, request_id="call-7", **about).to_json())

    def paid(self, count: int = 1) -> list[str]:
        """Pay for jobs whose records are in the ledger."""
        jobs = self.order(count)
        for job_id in jobs:
            self.record(job_id)
        return jobs

    def operator(self, **given: Any) -> EvoLinkRecoverOperator:
        """Return the operator."""
        source = {} if {"job_ids", "source"} & given.keys() else {"ledger_path": self.ledger}
        start = {
            "destination": self.folder.joinpath("staging").as_uri(),
            "archive_path": self.archive,
            "posters": False,
        }
        return EvoLinkRecoverOperator(task_id="recover", **{**start, **source, **given})

    def recover(self, **given: Any) -> dict[str, Any]:
        """Run a recovery to its end, and return the jobs of each list by name."""
        report = self.stage.run(lambda: self.operator(**given))
        assert json.loads(json.dumps(report)) == report
        return report

    def manifest(self, job_id: str) -> dict[str, Any]:
        """Return the one manifest of a job in a folder on disk."""
        (path,) = self.folder.joinpath("archive").rglob(f"{job_id}/manifest.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def names(report: Any) -> dict[str, list[str]]:
    """Return the IDs in the lists of a report, those that are empty left out."""
    lists = {name: value for name, value in report.items() if isinstance(value, list) and value}
    return {name: [one.get("job_id", one.get("name")) for one in rows] for name, rows in lists.items()}


@pytest.fixture
def desk(stage: Any, emulator: EmulatorServer, tmp_path: Path) -> Desk:
    """Return a desk whose archive is on disk; jobs are over when they are read."""
    emulator.settings(polls=0)
    return Desk(emulator, stage, tmp_path, tmp_path.joinpath("ledger").as_uri(), tmp_path.joinpath("archive").as_uri())


def forget(archive: str, job_id: str) -> int:
    """Have a job deleted."""
    return main(["archive", "forget", archive, job_id], more=add_commands)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below a folder, with its time of change and its bytes."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


# --- where jobs come from


def test_the_ledger_recovers_what_is_not_archived_and_the_account_everybody_s(desk: Desk) -> None:
    """In little, what a row of tests/chaos does with 45 jobs in a real Airflow."""
    ours, theirs = desk.paid(5), desk.order(2)
    assert names(desk.recover(job_ids=ours[:2])) == {"archived": ours[:2]}
    report = desk.recover()
    assert names(report) == {"archived": ours[2:], "already_archived": ours[:2]}
    before = tree(desk.folder)
    assert names(desk.recover()) == {"already_archived": ours}
    assert tree(desk.folder) == before
    assert sorted(names(desk.recover(source="account"))["archived"]) == sorted(theirs)
    assert desk.emulator.books()["orders"] == 7
    assert set(get_type_hints(RecoveryReport)) == set(report)


def test_the_account_is_read_page_by_page_to_the_start_of_the_window(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = desk.order(5)
    monkeypatch.setattr("airflow_provider_evolink.api.http.wire.MAX_LISTED", 2)
    assert sorted(names(desk.recover(source="account"))["archived"]) == sorted(jobs)
    pages = desk.emulator.books()["requests"]["list"]
    assert names(desk.recover(source="account", until=datetime.now(UTC) - timedelta(hours=2))) == {}
    desk.recover(source="account", since=datetime.now(UTC) + timedelta(hours=1), until="2100-01-01")
    assert desk.emulator.books()["requests"]["list"] == pages + 4 + 1, "it stops behind the window"


def test_the_manifest_says_what_the_record_knows(desk: Desk) -> None:
    (job_id,) = desk.paid()
    desk.recover()
    found = desk.manifest(job_id)
    run = {"dag_id": "films", "run_id": f"run {job_id} delivered", "task_id": "shot", "map_index": 3, "try_number": 2}
    assert {name: found["airflow"][name] for name in run} == run
    assert found["airflow"]["recovered_by"] == "dag/task/run/-1"
    assert (found["fingerprint"], found["request_id"]) == (HASH, "call-7")
    assert found["submitted"]
    assert EvoLinkArchive(desk.archive).request(HASH).job_id == job_id  # type: ignore[union-attr]
    (row,) = EvoLinkArchive(desk.archive).find(dag_id="films")
    assert row["task_id"] == "shot"


def test_without_a_record_the_manifest_names_the_recovering_task(desk: Desk) -> None:
    (job_id,) = desk.order()
    desk.recover(job_ids=job_id)
    run = desk.manifest(job_id)["airflow"]
    assert (run["dag_id"], run["task_id"], run["recovered_by"]) == ("dag", "task", "dag/task/run/-1")


EDITS: dict[str, dict[str, Any]] = {
    "another model": {"model": "wan2.7-text-to-video"},
    "another time": {"newest_job_created": time.time() - 8 * HOUR},
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_that_cannot_be_of_the_job_says_nothing_about_it(desk: Desk, edit: str) -> None:
    (job_id,) = desk.order()
    desk.record(job_id, **EDITS[edit])
    assert names(desk.recover()) == {"archived": [job_id]}
    assert desk.manifest(job_id)["fingerprint"] is None
    assert EvoLinkArchive(desk.archive).request(HASH) is None


def test_records_without_a_paid_job_or_outside_the_window_are_left(desk: Desk) -> None:
    late, early, joined = desk.order(3)
    desk.record(None, State.INTENT)
    desk.record(None, State.UNKNOWN)
    desk.record(None, State.REFUSED)
    desk.record(early, age=25 * HOUR)
    desk.record(late, State.SUBMITTED, age=23 * HOUR)
    desk.record(joined, is_joined=True)
    desk.record(joined, State.SUBMITTED)
    assert names(desk.recover()) == {"archived": [late, joined]}
    assert desk.manifest(joined)["airflow"]["run_id"] == f"run {joined} submitted", "of the task that ordered"
    assert names(desk.recover(window=timedelta(hours=26), move=True))["archived"] == [early]
    assert names(desk.recover(since=datetime.now(UTC) - timedelta(minutes=5))) == {"already_archived": [joined]}


def test_old_files_of_a_ledger_are_not_even_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paid()
    (path,) = desk.folder.joinpath("ledger").rglob("*.json")
    path.write_text("damaged long ago")
    os.utime(path, (time.time() - 30 * HOUR,) * 2)
    monkeypatch.setattr(stored_records, "read_bytes", lambda *_: pytest.fail("it was read"))
    assert names(desk.recover()) == {}


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"of": ["films", "run',
    "no object": b"[]",
    "no record": b'{"of": ["films", "run", "shot", -1], "record": {}}',
    "no owner": b'{"record": {}}',
    "nested": b'{"of": ' + b"[" * 200 + b"]" * 200 + b"}",
    "binary": b"\xff\xfe\x00",
    "no text": b'{"of": [1, 2, 3, "x"], "record": {}}',
}


def test_damaged_records_are_reported_and_hold_back_no_job(desk: Desk) -> None:
    jobs = desk.paid(2)
    files = [desk.folder / "ledger" / "films" / "shot" / f"{number:040x}.json" for number in range(len(DAMAGED))]
    for path, content in zip(files, DAMAGED.values(), strict=True):
        path.write_bytes(content)
    report = desk.recover()
    assert names(report) == {"archived": jobs, "damaged": [f"films/shot/{path.name}" for path in files]}
    assert all(one["reason"] for one in report["damaged"])


def test_other_files_in_the_ledger_folder_are_no_records(desk: Desk) -> None:
    ledger, (job_id,) = desk.folder / "ledger", desk.paid()
    (ledger / "uploads").mkdir()
    for name in (f"uploads/{HASH[:8] * 5}.json", "notes.txt", "films/shot/.part", f"films/{HASH[:8] * 5}.json"):
        (ledger / name).write_text("{}")
    outside = desk.folder / "outside"
    outside.mkdir()
    (outside / f"{HASH[:8] * 5}.json").write_text("{}")
    (ledger / "films" / "linked").symlink_to(outside)
    (ledger / "films" / "shot" / f"{'0' * 40}.json").symlink_to(outside / f"{HASH[:8] * 5}.json")
    assert names(desk.recover()) == {"archived": [job_id]}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"source": "jobs"}, "job_ids is empty"),
        ({"source": "ledger"}, "set [evolink] ledger_path"),
        ({"source": "ledger", "ledger_path": "file:///x", "evolink_conn_id": "none"}, "conn_id `none` isn't defined"),
    ],
)
def test_what_cannot_work_fails_for_good_and_says_what_to_do(desk: Desk, given: dict[str, Any], text: str) -> None:
    with pytest.raises(Exception) as raised:
        desk.recover(**given)
    assert text in str(raised.value)


def test_a_refused_key_fails_for_good(desk: Desk) -> None:
    desk.paid(2)
    desk.emulator.fault("status", status=401, times=-1)
    with pytest.raises(AirflowFailException, match="EvoLinkAuthError"):
        desk.recover()


def test_a_late_retry_looks_as_far_back_as_the_first_try(desk: Desk) -> None:
    (job_id,) = desk.order()
    desk.record(job_id, age=25 * HOUR)
    run = SimpleNamespace(start_date=datetime.now(UTC) - timedelta(hours=2))
    assert names(desk.operator().execute({**desk.stage.context(), "dag_run": run})) == {"archived": [job_id]}


# --- what is archived already


@pytest.mark.parametrize("is_folded", [False, True])
def test_a_job_is_known_by_the_index_whatever_the_layout(desk: Desk, is_folded: bool) -> None:
    jobs, unknown = desk.paid(2), desk.order(1)
    desk.recover(job_ids=[*jobs, *unknown], layout="all/{job_id}")
    if is_folded:
        fold.fold(EvoLinkArchive(desk.archive).root, today="2100-01-01")
    assert names(desk.recover()) == {"already_archived": jobs}
    assert names(desk.recover(job_ids=unknown)) == {"already_archived": unknown}, "by when EvoLink created it"
    desk.emulator.job(unknown[0], vanish=True)
    assert names(desk.recover(job_ids=unknown)) == {"already_archived": unknown}, "nobody can date it"


@pytest.mark.parametrize("damage", ["no row", "no folded day"])
def test_a_job_is_known_by_its_manifest_where_the_index_is_lost(desk: Desk, damage: str) -> None:
    jobs, index = desk.paid(2), desk.folder / "archive" / "_evolink"
    desk.recover()
    if damage == "no row":
        next((index / "rows").rglob(f"{jobs[0]}.json")).unlink()
    else:
        fold.fold(EvoLinkArchive(desk.archive).root, today="2100-01-01")
        next((index / "days").glob("*.parquet")).write_bytes(b"damaged")
    assert names(desk.recover()) == {"already_archived": jobs}


def test_a_row_without_its_manifest_counts_for_nothing(desk: Desk) -> None:
    jobs = desk.paid(2)
    desk.recover()
    (path,) = desk.folder.joinpath("archive").rglob(f"{jobs[0]}/manifest.json")
    path.unlink()
    assert names(desk.recover()) == {"archived": jobs[:1], "already_archived": jobs[1:]}


def test_what_a_person_had_deleted_is_not_archived_again(desk: Desk, capsys: Any) -> None:
    first, second = desk.paid(2)
    desk.recover()
    assert forget(desk.archive, first) == 0
    assert forget(desk.archive, "task-unified-never-archived") == 1
    assert names(desk.recover()) == {"forgotten": [first], "already_archived": [second]}
    assert not [path for path in desk.folder.joinpath("archive").rglob(f"*{first}*") if path.is_file()]
    marks = list(desk.folder.joinpath("archive", "_evolink", "forgotten").iterdir())
    assert len(marks) == 2
    assert first not in "".join(f"{path} {path.read_text()}" for path in marks), "a mark names no job"


# --- jobs that run


@pytest.mark.parametrize("deferrable", [True, False])
def test_running_jobs_are_waited_for_and_then_archived(desk: Desk, deferrable: bool) -> None:
    done = desk.paid(1)
    desk.emulator.settings(polls=3, estimated_time=1)
    running = desk.paid(2)
    report = desk.recover(deferrable=deferrable, poll_interval=0.1)
    assert names(report) == {"archived": [*done, *running]}
    assert len(desk.stage.deferrals) == deferrable
    assert desk.emulator.books()["orders"] == 3


def test_what_the_trigger_holds_is_no_secret_and_what_runs_too_long_is_left_to_the_next_run(desk: Desk) -> None:
    desk.emulator.settings(polls=10_000, estimated_time=60)
    (job_id,) = desk.paid()
    with pytest.raises(TaskDeferred) as deferred:
        desk.operator(timeout=600).execute(desk.stage.context())
    path, given = deferred.value.trigger.serialize()
    assert path.endswith("EvoLinkBatchTrigger")
    assert [row[0] for row in given["jobs"]] == [job_id]
    assert set(given["state"]) == {"since", "until", "deadline"}
    late = desk.operator(timeout=600).resume_execution("__fail__", {"error": "Trigger timeout"}, desk.stage.context())
    assert names(late) == {"running": [job_id]}
    assert names(desk.recover(timeout=0)) == {"running": [job_id]}
    desk.emulator.job(job_id, state="completed")
    assert names(desk.recover(timeout=0)) == {"archived": [job_id]}


# --- what does not work


def test_a_failed_job_is_reported_with_its_code(desk: Desk) -> None:
    desk.emulator.fault("job_fails", code="content_policy_violation", times=1)
    failed, *others = desk.paid(3)
    report = desk.recover()
    assert names(report) == {"archived": others, "failed": [failed]}
    assert report["failed"][0]["code"] == "content_policy_violation"
    assert "Boat" not in json.dumps(report)


def test_one_job_that_cannot_be_fetched_now_holds_back_no_other_and_the_retry_goes_on(desk: Desk) -> None:
    jobs = desk.paid(4)
    desk.emulator.fault("link_expired", path=jobs[1], times=-1)
    pushed: dict[str, Any] = {}
    desk.stage.ti.xcom_push = lambda key, value: pushed.update({key: value})
    with pytest.raises(EvoLinkMediaError, match=f"1 paid job could not be archived: {jobs[1]}.*retry") as raised:
        desk.recover()
    assert not raised.value.permanent
    assert names(pushed["report"]) == {"archived": [jobs[0], *jobs[2:]], "unreadable": [jobs[1]]}
    desk.emulator.clear_faults()
    desk.stage.retry()
    assert names(desk.recover()) == {"archived": jobs}, "all of it is the work of this task"


def test_a_job_whose_links_are_past_is_expired_and_no_reason_to_retry(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = desk.paid(2)
    desk.emulator.fault("link_expired", path=jobs[0], times=-1)
    monkeypatch.setattr("airflow_provider_evolink.recovery.recovery._LIFETIME", -60.0)
    monkeypatch.setattr("airflow_provider_evolink.storage.result_fetch._LIFETIME", -60.0)
    report = desk.recover()
    assert names(report) == {"archived": jobs[1:], "expired": jobs[:1]}
    assert report["expired"][0]["reason"]
    with pytest.raises(AirflowFailException, match="EvoLinkLinkExpired"):
        desk.recover(job_ids=jobs)


def test_jobs_that_evolink_does_not_know_are_reported(desk: Desk) -> None:
    gone, there = desk.paid(2)
    desk.emulator.job(gone, vanish=True)
    report = desk.recover()
    assert names(report) == {"archived": [there], "unreadable": [gone]}
    assert report["unreadable"][0]["reason"]
    with pytest.raises(AirflowFailException, match=f"1 paid job could not be archived: {gone}"):
        desk.recover(job_ids=[there, gone])
    desk.emulator.job(there, vanish=True)
    assert names(desk.recover()) == {"already_archived": [there], "unreadable": [gone]}
    with pytest.raises(AirflowFailException, match=gone):
        desk.recover(job_ids=[gone, there])


def test_an_outage_is_a_reason_to_retry_and_does_not_try_every_job(desk: Desk) -> None:
    desk.paid(3)
    desk.emulator.fault("status", status=503, times=-1)
    with pytest.raises(EvoLinkUnavailable, match="3 paid jobs could not be archived"):
        desk.recover()
    assert desk.emulator.books()["requests"]["read"] <= 3 + retries.MAX_ATTEMPTS, "one was tried again, for all"


def test_a_store_that_takes_nothing_fails_the_task_and_says_so(desk: Desk) -> None:
    desk.paid(2)
    desk.folder.joinpath("archive").write_text("no folder")
    with pytest.raises(EvoLinkMediaError, match=r"2 paid jobs could not be archived.*NotADirectoryError.*retry"):
        desk.recover()


def test_of_several_results_those_that_are_there_are_archived_and_the_rest_by_the_retry(desk: Desk) -> None:
    (job_id,) = desk.order(1, n=3)
    desk.record(job_id, model="gpt-image-2")
    desk.emulator.fault("link_expired", path="2.png", times=-1)
    with pytest.raises(EvoLinkMediaError, match="1 of its results could not be fetched"):
        desk.recover()
    assert [file["index"] for file in desk.manifest(job_id)["files"]] == [0, 2]
    desk.emulator.clear_faults()
    assert names(desk.recover()) == {"archived": [job_id]}
    assert [file["index"] for file in desk.manifest(job_id)["files"]] == [0, 1, 2]
    assert desk.manifest(job_id)["missing"] is None


# --- what others see of it


def test_each_job_raises_an_event_also_after_a_retry(desk: Desk) -> None:
    jobs = desk.paid(3)
    alias = AssetAlias("clips")
    desk.emulator.fault("link_expired", path=jobs[2], times=-1)
    with pytest.raises(EvoLinkLinkExpired):
        desk.recover(outlets=[alias])
    desk.emulator.clear_faults()
    events = OutletEventAccessors()
    operator = desk.operator(outlets=[alias, Asset("all", uri="x://all")])
    operator.execute({**desk.stage.retry().context(), "outlet_events": events})
    found = events[alias].asset_alias_events
    assert [event.extra["job_id"] for event in found] == jobs
    assert {event.dest_asset_key.uri for event in found} == {desk.archive}
    assert all(event.extra["files"] and event.extra["credits"] is not None for event in found)
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert len(lineage.outputs) == 3
    assert [dataset.name for dataset in lineage.inputs] == jobs


def test_in_an_object_store_it_is_the_same(desk: Desk, s3: Any, make: Callable[..., Any]) -> None:
    s3.create_bucket(Bucket="recovered")
    desk.ledger, desk.archive = "s3://store@recovered/ledger", "s3://store@recovered/archive"
    jobs = desk.paid(4)
    given = {"destination": "s3://recovered/staging", "destination_conn_id": "store"}
    assert names(desk.recover(job_ids=jobs[:1], **given)) == {"archived": jobs[:1]}
    report = desk.recover(**given)
    assert names(report) == {"archived": jobs[1:], "already_archived": jobs[:1]}
    before = {one["Key"]: one["LastModified"] for one in s3.list_objects_v2(Bucket="recovered")["Contents"]}
    assert names(desk.recover(**given)) == {"already_archived": jobs}
    assert {one["Key"]: one["LastModified"] for one in s3.list_objects_v2(Bucket="recovered")["Contents"]} == before
    assert desk.emulator.books()["orders"] == 4


@pytest.mark.parametrize("ledger", ["s3://narrow@recovered-2/ledger", "s3://store@no-such-bucket/ledger"])
def test_a_ledger_that_may_not_be_listed_or_is_nowhere_fails_for_good(
    desk: Desk, narrow: Any, s3: Any, ledger: str
) -> None:
    s3.create_bucket(Bucket="recovered-2")
    desk.ledger = "s3://store@recovered-2/empty"
    assert names(desk.recover()) == {}, "nothing was ever ordered"
    desk.ledger = ledger
    with pytest.raises(AirflowFailException, match=r"ledger folder s3://.*What to do: "):
        desk.recover()
