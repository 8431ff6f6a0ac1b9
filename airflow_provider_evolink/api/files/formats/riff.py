"""WAV, AVI and WebP: chunks whose sizes must fit into the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_evolink.api.files.formats.exif import turned
from airflow_provider_evolink.api.files.formats.source import Source, cut, damaged, little
from airflow_provider_evolink.api.files.formats.structure import Structure

_SLACK = 8  # bytes; some writers count the header, or a last byte of padding that they do not write
_UNKNOWN = 0x7FFF_F000  # a stream writes this or more, for it does not know its length yet
_MAX_EXIF = 64 * 1024


@dataclass(frozen=True)
class Chunk:
    """
    A part of a RIFF file.

    :param name: Its four letters.
    :param start: Where its content starts.
    :param size: Length of its content, as it declares it.
    """

    name: bytes
    start: int
    size: int


def chunks(source: Source, position: int, end: int) -> Iterator[Chunk]:
    """
    Yield the chunks between two positions.

    :param source: The file.
    :param position: Of the first one.
    :param end: Where they end.
    """
    while position + 8 <= end:
        head = source.need(position, 8)
        chunk = Chunk(head[:4], position + 8, little(head[4:]))
        yield chunk
        position = chunk.start + chunk.size + chunk.size % 2


def _end_of(source: Source) -> int:
    end = 8 + little(source.need(4, 4))
    if end > source.size + _SLACK:
        raise cut()
    return min(end + end % 2, source.size)


def read_webp(source: Source) -> Structure:
    """
    Return what a WebP is.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    end = _end_of(source)
    found: dict[bytes, Chunk] = {}
    for chunk in chunks(source, 12, end):
        if chunk.start + chunk.size > source.size:
            raise cut()
        found.setdefault(chunk.name, chunk)
    picture = next((found[name] for name in (b"VP8 ", b"VP8L", b"ANMF") if name in found), None)
    if picture is None or picture.size < 10:
        raise damaged("a WebP without a picture")
    first = found.get(b"VP8X", picture)
    width, height, has_alpha = _webp_head(first.name, source.need(first.start, 10))
    if not width or not height:
        raise damaged("a WebP without a size")
    exif = found.get(b"EXIF")
    tags = source.read(exif.start, min(exif.size, _MAX_EXIF)) if exif else b""
    width, height = turned(width, height, tags)
    return Structure("image/webp", end, width=width, height=height, has_transparency=has_alpha)


def _webp_head(name: bytes, head: bytes) -> tuple[int, int, bool]:
    """Return width, height and whether there is an alpha channel."""
    if name == b"VP8X":
        return 1 + little(head[4:7]), 1 + little(head[7:10]), bool(head[0] & 0x10)
    if name == b"VP8L" and head[0] == 0x2F:
        bits = little(head[1:5])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    if name == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        return little(head[6:8]) & 0x3FFF, little(head[8:10]) & 0x3FFF, False
    return 0, 0, False


def read_wav(source: Source) -> Structure:
    """
    Return what a WAV is, also one of 64 bits (RF64, BW64) or one whose length its writer did not know.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    is_long, riff_size = source.need(0, 4) in (b"RF64", b"BW64"), little(source.need(4, 4))
    rate, data, length = 0, None, 0
    for chunk in chunks(source, 12, source.size):
        if chunk.name == b"ds64" and is_long:
            sizes = source.need(chunk.start, 16)
            riff_size, length = little(sizes[:8]), little(sizes[8:])
        elif chunk.name == b"fmt ":
            rate = little(source.need(chunk.start, 16)[8:12])
        elif chunk.name == b"data":
            data = chunk
            break
    if data is None or not rate:
        raise damaged("a WAV without sound")
    is_open = _is_open(data.size, riff_size, is_long=is_long)
    size = source.size - data.start if is_open else (length if is_long else data.size)
    if size <= 0:
        raise damaged("a WAV without sound")
    end = data.start + size if is_open else max(data.start + size, 8 + riff_size)
    if data.start + size > source.size or end > source.size + _SLACK:
        raise cut()
    return Structure("audio/wav", min(end, source.size), seconds=round(size / rate, 3), has_sound=True)


def _is_open(size: int, riff_size: int, *, is_long: bool) -> bool:
    """Return whether the sound goes on to the end of the file, for its length was never filled in."""
    return not is_long and (size >= _UNKNOWN or (size == 0 and (riff_size <= 36 or riff_size >= _UNKNOWN)))


def read_avi(source: Source) -> Structure:
    """
    Return what an AVI is. Large ones go on in further RIFF chunks.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    end, frames = _end_of(source), 0
    kinds: set[bytes] = set()
    sides, seconds = (0, 0), None
    for chunk in chunks(source, 12, end):
        if chunk.start + chunk.size > source.size:
            raise cut()
        form = source.read(chunk.start, 4) if chunk.name == b"LIST" else b""
        if form == b"movi":
            frames += chunk.size > 12
        elif form == b"hdrl":
            kinds, sides, seconds = _avi_head(source, chunk)
    if not frames or not kinds & {b"vids", b"auds"}:
        raise damaged("an AVI without a frame")
    end = _end_of_more(source, end)
    width, height = sides if all(sides) else (None, None)
    return Structure(
        "video/x-msvideo" if b"vids" in kinds else "audio/x-msvideo",
        end,
        width=width,
        height=height,
        seconds=seconds,
        has_sound=b"auds" in kinds,
        demuxer="avi",
    )


def _end_of_more(source: Source, end: int) -> int:
    while source.read(end, 4) == b"RIFF" and source.read(end + 8, 4) == b"AVIX":
        end += 8 + little(source.need(end + 4, 4))
        if end > source.size:
            raise cut()
    return end


def _avi_head(source: Source, head: Chunk) -> tuple[set[bytes], tuple[int, int], float | None]:
    """Return the kinds of the streams, and the sides and seconds of the first one with pictures."""
    kinds, sides, seconds = set(), (0, 0), None
    for chunk in chunks(source, head.start + 4, head.start + head.size):
        if chunk.name != b"LIST" or source.read(chunk.start, 4) != b"strl":
            continue
        parts = {part.name: part for part in chunks(source, chunk.start + 4, chunk.start + chunk.size)}
        if b"strh" not in parts or b"strf" not in parts:
            continue
        stream = source.need(parts[b"strh"].start, 36)
        kinds.add(stream[:4])
        if stream[:4] == b"vids" and not all(sides):
            shape = source.need(parts[b"strf"].start, 12)
            sides = little(shape[4:8]), abs(int.from_bytes(shape[8:12], "little", signed=True))
            scale, rate, length = (little(stream[at : at + 4]) for at in (20, 24, 32))
            seconds = round(length * scale / rate, 3) if rate else None
    return kinds, sides, seconds
