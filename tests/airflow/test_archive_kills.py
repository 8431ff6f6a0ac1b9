"""SIGKILL inside every phase of an archive, at any line and at any request: the next try leaves what no kill leaves."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from evolink_archive_samples import RUN

from airflow_provider_evolink.storage.archive import EvoLinkArchive, archive_files
from airflow_provider_evolink.storage.archive.archiving import Archiving
from airflow_provider_evolink.storage.archive.reader import rows_in
from airflow_provider_evolink.storage.object_store import about, open_folder, publish

SEED = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
KILLS = max(1, int(os.environ.get("KILLS", "1")) // 6)  # of each phase in each store; more in the tests of chaos
_spec = importlib.util.spec_from_file_location(
    "evolink_media_server", Path(__file__).parent.parent / "api" / "media_server.py"
)
if "evolink_media_server" not in sys.modules:
    assert _spec
    assert _spec.loader
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])
PICTURE: bytes = sys.modules["evolink_media_server"].png(side=64)
PARTS = 5 * 1024**2
TIMES = {"archived", "downloaded"}

Listing = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """
    What is killed.

    :param name: Its name.
    :param traced: The function in which, by the name that its user has for it.
    :param staged: Where the files are staged: in this store, or in the other one.
    :param parts: Whether files are so large that they go in parts.
    """

    name: str
    traced: str
    staged: str = "here"
    parts: bool = False


ARCHIVING = "storage.archive.archiving"
PHASES = [
    Phase("upload", f"{ARCHIVING}.copy_checked", staged="elsewhere"),
    Phase("copy", f"{ARCHIVING}.copy_checked"),
    Phase("poster", f"{ARCHIVING}.with_poster"),
    Phase("manifest", f"{ARCHIVING}.publish_json"),
    Phase("row", f"{ARCHIVING}.write_index"),
    Phase("move", f"{ARCHIVING}.remove_staged"),
    Phase("fold", "storage.archive.fold.fold_day"),
]
IN_PARTS = [
    Phase("upload in parts", f"{ARCHIVING}.copy_checked", staged="elsewhere", parts=True),
    Phase("copy in parts", f"{ARCHIVING}.copy_checked", parts=True),
]
LIMITS = {"storage.s3.MAX_PUT": 1024**2, "storage.copying.s3_copy.MAX_COPY": 1024}
LIMITS |= {"storage.copying.s3_parts.PART": PARTS, "storage.copying.s3_copy.PART": PARTS}


@dataclass
class Place:
    """A store with staging and archive in it, and whatever a task can leave behind."""

    root: str
    elsewhere: str
    local: Path
    s3: Any
    bucket: str
    gate: Any

    def listing(self, name: str) -> Listing:
        """Return every file of a run, open multipart uploads and temporary files; times are left out of documents."""
        found = {str(path.relative_to(self.local)): path.read_bytes() for path in self._files(self.local, name)}
        keys = [row["Key"] for row in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        keys = [key for key in keys if f"{name}/" in key]
        found |= {key: self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}
        left = [path for folder in ("tmp", "spool") for path in self._files(self.local / folder, "")]
        opened = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return {
            **{key.replace(f"{name}/", ""): without_times(key, value, name) for key, value in found.items()},
            "left behind": sorted(str(path) for path in left),
            "open uploads": [row["Key"] for row in opened],
        }

    @staticmethod
    def _files(folder: Path, name: str) -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file() and f"{name}/" in str(path)]


def entry(content: bytes, index: int, job_id: str = "task-kill", created: str = "2026-11-03T12:00:00Z") -> Listing:
    """Return what a download says of a file, less its address."""
    digest = hashlib.sha256(content).hexdigest()
    kept = {"sha256": digest, "size": len(content), "content_type": "image/png", "index": index, "job_id": job_id}
    job = {"created": created, "request": {"prompt": "a boat"}, "fingerprint": hashlib.md5(job_id.encode()).hexdigest()}
    return {**kept, "model": "some-model", "job": job}


def without_times(key: str, content: bytes, name: str) -> Any:
    """Return what a file says, less what differs from run to run."""
    if key.endswith(".parquet"):
        rows = [row.model_dump() for row in rows_in(content, key)]
        return [{field: value for field, value in row.items() if field not in TIMES} for row in rows]
    try:
        value = json.loads(content.replace(f"/{name}/".encode(), b"/"))
    except ValueError:
        return content
    return {field: one for field, one in value.items() if field not in TIMES}


def visible_is_whole(found: Listing, wanted: Listing) -> None:
    """Whatever can be seen after a kill has the content that it is to have in the end, or is not there yet."""
    for key, value in found.items():
        name = key.rpartition("/")[2]
        if key in wanted and not name.startswith(".") and not key.endswith((".lock", ".parquet")):
            assert key in ("left behind", "open uploads") or value == wanted[key] or "staging/task" in key, key


@dataclass
class Killed:
    """One phase in one store."""

    phase: Phase
    place: Place
    forker: Any
    content: bytes
    chance: random.Random

    def stage(self, name: str) -> dict[str, Any]:
        """Stage two results of a job, or the rows of an archive; return what the task is given."""
        if self.phase.name == "fold":
            return {"fold": self._rows(name)}
        files = []
        root = self.place.root if self.phase.staged == "here" else self.place.elsewhere
        for index in (0, 1):
            row = entry(self.content, index)
            path = open_folder(f"{root}/{name}/staging") / f"task-kill-{index}.png"
            local = self.place.local / "staged"
            local.write_bytes(self.content)
            publish(local, path, content_type="image/png", metadata=about("task-kill", row["sha256"]))
            files.append(row | {"uri": str(path)})
        limits = LIMITS if self.phase.parts else {}
        given = {"files": files, "archive_path": f"{self.place.root}/{name}/archive"}
        name_of = self.phase.name
        return {**given, "move": name_of == "move", "posters": name_of == "poster", "limits_of_modules": limits}

    def _rows(self, name: str) -> str:
        local, root = self.place.local / "staged-rows", f"{self.place.root}/{name}/archive"
        files = []
        for number in range(4):
            path = local / f"task-{number}-0.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.content)
            day = f"2026-11-0{number % 2 + 1}T12:00:00+00:00"
            files.append({**entry(self.content, 0, f"task-{number}", day), "uri": f"file://{path}"})
        archive_files(files, open_folder(root), RUN, Archiving(posters=False))
        return root

    def run(self, given: dict[str, Any], act: Callable[[int], object] = lambda pid: None, at: int = 0) -> int:
        """Run the task; return how it ended."""
        traced = [self.phase.traced]
        report = str(self.place.local / "report")
        act(self.forker.start(**given, traced=traced, at=at, report=report))
        return int(self.forker.wait())

    def measure(self) -> tuple[Listing, int, int]:
        """Return what a run leaves that nothing kills, and how many lines and requests it had."""
        given = self.stage("whole")
        self.place.gate.seen.clear()
        assert self.run(given) == 0
        requests = len(self.place.gate.seen)
        lines = int((self.place.local / "report.lines").read_text())
        return self.place.listing("whole"), lines, requests

    def kill(self, given: dict[str, Any], lines: int, requests: int) -> str:
        """Kill a run at a line of the phase, or at a request: before the store has done it, or after."""
        if not requests or self.chance.random() < 0.5:
            at = self.chance.randint(1, lines)
            assert self.run(given, at=at) == -signal.SIGKILL
            return f"line {at} of {lines}"
        at, is_done = self.chance.randint(1, requests), self.chance.random() < 0.5
        assert self._at_request(given, at, is_done=is_done) == -signal.SIGKILL
        return f"request {at} of {requests}, {'done' if is_done else 'not done'}"

    def _at_request(self, given: dict[str, Any], at: int, *, is_done: bool) -> int:
        gate, started, pids, numbers = self.place.gate, Event(), list[int](), itertools.count(1)

        def die() -> str | None:
            if next(numbers) != at:
                return None
            started.wait(10)
            os.kill(pids[0], signal.SIGKILL)
            return "503 SlowDown"

        def begin(pid: int) -> None:
            pids.append(pid)
            started.set()

        if is_done:
            gate.after = die
        else:
            gate.fails = lambda _, __: die()
        try:
            return self.run(given, begin)
        finally:
            gate.after, gate.fails = lambda: None, lambda _, __: None

    def all(self) -> None:
        """Kill, look, run again: nothing is missing, doubled or left."""
        wanted, lines, requests = self.measure()
        assert wanted["left behind"] == wanted["open uploads"] == []
        for number in range(KILLS):
            name = f"run{number}"
            given = self.stage(name)
            where = f"{self.phase.name}, {self.kill(given, lines, requests)}, seed {SEED}"
            visible_is_whole(self.place.listing(name), wanted)
            if "fold" in given:
                assert jobs(given["fold"]) == [f"task-{one}" for one in range(4)], where
            assert self.run(given) == 0, where
            found = self.place.listing(name)
            assert found.keys() == wanted.keys(), where
            assert found == wanted, where
            if "fold" in given:
                assert jobs(given["fold"]) == [f"task-{one}" for one in range(4)], where


def jobs(root: str) -> list[str]:
    return sorted(str(row["job_id"]) for row in EvoLinkArchive(root).find())


@pytest.mark.parametrize(
    ("store", "phase"),
    [(store, phase) for store in ("file", "s3") for phase in PHASES + (IN_PARTS if store == "s3" else [])],
    ids=lambda one: one if isinstance(one, str) else one.name.replace(" ", "-"),
)
def test_a_kill_leaves_nothing_after_the_next_try(
    store: str, phase: Phase, forker: Any, narrow: Any, s3: Any, bucket: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__EVOLINK__SPOOL_FOLDER", str(tmp_path / "spool"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    narrow.denied = set()
    here, there = f"file://{tmp_path}/store", f"s3://narrow@{bucket}/store"
    roots = (here, there) if store == "file" else (there, here)
    place = Place(*roots, tmp_path, s3, bucket, narrow)
    content = PICTURE + (bytes(2 * PARTS) if phase.parts else b"")
    Killed(phase, place, forker, content, random.Random(SEED)).all()
