"""SIGKILL at random moments of a download: the next try goes on, and nothing is left behind after success."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

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
KILLS = int(os.environ.get("KILLS", "3"))  # of each kind; more in the tests of chaos


class Forker:
    """A process that has imported all and forks for each download."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "forker.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while self._read() != "ready":
            pass

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the forker is gone"
        return line.strip()

    def start(self, **given: Any) -> int:
        assert self._process.stdin
        given["environment"] = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_")}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        return int(self._read())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=20)


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    """Start one for both tests: importing takes longer than all downloads."""
    started = Forker()
    yield started
    started.close()


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


def killed_then_finished(forker: Forker, gateway: Any, where: str, local: list[Path]) -> None:
    """Kill downloads; each next try requests just what is missing."""
    link, chance = gateway.link("/f", slowly), random.Random(SEED)
    for number in range(KILLS):
        job = gateway.job(f"task-kill-{number}", [link])
        pid = forker.start(job=job, destination=where)
        time.sleep(chance.uniform(0.05, SECONDS + 0.3))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert forker.wait() in (-signal.SIGKILL, 0), f"seed {SEED}"
        have = sum(path.stat().st_size for path in parts(*local))
        before = len(gateway.fetched("/f"))
        forker.start(job=job, destination=where)
        assert forker.wait() == 0, f"seed {SEED}"
        starts = [request.start for request in gateway.fetched("/f")[before:]]
        assert starts == [have] or (starts == [] and have in (0, N)), f"seed {SEED}"  # 0: it was published
        assert parts(*local) == [], f"seed {SEED}"


def test_sigkill_during_a_download_to_a_folder(forker: Forker, gateway: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed_then_finished(forker, gateway, f"file://{out}", [out, tmp_path / "spool"])
    names = [f"task-kill-{number}{suffix}" for number in range(KILLS) for suffix in ("-0.png", ".json")]
    assert gateways.left(out) == sorted(names)
    assert all(path.read_bytes() == FILE for path in out.glob("*.png"))
    assert not (tmp_path / "spool").exists()


def test_sigkill_during_a_download_to_a_store(forker: Forker, gateway: Any, tmp_path: Path, s3: Any) -> None:
    bucket = f"kills-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    killed_then_finished(forker, gateway, f"s3://store@{bucket}/out", [tmp_path / "spool"])
    found = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert found == {f"out/task-kill-{number}{suffix}" for number in range(KILLS) for suffix in ("-0.png", ".json")}
    for key in found:
        if key.endswith(".png"):
            assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == FILE
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert gateways.left(tmp_path / "spool") == []
