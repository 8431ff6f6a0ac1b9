"""Stores: what an order needs is proven before it is paid, few rights suffice, and 403 never means "no record"."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from evolink_support import die, killed
from PIL import Image

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError, EvoLinkMediaError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
)
from airflow_provider_evolink.storage import s3 as s3_store
from airflow_provider_evolink.storage.copying import open_uploads, s3_parts
from airflow_provider_evolink.storage.copying.checked_copy import copy_checked
from airflow_provider_evolink.storage.object_store import holds, open_folder, publish
from airflow_provider_evolink.storage.writable import prove_writable

Make = Callable[..., Callable[[], Any]]


def download(stage: Any, job: Any, destination: str) -> list[dict[str, Any]]:
    """Run the download operator."""
    operator = EvoLinkDownloadOperator(task_id="download", job=job, destination=destination)
    return operator.execute(stage.context())


def archive(stage: Any, files: Any, where: str) -> list[dict[str, Any]]:
    """Run the archive operator."""
    operator = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=where)
    return operator.execute(stage.context())


# -- before an order ----------------------------------------------------------


@pytest.mark.parametrize("role", ["put and get", "all", "get alone"])
@pytest.mark.parametrize("where", ["bucket", "no bucket"])
@pytest.mark.parametrize("ignored", [set(), {"match"}])
def test_a_folder_in_s3_is_proven_writable_and_left_as_it_was(
    narrow: Any, bucket: str, contents: Any, role: str, where: str, ignored: set[str]
) -> None:
    narrow.denied = {"put and get": narrow.denied, "all": set(), "get alone": {"put", "list", "delete"}}[role]
    narrow.ignored = ignored
    uri = f"s3://narrow@{bucket if where == 'bucket' else 'not-there'}/videos"
    if role != "get alone" and where == "bucket":
        prove_writable(uri)
    else:
        with pytest.raises(EvoLinkConfigError, match=r"the destination s3://.*/videos takes no files .*nothing was"):
            prove_writable(uri)
    must_stay = ignored and where == "bucket" and role == "put and get"
    assert contents() == (["videos/.evolink-write-test"] if must_stay else [])


def test_a_store_that_knows_no_conditions_is_asked_for_an_upload_that_is_never_made(
    narrow: Any, bucket: str, contents: Any
) -> None:
    narrow.denied = set()
    narrow.fails = lambda right, key: "501 NotImplemented" if right == "put" and not narrow.seen[1:] else None
    prove_writable(f"s3://narrow@{bucket}/videos")
    assert [right for right, _ in narrow.seen] == ["put", "put", "abort"]
    assert contents() == []


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("fault", ["no bucket", "no right", "below a file", "dangling link"])
def test_nothing_is_paid_whose_result_could_not_be_stored(
    stage: Any,
    make: Make,
    emulator: EmulatorServer,
    narrow: Any,
    bucket: str,
    tmp_path: Path,
    fault: str,
    deferrable: bool,
) -> None:
    tmp_path.joinpath("file").write_text("x")
    tmp_path.joinpath("link").symlink_to(tmp_path / "nowhere")
    where = {
        "no bucket": "s3://narrow@not-there/x",
        "no right": f"s3://narrow@{bucket}/x",
        "below a file": f"file://{tmp_path}/file/x",
        "dangling link": f"file://{tmp_path}/link/x",
    }[fault]
    if fault == "no right":
        narrow.denied.add("put")
    with pytest.raises(AirflowFailException, match=r"the destination .* takes no files") as told:
        stage.run(make(destination=where, deferrable=deferrable))
    assert emulator.books()["orders"] == 0
    assert "secret words" not in str(told.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_store_that_does_not_respond_now_is_asked_again_by_a_retry(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str
) -> None:
    narrow.fails = lambda *_: "400 ExpiredToken"
    with pytest.raises(EvoLinkConfigError, match=r"files \(OSError: ExpiredToken\).*a retry tries again") as told:
        stage.run(make(destination=f"s3://narrow@{bucket}/x"))
    assert not told.value.permanent
    assert emulator.books()["orders"] == 0
    narrow.fails = lambda *_: None
    assert stage.retry().run(make(destination=f"s3://narrow@{bucket}/x"))["files"]
    assert emulator.books()["orders"] == 1


def test_a_batch_proves_its_destination_once(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str
) -> None:
    emulator.settings(polls=0)
    requests = [{"prompt": f"number {number}"} for number in range(3)]
    given = {"model": "wan2.7-text-to-video", "requests": requests, "parameters": None}
    stage.run(make(EvoLinkBatchOperator, **given, destination=f"s3://narrow@{bucket}/x"))
    assert emulator.books()["orders"] == 3
    assert len([key for _, key in narrow.seen if ".evolink-write-test" in key]) == 1


# -- few rights ---------------------------------------------------------------


def test_the_rights_to_put_and_get_suffice_for_everything(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str, contents: Any, s3: Any
) -> None:
    emulator.settings(polls=0)
    root = f"s3://narrow@{bucket}"
    given = {"ledger_path": f"{root}/ledger", "destination": f"{root}/direct"}
    job = stage.run(make(**given))
    assert stage.retry().run(make(**given))["files"] == job["files"]
    staged = download(stage, job, f"{root}/staging")
    assert download(stage, job, f"{root}/staging") == staged
    rows = archive(stage, staged, f"{root}/archive")
    assert archive(stage, staged, f"{root}/archive") == rows
    assert emulator.books()["orders"] == 1
    assert emulator.books()["requests"]["media"] == 2
    assert {right for right, _ in narrow.seen} == {"put", "get"}, "it never tries what it may not"
    found = contents()
    in_archive = ["a file", "its poster", "manifest", "row", "look-up"]
    assert len(found) == 2 + 2 + len(in_archive) + 1 + 1, "file and receipt twice, the record, and the store's test"
    types = {key: s3.head_object(Bucket=bucket, Key=key) for key in found}
    assert {key.rpartition(".")[2]: row["ContentType"] for key, row in types.items()} == {
        "mp4": "video/mp4",
        "jpg": "image/jpeg",
        "json": "application/json",
        "evolink-create-only": "application/json",
    }
    for key, row in types.items():
        if key.endswith(".mp4"):
            assert row["Metadata"] == {"evolink-job-id": job["job_id"], "evolink-sha256": staged[0]["sha256"]}


def test_an_input_in_s3_needs_the_right_to_get_alone(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str, s3: Any
) -> None:
    emulator.settings(polls=0)
    drawn = io.BytesIO()
    Image.new("RGB", (640, 360), "green").save(drawn, "PNG")
    s3.put_object(Bucket=bucket, Key="frame.png", Body=drawn.getvalue())
    narrow.denied.add("put")
    given = {"prompt": "p", "image_start": f"s3://narrow@{bucket}/frame.png"}
    assert stage.run(make(EvoLinkImageToVideoOperator, **given))["job_id"]
    assert {right for right, _ in narrow.seen} == {"get"}
    given["image_start"] = f"s3://narrow@{bucket}/gone.png"
    with pytest.raises(AirflowFailException, match="may not be read by this task, or does not exist"):
        stage.clear().run(make(EvoLinkImageToVideoOperator, **given))
    assert emulator.books()["orders"] == 1


# -- the ledger ---------------------------------------------------------------


@pytest.fixture
def ledger(stage: Any, make: Make, bucket: str) -> Callable[[], Any]:
    """Return a function that runs a try whose only store is a folder in S3."""

    def run() -> Any:
        context = stage.context
        stage.context = lambda: {**context(), "task_state_store": None}
        try:
            return stage.run(make(ledger_path=f"s3://narrow@{bucket}/ledger"))
        finally:
            stage.context = context

    return run


def test_a_record_that_may_not_be_read_is_not_taken_for_none(
    stage: Any, ledger: Any, emulator: EmulatorServer, narrow: Any
) -> None:
    emulator.settings(polls=0)
    ledger()
    narrow.denied.add("get")
    stage.retry()
    with pytest.raises(AirflowFailException, match=r"has a record of this task that this role may not read .*grant"):
        ledger()
    assert emulator.books()["orders"] == 1
    narrow.denied.remove("get")
    ledger()
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("has_record", [True, False])
def test_a_store_without_create_only_writes_needs_the_right_to_list(
    stage: Any, ledger: Any, emulator: EmulatorServer, narrow: Any, has_record: bool, s3: Any, bucket: str
) -> None:
    emulator.settings(polls=0)
    if has_record:
        ledger()
        s3.delete_object(Bucket=bucket, Key="ledger/.evolink-create-only")
        narrow.denied.add("get")
    narrow.ignored.add("none-match")
    before = emulator.books()["orders"]
    with pytest.raises(AirflowFailException, match=r"takes no create-only writes.*s3:ListBucket"):
        stage.retry() and ledger()
    assert emulator.books()["orders"] == before
    narrow.denied -= {"list", "get"}
    ledger()
    assert emulator.books()["orders"] == 1, "what is there was not written over"


@pytest.mark.parametrize("fault", ["no bucket", "no right"])
def test_nothing_is_paid_that_could_not_be_recorded(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str, fault: str
) -> None:
    if fault == "no right":
        narrow.denied.add("put")
    path = f"s3://narrow@{bucket if fault == 'no right' else 'not-there'}/ledger"
    with pytest.raises(
        AirflowFailException, match=r"the ledger_path s3://.*/ledger takes no files .*nothing was ordered"
    ):
        stage.run(make(ledger_path=path))
    assert emulator.books()["orders"] == 0


def test_an_intent_whose_response_was_lost_is_this_trys_own(
    ledger: Any, emulator: EmulatorServer, narrow: Any, contents: Any
) -> None:
    lost = iter(["lost"])
    narrow.fails = lambda right, key: next(lost, None) if right == "put" and key.endswith(".json") else None
    emulator.settings(polls=0)
    assert ledger()["job_id"]
    assert next(lost, None) is None, "it was lost"
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("may_list", [True, False])
def test_an_intent_that_another_try_writes_meanwhile_stops_this_one(
    stage: Any, ledger: Any, emulator: EmulatorServer, narrow: Any, s3: Any, bucket: str, may_list: bool
) -> None:
    """The other try writes between this one's last read and its write."""
    narrow.denied = set() if may_list else narrow.denied
    emulator.settings(polls=0)

    def overtake(right: str, key: str) -> None:
        if right == "put" and key.endswith(".json"):
            narrow.fails = lambda *_: None
            owner = ["dag", "run", "task", -1]
            body = json.dumps({"of": owner, "record": {"state": "intent"}})
            s3.put_object(Bucket=bucket, Key=key.removeprefix(f"/{bucket}/"), Body=body)

    narrow.fails = overtake
    with pytest.raises(EvoLinkLedgerError, match="another try has just written its record"):
        ledger()
    assert emulator.books()["orders"] == 0


# -- what is there ------------------------------------------------------------


def test_what_a_store_keeps_of_a_file_saves_reading_it(narrow: Any, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = b"x" * 3_000_000
    tmp_path.joinpath("a").write_bytes(content)
    good = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    path = open_folder(f"s3://narrow@{bucket}/a")
    assert not holds(path, **good)
    publish(tmp_path / "a", path, metadata={"evolink-sha256": good["sha256"]})
    narrow.seen.clear()
    assert holds(path, **good)
    assert len(narrow.seen) == 1
    s3.put_object(Bucket=bucket, Key="a", Body=content)
    assert holds(path, **good), "without metadata the content counts"
    for wrong in (content[:-1], content[:-1] + b"y", content + b"x"):
        s3.put_object(Bucket=bucket, Key="a", Body=wrong)
        assert not holds(path, **good)


@pytest.mark.parametrize("store", ["file", "s3"])
@pytest.mark.parametrize("harm", ["staged", "archived"])
def test_a_damaged_file_of_the_same_size_is_written_again(
    stage: Any, make: Make, emulator: EmulatorServer, narrow: Any, bucket: str, tmp_path: Path, store: str, harm: str
) -> None:
    emulator.settings(polls=0)
    root = f"file://{tmp_path}" if store == "file" else f"s3://narrow@{bucket}"
    job = stage.run(make())
    staged = download(stage, job, f"{root}/staging")
    archived = archive(stage, staged, f"{root}/archive")
    path = ObjectStoragePath(
        (staged if harm == "staged" else archived)[0]["uri"], conn_id="narrow" if store == "s3" else None
    )
    content = bytearray(path.read_bytes())
    content[99] ^= 1
    path.fs.pipe_file(path.path, bytes(content))
    if harm == "staged":
        with pytest.raises(EvoLinkMediaError, match=r"has changed since it was downloaded.*clear the download task"):
            archive(stage, staged, f"{root}/another")
        assert download(stage, job, f"{root}/staging") == staged
        assert archive(stage, staged, f"{root}/another")
    else:
        assert archive(stage, staged, f"{root}/archive") == archived
    assert hashlib.sha256(path.read_bytes()).hexdigest() == staged[0]["sha256"]
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("store", ["file", "s3"])
def test_a_staged_file_that_is_gone_names_the_likely_cause(
    narrow: Any, bucket: str, tmp_path: Path, store: str
) -> None:
    root = f"file://{tmp_path}" if store == "file" else f"s3://narrow@{bucket}"
    file = {"sha256": "0" * 64, "size": 1, "content_type": "video/mp4"}
    cause = "a disk that this worker does not share" if store == "file" else "this task's role may not read it"
    with pytest.raises(EvoLinkMediaError, match=f"no longer exists here .*{cause}.*What to do"):
        copy_checked(open_folder(f"{root}/x.mp4"), open_folder(f"{root}/y.mp4"), file=file, metadata={})


# -- uploads to S3 ------------------------------------------------------------


@pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "lost"])
@pytest.mark.parametrize("max_put", [5 * 1024**3, 1024])
def test_an_upload_that_fails_once_is_sent_again_from_its_start(
    narrow: Any, bucket: str, contents: Any, s3: Any, tmp_path: Path, monkeypatch: Any, fault: str, max_put: int
) -> None:
    monkeypatch.setattr(s3_store, "MAX_PUT", max_put)
    monkeypatch.setattr(s3_parts, "PART", 5 * 1024**2)
    content = bytes(range(256)) * 50_000
    tmp_path.joinpath("a").write_bytes(content)
    faults = iter([fault])
    narrow.fails = lambda right, _: next(faults, None) if right == "put" else None
    publish(tmp_path / "a", open_folder(f"s3://narrow@{bucket}/a.mp4"), content_type="video/mp4")
    assert next(faults, None) is None
    found = s3.get_object(Bucket=bucket, Key="a.mp4")
    assert found["Body"].read() == content
    assert found["ContentType"] == "video/mp4"
    if max_put > len(content) or fault != "lost":  # the ID of an upload can be lost, too
        assert contents() == ["a.mp4"]


def test_a_store_that_takes_long_to_respond_is_sent_a_file_once(
    narrow: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 1)
    monkeypatch.setenv("AIRFLOW_CONN_SLOW", os.environ["AIRFLOW_CONN_NARROW"])
    narrow.seconds = 2.5
    tmp_path.joinpath("a").write_bytes(b"x")
    publish(tmp_path / "a", open_folder(f"s3://slow@{bucket}/a.mp4"))
    assert [right for right, _ in narrow.seen] == ["put"]


def test_a_large_upload_that_fails_for_good_leaves_no_open_upload(
    narrow: Any, bucket: str, contents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "MAX_PUT", 1024)
    monkeypatch.setattr(s3_parts, "PART", 5 * 1024**2)
    tmp_path.joinpath("a").write_bytes(b"x" * 12_000_000)
    narrow.denied = set()
    narrow.fails = lambda right, _: "403 AccessDenied" if right == "put" and len(narrow.seen) == 3 else None
    with pytest.raises(PermissionError):
        publish(tmp_path / "a", open_folder(f"s3://narrow@{bucket}/a.mp4"))
    assert contents() == []


@pytest.mark.parametrize("moment", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
def test_what_a_killed_large_upload_leaves_open_is_aborted_by_the_next_try(
    narrow: Any, bucket: str, contents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setenv("AIRFLOW__EVOLINK__SPOOL_FOLDER", str(tmp_path / "spool"))
    monkeypatch.setattr(s3_store, "MAX_PUT", 1024)
    monkeypatch.setattr(s3_parts, "PART", 5 * 1024**2)
    narrow.denied = set()
    tmp_path.joinpath("a").write_bytes(b"x" * 12_000_000)
    target, real = open_folder(f"s3://narrow@{bucket}/a.mp4"), s3_store.call

    class Killed(BaseException):
        pass

    def dies(path: Any, method: str, **given: Any) -> Any:
        done = real(path, method, **given) if method != "complete_multipart_upload" else None
        if method == moment:
            raise Killed
        return done

    with monkeypatch.context() as patch:
        patch.setattr(s3_store, "call", dies)
        patch.setattr(open_uploads.OpenUpload, "__exit__", lambda self, *_: self._note.close())
        with pytest.raises(Killed):
            publish(tmp_path / "a", target)
    assert contents() == ["open: a.mp4"], "nothing is visible before it is whole"
    publish(tmp_path / "a", target, content_type="video/mp4", metadata={"evolink-sha256": "0" * 64})
    assert contents() == ["a.mp4"]
    assert list((tmp_path / "spool" / "evolink-spool").iterdir()) == []
    assert s3_store.head(target)["Metadata"] == {"evolink-sha256": "0" * 64}


@pytest.mark.parametrize("cuts", [1, 4, 5])
def test_a_download_from_s3_that_breaks_off_goes_on_where_it_was(
    narrow: Any, bucket: str, s3: Any, tmp_path: Path, cuts: int
) -> None:
    content = bytes(range(256)) * 40_000
    s3.put_object(Bucket=bucket, Key="a.mp4", Body=content)
    faults = iter(["cut"] * cuts)
    narrow.fails = lambda *_: next(faults, None)
    file = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "video/mp4"}
    source, target = open_folder(f"s3://narrow@{bucket}/a.mp4"), open_folder(f"{tmp_path}/b.mp4")
    if cuts > s3_store.RESUMPTIONS:
        with pytest.raises(OSError, match="broke off"):
            copy_checked(source, target, file=file, metadata={})
        assert list(tmp_path.iterdir()) == []
        return
    copy_checked(source, target, file=file, metadata={})
    assert (tmp_path / "b.mp4").read_bytes() == content
    assert len(narrow.seen) == cuts + 1


def test_an_object_that_is_replaced_while_it_is_read_is_not_archived(
    narrow: Any, bucket: str, s3: Any, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 40_000
    s3.put_object(Bucket=bucket, Key="a.mp4", Body=content)

    def replaced(*_: Any) -> str | None:
        if len(narrow.seen) > 1:
            return None
        return "cut"

    narrow.fails = replaced
    file = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "video/mp4"}
    read = s3_store._call

    def then_another(path: Any, method: str, **arguments: Any) -> Any:
        if "Range" in arguments:
            s3.put_object(Bucket=bucket, Key="a.mp4", Body=content[::-1])
        return read(path, method, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_store, "_call", then_another)
        with pytest.raises(OSError, match="PreconditionFailed"):
            copy_checked(
                open_folder(f"s3://narrow@{bucket}/a.mp4"), open_folder(f"{tmp_path}/b"), file=file, metadata={}
            )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["file", "s3"])
def test_an_archive_that_is_killed_at_any_moment_ends_whole(
    stage: Any, s3: Any, bucket: str, contents: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """Each process of these is killed a little later than the one before; what they leave is no more than a start."""
    facts = os.environ["AIRFLOW_CONN_STORE"]
    files = []
    for index in range(2):
        content = bytes([index]) * 8_000_000
        tmp_path.joinpath(f"{index}.mp4").write_bytes(content)
        row = {"uri": f"{tmp_path}/{index}.mp4", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        files.append({**row, "content_type": "video/mp4", "index": index, "job_id": "job", "model": "wan"})
    tmp_path.joinpath("temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def dies_after(seconds: float) -> None:
        threading.Timer(seconds, die).start()
        archive(stage, files, where("killed"))
        time.sleep(seconds)

    def where(conn_id: str) -> str:  # a process may not use what its parent has opened
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", facts)
        return f"file://{tmp_path}/archive" if store == "file" else f"s3://{conn_id}@{bucket}"

    for number in range(6):
        killed(partial(dies_after, 0.02 + number * 0.04))
    rows = archive(stage, files, where("store"))
    names = ["job-0.mp4", "job-1.mp4", "job.json", "manifest.json"]  # job.json is its row in the index
    found = [path.name for path in (tmp_path / "archive").rglob("*") if path.is_file()] or [
        key.rpartition("/")[2] for key in contents()
    ]
    assert sorted(found) == names
    for row, file in zip(rows, files, strict=True):
        path = ObjectStoragePath(row["uri"], conn_id="store" if store == "s3" else None)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    manifest = ObjectStoragePath(rows[0]["manifest"], conn_id="store" if store == "s3" else None)
    assert [row["name"] for row in json.loads(manifest.read_text())["files"]] == names[:2]
    assert list(tmp_path.joinpath("temporary").iterdir()) == []


def test_a_document_that_arrives_in_parts_is_read_to_its_end(narrow: Any, bucket: str) -> None:
    path = open_folder(f"s3://narrow@{bucket}/large.json")
    content = json.dumps(["x" * 1000] * 3000)
    s3_store.create(path, content.encode(), "application/json")
    assert s3_store.read(path, 10**8).decode() == content
    assert s3_store.read(path, 2_000_000).decode() == content[:2_000_000]
