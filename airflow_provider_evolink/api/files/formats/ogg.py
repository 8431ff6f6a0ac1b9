"""OGG: pages of streams, each of which ends with a page that is marked as its last."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_evolink.api.files.formats.source import Source, cut, damaged, little
from airflow_provider_evolink.api.files.formats.structure import Structure

_FIRST, _LAST = 2, 4
_NO_POSITION = 2**64 - 1
_MAX_STREAMS = 100


@dataclass
class _Stream:
    head: bytes
    granule: int = 0
    has_ended: bool = False

    @property
    def is_video(self) -> bool:
        return self.head.startswith(b"\x80theora")

    @property
    def is_sound(self) -> bool:
        return self.head.startswith((b"OpusHead", b"\x01vorbis", b"\x7fFLAC", b"Speex   "))

    @property
    def seconds(self) -> float | None:
        if self.head.startswith(b"OpusHead"):
            return max(0, self.granule - little(self.head[10:12])) / 48000
        if self.head.startswith(b"\x01vorbis"):
            return self._per(little(self.head[12:16]))
        if self.head.startswith(b"\x7fFLAC"):
            return self._per(int.from_bytes(self.head[27:30], "big") >> 4)
        return self._per(little(self.head[36:40])) if self.head.startswith(b"Speex   ") else None

    def _per(self, rate: int) -> float | None:
        return self.granule / rate if rate else None


def read_ogg(source: Source) -> Structure:
    """
    Return what an OGG is.

    :param source: The file.
    :raises EvoLinkMediaError: it is cut or damaged.
    """
    streams: dict[bytes, _Stream] = {}
    position = 0
    while source.read(position, 4) == b"OggS":
        position = _read_page(source, position, streams)
    rest = source.read(position, 4)
    if not all(stream.has_ended for stream in streams.values()) or (rest and b"OggS".startswith(rest)):
        raise cut()
    videos = [stream for stream in streams.values() if stream.is_video]
    sounds = [stream for stream in streams.values() if stream.is_sound]
    if not any(stream.granule for stream in videos + sounds):
        raise damaged("an OGG without sound")
    seconds = sounds[0].seconds if sounds else None
    return Structure(
        "video/ogg" if videos else "audio/ogg",
        position,
        seconds=None if seconds is None or videos else round(seconds, 3),
        has_sound=bool(sounds),
        demuxer="ogg",
    )


def _read_page(source: Source, position: int, streams: dict[bytes, _Stream]) -> int:
    """Note what a page shows; return where it ends."""
    head = source.need(position, 27)
    lengths = source.need(position + 27, head[26])
    body, flags, serial = position + 27 + head[26], head[5], head[14:18]
    if body + sum(lengths) > source.size:
        raise cut()
    if serial not in streams:
        if not flags & _FIRST or len(streams) >= _MAX_STREAMS:
            raise damaged("the pages of the OGG do not fit together")
        streams[serial] = _Stream(source.read(body, 64))
    stream = streams[serial]
    stream.has_ended = bool(flags & _LAST)
    if (granule := little(head[6:14])) != _NO_POSITION:
        stream.granule = max(stream.granule, granule)
    return body + sum(lengths)
