"""Several results at a time, what a transfer says of itself, and what is left of it."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.transfer.progress import Progress
from airflow_provider_evolink.api.files.transfer.side_by_side import WIDTH
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.storage.object_store import open_folder
from airflow_provider_evolink.storage.results import fetch_media

if "evolink_gateway" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("evolink_gateway", Path(__file__).with_name("gateway.py"))
    assert _spec
    assert _spec.loader
    sys.modules["evolink_gateway"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["evolink_gateway"])
gateways: Any = sys.modules["evolink_gateway"]
media = gateways.media
FILE = media.png()


@pytest.fixture
def gateway() -> Iterator[Any]:
    server = gateways.Gateway()
    yield server
    server.close()


def fetch(gateway: Any, job: str, out: Path) -> list[dict[str, Any]]:
    settings = ClientSettings(api_key="test-key-0123456789", base_url=f"http://127.0.0.1:{gateway.port}")
    with EvoLinkClient(settings) as client:
        return fetch_media(client, job, open_folder(str(out)))


def test_several_results_come_side_by_side_within_a_bound(gateway: Any, tmp_path: Path) -> None:
    play = gateways.Counted(FILE, 0.15)
    job = gateway.job("task-many", [gateway.link(f"/{number}", play) for number in range(12)])
    files = fetch(gateway, job, tmp_path)
    assert [file["index"] for file in files] == list(range(12))
    assert 3 <= play.peak <= WIDTH
    assert gateways.left(tmp_path) == sorted([*(f"task-many-{number}.png" for number in range(12)), "task-many.json"])


def test_links_that_expired_together_cost_one_reading_of_the_job(gateway: Any, tmp_path: Path) -> None:
    dead = [gateway.link(f"/dead{number}", media.answer(403)) for number in range(4)]
    alive = [gateway.link(f"/alive{number}", media.answer(200, FILE)) for number in range(4)]
    job = gateway.job("task-expired", dead, alive)
    assert len(fetch(gateway, job, tmp_path)) == 4
    assert len(gateway.fetched("/v1/tasks/task-expired")) == 2


def test_one_bad_result_does_not_stop_those_beside_it(gateway: Any, tmp_path: Path) -> None:
    links = [gateway.link(f"/{number}", gateways.Counted(FILE, 0.1)) for number in range(4)]
    links[1:1] = [gateway.link("/dead", media.answer(410))]
    job = gateway.job("task-bad", links)
    with pytest.raises(EvoLinkMediaError, match=r"result 2 of 5 \(index 1\)"):
        fetch(gateway, job, tmp_path)
    assert [name for name in gateways.left(tmp_path) if name.endswith(".png")] == [
        f"task-bad-{index}.png" for index in (0, 2, 3, 4)
    ]


class TaskTimeout(BaseException):
    """As Airflow's: no ``Exception``."""


def test_a_timeout_of_the_task_ends_all_of_them_and_keeps_what_has_arrived(gateway: Any, tmp_path: Path) -> None:
    def drips(connection: Any, request: Any) -> None:
        start = request.start
        headers = [("ETag", '"v"'), ("Content-Length", str(len(FILE) - start))]
        headers += [media.content_range(start, len(FILE))] if start else []
        connection.sendall(media.head(206 if start else 200, headers))
        for at in range(start, len(FILE), len(FILE) // 40):
            connection.sendall(FILE[at : at + len(FILE) // 40])
            time.sleep(0.05)

    def over(*_: Any) -> None:
        raise TaskTimeout

    job = gateway.job("task-slow", [gateway.link(f"/{number}", drips) for number in range(3)])
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    begun = time.monotonic()
    try:
        with pytest.raises(TaskTimeout):
            fetch(gateway, job, tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 2
    for number in range(3):
        gateway.link(f"/{number}", media.ranged(FILE, etag='"v"'))
    assert len(fetch(gateway, job, tmp_path)) == 3
    assert all(gateway.fetched(f"/{number}")[-1].start for number in range(3)), "each went on where it was"


@pytest.mark.parametrize(
    ("total", "points", "expected"),
    [
        (100_000_000, [(1, 10_000_000), (2, 90_000_000)], []),
        (100_000_000, [(6, 9_000_000), (12, 10_000_000)], ["10 % of 100 MB, 0.8 MB/s, 108 s left"]),
        (100_000_000, [(29, 1), (30, 3_000_000)], ["3 % of 100 MB, 0.1 MB/s, 970 s left"]),
        (1_000_000_000, [(6, 300_000_000), (7, 600_000_000), (11, 900_000_000)], ["30 %", "90 %"]),
        (None, [(6, 5_000_000), (31, 50_000_000)], ["50 MB, 1.6 MB/s"]),
        (100, [(40, 0)], ["0 % of 0 MB, 0.0 MB/s"]),
    ],
)
def test_what_a_transfer_says_of_itself(
    total: int | None, points: list[tuple[float, int]], expected: list[str]
) -> None:
    progress = Progress(0, total, 0.0)
    lines = [line for now, done in points if (line := progress.line(done, now))]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


def test_a_line_names_the_link_without_its_signature(
    gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.files.transfer.progress._AT_LEAST", 0.0)
    caplog.set_level(logging.INFO, "airflow_provider_evolink")
    fetch(gateway, gateway.job("task-one", [gateway.link("/f?sign=secret", media.answer(200, FILE))]), tmp_path)
    lines = [line for line in caplog.messages if "100 % of" in line]
    assert len(lines) == 1
    assert "/f: 100 %" in lines[0]
    assert "secret" not in caplog.text
