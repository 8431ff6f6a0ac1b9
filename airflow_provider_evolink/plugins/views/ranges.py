"""The ``Range`` header of a request for a file (RFC 9110), read. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Span:
    """
    The bytes of a file to send.

    :param start: First byte.
    :param end: Byte after the last.
    :param is_part: Whether a part was requested.
    """

    start: int
    end: int
    is_part: bool

    def headers(self, size: int) -> dict[str, str]:
        """
        Return the headers that describe it.

        :param size: Of the whole file.
        """
        part = {"Content-Range": f"bytes {self.start}-{self.end - 1}/{size}"} if self.is_part else {}
        return {"Content-Length": str(self.end - self.start), **part}


def read_range(header: str | None, size: int, *, is_current: bool = True) -> Span | None:
    """
    Return the bytes to send; ``None``: none of the requested ones exist.

    A header that is no single range of bytes is passed over, as the standard demands, and the whole file is sent.

    :param header: The header, if there is one.
    :param size: Size of the file.
    :param is_current: Whether the file is still the one that ``If-Range`` names.
    """
    found = _RANGE.fullmatch((header or "").strip()) if is_current else None
    if found is None or found.groups() == ("", ""):
        return Span(0, size, is_part=False)
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return Span(0, size, is_part=False)
    return Span(start, end, is_part=True) if start < end else None
