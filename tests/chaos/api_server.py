"""Airflow's API server alone, on the database of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
from local_airflow import free_port


@dataclass
class ApiServer:
    """
    A running API server.

    :param url: Its address.
    :param process: Its process.
    """

    url: str
    process: psutil.Process

    def memory(self) -> int:
        """Return the memory of the server and its children, bytes."""
        return sum(one.memory_info().rss for one in (self.process, *self.process.children(recursive=True)))


def wait_for(url: str, seconds: float = 120.0) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            httpx.get(url, timeout=5, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(url)


@contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a ``with`` block."""
    process = subprocess.Popen([sys.executable, *words])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def api_server(env: dict[str, str]) -> Iterator[ApiServer]:
    """Run the API server with further settings."""
    port = free_port()
    words = ["-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, *words], env={**os.environ, **env})
    try:
        wait_for(f"{url}/api/v2/monitor/health")
        yield ApiServer(url, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(timeout=20)
