"""JPEG: segments and scans lead to the end mark."""

from __future__ import annotations

import re

from airflow_provider_evolink.api.files.formats.exif import turned
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_PIECE = 64 * 1024
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def read_jpeg(source: Source) -> Structure:
    """
    Return what a JPEG is. The thumbnail in it, and pictures or clips behind it, do not count.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    position, sides, exif, scanned = 2, (0, 0), b"", 0
    while True:
        mark, position = _next_mark(source, position)
        if mark == _END:
            break
        length = big(source.need(position, 2))
        if mark in _FRAMES:
            frame = source.need(position, 7)
            sides = big(frame[5:7]), big(frame[3:5])
        elif mark == _EXIF and not exif and source.read(position + 2, 5) == b"Exif\0":
            exif = source.need(position + 2, length - 2)
        position += length
        if mark == _SCAN:
            begin, position = position, _end_of_scan(source, position)
            scanned += position - begin
    if not scanned or not all(sides):
        raise damaged("a JPEG without a picture")
    width, height = turned(*sides, exif)
    return Structure("image/jpeg", position, width=width, height=height, has_transparency=False)


def _next_mark(source: Source, position: int) -> tuple[int, int]:
    """Return a mark and where its segment starts; any number of 0xFF may stand before it."""
    if source.need(position, 1) != b"\xff":
        raise damaged("the segments of the JPEG do not fit together")
    while (mark := source.need(position, 1)[0]) == 0xFF:
        position += 1
    return mark, position + 1


def _end_of_scan(source: Source, position: int) -> int:
    while piece := source.read(position, _PIECE):
        if found := _MARK.search(piece):
            return position + found.start()
        position += max(len(piece) - 1, 1)
    raise cut()
