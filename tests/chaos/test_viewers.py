"""A clip of 500 MB on S3 that is watched through Airflow's own API server: how soon, by how many, at what cost."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, api_server, running, wait_for
from chromium import browser
from local_airflow import free_port

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "plugin"))
MB = 1_000_000
SIZE = 500 * MB
WATCHED = 12 * MB  # what one viewer reads at each place
PLACES = (0, 400 * MB, 200 * MB)

pytestmark = pytest.mark.timeout(300)


def short_clip() -> bytes:
    """Return a clip of the emulator."""
    from airflow_provider_evolink.api import ClientSettings, EvoLinkClient, build_request
    from airflow_provider_evolink.emulator.server import EmulatorServer

    with EmulatorServer(mode="polls", polls=1) as emulator:
        settings = ClientSettings(api_key="viewer-key-0123", base_url=emulator.url)
        with EvoLinkClient(settings) as client:
            job = client.submit(build_request("wan2.7-text-to-video", {"prompt": "a boat", "duration": 2}))
            links = client.wait(job.job_id).results
        return httpx.get(links[0], trust_env=False).content


def lengthen(path: Path) -> None:
    """Make a clip 500 MB long by a box of free space, a hole on disk: players start such a clip at once."""
    rest = SIZE - path.stat().st_size
    with path.open("ab") as file:
        file.write(rest.to_bytes(4, "big") + b"free")
        file.truncate(SIZE)


@dataclass
class Cinema:
    """
    An API server that shows one long clip.

    :param server: The server.
    :param clip: Address of the clip.
    :param tab: Address of the page with its player.
    """

    server: ApiServer
    clip: str
    tab: str


@pytest.fixture(scope="module")
def cinema(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cinema]:
    """Run Airflow's API server, and the S3 with the clip."""
    from airflow_rows import Run
    from ui_samples import archived

    folder = tmp_path_factory.mktemp("bucket")
    run = Run("viewers")
    file = archived(folder, run.dag_id, content=short_clip())
    lengthen(Path(file["uri"].removeprefix("file://")))
    file["uri"] = file["uri"].replace(f"file://{folder}", "s3://store@bucket")
    run.hands("archive", [file], operator="EvoLinkArchiveOperator")
    s3 = f"http://127.0.0.1:{free_port()}"
    store: dict[str, Any] = {"conn_type": "aws", "login": "key", "password": "secret"}
    store |= {"extra": {"endpoint_url": s3, "region_name": "us-east-1"}}
    env = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__EVOLINK__UI_ROOTS": "s3://store@bucket",
        "AIRFLOW_CONN_STORE": json.dumps(store),
    }
    with running([str(HERE / "folder_s3.py"), str(folder), s3.rpartition(":")[2]]), api_server(env) as server:
        wait_for(f"{s3}/bucket")
        clip, tab = run.address("file", "archive", number=0), run.address("task", "archive")
        yield Cinema(server, server.url + clip, server.url + tab)


def watch(cinema: Cinema) -> list[float]:
    """Watch the clip from each place, as a player does; return the seconds to the first byte of each."""
    waits = []
    with httpx.Client(timeout=60, trust_env=False) as client:
        for place in PLACES:
            began = time.monotonic()
            with client.stream("GET", cinema.clip, headers={"Range": f"bytes={place}-"}) as response:
                assert response.status_code == 206
                assert response.headers["content-range"] == f"bytes {place}-{SIZE - 1}/{SIZE}"
                seen = 0
                for piece in response.iter_raw():
                    if not seen:
                        waits.append(time.monotonic() - began)
                    seen += len(piece)
                    if seen > WATCHED:
                        break
    return waits


def measured(cinema: Cinema, viewers: int) -> dict[str, Any]:
    """Let viewers watch; return what that cost, and how long the server took to say that it is well."""
    over = threading.Event()
    health: list[float] = []
    memory = [cinema.server.memory()]

    def observe() -> None:
        while not over.is_set():
            began = time.monotonic()
            httpx.get(f"{cinema.server.url}/api/v2/monitor/health", timeout=30, trust_env=False).raise_for_status()
            health.append(time.monotonic() - began)
            memory.append(cinema.server.memory())
            over.wait(0.1)

    observer = threading.Thread(target=observe)
    observer.start()
    with ThreadPoolExecutor(viewers) as pool:
        waits = [wait for found in pool.map(lambda _: watch(cinema), range(viewers)) for wait in found]
    over.set()
    observer.join()
    return {"first_byte": max(waits), "more_mb": (max(memory) - memory[0]) / MB, "health": max(health)}


@pytest.mark.parametrize(("viewers", "megabytes"), [(1, 32), (20, 100)])
def test_viewers_cost_the_api_server_little(viewers: int, megabytes: int, cinema: Cinema) -> None:
    """One starts within a second, wherever in the clip; the memory stays flat, and the server stays well."""
    watch(cinema)  # what is imported with the first file is no cost of a viewer
    found = measured(cinema, viewers)
    print(f"{viewers} viewers: {found}")

    assert found["more_mb"] <= megabytes
    assert found["health"] < 1.0
    assert viewers > 1 or found["first_byte"] < 1.0


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_clip_starts_in_a_browser_within_a_second(cinema: Cinema, tmp_path: Path) -> None:
    """And seeks."""
    with browser(tmp_path) as page:
        page.open(cinema.tab)
        page.wait_for("!!document.querySelector('video')")
        page.errors.clear()
        took = page.run(
            """new Promise(done => {
                const video = document.querySelector("video"), began = performance.now();
                video.muted = true;
                video.ontimeupdate = () => { if (video.currentTime > 0) done((performance.now() - began) / 1000); };
                video.load();
                video.play();
            })"""
        )
        page.run("document.querySelector('video').currentTime = 1.5")
        page.wait_for("document.querySelector('video').currentTime > 1.5")
        print(f"plays after {took:.2f} s")
        assert page.errors == []
    assert took < 1.3  # the event that reports the first frame comes every 0.25 s
