"""
What a file of media is, and whether it is whole: the one judge of results and inputs.

Both call ``inspect_media``: a download with the announced kind and with what the host declares (``expect``,
``raw_audio``), an input with neither. What it raises refuses the file; what it returns goes into the receipt or is
compared with the limits of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Literal

from airflow_provider_evolink.api.files.containers import read_structure
from airflow_provider_evolink.api.files.formats.source import Source
from airflow_provider_evolink.api.files.formats.structure import EXTENSIONS, Structure
from airflow_provider_evolink.api.files.packets import Packets, read_packets

Verified = Literal["structure", "packets", "length"]


@dataclass(frozen=True)
class MediaInfo:
    """
    What a file is, by its content alone.

    :param content_type: Its media type, e.g. ``video/mp4``.
    :param extension: Its file extension, with the dot.
    :param verified: How far it was read: ``structure`` (every part of the container is there), ``packets`` (and every
        packet of its tracks could be read), ``length`` (its packets could not be read here, as without the extra
        ``media``; its structure is all that was checked).
    :param width: In pixels, as a player shows it: turned by the orientation of a photo or the matrix of a clip.
    :param height: In pixels, likewise.
    :param seconds: Length of a clip or sound, by its packets.
    :param has_sound: Whether it has a track of sound; ``None``: not known, or an image.
    :param has_transparency: Whether an image has an alpha channel or a transparent color; ``None``: not known, or no
        image.
    """

    content_type: str
    extension: str
    verified: Verified
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    has_sound: bool | None = None
    has_transparency: bool | None = None

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]


def inspect_media(file: BinaryIO, size: int, expect: str | None = None, *, raw_audio: bool = False) -> MediaInfo:
    """
    Return what a whole file is, or refuse what is damaged, cut, or no media.

    Neither the announced kind nor a brand decides what a file is: a picture in place of a clip is returned as one.

    :param file: The file, open for reading and seekable; a file on this machine is not copied.
    :param size: Its length.
    :param expect: The announced kind, ``video``, ``image`` or ``audio``; it decides ties only.
    :param raw_audio: The host declares raw samples, so it is, unless its content is of a known container or text.
    :raises EvoLinkLinkExpired: it is the error page of an expired link.
    :raises EvoLinkMediaError: it is empty, damaged, cut, a page, or in no known format.
    """
    structure = read_structure(Source(file, size), expect, raw_audio=raw_audio)
    packets = read_packets(file, structure) if structure.demuxer else None
    return MediaInfo(
        content_type=structure.content_type,
        extension=EXTENSIONS[structure.content_type],
        verified=_verified(structure, packets),
        width=structure.width,
        height=structure.height,
        seconds=(packets and packets.seconds) or structure.seconds,
        has_sound=structure.has_sound,
        has_transparency=structure.has_transparency,
    )


def _verified(structure: Structure, packets: Packets | None) -> Verified:
    """Return how far a file was read. Raw samples have no structure; their length is all there is."""
    if structure.content_type == "audio/pcm":
        return "length"
    if packets is not None:
        return "packets"
    return "length" if structure.demuxer else "structure"
