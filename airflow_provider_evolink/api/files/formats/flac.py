"""FLAC: its frames state no length, so the last one must be the one that the header announces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_MAX_BLOCKS = 1000
_MAX_FRAME = 256 * 1024
_MAX_TAIL = 64 * 1024  # bytes behind the last frame
_MAX_HEAD = 16
_TAGS = (b"TAG", b"APETAGEX", b"ID3")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")


def _table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def read_flac(source: Source, start: int) -> Structure:
    """
    Return what a FLAC is.

    :param source: The file.
    :param start: Where it starts, behind tags.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    info = source.need(start + 8, 34)
    begin = _end_of_blocks(source, start + 4)
    rate, total = big(info[10:13]) >> 4, big(info[13:18]) & 0xF_FFFF_FFFF
    if not rate or big(source.need(begin, 2)) >> 1 != 0xFFF8 >> 1:
        raise damaged("a FLAC without sound")
    end = _end_of_frames(source, begin, total, block=big(info[2:4]), max_frame=big(info[7:10]))
    seconds = round(total / rate, 3) if total else None
    return Structure("audio/flac", end, start=start, seconds=seconds, has_sound=True, demuxer="flac")


def _end_of_blocks(source: Source, position: int) -> int:
    for _ in range(_MAX_BLOCKS):
        head = source.need(position, 4)
        position += 4 + big(head[1:])
        if head[0] & 0x80:
            return position
    raise damaged("it has too many parts")


def _end_of_frames(source: Source, begin: int, total: int, *, block: int, max_frame: int) -> int:
    """Return where the last frame ends: the one with the last of all samples, whose checksum is right."""
    size = min(max_frame or _MAX_FRAME, _MAX_FRAME) + _MAX_TAIL
    position = max(begin, source.size - size)
    tail = source.need(position, min(size, source.size - position))
    for at, last_sample in _heads(tail, block):
        if total in (0, last_sample) and (end := _end_of_frame(tail, at, is_last=not total)):
            return position + end
    raise cut()


def _heads(tail: bytes, block: int) -> Iterator[tuple[int, int]]:
    """Yield where a frame may begin, and the number of samples up to its end; from the last to the first."""
    for found in reversed(list(_SYNC.finditer(tail))):
        head = tail[found.start() : found.start() + _MAX_HEAD]
        if (last_sample := _last_sample(head, block)) is not None:
            yield found.start(), last_sample


def _last_sample(head: bytes, block: int) -> int | None:
    """Return the number of samples up to the end of a frame, or ``None`` if these bytes begin none."""
    if len(head) < 6:
        return None
    extra = 8 - (head[4] ^ 0xFF).bit_length() if head[4] & 0x80 else 1  # bytes of the number, as in UTF-8
    number = head[4] & (0x7F >> (extra if extra > 1 else 0))
    for byte in head[5 : 4 + extra]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + extra, head[2] >> 4
    samples, used = _block_size(code, head[at : at + 2])
    at += used + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * block) + samples


def _block_size(code: int, extra: bytes) -> tuple[int, int]:
    """Return the number of samples of a frame, and how many bytes of its header state them."""
    if code == 1:
        return 192, 0
    if 2 <= code <= 5:
        return 576 << (code - 2), 0
    if code in (6, 7):
        return 1 + big(extra[: code - 5]), code - 5
    return 256 << (code - 8) if code >= 8 else 0, 0


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value = _CRC8[value ^ byte]
    return value


def _end_of_frame(tail: bytes, start: int, *, is_last: bool) -> int | None:
    """
    Return where a frame ends: where the checksum over it, its own included, is zero.

    Where nothing else shows that it is the last one, only a tag may be behind it.
    """
    value = 0
    for at in range(start, min(len(tail), start + _MAX_FRAME)):
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ tail[at]]
        if value or at - start <= _MAX_HEAD - 6 or len(tail) - at - 1 > _MAX_TAIL:
            continue
        if not is_last or at + 1 == len(tail) or tail[at + 1 :].startswith(_TAGS):
            return at + 1
    return None
