"""One emulator for all tests, reset before each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_evolink.emulator.server import EmulatorServer

Order = Callable[..., httpx.Response]
T2V = {"model": "wan2.7-text-to-video", "prompt": "a paper boat on a rainy street", "duration": 2}


@pytest.fixture(scope="session")
def _server() -> Iterator[EmulatorServer]:
    with EmulatorServer(fps=4, polls=1) as server:
        yield server


@pytest.fixture
def emulator(_server: EmulatorServer) -> EmulatorServer:
    _server.reset()
    return _server


@pytest.fixture
def client(emulator: EmulatorServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer sk-evo-test"}
    with httpx.Client(base_url=emulator.url, headers=headers, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def browser(emulator: EmulatorServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.url, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def order(client: httpx.Client) -> Order:
    """Submit a text-to-video job; keyword arguments change the body, ``headers`` are added."""

    def send(*, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
        return client.post("/v1/videos/generations", json=T2V | changes, headers=headers)

    return send


@pytest.fixture
def finished(order: Order, client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Submit a job and poll it until it ends."""

    def run(**changes: Any) -> dict[str, Any]:
        job_id = order(**changes).json()["id"]
        while True:
            job: dict[str, Any] = client.get(f"/v1/tasks/{job_id}").json()
            if job["status"] in {"completed", "failed"}:
                return job

    return run
