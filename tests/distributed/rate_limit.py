"""A rate limit in front of the emulator that knows which process calls: does one come back before it may?"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import psutil

RATE = 2.0  # requests a second that it lets through
BURST = 2.0
RETRY_AFTER = 3.0  # seconds
IN_FLIGHT = 0.5  # seconds after the first refusal in which requests arrive that were sent before it was read
EARLY = 0.05  # seconds before a Retry-After is over that still count as over
HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "date", "server")


@dataclass(frozen=True)
class Early:
    """
    A request that came too early.

    :param process: Command line of the process.
    :param before: Seconds until it was allowed.
    """

    process: str
    before: float


class Allowance:
    """So many requests a second; pure, the clock is given."""

    def __init__(self, now: float) -> None:
        self._left, self._at = BURST, now

    def take(self, now: float) -> bool:
        """Return whether a request at this moment is within the limit."""
        now = max(now, self._at)
        self._left, self._at = min(BURST, self._left + RATE * (now - self._at)), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RateLimit:
    """
    Relays requests to the emulator. From ``begin`` on, reads of jobs are limited.

    :param port: Where it listens.
    :param target: Address of the emulator.
    """

    def __init__(self, port: int, target: str) -> None:
        self.target = target.removeprefix("http://")
        self.passed = self.refused = 0
        self.early: list[Early] = []
        self.refusals: Counter[int] = Counter()
        self._closed: dict[int, tuple[float, float]] = {}  # since the first refusal of a volley, and until when
        self._allowance: Allowance | None = None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _handler(self))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()

    def begin(self) -> None:
        """Limit from now on."""
        self._allowance = Allowance(time.monotonic())

    def allows(self, process: int, now: float) -> bool:
        """Count a request of a process at a moment, and return whether it is within the limit."""
        with self._lock:
            if self._allowance is None:
                return True
            first, until = self._closed.get(process, (now, now))
            is_closed = now < until - EARLY
            if is_closed and now - first > IN_FLIGHT:
                self.early.append(Early(_name(process), round(until - now, 2)))
            if self._allowance.take(now):
                self.passed += 1
                return True
            self.refused += 1
            self.refusals[process] += 1
            self._closed[process] = (first if is_closed else now, now + RETRY_AFTER)
            return False

    def summary(self) -> str:
        """Return what it has counted, for the table."""
        return f"{self.passed} reads passed, {self.refused} refused to {len(self.refusals)} processes"


def _name(process: int) -> str:
    try:
        return " ".join(psutil.Process(process).cmdline())[:80]
    except psutil.Error:
        return str(process)


def _process_of(address: tuple[str, int]) -> int:
    """Return the process at the other end of a connection on this machine; 0 if it is gone."""
    for one in psutil.net_connections("tcp4"):
        if one.laddr == address and one.pid:
            return int(one.pid)
    return 0


class _Server(ThreadingHTTPServer):
    request_queue_size, daemon_threads = 512, True


def _handler(limit: RateLimit) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.arrived: float | None = time.monotonic()  # of the first request; to find the process takes a while
            self.process = _process_of(self.client_address)
            self.upstream = http.client.HTTPConnection(limit.target, timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def do_GET(self) -> None:
            arrived, self.arrived = self.arrived or time.monotonic(), None
            if self.path.startswith("/v1/tasks") and not limit.allows(self.process, arrived):
                return self._refuse()
            return self._relay()

        def do_POST(self) -> None:
            return self._relay()

        def _refuse(self) -> None:
            error = {"code": "rate_limit_exceeded", "message": "Too many requests", "type": "rate_limit_error"}
            self._send(429, [("Retry-After", f"{RETRY_AFTER:g}")], json.dumps({"error": error}).encode())

        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = self.upstream.getresponse()
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP]
            self._send(response.status, kept, response.read())

        def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
