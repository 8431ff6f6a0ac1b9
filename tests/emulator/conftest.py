"""One emulator for all tests, reset before each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass
class Running:
    """An emulator in a process of its own."""

    process: subprocess.Popen[str]
    first_line: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.first_line.split()[3]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> str:
        """End it, and return what it logged."""
        self.process.terminate()
        out, log = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, log
        return out + log


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Running]]:
    """Start emulators by the command line; they are ended with the module."""
    found: list[Running] = []

    def run(*arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> Running:
        command = [*prefix, sys.executable, "-m", "airflow_provider_evolink.emulator", *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | variables
        )
        assert process.stdout is not None
        found.append(Running(process, process.stdout.readline()))
        assert found[-1].first_line, process.communicate()
        return found[-1]

    yield run
    for one in found:
        one.process.kill()
        one.process.communicate()
