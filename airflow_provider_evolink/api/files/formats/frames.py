"""MP3 and AAC: chains of frames, each of which states its own length."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_MAX_GAP = 64 * 1024  # bytes between frames that are no frames
_MAX_PADDING = 1024 * 1024  # zero bytes before the first frame
_MAX_TRIALS = 1000
_TAGS = (b"APETAGEX", b"LYRICS", b"TAG")
_BIT_RATES = {  # in kbit/s, by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_NOT_ZERO = re.compile(rb"[^\0]")


@dataclass(frozen=True)
class Frame:
    """
    A frame of sound.

    :param length: In bytes.
    :param seconds: How long it sounds.
    :param shape: What all frames of a file have in common.
    """

    length: int
    seconds: float
    shape: tuple[int, ...]


Parse = Callable[[bytes], Frame | None]


def mp3_frame(head: bytes) -> Frame | None:
    """
    Return the frame of MPEG audio that begins with these bytes, or ``None``.

    :param head: At least 4 bytes.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bit_rate_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or not 0 < bit_rate_index < 15:
        return None
    is_first = version == 3
    rate = _RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    bits = 1000 * _BIT_RATES[is_first, layer][bit_rate_index]
    padding = head[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_first else 1152
    length = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    return Frame(length, samples / rate, (version, layer, rate))


def aac_frame(head: bytes) -> Frame | None:
    """
    Return the frame of AAC (ADTS) that begins with these bytes, or ``None``.

    :param head: At least 7 bytes.
    """
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate_index, length = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate_index >= len(_AAC_RATES) or length < 8:
        return None
    samples = 1024 * (1 + (head[6] & 3))
    return Frame(length, samples / _AAC_RATES[rate_index], (head[1] & 8, head[2] >> 6, rate_index))


def skip_tags(source: Source, position: int) -> int:
    """
    Return where the content of a file starts: behind ID3 tags and zero bytes.

    :param source: The file.
    :param position: Where to start.
    """
    while True:
        begin = position
        head = source.read(position, 10)
        if head[:3] == b"ID3" and len(head) == 10 and not any(byte & 0x80 for byte in head[6:]):
            size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
            position += 10 + size + (10 if head[5] & 0x10 else 0)
        position = _skip_zeros(source, position)
        if position == begin:
            return position


def _skip_zeros(source: Source, position: int) -> int:
    begin = position
    while position - begin < _MAX_PADDING and (piece := source.read(position, 4096)):
        if found := _NOT_ZERO.search(piece):
            return position + found.start()
        position += len(piece)
    return position


def read_mp3(source: Source, start: int) -> Structure | None:
    """
    Return what an MP3 is, or ``None`` if it has no two frames in a row.

    :param source: The file.
    :param start: Where its first frame may be.
    :raises EvoLinkMediaError: it is cut.
    """
    if (begin := _begin(source, start, mp3_frame)) is None:
        return None
    table = _frames_in_table(source, begin)
    count, seconds, end = _walk(source, begin, mp3_frame)
    if table is not None:
        first = mp3_frame(source.need(begin, 4))
        count, seconds = count - 1, seconds - (first.seconds if first else 0.0)
        if count < table - 1:
            raise cut()
    if count < 1:
        raise damaged("an MP3 without sound")
    return Structure("audio/mpeg", end, start=start, seconds=round(seconds, 3), has_sound=True)


def read_aac(source: Source, start: int) -> Structure | None:
    """
    Return what an AAC file is, or ``None`` if it has no two frames in a row.

    :param source: The file.
    :param start: Where its first frame may be.
    :raises EvoLinkMediaError: it is cut.
    """
    if (begin := _begin(source, start, aac_frame)) is None:
        return None
    _, seconds, end = _walk(source, begin, aac_frame)
    return Structure("audio/aac", end, start=start, seconds=round(seconds, 3), has_sound=True)


def _frames_in_table(source: Source, position: int) -> int | None:
    """Return how many frames the table in the first one declares, or ``None`` where there is none."""
    head = source.read(position, 200)
    for name in (b"Xing", b"Info"):
        at = head.find(name)
        if 0 < at <= 40 and len(head) >= at + 12:
            return big(head[at + 8 : at + 12]) if head[at + 7] & 1 else 0
    return big(head[50:54]) if head[36:40] == b"VBRI" else None


def _begin(source: Source, position: int, parse: Parse) -> int | None:
    """Return where two frames in a row begin; a single one that fills the file counts as well."""
    first = parse(source.read(position, 8))
    if first is None:
        return None
    after = position + first.length
    second = parse(source.read(after, 8))
    return position if after == source.size or (second and second.shape == first.shape) else None


def _walk(source: Source, position: int, parse: Parse) -> tuple[int, float, int]:
    """Return the number of frames, their seconds and where they end."""
    first, seconds, count = parse(source.read(position, 8)), 0.0, 0
    if first is None:
        raise damaged("it has no frame")
    while position < source.size:
        frame = parse(source.read(position, 8))
        if frame is None or frame.shape != first.shape:
            after = _behind_gap(source, position, parse, first.shape)
            if after is None:
                break
            position = after
        elif position + frame.length > source.size:
            raise cut()
        else:
            position, seconds, count = position + frame.length, seconds + frame.seconds, count + 1
    return count, seconds, position


def _behind_gap(source: Source, position: int, parse: Parse, shape: tuple[int, ...]) -> int | None:
    """Return where frames go on behind tags or rubbish, or ``None`` at the end of the sound."""
    rest = source.size - position
    head = source.read(position, 8)
    if rest < 8 and head[0] == 0xFF and (rest == 1 or head[1] & 0xE0 == 0xE0):
        raise cut()
    begin = skip_tags(source, position)
    gap = source.read(begin, _MAX_GAP)
    for found in itertools.islice(re.finditer(rb"\xff", gap), _MAX_TRIALS):
        frame = parse(gap[found.start() : found.start() + 8])
        if frame and frame.shape == shape and _begin(source, begin + found.start(), parse) is not None:
            return begin + found.start()
    if source.size - begin > _MAX_GAP and not head.startswith(_TAGS):
        raise damaged("much of it is no sound")
    return None
