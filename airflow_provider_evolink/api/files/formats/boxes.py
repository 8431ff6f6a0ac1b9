"""The boxes of MP4, MOV, HEIC and AVIF (ISO 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged

# Those that a file has on its top level; anything else behind the last of them is rubbish, and does no harm.
TOP = frozenset(
    b"ftyp moov mdat moof free skip wide uuid udta meta mfra sidx styp ssix emsg prft pdin pnot imda mfro bloc".split()
)


@dataclass(frozen=True)
class Box:
    """
    A part of the file.

    :param name: Its four letters.
    :param begin: Where its header starts.
    :param start: Where its content starts.
    :param end: Where it ends.
    """

    name: bytes
    begin: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Length of its content."""
        return self.end - self.start


def read_box(source: Source, position: int, end: int) -> Box | None:
    """
    Return the box at a position, or ``None`` if there is none.

    :param source: The file.
    :param position: Where it starts.
    :param end: Where the box around it ends; a box of length 0 ends there. Its own end may be behind that.
    """
    head = source.read(position, min(16, end - position))
    if len(head) < 8:
        return None
    length, name, used = big(head[:4]), head[4:8], 8
    if length == 1:
        length, used = big(head[8:16]), 16
    elif length == 0:
        length = end - position
    if len(head) < used or length < used:
        return None
    return Box(name, position, position + used, position + length)


def top_boxes(source: Source) -> Iterator[Box]:
    """
    Yield the boxes of a file.

    :param source: The file.
    :raises EvoLinkMediaError: one of them is cut.
    """
    position = 0
    while (box := read_box(source, position, source.size)) and box.name in TOP:
        if box.end > source.size:
            raise cut()
        yield box
        position = box.end


def is_part_of_box(rest: bytes) -> bool:
    """
    Return whether the last bytes of a file can only be the beginning of a box.

    :param rest: The bytes behind the last whole box.
    """
    if not rest or len(rest) >= 8 or rest[0]:
        return False
    return len(rest) < 4 or (any(rest) and any(name.startswith(rest[4:]) for name in TOP))


def boxes(source: Source, around: Box, skip: int = 0) -> Iterator[Box]:
    """
    Yield the boxes in a box.

    :param source: The file.
    :param around: The outer box.
    :param skip: Bytes before the first of them.
    :raises EvoLinkMediaError: they do not fit.
    """
    position = around.start + skip
    while around.end - position >= 8:
        box = read_box(source, position, around.end)
        if box is None:
            # QuickTime ends a list with a zero of four bytes.
            if not any(source.read(position, 4)):
                return
            raise damaged("its boxes do not fit together")
        if box.end > around.end:
            raise damaged("its boxes do not fit together")
        yield box
        position = box.end


def find(source: Source, around: Box, *path: bytes) -> Box | None:
    """
    Return the first box at a path inside a box, or ``None``.

    :param source: The file.
    :param around: The outer box.
    :param path: Names, from the outside.
    """
    found: Box | None = around
    for name in path:
        found = next((box for box in boxes(source, found) if box.name == name), None) if found else None
    return found
