"""SIGKILL at random moments of download and archive: the next try goes on; nothing is left behind after success."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from evolink_forker import Forker

HERE = Path(__file__).parent
SEED = int(os.environ.get("KILL_SEED", random.randrange(10**6)))

if "evolink_gateway" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("evolink_gateway", HERE / "gateway.py")
    assert _spec
    assert _spec.loader
    sys.modules["evolink_gateway"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["evolink_gateway"])
gateways: Any = sys.modules["evolink_gateway"]
media = gateways.media

FILE = media.png()
N = len(FILE)
SECONDS = 0.5  # that the file takes to arrive
KILLS = int(os.environ.get("KILLS", "3"))  # in each store, a third of them in the archive; more in the tests of chaos


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    server = gateways.Gateway()
    connection = {"conn_type": "evolink", "host": f"http://127.0.0.1:{server.port}", "password": "test-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__EVOLINK__SPOOL_FOLDER", str(tmp_path / "spool"))
    yield server
    server.close()


def slowly(connection: Any, request: Any) -> None:
    start, step = request.start, 10_000
    headers = [("ETag", '"1"'), ("Content-Length", str(N - start))]
    headers += [media.content_range(start, N)] if start else []
    connection.sendall(media.head(206 if start else 200, headers))
    for at in range(start, N, step):
        connection.sendall(FILE[at : at + step])
        time.sleep(SECONDS * step / N)


def parts(*folders: Path) -> list[Path]:
    return [path for folder in folders if folder.exists() for path in folder.rglob("*.part")]


def at_once(connection: Any, request: Any) -> None:
    media.answer(200, FILE, [("ETag", '"1"')])(connection, request)


@dataclass
class Killed:
    """Tasks that are killed at a random moment of a number of seconds, and then finished by the next try."""

    forker: Forker
    gateway: Any
    root: str
    folder: Path
    local: list[Path]
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))

    def run(self, *, within: float = 0.0, **given: Any) -> int:
        """Start a task and kill it, or let it end; return how it ended."""
        pid = self.forker.start(**given, report=str(self.folder / "report"))
        if within:
            time.sleep(self.chance.uniform(0.0, within))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.forker.wait()

    def download(self, number: int) -> None:
        """Kill a download: the next try requests just what is missing."""
        path = f"/f{number}"
        job = self.gateway.job(f"task-kill-{number}", [self.gateway.link(path, slowly)])
        given = {"job": job, "destination": f"{self.root}/out"}
        assert self.run(**given, within=SECONDS + 0.3) in (-signal.SIGKILL, 0), f"seed {SEED}"
        have = sum(file.stat().st_size for file in parts(*self.local))
        before = len(self.gateway.fetched(path))
        assert self.run(**given) == 0, f"seed {SEED}"
        starts = [request.start for request in self.gateway.fetched(path)[before:]]
        assert starts == [have] or (starts == [] and have in (0, N)), f"seed {SEED}"  # 0: it was published

    def archive(self, number: int) -> None:
        """Kill an archive of a file that is there: the next try completes it."""
        job = self.gateway.job(f"task-kill-{number}", [self.gateway.link(f"/f{number}", at_once)])
        assert self.run(job=job, destination=f"{self.root}/out") == 0
        given = {"files": json.loads((self.folder / "report").read_text()), "archive_path": f"{self.root}/kept"}
        began = time.monotonic()
        assert self.run(files=given["files"], archive_path=f"{self.root}/measured") == 0
        assert self.run(**given, within=time.monotonic() - began) in (-signal.SIGKILL, 0), f"seed {SEED}"
        assert self.run(**given) == 0, f"seed {SEED}"

    def all(self) -> None:
        """Kill one after the other, and leave nothing behind."""
        for number in range(KILLS):
            (self.archive if number % 3 == 2 else self.download)(number)
            assert parts(*self.local) == [], f"seed {SEED}"

    def names(self, folder: str) -> list[str]:
        """Return what a folder has to hold in the end."""
        if folder == "out":
            return sorted(f"task-kill-{number}{suffix}" for number in range(KILLS) for suffix in ("-0.png", ".json"))
        jobs = [f"task-kill-{number}" for number in range(2, KILLS, 3)]
        files = [f"{job}/{name}" for job in jobs for name in ("manifest.json", f"{job}-0.png", f"{job}-0.poster.jpg")]
        return sorted([*files, *(f"row/{job}.json" for job in jobs)])


def archived(names: list[str]) -> list[str]:
    """Return names in the archive without model and day, and the rows of its index."""
    ends = [("row" if "_evolink/" in name else name.split("/")[-2], name.split("/")[-1]) for name in names]
    return sorted("/".join(end) for end in ends)


def test_sigkill_during_download_and_archive_to_a_folder(forker: Forker, gateway: Any, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    killed = Killed(forker, gateway, f"file://{tmp_path}", tmp_path, [out, kept, tmp_path / "spool"])
    killed.all()
    assert gateways.left(out) == killed.names("out")
    assert archived(gateways.left(kept)) == killed.names("kept")
    assert all(path.read_bytes() == FILE for folder in (out, kept) for path in folder.rglob("*.png"))
    manifests = [json.loads(path.read_text()) for path in kept.rglob("manifest.json")]
    assert {row["sha256"] for manifest in manifests for row in manifest["files"]} == {sha256(FILE).hexdigest()}
    assert not (tmp_path / "spool").exists()


def test_sigkill_during_download_and_archive_to_a_store(forker: Forker, gateway: Any, tmp_path: Path, s3: Any) -> None:
    bucket = f"kills-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    killed = Killed(forker, gateway, f"s3://store@{bucket}", tmp_path, [tmp_path / "spool"])
    killed.all()
    found = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(key[4:] for key in found if key.startswith("out/")) == killed.names("out")
    assert archived([key for key in found if key.startswith("kept/")]) == killed.names("kept")
    for key in found:
        if key.endswith(".png"):
            assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == FILE
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert gateways.left(tmp_path / "spool") == []
