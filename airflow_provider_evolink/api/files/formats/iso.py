"""MP4, MOV, M4A, 3GP, HEIC and AVIF: their tracks decide what they are, not their brand."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_evolink.api.files.formats.boxes import Box, boxes, find, is_part_of_box, read_box, top_boxes
from airflow_provider_evolink.api.files.formats.fragments import Defaults, Fragments, check_index, check_length
from airflow_provider_evolink.api.files.formats.heif import AVIF_BRANDS, HEIF_BRANDS, read_heif
from airflow_provider_evolink.api.files.formats.sample_tables import Samples, read_samples
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_MAX_TRACKS = 1000
_MAX_BRANDS = 64
_QUICKTIME = b"qt  "


@dataclass(frozen=True)
class _Track:
    number: int
    handler: bytes
    codec: bytes
    time_scale: int
    samples: Samples
    sides: tuple[int, int]
    chapters_in: frozenset[int]

    @property
    def seconds(self) -> float | None:
        return round(self.samples.ticks / self.time_scale, 3) if self.time_scale and self.samples.ticks else None


@dataclass
class _Layout:
    """The boxes of a file."""

    brands: set[bytes] = field(default_factory=set)
    major: bytes = _QUICKTIME
    moov: Box | None = None
    meta: Box | None = None
    data: list[Box] = field(default_factory=list)
    moofs: list[Box] = field(default_factory=list)
    indexes: list[Box] = field(default_factory=list)
    end: int = 0


def is_iso(head: bytes) -> bool:
    """
    Return whether a file begins with a box, as MP4 does; old MOV files have no ``ftyp``.

    :param head: Its first bytes.
    """
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")


def read_iso(source: Source, expect: str | None) -> Structure:
    """
    Return what a file in ISO boxes is.

    :param source: The file.
    :param expect: The announced kind; it decides whether a sound with a single picture is a clip.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    layout = _read_layout(source)
    if layout.meta and (layout.major in HEIF_BRANDS | AVIF_BRANDS or not layout.moov):
        return read_heif(source, layout.meta, layout.brands, layout.end)
    if layout.moov is None:
        raise damaged("it has no complete 'moov' box")
    for index in layout.indexes:
        check_index(source, index)
    tracks = _read_tracks(source, layout.moov, layout)
    return _structure(tracks, layout, expect)


def _read_layout(source: Source) -> _Layout:
    layout = _Layout()
    for box in top_boxes(source):
        layout.end = box.end
        if box.name == b"ftyp" and not layout.brands:
            brands = source.need(box.start, min(box.size, 4 * _MAX_BRANDS))
            layout.major = brands[:4]
            layout.brands = {brands[at : at + 4] for at in range(0, len(brands), 4)}
        elif box.name == b"moov" and layout.moov is None:
            layout.moov = box
        elif box.name == b"meta" and layout.meta is None:
            layout.meta = box
        elif box.name in (b"mdat", b"imda"):
            layout.data.append(box)
        elif box.name == b"moof":
            layout.moofs.append(box)
        elif box.name == b"sidx":
            layout.indexes.append(box)
    return layout


def _read_tracks(source: Source, moov: Box, layout: _Layout) -> list[_Track]:
    fragments, announced = _read_fragments(source, moov, layout)
    found = [box for box in boxes(source, moov) if box.name == b"trak"]
    if len(found) > _MAX_TRACKS:
        raise damaged("it has too many tracks")
    tracks = [track for box in found if (track := _read_track(source, box, layout.data, fragments))]
    head = find(source, moov, b"mvhd")
    if announced and head and tracks:
        version = source.need(head.start, 1)[0]
        scale = big(source.need(head.start + (20 if version else 12), 4))
        check_length(announced, int(max(track.seconds or 0.0 for track in tracks) * scale))
    return tracks


def _read_fragments(source: Source, moov: Box, layout: _Layout) -> tuple[Fragments, int]:
    """Return what the fragments hold, and the length that the header announces."""
    # Only the next fragment could tell that one is missing, so what may be its beginning is not taken for rubbish.
    if layout.moofs and is_part_of_box(source.read(layout.end, 8)):
        raise cut()
    fragments, announced = Fragments(), 0
    extends = find(source, moov, b"mvex")
    for box in boxes(source, extends) if extends else ():
        if box.name == b"trex":
            track, _, ticks, size = (big(source.need(box.start + 4 + 4 * index, 4)) for index in range(4))
            fragments.defaults[track] = Defaults(ticks, size)
        elif box.name == b"mehd":
            announced = big(source.need(box.start + 4, 8 if source.need(box.start, 1)[0] else 4))
    ends = [*(moof.begin for moof in layout.moofs), source.size][1:]
    for moof, end in zip(layout.moofs, ends, strict=bool(layout.moofs)):
        room = sum(box.size for box in layout.data if moof.end <= box.begin < end)
        fragments.add(source, moof, room)
    return fragments, announced


def _read_track(source: Source, trak: Box, data: list[Box], fragments: Fragments) -> _Track | None:
    head, media = find(source, trak, b"tkhd"), find(source, trak, b"mdia")
    handler = find(source, media, b"hdlr") if media else None
    time, table = (find(source, media, b"mdhd"), find(source, media, b"minf", b"stbl")) if media else (None, None)
    if head is None or handler is None or time is None or table is None:
        return None
    at = 8 * bool(source.need(head.start, 1)[0])
    number = big(source.need(head.start + 12 + at, 4))
    own, more = read_samples(source, table, data), fragments.samples[number]
    codec, sides = _read_codec(source, table)
    matrix = source.need(head.start + 40 + 12 * bool(at), 8)
    is_on_its_side = not any(matrix[:4]) and any(matrix[4:])
    return _Track(
        number=number,
        handler=source.need(handler.start + 8, 4),
        codec=codec,
        time_scale=big(source.need(time.start + (20 if source.need(time.start, 1)[0] else 12), 4)),
        samples=Samples(own.count + more.count, own.bytes + more.bytes, own.ticks + more.ticks),
        sides=(sides[1], sides[0]) if is_on_its_side else sides,
        chapters_in=_chapters(source, trak),
    )


def _read_codec(source: Source, table: Box) -> tuple[bytes, tuple[int, int]]:
    """Return the codec of a track, and the sides of its pictures if it has any."""
    box = find(source, table, b"stsd")
    entry = read_box(source, box.start + 8, box.end) if box else None
    if entry is None or box is None or entry.end > box.end:
        return b"", (0, 0)
    sides = source.read(entry.start + 24, 4)
    return entry.name, (big(sides[:2]), big(sides[2:]))


def _chapters(source: Source, trak: Box) -> frozenset[int]:
    """Return the tracks that only show the chapters of this one."""
    box = find(source, trak, b"tref", b"chap")
    count = min(box.size // 4, _MAX_TRACKS) if box else 0
    return frozenset(big(source.need(box.start + 4 * index, 4)) for index in range(count)) if box else frozenset()


def _structure(tracks: list[_Track], layout: _Layout, expect: str | None) -> Structure:
    chapters = frozenset[int]().union(*(track.chapters_in for track in tracks))
    filled = [track for track in tracks if track.samples.bytes and track.number not in chapters]
    sounds = [track for track in filled if track.handler == b"soun"]
    videos = [track for track in filled if track.handler == b"vide"]
    pictures = [track for track in filled if track.handler == b"pict"]
    if pictures and not videos and not sounds:
        is_avif = pictures[0].codec == b"av01"
        return _shown(pictures[0], "image/avif" if is_avif else "image/heic", layout)
    is_cover = bool(sounds) and all(track.samples.count == 1 for track in videos)
    if sounds and (not videos or (is_cover and (expect == "audio" or layout.major in (b"M4A ", b"M4B ")))):
        return Structure("audio/mp4", layout.end, seconds=sounds[0].seconds, has_sound=True, demuxer="mov")
    if not videos:
        raise damaged("it has no frame")
    content_type = "video/quicktime" if layout.major == _QUICKTIME else "video/mp4"
    return _shown(videos[0], content_type, layout, has_sound=bool(sounds), demuxer="mov")


def _shown(
    track: _Track, content_type: str, layout: _Layout, *, has_sound: bool | None = None, demuxer: str | None = None
) -> Structure:
    width, height = track.sides if all(track.sides) else (None, None)
    return Structure(
        content_type,
        layout.end,
        width=width,
        height=height,
        seconds=track.seconds if demuxer else None,
        has_sound=has_sound,
        demuxer=demuxer,
    )
