"""Reads a file in pieces, at any position, with little memory."""

from __future__ import annotations

from typing import BinaryIO

from airflow_provider_evolink.api.errors import EvoLinkMediaError

_WINDOW = 32 * 1024
_MAX_READS = 8_000_000  # some seconds; the parts of 30 hours of sound are fewer


class Source:
    """
    A file of known length.

    :param file: The file, open for reading and seekable.
    :param size: Its length.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._position = 0
        self._window = b""
        self._reads = 0

    def read(self, position: int, count: int) -> bytes:
        """
        Return bytes of the file; fewer only at its end.

        :param position: Of the first byte.
        :param count: Number of bytes; the caller limits it.
        :raises EvoLinkMediaError: the file has more parts than any real one.
        """
        self._reads += 1
        if self._reads > _MAX_READS:
            raise damaged("it has too many parts")
        start = position - self._position
        if not 0 <= start <= start + count <= len(self._window):
            self._file.seek(position)
            if count > _WINDOW:
                return self._file.read(count)
            self._position, self._window, start = position, self._file.read(_WINDOW), 0
        return self._window[start : start + count]

    def need(self, position: int, count: int) -> bytes:
        """
        Return bytes that a whole file has.

        :param position: Of the first byte.
        :param count: Number of bytes; the caller limits it.
        :raises EvoLinkMediaError: the file ends before.
        """
        content = self.read(position, count)
        if len(content) < count:
            raise cut()
        return content


def big(content: bytes) -> int:
    """
    Return a number with its highest byte first.

    :param content: Its bytes.
    """
    return int.from_bytes(content, "big")


def little(content: bytes) -> int:
    """
    Return a number with its lowest byte first.

    :param content: Its bytes.
    """
    return int.from_bytes(content, "little")


def cut() -> EvoLinkMediaError:
    """Return the error of a file that ends too early."""
    return EvoLinkMediaError("the media file is truncated: it is shorter than its own structure declares")


def damaged(reason: str) -> EvoLinkMediaError:
    """
    Return the error of a file that cannot be whole.

    :param reason: What is wrong.
    """
    return EvoLinkMediaError(f"the media file is damaged: {reason}")
