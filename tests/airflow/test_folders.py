"""Folders on disk: no way out through links, whole files after kills, few bytes in memory, names that work."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from evolink_forker import Lines
from evolink_support import MAPPED, die, killed

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.storage import local_folder, object_store
from airflow_provider_evolink.storage.object_store import (
    create_json,
    open_folder,
    publish_json,
    read_json,
)
from airflow_provider_evolink.storage.writable import prove_writable

Make = Callable[..., Callable[[], Any]]
DEEP = '{"files": ' + "[" * 20_000 + "]" * 20_000 + "}"
DEEP_OBJECTS = '{"a":' * 20_000 + "1" + "}" * 20_000
TOO_DEEP_TO_WRITE = '{"files": ' + "[" * 600 + "]" * 600 + "}"


def download(stage: Any, job: Any, where: str) -> list[dict[str, Any]]:
    """Run the download operator."""
    return EvoLinkDownloadOperator(task_id="download", job=job, destination=where).execute(stage.context())


def archive(stage: Any, files: Any, where: str) -> list[dict[str, Any]]:
    """Run the archive operator."""
    return EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=where).execute(stage.context())


# -- names --------------------------------------------------------------------


@pytest.mark.parametrize("end", ["#", "?", "/#", "?/", "??", "#?", "a#", "?#//"])
@pytest.mark.parametrize("root", ["file://{}/x", "{}/x", "s3://store@bucket/x", "memory://x"])
def test_a_folder_whose_last_character_would_be_dropped_is_refused(root: str, end: str, tmp_path: Path) -> None:
    with pytest.raises(EvoLinkConfigError, match=r"the destination .* must not end with # or \?"):
        open_folder(root.format(tmp_path) + end)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["#1", "a#b", "a?b", "?a", "a b", "ü", "50%", "%20", "a&b", "'q'", '"q"', "a;b", "[a]", "*"]
)
@pytest.mark.parametrize("root", ["file://{}/{}/x", "{}/{}"])
def test_a_folder_of_any_other_name_is_the_one_that_was_named(root: str, name: str, tmp_path: Path) -> None:
    uri = root.format(tmp_path, name)
    prove_writable(uri)
    assert list(tmp_path.iterdir()) == []
    publish_json({}, open_folder(uri) / "file.json")
    assert [str(path) for path in tmp_path.rglob("*.json")] == [uri.removeprefix("file://") + "/file.json"]


@pytest.mark.parametrize("argument", ["destination", "ledger_path"])
def test_no_order_is_paid_with_such_a_name(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, argument: str
) -> None:
    with pytest.raises(AirflowFailException, match="must not end with"):
        stage.run(make(**{argument: f"file://{tmp_path}/x#"}, **MAPPED))
    assert emulator.books()["orders"] == 0


# -- links --------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["wan2.7-text-to-video", "wan2.7-text-to-video/{year}", "wan2.7-text-to-video/{day}/{job}"]
)
def test_the_archive_does_not_follow_links_inside_it(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, place: str
) -> None:
    emulator.settings(polls=0)
    job = stage.run(make())
    files = download(stage, job, f"file://{tmp_path}/staging")
    day = job["created"][:10].replace("-", "/")
    link = tmp_path / "archive" / place.format(model=job["model"], year=day[:4], day=day, job=job["job_id"])
    link.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    link.symlink_to(outside)
    with pytest.raises(AirflowFailException, match=r"is a symbolic link inside .*, and is not followed"):
        archive(stage, files, f"file://{tmp_path}/archive")
    assert list(outside.iterdir()) == []


def test_a_root_may_be_a_link(stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path) -> None:
    emulator.settings(polls=0)
    tmp_path.joinpath("real").mkdir()
    tmp_path.joinpath("root").symlink_to(tmp_path / "real")
    root = f"file://{tmp_path}/root"
    job = stage.run(make(destination=root, ledger_path=root))
    assert archive(stage, job["files"], root)
    assert stage.retry().run(make(destination=root, ledger_path=root))["files"] == job["files"]
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("place", ["dag", "dag/task"])
def test_the_ledger_does_not_follow_links_inside_it(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, place: str
) -> None:
    link = tmp_path / "ledger" / place
    link.parent.mkdir(parents=True)
    tmp_path.joinpath("outside").mkdir()
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(AirflowFailException, match="is a symbolic link inside"):
        stage.run(make(ledger_path=f"file://{tmp_path}/ledger"))
    assert emulator.books()["orders"] == 0


def test_a_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(polls=0)
    job = stage.run(make())
    (file,) = download(stage, job, f"file://{tmp_path}/staging")
    path = Path(file["uri"].removeprefix("file://"))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert download(stage, job, f"file://{tmp_path}/staging") == [file]
    assert not path.is_symlink()
    assert tmp_path.joinpath("elsewhere").stat().st_size == path.stat().st_size


def test_no_link_is_written_through_where_the_next_file_is_made(tmp_path: Path) -> None:
    tmp_path.joinpath("precious").write_text("mine")
    tmp_path.joinpath(".a.json.new").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        publish_json({}, open_folder(str(tmp_path)) / "a.json")
    assert tmp_path.joinpath("precious").read_text() == "mine"


# -- deep JSON ----------------------------------------------------------------


@pytest.mark.parametrize("text", [DEEP, TOO_DEEP_TO_WRITE, DEEP_OBJECTS])
@pytest.mark.parametrize("document", ["receipt", "manifest", "record"])
def test_deep_json_is_an_error_that_names_the_file(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, text: str, document: str
) -> None:
    emulator.settings(polls=0)
    root = f"file://{tmp_path}"
    job = stage.run(make(ledger_path=f"{root}/ledger"))
    files = download(stage, job, f"{root}/staging")
    archive(stage, files, f"{root}/archive")
    folder, again = {
        "receipt": ("staging", lambda: download(stage, job, f"{root}/staging")),
        "manifest": ("archive", lambda: archive(stage, [{**files[0], "index": 1}], f"{root}/archive")),
        "record": ("ledger", lambda: stage.retry().run(make(ledger_path=f"{root}/ledger"))),
    }[document]
    (path,) = (path for path in (tmp_path / folder).rglob("*.json") if "_evolink" not in path.parts)
    path.write_text(text)
    with pytest.raises(AirflowFailException, match=f"{path.name}.* nested deeper than 64 levels.*What to do"):
        again()
    assert path.read_text() == text
    assert emulator.books()["orders"] == 1


def test_deep_values_in_an_edited_xcom_are_refused(stage: Any, tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    with pytest.raises(AirflowFailException, match="nested too deep"):
        archive(stage, [{"uri": "file:///x", "note": deep}], f"file://{tmp_path}")


# -- kills and rivals ---------------------------------------------------------


def test_what_a_killed_process_left_is_used_again(tmp_path: Path) -> None:
    root = open_folder(str(tmp_path))

    def die_in_the_middle() -> None:
        with local_folder.part_of(tmp_path / "a.json") as part:
            part.write(b"half")
            part.flush()
            os.kill(os.getpid(), 9)

    killed(die_in_the_middle)
    assert len(list(tmp_path.iterdir())) == 1
    publish_json({"whole": True}, root / "a.json")
    assert read_json(root / "a.json") == {"whole": True}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_two_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = open_folder(str(tmp_path)) / "a.json"
    with local_folder.part_of(tmp_path / "a.json") as part:
        part.write(b"[1]")
        publish_json([2], target)
        assert read_json(target) == [2]
        part.flush()
        Path(part.name).replace(tmp_path / "a.json")
        publish_json([3], target)
        part.write(b"late")
    assert read_json(target) == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_folder(str(tmp_path))
    create_json([1], root / "a.json")
    with pytest.raises(FileExistsError):
        create_json([2], root / "a.json")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "no hard links here")))
    create_json([1], root / "b.json")
    with pytest.raises(FileExistsError):
        create_json([2], root / "b.json")
    assert [read_json(root / name) for name in ("a.json", "b.json")] == [[1], [1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize("write", ["publish_json", "create_json"])
def test_what_a_killed_process_has_created_is_never_emptied_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    root, link = open_folder(str(tmp_path)), os.link
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *names: (link(*names), die()))
        killed(lambda: create_json([1], root / "a.json"))
    sizes = {tmp_path.joinpath("a.json").stat().st_size}
    for at in itertools.count(1):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                lines = Lines(at)
                lines.around("storage.object_store", write)
                getattr(object_store, write)([2], root / "a.json")
            os._exit(0)
        is_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        sizes.add(tmp_path.joinpath("a.json").stat().st_size)
        if not is_killed:
            break
    assert at > 20
    assert sizes == {8}, "a reader always finds a whole document"
    assert read_json(root / "a.json") == ([2] if write == "publish_json" else [1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_proof_that_a_folder_takes_files_leaves_none_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_and_die(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **given: (make(*args, **given), die())

    for name in ("TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, make_and_die(getattr(tempfile, name)))
    killed(lambda: prove_writable(f"file://{tmp_path}"))
    assert list(tmp_path.iterdir()) == []


def test_an_intent_of_another_try_is_not_written_over(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = local_folder.create

    def overtaken(target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True)
        target.write_bytes(content.replace(b'"attempt": 1', b'"attempt": 2'))
        create(target, content)

    monkeypatch.setattr(local_folder, "create", overtaken)
    with pytest.raises(Exception, match="another try has just written its record"):
        stage.run(make(ledger_path=f"file://{tmp_path}"))
    assert emulator.books()["orders"] == 0


# -- memory -------------------------------------------------------------------

MEASURE = """
import json, pathlib, sys
from airflow_provider_evolink.storage.copying.checked_copy import copy_checked
from airflow_provider_evolink.storage.object_store import open_folder, publish, holds
local, folders, sha256, size = pathlib.Path(sys.argv[1]), sys.argv[2:4], sys.argv[4], int(sys.argv[5])
file = {"sha256": sha256, "size": size, "content_type": "video/mp4"}

def kb(name):
    return int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1])

small = local.with_name("small")
small.write_bytes(b"")
grown = []
for folder in map(open_folder, folders):
    publish(small, folder / "small.mp4")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    start = kb("VmRSS")
    publish(local, folder / "a.mp4", content_type="video/mp4")
    copy_checked(folder / "a.mp4", folder / "b.mp4", file=file, metadata={})
    assert holds(folder / "b.mp4", sha256=sha256, size=size)
    grown.append((kb("VmHWM") - start) // 1024)
print(json.dumps(grown))
"""


@pytest.fixture
def other_s3() -> Iterator[str]:
    """Start an S3 in a process of its own, so that its memory is not counted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with socket.socket() as test:
            if test.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


def test_a_large_file_takes_little_memory(other_s3: str, tmp_path: Path) -> None:
    """Published, copied and checked. EVOLINK_MEASURE_MB=500 measures a larger one: the limits are the same."""
    size = int(os.environ.get("EVOLINK_MEASURE_MB", "64")) * 1024 * 1024
    with tmp_path.joinpath("large").open("w+b") as out:
        out.truncate(size)
        digest = hashlib.file_digest(out, "sha256").hexdigest()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key"}
    boto3.client("s3", endpoint_url=other_s3, region_name="us-east-1", **keys).create_bucket(Bucket="bucket")
    facts = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    facts |= {"extra": {"endpoint_url": other_s3, "region_name": "us-east-1"}}
    folders = [f"file://{tmp_path}/out", "s3://measured@bucket/out"]
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large"), *folders, digest, str(size)],
        env={**os.environ, "AIRFLOW_CONN_MEASURED": json.dumps(facts)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    on_disk, in_s3 = json.loads(found.stdout.splitlines()[-1])
    print(f"{size // 1024**2} MB: {on_disk} MB above start to file://, {in_s3} MB to S3")
    assert on_disk <= 16
    assert in_s3 <= 48
