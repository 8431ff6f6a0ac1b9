"""Width and height of an image, read from the beginning of its file. Nothing is decoded, however large it is."""

from __future__ import annotations

import re
from typing import BinaryIO

_HEAD = 64 * 1024
_MIN_SIZE = 24  # bytes; no image is shorter
_MAX_MARKERS = 1000
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXTENT = re.compile(rb"\x00\x00\x00\x14ispe\x00{4}(.{4})(.{4})", re.DOTALL)


def image_size(file: BinaryIO, content_type: str) -> tuple[int, int] | None:
    """
    Return width and height of an image in pixels, or ``None`` where its file does not state them.

    :param file: The file, open for reading.
    :param content_type: Its media type, by content.
    """
    file.seek(0)
    head = file.read(_HEAD)
    if len(head) < _MIN_SIZE:
        return None
    if content_type == "image/png":
        found = _big(head[16:20]), _big(head[20:24])
    elif content_type == "image/gif":
        found = _little(head[6:8]), _little(head[8:10])
    elif content_type == "image/jpeg":
        found = _in_jpeg(file)
    elif content_type == "image/webp":
        found = _in_webp(head)
    else:
        found = _in_boxes(head)
    return found if all(found) else None


def _in_jpeg(file: BinaryIO) -> tuple[int, int]:
    """Go from marker to marker up to that of the frame; cameras put kilobytes of metadata before it."""
    position = 2
    for _ in range(_MAX_MARKERS):
        file.seek(position)
        part = file.read(9)
        if len(part) < 9 or part[0] != 0xFF:
            break
        if part[1] in _FRAMES:
            return _big(part[7:9]), _big(part[5:7])
        position += 1 if part[1] == 0xFF else 2 + _big(part[2:4])
    return 0, 0


def _in_webp(head: bytes) -> tuple[int, int]:
    form = head[12:16] if len(head) >= 30 else b""
    if form == b"VP8X":
        return 1 + _little(head[24:27]), 1 + _little(head[27:30])
    if form == b"VP8L":
        bits = _little(head[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 ":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return 0, 0


def _in_boxes(head: bytes) -> tuple[int, int]:
    """AVIF and HEIC: tiles and thumbnails have a size as well, and the image is the largest of them."""
    sizes = [(_big(width), _big(height)) for width, height in _EXTENT.findall(head)]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _big(content: bytes) -> int:
    return int.from_bytes(content, "big")


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")
