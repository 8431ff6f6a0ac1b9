"""WebM and Matroska: elements that state their lengths, or that go on up to the next of their level."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_EBML, _SEGMENT, _CLUSTER, _TRACKS, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0x1549A966
_DOC_TYPE, _TRACK, _TRACK_TYPE, _VIDEO, _WIDTH, _HEIGHT = 0x4282, 0xAE, 0x83, 0xE0, 0xB0, 0xBA
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_BLOCKS = frozenset({0xA3, 0xA0})
_VOID, _CRC = 0xEC, 0xBF
# Those directly in a segment: a cluster of unknown length ends where one of them begins.
_TOP = frozenset({_CLUSTER, _TRACKS, _INFO, 0x114D9B74, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469})
_IN_CLUSTER = _BLOCKS | {0xE7, 0x5854, 0xA7, 0xAB, 0xAF, _VOID, _CRC}
_MAX_VALUE = 1024


@dataclass(frozen=True)
class Element:
    """
    A part of the file.

    :param name: Its number.
    :param start: Where its content starts.
    :param size: Length of its content; ``None``: its writer did not know it.
    """

    name: int
    start: int
    size: int | None

    @property
    def end(self) -> int:
        """Where it ends, if its length is known, else where its content starts."""
        return self.start + (self.size or 0)


@dataclass
class _Segment:
    kinds: set[int] = field(default_factory=set)
    sides: tuple[int, int] = (0, 0)
    seconds: float | None = None
    blocks: int = 0

    def note(self, source: Source, element: Element) -> None:
        if element.name == _TRACKS:
            self._note_tracks(source, element)
        elif element.name == _INFO:
            parts = {part.name: part for part in elements(source, element.start, element.end)}
            scale = big(_value(source, parts[_SCALE])) if _SCALE in parts else 1_000_000
            length = _number(_value(source, parts[_DURATION])) if _DURATION in parts else 0.0
            self.seconds = round(length * scale / 1e9, 3) if 0 < length < 1e12 else None
        elif element.name in _BLOCKS:
            self.blocks += 1
        elif element.name == _CLUSTER and element.size and not self.blocks:
            self.blocks = sum(part.name in _BLOCKS for part in elements(source, element.start, element.end))

    def _note_tracks(self, source: Source, tracks: Element) -> None:
        for track in elements(source, tracks.start, tracks.end):
            if track.name != _TRACK:
                continue
            parts = {part.name: part for part in elements(source, track.start, track.end)}
            if _TRACK_TYPE not in parts:
                continue
            self.kinds.add(big(_value(source, parts[_TRACK_TYPE])))
            if _VIDEO in parts and not all(self.sides):
                shape = {part.name: part for part in elements(source, parts[_VIDEO].start, parts[_VIDEO].end)}
                if _WIDTH in shape and _HEIGHT in shape:
                    self.sides = big(_value(source, shape[_WIDTH])), big(_value(source, shape[_HEIGHT]))


def read_matroska(source: Source) -> Structure | None:
    """
    Return what a WebM or Matroska file is, or ``None`` if it is another kind of EBML.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    head = _element(source, 0)
    if head is None or head.name != _EBML or head.end > source.size:
        return None
    named = [_value(source, part) for part in elements(source, head.start, head.end) if part.name == _DOC_TYPE]
    doc_type = named[0].rstrip(b"\0") if named else b"matroska"
    if doc_type not in (b"webm", b"matroska"):
        return None
    body = _element(source, head.end)
    if body is None or body.name != _SEGMENT:
        raise damaged("it has no segment")
    segment, end = _Segment(), body.end if body.size is not None else source.size
    if end > source.size:
        raise cut()
    end = _walk(source, body.start, end, segment, is_open=body.size is None)
    return _structure(segment, doc_type, end)


def _structure(segment: _Segment, doc_type: bytes, end: int) -> Structure:
    if not segment.blocks or not segment.kinds & {1, 2}:
        raise damaged("a WebM or Matroska file without a frame")
    kind = "video" if 1 in segment.kinds else "audio"
    width, height = segment.sides if kind == "video" and all(segment.sides) else (None, None)
    return Structure(
        f"{kind}/{'webm' if doc_type == b'webm' else 'x-matroska'}",
        end,
        width=width,
        height=height,
        seconds=segment.seconds,
        has_sound=2 in segment.kinds,
        demuxer="matroska",
    )


def _walk(source: Source, position: int, end: int, segment: _Segment, *, is_open: bool) -> int:
    """Note all elements of the segment; return where it ends."""
    while position < end:
        element = _element(source, position)
        if element is None or (is_open and element.name not in _TOP | _IN_CLUSTER):
            if not is_open:
                raise damaged("its elements do not fit together")
            return _end_of_open(source, position, segment)
        if element.end > end:
            raise cut()
        segment.note(source, element)
        position = element.end
    return end


def _end_of_open(source: Source, position: int, segment: _Segment) -> int:
    """Return where a segment of unknown length ends; what is left is no element, unless it is too short for one."""
    is_short = source.size - position < 12 and source.read(position, 1)[0] in (0x1F, 0xA3, 0xA0, 0x1C)
    if not segment.blocks or is_short:
        raise cut()
    return position


def elements(source: Source, position: int, end: int) -> Iterator[Element]:
    """
    Yield the elements between two positions.

    :param source: The file.
    :param position: Of the first one.
    :param end: Where they end.
    :raises EvoLinkMediaError: they do not fit.
    """
    while position < end:
        element = _element(source, position)
        if element is None or element.size is None or element.end > end:
            raise damaged("its elements do not fit together")
        yield element
        position = element.end


def _element(source: Source, position: int) -> Element | None:
    head = source.read(position, 12)
    if not head or not head[0] & 0xF0:
        return None
    name_size = 9 - head[0].bit_length()
    if len(head) <= name_size or not head[name_size]:
        return None
    size_size = 9 - head[name_size].bit_length()
    stated = head[name_size : name_size + size_size]
    if len(stated) < size_size:
        return None
    size = big(stated) & (1 << 7 * size_size) - 1
    is_unknown = size == (1 << 7 * size_size) - 1
    return Element(big(head[:name_size]), position + name_size + size_size, None if is_unknown else size)


def _value(source: Source, element: Element) -> bytes:
    return source.need(element.start, min(element.size or 0, _MAX_VALUE))


def _number(content: bytes) -> float:
    """Return a floating point number of 4 or 8 bytes."""
    form = {4: ">f", 8: ">d"}.get(len(content))
    return float(struct.unpack(form, content)[0]) if form else 0.0
