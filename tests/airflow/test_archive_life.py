"""What happens to an archive in time: tasks at once, kills, moved and forgotten files, the commands."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from evolink_archive_samples import DAY, PLAIN, RUN, files_in, root_of, staged

from airflow_provider_evolink.__main__ import add_commands, main
from airflow_provider_evolink.storage.archive import EvoLinkArchive, archive_files, fold, retention
from airflow_provider_evolink.storage.archive.archiving import Archiving

MOVE = Archiving(posters=False, move=True)


def in_child(act: Callable[[], Any], after: float | None = None) -> int:
    """Run something in a fork; after some seconds kill it. Return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# -- at once, and killed ------------------------------------------------------


def test_eight_tasks_and_folds_at_once_lose_and_double_no_row(tmp_path: Path) -> None:
    root = root_of(tmp_path / "archive")

    def task(number: int) -> None:
        for count in range(6):
            created = (DAY + timedelta(days=count % 3)).isoformat()
            archive_files([staged(tmp_path / "s", f"task-{number}-{count}", created=created)], root, RUN, PLAIN)
            if count % 2 == 1:
                fold.fold(root)

    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            try:
                task(number)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    wanted = sorted(f"task-{number}-{count}" for number in range(8) for count in range(6))
    archive = EvoLinkArchive(f"file://{tmp_path}/archive")
    assert sorted(row["job_id"] for row in archive.find()) == wanted
    fold.fold(root)
    assert sorted(row["job_id"] for row in archive.find()) == wanted
    assert list((tmp_path / "archive" / "_evolink" / "rows").rglob("*.json")) == []


@pytest.mark.parametrize("seed", range(int(os.environ.get("KILLS", "2"))))
def test_a_task_and_a_fold_that_are_killed_are_completed_by_the_next(tmp_path: Path, seed: int) -> None:
    root, chance = root_of(tmp_path / "archive"), random.Random(seed)
    files = [staged(tmp_path / "staging", f"task-{number}") for number in range(20)]

    def work() -> None:
        archive_files(files, root, RUN, MOVE)
        fold.fold(root)

    in_child(work, chance.uniform(0.0, 0.35))
    archive_files(files, root, RUN, MOVE)
    fold.fold(root)
    archive = EvoLinkArchive(f"file://{tmp_path}/archive")
    assert sorted(row["job_id"] for row in archive.find()) == sorted(file["job_id"] for file in files)
    assert retention.verify(root) == (20, [])
    assert [
        path for path in tmp_path.rglob("*") if path.suffix in (".new", ".part", ".mp4") and "staging" in str(path)
    ] == []
    assert [path.name for path in (tmp_path / "archive").rglob(".*")] == [".lock"]
    assert len(list((tmp_path / "staging").iterdir())) == 20, "the receipts stay"


@pytest.mark.parametrize("step", ["copy_checked", "with_poster", "publish_json", "write_index", "remove_staged"])
def test_a_task_that_dies_at_a_step_shows_nothing_that_is_not_whole(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_evolink.storage.archive import archiving

    root, how = root_of(tmp_path / "archive"), Archiving(move=True)
    files = [staged(tmp_path / "staging", index=index) for index in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(archiving, step, lambda *_, **__: os._exit(7))
        assert in_child(lambda: archive_files(files, root, RUN, how)) == 7
    archive = EvoLinkArchive(f"file://{tmp_path}/archive")
    assert len(list(archive.find())) == int(step == "remove_staged")
    assert archive_files(files, root, RUN, how)
    (row,) = archive.find()
    assert len(row["files"]) == 2
    assert retention.verify(root) == (2, [])
    assert not list((tmp_path / "staging").glob("*.mp4"))


# -- moved --------------------------------------------------------------------


def test_what_was_moved_is_archived_again_without_staging(tmp_path: Path) -> None:
    root, file = root_of(tmp_path / "archive"), staged(tmp_path / "staging")
    first = archive_files([file], root, RUN, MOVE)
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["task-1.json"]
    before = files_in(tmp_path)
    assert archive_files([file], root, RUN, MOVE) == first
    moved = {**file, "uri": first[0]["uri"]}
    assert archive_files([moved], root, RUN, MOVE) == first, "a cleared download names the archived file"
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("link", ["none", "archive", "staging"])
def test_a_move_never_deletes_the_only_copy(tmp_path: Path, link: str) -> None:
    real = tmp_path / "real"
    real.mkdir()
    if link != "none":
        (tmp_path / link).symlink_to(real)
    root = root_of(real if link != "archive" else tmp_path / "archive")
    (row,) = archive_files([staged(tmp_path / "first")], root, RUN, PLAIN)
    path = Path(row["uri"].removeprefix("file://"))
    alias = tmp_path / "staging" / path.relative_to(real) if link == "staging" else path
    again = {**staged(tmp_path / "first"), "uri": f"file://{alias}"}
    archive_files([again], root, RUN, MOVE)
    assert path.is_file()
    assert retention.verify(root) == (1, [])


def test_a_file_that_changed_in_the_archive_is_mended_before_staging_goes(tmp_path: Path) -> None:
    root, file = root_of(tmp_path / "archive"), staged(tmp_path / "staging")
    (row,) = archive_files([file], root, RUN, PLAIN)
    Path(row["uri"].removeprefix("file://")).write_bytes(b"short")
    archive_files([file], root, RUN, MOVE)
    assert retention.verify(root) == (1, [])


# -- retention and commands ---------------------------------------------------


def command(*words: str) -> int:
    """Run a command of the program."""
    return main(["archive", *words], more=add_commands)


def test_verify_names_what_is_missing_or_changed(tmp_path: Path, capsys: Any) -> None:
    root, where = root_of(tmp_path / "archive"), f"file://{tmp_path}/archive"
    rows = archive_files([staged(tmp_path / "s", f"task-{number}") for number in range(4)], root, RUN, PLAIN)
    assert command("verify", where) == 0
    paths = [Path(row["uri"].removeprefix("file://")) for row in rows]
    paths[0].unlink()
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    paths[2].write_bytes(content + b"more")
    capsys.readouterr()
    assert command("verify", where, "--json") == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [(one["job_id"], one["problem"]) for one in problems] == [
        ("task-0", "missing"),
        ("task-1", "changed"),
        ("task-2", "changed"),
    ]
    assert command("verify", where, "--sample", "2") in (0, 1)
    assert "2 files read" in capsys.readouterr().out


def test_clean_removes_what_is_archived_and_old_enough(tmp_path: Path, capsys: Any) -> None:
    root, where = root_of(tmp_path / "archive"), [f"file://{tmp_path}/archive", "--staging", f"file://{tmp_path}/s"]
    files = [staged(tmp_path / "s" / "day", f"task-{number}") for number in range(4)]
    for file in files:
        receipt = {"job_id": file["job_id"], "job": {}, "files": [file]}
        (tmp_path / "s" / "day" / f"{file['job_id']}.json").write_text(json.dumps(receipt))
    rows = archive_files(files[:3], root, RUN, PLAIN)
    Path(rows[2]["uri"].removeprefix("file://")).write_bytes(b"damaged")
    assert command("clean", *where, "--older-than", "1h") == 0
    assert len(list((tmp_path / "s").rglob("*.mp4"))) == 4
    old = time.time() - 7200
    for path in (tmp_path / "s").rglob("*.mp4"):
        os.utime(path, (old, old))
    assert command("clean", *where, "--older-than", "1h") == 0
    left = sorted(path.name for path in (tmp_path / "s").rglob("*.mp4"))
    assert left == ["task-2-0.mp4", "task-3-0.mp4"], "damaged in the archive, and not archived"
    assert json.loads((tmp_path / "s" / "day" / "task-0.json").read_text())["moved"] == {"0": rows[0]["uri"]}


@pytest.mark.parametrize("is_folded", [False, True])
def test_forget_removes_one_job_and_nothing_else(tmp_path: Path, is_folded: bool, capsys: Any) -> None:
    root, where = root_of(tmp_path / "archive"), f"file://{tmp_path}/archive"
    files = [staged(tmp_path / "s", job_id) for job_id in ("task-1", "task-11", "task-2")]
    archive_files(files, root, RUN, PLAIN)
    if is_folded:
        fold.fold(root)
    (tmp_path / "s" / "task-1.json").write_text(json.dumps({"job_id": "task-1", "job": {}, "files": [files[0]]}))
    assert command("forget", where, "task-1") == 0
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith("task-1")]
    assert sorted(left) == sorted(["task-11-0.mp4"] * 2 + ["task-11.json"] * (not is_folded))
    archive = EvoLinkArchive(where)
    assert [row["job_id"] for row in archive.find()] == ["task-11", "task-2"]
    assert archive.request(files[0]["job"]["fingerprint"]) is None
    assert archive.request(files[1]["job"]["fingerprint"])
    assert b"task-1-0" not in b"".join(content for _, content in files_in(tmp_path / "archive").values())
    assert command("forget", where, "task-1") == 1
    assert retention.verify(root) == (2, [])


def test_forget_deletes_nothing_that_an_edited_manifest_or_row_names(tmp_path: Path) -> None:
    root, file = root_of(tmp_path / "archive"), staged(tmp_path / "s")
    victim = tmp_path / "victim.txt"
    victim.write_text("of somebody else")
    (row,) = archive_files([file], root, RUN, PLAIN)
    path = Path(row["manifest"].removeprefix("file://"))
    written = json.loads(path.read_text())
    written["files"][0]["staged_from"] = f"file://{victim}"
    path.write_text(json.dumps(written))
    index = next((tmp_path / "archive" / "_evolink" / "rows").rglob("*.json"))
    line = json.loads(index.read_text())
    line["folder"], line["files"][0]["name"] = "../", "victim.txt"
    index.write_text(json.dumps(line))
    assert retention.forget(root, "task-1")
    assert victim.is_file()
    assert not index.exists()


def test_the_commands_find_and_fold_and_have_their_exit_statuses(tmp_path: Path, capsys: Any) -> None:
    root, where = root_of(tmp_path / "archive"), f"file://{tmp_path}/archive"
    archive_files([staged(tmp_path / "s", f"task-{number}") for number in range(3)], root, RUN, PLAIN)
    assert command("find", where, "--since", "2026-11-01", "--json") == 0
    assert [row["job_id"] for row in json.loads(capsys.readouterr().out)] == ["task-0", "task-1", "task-2"]
    assert command("find", where, "--model", "none") == 1
    assert command("find", where, "--since", "soon") == 2
    assert command("find", "nope://x") == 2
    assert command("rebuild", where) == 0
    capsys.readouterr()
    assert command("index", where, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"2026-11-03": 3}
    for wrong in (["clean", where, "--staging", where, "--older-than", "x"], ["verify", where, "--sample", "0"], []):
        with pytest.raises(SystemExit) as ended:
            command(*wrong)
        assert ended.value.code == 2


def test_the_console_script_is_light(tmp_path: Path) -> None:
    heavy = ("airflow", "httpx", "pyarrow")
    code = f"import airflow_provider_evolink.__main__, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
