"""PNG, GIF and BMP: a chain of parts up to an end mark, or sizes that must fit."""

from __future__ import annotations

import zlib

from airflow_provider_evolink.api.files.formats.exif import turned
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged, little
from airflow_provider_evolink.api.files.formats.structure import Structure

_PIECE = 1024 * 1024
_MAX_EXIF = 64 * 1024
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


def read_png(source: Source) -> Structure:
    """
    Return what a PNG is: its chunks lead to ``IEND``, and the checksums of those that draw it are right.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    position, names, exif = 8, set(), b""
    while b"IEND" not in names:
        length, name = big(source.need(position, 4)), source.need(position + 4, 4)
        if name in _CRITICAL:
            _check_crc(source, position + 4, length + 4)
        if name == b"eXIf":
            exif = source.read(position + 8, min(length, _MAX_EXIF))
        names.add(name)
        position += 12 + length
    if not {b"IHDR", b"IDAT"} <= names:
        raise damaged("a PNG without a picture")
    head = source.need(16, 10)
    has_alpha = head[9] in (4, 6) or b"tRNS" in names
    width, height = turned(big(head[:4]), big(head[4:8]), exif)
    return Structure("image/png", position, width=width, height=height, has_transparency=has_alpha)


def _check_crc(source: Source, position: int, length: int) -> None:
    if position + length + 4 > source.size:
        raise cut()
    end, crc = position + length, 0
    while position < end:
        piece = source.need(position, min(_PIECE, end - position))
        crc = zlib.crc32(piece, crc)
        position += len(piece)
    if crc != big(source.need(end, 4)):
        raise damaged("a chunk of the PNG has a wrong checksum")


def read_gif(source: Source) -> Structure:
    """
    Return what a GIF is: its blocks lead to the trailer.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    head = source.need(0, 13)
    position, pictures, has_alpha = 13 + _color_table(head[10]), 0, False
    while (mark := source.need(position, 1)) != b"\x3b":
        if mark == b"\x21":
            if source.need(position + 1, 1) == b"\xf9":
                has_alpha = has_alpha or bool(source.need(position + 3, 1)[0] & 1)
            position = _skip_blocks(source, position + 2)
        elif mark == b"\x2c":
            pictures += 1
            position = _skip_blocks(source, position + 11 + _color_table(source.need(position + 9, 1)[0]))
        else:
            raise damaged("the blocks of the GIF do not fit together")
    if not pictures:
        raise damaged("a GIF without a picture")
    width, height = little(head[6:8]), little(head[8:10])
    return Structure("image/gif", position + 1, width=width, height=height, has_transparency=has_alpha)


def _color_table(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(source: Source, position: int) -> int:
    """Return where a sequence of blocks ends."""
    while length := source.need(position, 1)[0]:
        position += 1 + length
    return position + 1


def read_bmp(source: Source) -> Structure | None:
    """
    Return what a BMP is, or ``None`` if the two letters that it begins with are something else.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut.
    """
    head = source.read(0, 34)
    if len(head) < 34 or little(head[14:18]) not in _BMP_HEADERS:
        return None
    is_old = little(head[14:18]) == 12
    sides = (head[18:20], head[20:22]) if is_old else (head[18:22], head[22:26])
    width, height = (abs(int.from_bytes(side, "little", signed=not is_old)) for side in sides)
    planes, bits = (little(head[22:24]), little(head[24:26])) if is_old else (little(head[26:28]), little(head[28:30]))
    if planes != 1 or not width or not height:
        return None
    is_packed = not is_old and little(head[30:34]) not in (0, 3, 6)
    rows = 0 if is_packed else (width * bits + 31) // 32 * 4 * height
    end = max(little(head[2:6]), little(head[10:14]) + rows)
    if end > source.size:
        raise cut()
    return Structure("image/bmp", end, width=width, height=height, has_transparency=None if bits == 32 else False)
