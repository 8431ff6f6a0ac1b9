"""
How many clients one emulator serves: processes that order, poll and download at the same time.

    python benchmarks/emulator_clients.py [--processes 8] [--connections 200] [--seconds 5] [--tls]

Each process keeps that many connections open, and polls a job of its own over each, without a pause. Beside them one
more client orders and downloads clips. Printed are polls a second, their times, and the same for orders and downloads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ORDER = {"model": "wan2.7-text-to-video", "prompt": "a paper boat on a rainy street", "duration": 2}
HEADERS = "Host: localhost\r\nAuthorization: Bearer team-{key}-key\r\nContent-Type: application/json\r\n"


class Connection:
    """One connection that is kept open."""

    def __init__(self, key: int, port: int, tls: ssl.SSLContext | None) -> None:
        self.headers, self.port, self.tls = HEADERS.format(key=key), port, tls

    async def open(self) -> Connection:
        """Connect."""
        name = "localhost" if self.tls else None
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname=name
        )
        return self

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Send one request and return status and body."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self.headers}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        response = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(response.partition("content-length: ")[2].split("\r\n")[0])
        return int(response.split()[1]), await self.reader.readexactly(length)


def poller(number: int, options: argparse.Namespace, port: int, trusted: str | None, results: Any) -> None:
    """Poll over many connections for some seconds, and report how long each poll took."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    results.put(asyncio.run(_poll(number, options, port, _context(trusted))))


def _context(trusted: str | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=trusted) if trusted else None


async def _poll(number: int, options: argparse.Namespace, port: int, tls: ssl.SSLContext | None) -> list[float]:
    times: list[float] = []
    ready, started = asyncio.Event(), []

    async def one() -> None:
        connection = await Connection(number, port, tls).open()
        status, body = await connection.call("POST", "/v1/videos/generations", ORDER)
        assert status == 200, body
        path = f"/v1/tasks/{json.loads(body)['id']}"
        started.append(path)
        await ready.wait()
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            began = time.monotonic()
            status, body = await connection.call("GET", path)
            assert status == 200, body
            times.append(time.monotonic() - began)

    tasks = [asyncio.create_task(one()) for _ in range(options.connections)]
    while len(started) < options.connections:
        await asyncio.sleep(0.01)
        if failed := next((task.exception() for task in tasks if task.done()), None):
            raise failed
    ready.set()
    await asyncio.gather(*tasks)
    return times


def downloader(options: argparse.Namespace, port: int, trusted: str | None, results: Any) -> None:
    """Order and download clips for some seconds."""
    results.put(asyncio.run(_download(options, port, _context(trusted))))


async def _download(options: argparse.Namespace, port: int, tls: ssl.SSLContext | None) -> list[float]:
    connection, times = await Connection(99, port, tls).open(), []
    until = time.monotonic() + options.seconds + 1
    while time.monotonic() < until:
        began = time.monotonic()
        job_id = json.loads((await connection.call("POST", "/v1/videos/generations", ORDER))[1])["id"]
        await connection.call("POST", f"/_emulator/jobs/{job_id}", {"state": "completed"})
        (link,) = json.loads((await connection.call("GET", f"/v1/tasks/{job_id}"))[1])["results"]
        status, body = await connection.call("GET", "/" + link.split("/", 3)[3])
        assert status == 200, status
        assert len(body) > 1000
        times.append(time.monotonic() - began)
    return times


def main() -> int:
    """Start emulator and clients, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--connections", type=int, default=50, help="of each process")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--no-downloads", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trusted = str(Path(folder) / "emulator.pem") if options.tls else None
        command = [sys.executable, "-m", "airflow_provider_evolink.emulator", "--port", "0", "--quiet"]
        command += ["--balance", "1e9", "--fps", "4", *(["--tls-self-signed", trusted] if trusted else [])]
        emulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert emulator.stdout is not None
            port = int(emulator.stdout.readline().split()[3].rpartition(":")[2])
            _measure(options, port, trusted)
        finally:
            emulator.terminate()
            emulator.wait(10)
    return 0


def _measure(options: argparse.Namespace, port: int, trusted: str | None) -> None:
    polled: Any = multiprocessing.Queue()
    fetched: Any = multiprocessing.Queue()
    clients = [
        multiprocessing.Process(target=poller, args=(number, options, port, trusted, polled))
        for number in range(options.processes)
    ]
    if not options.no_downloads:
        clients.append(multiprocessing.Process(target=downloader, args=(options, port, trusted, fetched)))
    for client in clients:
        client.start()
    times = sorted(time for _ in range(options.processes) for time in polled.get(timeout=options.seconds + 60))
    print(
        f"{options.processes} processes, {options.processes * options.connections} connections: "
        f"{len(times) / options.seconds:.0f} polls a second, median {1000 * statistics.median(times):.0f} ms, "
        f"99th percentile {1000 * times[len(times) * 99 // 100]:.0f} ms, slowest {1000 * times[-1]:.0f} ms"
    )
    if not options.no_downloads:
        clips = fetched.get(timeout=60)
        print(f"beside them {len(clips)} clips ordered and downloaded, median {1000 * statistics.median(clips):.0f} ms")
    for client in clients:
        client.join(10)


if __name__ == "__main__":
    sys.exit(main())
