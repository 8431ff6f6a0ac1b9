"""The archive's copies: made inside the store, verified by it, and through the worker where that cannot be."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.storage.copying import kernel_copy, s3_copy
from airflow_provider_evolink.storage.copying.checked_copy import copy_checked, remove_staged
from airflow_provider_evolink.storage.object_store import about, holds, open_folder, publish

CONTENT = bytes(range(256)) * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = {"sha256": SHA256, "size": len(CONTENT), "content_type": "video/mp4"}
ABOUT = about("job", SHA256)


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the spool of each test to itself."""
    monkeypatch.setenv("AIRFLOW__EVOLINK__SPOOL_FOLDER", str(tmp_path / "spool"))
    return tmp_path / "spool" / "evolink-spool"


@pytest.fixture
def staged(narrow: Any, bucket: str, tmp_path: Path) -> Any:
    """Return a staged object, as a download leaves it."""
    tmp_path.joinpath("a").write_bytes(CONTENT)
    path = open_folder(f"s3://narrow@{bucket}/staging/a.mp4")
    publish(tmp_path / "a", path, content_type="video/mp4", metadata=ABOUT)
    narrow.seen.clear()
    narrow.carried = 0
    return path


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_copy, "MAX_COPY", 1024)
    monkeypatch.setattr(s3_copy, "PART", 5 * 1024**2)


def left(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.iterdir()) if spool.exists() else []


@pytest.mark.parametrize("how", ["one request", "parts"])
@pytest.mark.parametrize("connection", ["narrow", "another name of it"])
def test_s3_copies_by_itself(
    narrow: Any,
    s3: Any,
    bucket: str,
    staged: Any,
    monkeypatch: pytest.MonkeyPatch,
    spool: Path,
    how: str,
    connection: str,
) -> None:
    if how == "parts":
        in_parts(monkeypatch)
    monkeypatch.setenv("AIRFLOW_CONN_ANOTHER", os.environ["AIRFLOW_CONN_NARROW"])
    target = open_folder(f"s3://{'narrow' if connection == 'narrow' else 'another'}@{bucket}/archive/x y+ü.mp4")
    copied = copy_checked(staged, target, file=FILE, metadata=ABOUT)
    assert (copied.by, copied.verified) == ("store", "sha256" if how == "one request" else "size")
    assert narrow.carried < 10_000, "no byte of the media passes the worker"
    found = s3.get_object(Bucket=bucket, Key="archive/x y+ü.mp4")
    assert found["Body"].read() == CONTENT
    assert (found["ContentType"], found["Metadata"]) == ("video/mp4", ABOUT)
    assert {right for right, _ in narrow.seen} == {"put", "get"}
    assert left(spool) == []


@pytest.mark.parametrize("how", ["one request", "parts"])
@pytest.mark.parametrize("fault", ["403 AccessDenied", "501 NotImplemented", "400 InvalidRequest"])
def test_what_the_store_does_not_copy_goes_through_the_worker(
    narrow: Any, s3: Any, bucket: str, staged: Any, contents: Any, monkeypatch: pytest.MonkeyPatch, how: str, fault: str
) -> None:
    if how == "parts":
        in_parts(monkeypatch)
        narrow.denied.discard("abort")
    narrow.copies_fail = fault
    copied = copy_checked(staged, open_folder(f"s3://narrow@{bucket}/b.mp4"), file=FILE, metadata=ABOUT)
    assert (copied.by, copied.verified) == ("worker", "sha256")
    found = s3.get_object(Bucket=bucket, Key="b.mp4")
    assert (found["Body"].read(), found["Metadata"]) == (CONTENT, ABOUT)
    assert contents() == ["b.mp4", "staging/a.mp4"]


def test_another_endpoint_or_key_goes_through_the_worker(
    narrow: Any, s3: Any, bucket: str, staged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = json.loads(os.environ["AIRFLOW_CONN_NARROW"]) | {"login": "other-key"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER_KEY", json.dumps(other))
    for connection in ("store", "other_key"):
        target = open_folder(f"s3://{connection}@{bucket}/{connection}.mp4")
        assert copy_checked(staged, target, file=FILE, metadata=ABOUT).by == "worker"
        assert s3.get_object(Bucket=bucket, Key=f"{connection}.mp4")["Body"].read() == CONTENT


@pytest.mark.parametrize(
    "harm", ["other bytes", "other bytes, same metadata", "shorter", "no metadata", "while it is copied", "gone"]
)
@pytest.mark.parametrize("checksum", ["by the store", "none"])
def test_a_staged_object_that_has_changed_is_not_archived(
    narrow: Any, s3: Any, bucket: str, staged: Any, contents: Any, harm: str, checksum: str
) -> None:
    """With the metadata of the right file, too: then the copy is found wrong by its own checksum, and removed."""
    narrow.denied = set()
    narrow.has_checksums = checksum == "by the store"
    body = CONTENT[:-1] if harm == "shorter" else CONTENT[::-1]
    given = {"Bucket": bucket, "Key": "staging/a.mp4", "Body": body}
    kept = {} if harm == "no metadata" else ABOUT if "same" in harm or "while" in harm else {"evolink-sha256": "0" * 64}
    if harm == "while it is copied":
        narrow.before_copy = lambda: s3.put_object(**given, Metadata=kept)
    elif harm == "gone":
        s3.delete_object(Bucket=bucket, Key="staging/a.mp4")
    else:
        s3.put_object(**given, Metadata=kept)
    message = "no longer exists" if harm == "gone" else "has changed since it was downloaded"
    with pytest.raises(EvoLinkMediaError, match=message):
        copy_checked(staged, open_folder(f"s3://narrow@{bucket}/b.mp4"), file=FILE, metadata=ABOUT)
    assert "b.mp4" not in contents()


@pytest.mark.parametrize("moment", ["after it was opened", "before its ID was known"])
@pytest.mark.parametrize("way", ["copy", "upload"])
def test_what_a_killed_copy_left_open_is_aborted_by_the_next_one(
    narrow: Any,
    bucket: str,
    staged: Any,
    contents: Any,
    monkeypatch: Any,
    spool: Path,
    tmp_path: Path,
    moment: str,
    way: str,
) -> None:
    in_parts(monkeypatch)
    monkeypatch.setattr("airflow_provider_evolink.storage.s3.MAX_PUT", 1024)
    source = staged if way == "copy" else open_folder(f"{tmp_path}/a")
    narrow.denied = set()
    target = open_folder(f"s3://narrow@{bucket}/b.mp4")

    class Killed(BaseException):
        pass

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(s3_copy.OpenUpload, "copy_part" if way == "copy" else "put_part", dies)
        patch.setattr(s3_copy.OpenUpload, "__exit__", lambda self, *_: self._note.close())
        with pytest.raises(Killed):
            copy_checked(source, target, file=FILE, metadata=ABOUT)
    (note,) = spool.iterdir()
    if moment == "before its ID was known":
        note.write_text(json.dumps({"path": target.path}))
    assert contents() == ["staging/a.mp4", "open: b.mp4"]
    assert copy_checked(source, target, file=FILE, metadata=ABOUT).by == {"copy": "store", "upload": "worker"}[way]
    assert contents() == ["b.mp4", "staging/a.mp4"]
    assert left(spool) == []


@pytest.mark.parametrize("cannot", [[], ["_clone"], ["_clone", "_copy_range"], ["_clone", "_copy_range", "_send"]])
def test_a_disk_copies_by_itself_and_never_by_a_hard_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cannot: list[str]
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(errno.EXDEV, "not here")

    for way in cannot:
        monkeypatch.setattr(kernel_copy, way, refuses)
    source, target = tmp_path / "a.mp4", tmp_path / "archive" / "b.mp4"
    source.write_bytes(CONTENT)
    copied = copy_checked(open_folder(str(source)), open_folder(str(target)), file=FILE, metadata={})
    assert (copied.by, copied.verified, copied.sha256) == ("kernel", "sha256", SHA256)
    source.write_bytes(b"later")
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("harm", [CONTENT[::-1], CONTENT[:-1], CONTENT + b"x"])
def test_a_staged_file_on_a_disk_that_has_changed_is_not_archived(tmp_path: Path, harm: bytes) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "archive" / "b.mp4"
    source.write_bytes(harm)
    with pytest.raises(EvoLinkMediaError, match="has changed since it was downloaded"):
        copy_checked(open_folder(str(source)), open_folder(str(target)), file=FILE, metadata={})
    assert not list(tmp_path.glob("archive/*"))


def test_a_staged_file_is_removed_where_that_is_allowed(narrow: Any, staged: Any, tmp_path: Path) -> None:
    assert not remove_staged(staged), "this role may not delete"
    assert holds(staged, sha256=SHA256, size=len(CONTENT))
    narrow.denied = set()
    assert remove_staged(staged)
    assert not holds(staged, sha256=SHA256, size=len(CONTENT))
    local = open_folder(str(tmp_path / "a"))
    assert remove_staged(local)
    assert remove_staged(local), "it is gone"
