"""
Where the time of a transfer goes: its parts alone, and what the host at the other end takes of the same cores.

    .bench/venv/bin/python benchmarks/transfer_profile.py [MB ...]
"""

from __future__ import annotations

import hashlib
import os
import resource
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import transfers

ROUNDS = 4
PIECE = 512 * 1024
Row = dict[str, Any]


def cpu_of(process: psutil.Process) -> float:
    """Return the processor time that a process has taken."""
    used = process.cpu_times()
    return float(used.user + used.system)


def read(base: str, take: Callable[[memoryview], object]) -> None:
    """Read the file over TLS into one buffer, by the standard library alone."""
    import socket

    address = urlsplit(base)
    context = ssl._create_unverified_context()
    room = memoryview(bytearray(PIECE))
    with (
        socket.create_connection((address.hostname, address.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(b"GET /media/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while count := line.recv_into(room):
            take(room[:count])


def part(name: str, work: Callable[[], object], host: psutil.Process) -> Row:
    """Measure one thing in this process, and what the host took meanwhile."""
    before, theirs, begun = resource.getrusage(resource.RUSAGE_SELF), cpu_of(host), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"name": name, "seconds": seconds, "cpu": spent, "host": cpu_of(host) - theirs}


def whole(name: str, run: Callable[[], Row], host: psutil.Process) -> Row:
    """Measure a transfer in a process of its own, and what the host took meanwhile."""
    theirs = cpu_of(host)
    found = run()
    return {"name": name, "seconds": found["seconds"], "cpu": found["cpu"], "host": cpu_of(host) - theirs}


def turn(base: str, folder: Path, size: int, host: psutil.Process) -> list[Row]:
    """Return a row for each part and each whole transfer."""
    copy, block = folder / "copy.bin", bytes(PIECE)
    times = size * transfers.MB // PIECE

    def write() -> None:
        with copy.open("wb", buffering=0) as file:
            for _ in range(times):
                file.write(block)

    def checksum() -> None:
        digest = hashlib.sha256()
        for _ in range(times):
            digest.update(block)

    rows = [
        part("TLS read, dropped", lambda: read(base, len), host),
        part("write to the disk", write, host),
        part("SHA-256", checksum, host),
    ]
    copy.unlink()
    fetch = ["curl", "-sk", "-o", str(copy), f"{base}/media/0"]
    rows.append(whole("`curl -o`", lambda: transfers._tool(fetch, base), host))
    copy.unlink()
    for store in ("disk", "S3"):
        name = f"**EvoLink**, to {'a disk' if store == 'disk' else store}"
        rows.append(whole(name, lambda store=store: transfers._ours(base, transfers._where(store, folder)), host))
    return rows


def main() -> None:
    """Print a table for each size."""
    sizes = [int(word) for word in sys.argv[1:]] or [500, 2000]
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            with transfers._host(Path(place), size * transfers.MB) as base:
                host = host_of(base)
                rounds = [turn(base, Path(place), size, host) for _ in range(ROUNDS)]
            print(f"\n| {size} MB | seconds | its CPU-s | CPU-s of the host | both, on {os.cpu_count()} cores, s |")
            print("| --- " * 5 + "|")
            for rows in zip(*rounds, strict=True):
                middle = {key: statistics.median(row[key] for row in rows) for key in ("seconds", "cpu", "host")}
                bound = (middle["cpu"] + middle["host"]) / (os.cpu_count() or 1)
                cells = (*middle.values(), bound)
                print(f"| {rows[0]['name']} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


def host_of(base: str) -> psutil.Process:
    """Return the process that serves an address."""
    port = urlsplit(base).port
    children = psutil.Process().children()
    return next(
        child
        for child in children
        if any(line.laddr.port == port for line in child.net_connections() if line.status == "LISTEN")
    )


if __name__ == "__main__":
    main()
