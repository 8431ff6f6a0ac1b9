"""Many jobs that have finished at once: the tasks that fetch their results against a rate limit, with few slots."""

from __future__ import annotations

import json
import logging
import os
import statistics
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RATE = 2.0  # readings a second that the server lets through
BURST = 2.0
RETRY_AFTER = 1.0  # seconds
EARLY = 0.05  # seconds before a Retry-After is over that still count as over


class Limit:
    """EvoLink's rate limit, and what it has counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._left, self._at = BURST, time.monotonic()
        self._not_before: dict[str, float] = {}

    def lets_through(self, path: str) -> bool:
        """Count a reading of a job, and return whether it is within the limit."""
        with self._lock:
            now = time.monotonic()
            self._left, self._at = min(BURST, self._left + RATE * (now - self._at)), now
            self.counts["requests"] += 1
            self.counts["early"] += now < self._not_before.pop(path, 0.0) - EARLY
            if self._left >= 1:
                self._left -= 1
                return True
            self.counts["refused"] += 1
            self._not_before[path] = now + RETRY_AFTER
            return False


def picture() -> bytes:
    """Return a picture of one pixel."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(4))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def server(limit: Limit) -> ThreadingHTTPServer:
    """Serve finished jobs under a rate limit, and their pictures without one."""
    file = picture()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if not self.path.startswith("/v1/tasks/"):
                self._send(200, file, "image/png")
            elif limit.lets_through(self.path):
                link = f"http://127.0.0.1:{self.server.server_address[1]}/files/{name}.png"
                job = {"id": name, "object": "image.generation.task", "model": "some-model", "type": "image"}
                job |= {"created": int(time.time()) - 60, "status": "completed", "progress": 100, "results": [link]}
                self._send(200, json.dumps(job).encode(), "application/json")
            else:
                error = {"code": "rate_limit_exceeded", "message": "Too many requests", "type": "rate_limit_error"}
                self._send(429, json.dumps({"error": error}).encode(), "application/json", RETRY_AFTER)

        def _send(self, status: int, body: bytes, kind: str, retry_after: float | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", f"{retry_after:g}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size, daemon_threads = 256, True

    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def measure(jobs: int, slots: int) -> list[dict[str, Any]]:
    """
    Return one row: for each job a sensor that the triggerer has just resumed, then its download.

    :param jobs: How many have finished.
    :param slots: Tasks that run at a time.
    """
    logging.disable(logging.WARNING)  # a thousand lines of waits
    limit = Limit()
    made = server(limit)
    connection = {"conn_type": "evolink", "password": "key-of-the-benchmark"}
    connection["host"] = f"http://127.0.0.1:{made.server_address[1]}"
    os.environ["AIRFLOW_CONN_EVOLINK_HERD"] = json.dumps(connection)
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        with ThreadPoolExecutor(slots) as pool:
            tries = [one for both in pool.map(lambda n: _tasks(f"task-herd-{n}", out), range(jobs)) for one in both]
        seconds = time.monotonic() - began
        files = len(list(Path(out).rglob("*.png")))
    made.shutdown()
    lasted = sorted(one["seconds"] for one in tries)
    row = {"jobs": jobs, "slots": slots, "rate": RATE, "tries": len(tries), "seconds": seconds, "files": files}
    row |= {
        "lost": sum(one["error"] is not None for one in tries),
        "errors": Counter(one["error"] for one in tries if one["error"]),
    }
    row |= {name: limit.counts[name] for name in ("requests", "refused", "early")}
    return [row | {"try_p50": statistics.median(lasted), "try_max": lasted[-1]}]


def _tasks(job_id: str, out: str) -> list[dict[str, Any]]:
    from airflow_provider_evolink.operators import EvoLinkDownloadOperator
    from airflow_provider_evolink.sensors.evolink import EvoLinkJobSensor

    given = {"evolink_conn_id": "evolink_herd"}
    sensor = EvoLinkJobSensor(task_id="sensor", job_id=job_id, deferrable=True, **given)
    download = EvoLinkDownloadOperator(task_id="download", job=job_id, destination=f"file://{out}/{job_id}", **given)
    context: Any = {"ti": SimpleNamespace(start_date=datetime.now(UTC))}
    return [
        _try(lambda: sensor.execute_complete(context, {"job_id": job_id, "status": "over"})),
        _try(lambda: download.execute(context)),
    ]


def _try(act: Any) -> dict[str, Any]:
    began, error = time.monotonic(), None
    try:
        act()
    except Exception as raised:  # noqa: BLE001 - whatever it is, the try is lost
        error = type(raised).__name__
    return {"seconds": time.monotonic() - began, "error": error}
