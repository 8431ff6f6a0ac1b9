"""
Cuts a connection that drips, or that outlives the time allowed.

Chunk extensions and trailers are no bytes of the body: while they drip in, a reader of the body waits without end, and
every single read of the socket is in time.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import httpx


@dataclass
class RateMeter:
    """Detects bodies that drip: fewer than ``min_rate`` bytes per second over ``window`` seconds."""

    min_rate: float
    window: float
    since: float
    received: int = 0

    def is_too_slow(self, count: int, now: float) -> bool:
        """Count bytes; return whether a window has just ended with too few of them."""
        self.received += count
        if now - self.since < self.window:
            return False
        is_slow = self.received < self.min_rate * (now - self.since)
        self.since, self.received = now, 0
        return is_slow


class LineWatch:
    """
    Watches the connection of a response while its body is read.

    :param response: The response, its body unread.
    :param min_rate: Bytes of the body per second; fewer over a window cut the connection.
    :param window: In seconds.
    :param deadline: By ``time.monotonic``.
    """

    def __init__(self, response: httpx.Response, min_rate: float, window: float, deadline: float) -> None:
        stream = response.extensions.get("network_stream")
        self._socket: socket.socket | None = stream.get_extra_info("socket") if stream else None
        self._meter = RateMeter(min_rate, window, since=time.monotonic())
        self._deadline = deadline
        self._count = 0
        self._ended = threading.Event()
        self.is_slow = False
        self.has_cut = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="evolink-line-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def count(self, number: int) -> None:
        """
        Count bytes of the body.

        :param number: How many have just arrived.
        """
        self._count += number

    def _run(self) -> None:
        counted = 0
        while not self._ended.wait(max(0.0, min(self._meter.window, self._deadline - time.monotonic()))):
            now, count = time.monotonic(), self._count
            self.is_slow = self._meter.is_too_slow(count - counted, now)
            counted = count
            if self.is_slow or now >= self._deadline:
                self._cut()
                return

    def _cut(self) -> None:
        self.has_cut = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # an SSLSocket's own would break its reader
