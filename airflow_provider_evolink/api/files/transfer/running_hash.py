"""The checksum of a file while it is written: in another thread, since SHA-256 takes half as long as a TLS line."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from airflow_provider_evolink.api.files.transfer.body import PIECES, Bytes

_CHUNK = 1024 * 1024
_WORTH_IT = 128 * 1024  # bytes; to hand over fewer takes longer than to hash them


class RunningHash:
    """The SHA-256 of the first bytes of a file, as far as they passed by in order."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self.restart()

    def restart(self) -> None:
        """Begin anew: nothing has passed by."""
        self._wait(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def feed(self, position: int, chunk: Bytes) -> None:
        """
        Take bytes into account, if all before them have passed by.

        :param position: Where they are in the file.
        :param chunk: The bytes; they must stay as they are for the next calls, see ``pieces``.
        """
        if position != self.size:
            return
        self.size += len(chunk)
        if len(chunk) < _WORTH_IT:
            self._wait(0)
            self._digest.update(chunk)
            return
        self._wait(PIECES - 1)
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="evolink-sha256")
        self._waiting.append(self._thread.submit(self._digest.update, chunk))

    def catch_up(self, file: BinaryIO, size: int) -> None:
        """
        Take bytes into account that have been there before.

        :param file: The file.
        :param size: Up to where.
        """
        if self.size > size:
            self.restart()
        self._wait(0)
        file.seek(self.size)
        while self.size < size and (chunk := file.read(min(_CHUNK, size - self.size))):
            self._digest.update(chunk)
            self.size += len(chunk)

    def hexdigest(self) -> str:
        """Return the checksum of what has passed by."""
        self._wait(0)
        return self._digest.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._wait(0)
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _wait(self, allowed: int) -> None:
        while len(self._waiting) > allowed:
            self._waiting.popleft().result()
