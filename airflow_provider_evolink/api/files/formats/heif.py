"""HEIC and AVIF: a picture whose parts are listed in the box ``meta``."""

from __future__ import annotations

import re

from airflow_provider_evolink.api.files.formats.boxes import Box, boxes
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_MAX_META = 1024 * 1024
_MAX_ITEMS = 100_000
_EXTENT = re.compile(rb"ispe\x00{4}(.{4})(.{4})", re.DOTALL)
_TURN = re.compile(rb"\x00\x00\x00\x09irot(.)", re.DOTALL)
AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


def read_heif(source: Source, meta: Box, brands: set[bytes], end: int) -> Structure:
    """
    Return what a picture in ISO boxes is: all of its parts are in the file.

    :param source: The file.
    :param meta: The box that lists them.
    :param brands: All brands of the file.
    :param end: Where its last box ends.
    :raises EvoLinkMediaError: it is cut or has no picture.
    """
    content = source.need(meta.start, min(meta.size, _MAX_META))
    is_avif = b"infe" in content and b"av01" in content if b"iinf" in content else bool(brands & AVIF_BRANDS)
    content_type = "image/avif" if is_avif else "image/heic"
    parts = {box.name: box for box in boxes(source, meta, skip=4)}
    if b"iloc" not in parts or not _read_extents(source, parts[b"iloc"], parts.get(b"idat")):
        raise damaged(f"{content_type} without a picture")
    sizes = [(big(width), big(height)) for width, height in _EXTENT.findall(content)]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    if any(turn[0] & 1 for turn in _TURN.findall(content)):
        width, height = height, width
    has_alpha = b"auxid:1" in content or b"auxiliary:alpha" in content
    return Structure(content_type, end, width=width or None, height=height or None, has_transparency=has_alpha)


def _read_extents(source: Source, iloc: Box, idat: Box | None) -> int:
    """Return the number of parts of the picture, which must be in the file; a length of 0 means up to its end."""
    reader = _Numbers(source, iloc)
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    total = 0
    for _ in range(min(reader.take(4 if version == 2 else 2), _MAX_ITEMS)):
        reader.take(4 if version == 2 else 2)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)
        base = reader.take(base_size)
        for _ in range(reader.take(2)):
            reader.take(index_size if version else 0)
            begin, length = base + reader.take(offset_size), reader.take(length_size)
            total += 1
            _check_extent(source, begin, length, method, idat)
    return total


def _check_extent(source: Source, begin: int, length: int, method: int, idat: Box | None) -> None:
    limit = {0: source.size, 1: idat.size if idat else 0}.get(method)
    if limit is not None and begin + length > limit:
        raise cut()


class _Numbers:
    """Reads numbers of given lengths from a box, one after the other."""

    def __init__(self, source: Source, box: Box) -> None:
        self._source = source
        self._box = box
        self._position = box.start

    def take(self, size: int) -> int:
        if self._position + size > self._box.end:
            raise damaged("its boxes do not fit together")
        self._position += size
        return big(self._source.need(self._position - size, size))
