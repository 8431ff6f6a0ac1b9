"""
Which media a file is, by its content alone: a new container is a row of the table.

Names and types that a server sends are not trusted: they are remote text, and errors come back as ``200 OK`` pages. The
one exception are raw audio samples, which have no signature of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError

HEAD_SIZE = 4096
_MAX_BOXES = 100_000

Kind = Literal["video", "image", "audio"]
Page = Literal["html", "expired", "busy"]


@dataclass(frozen=True)
class Signature:
    """
    Bytes that mark a container.

    :param content: The bytes.
    :param offset: Where they start.
    :param slack: They may start this much later.
    """

    content: bytes
    offset: int = 0
    slack: int = 0

    def matches(self, head: bytes) -> bool:
        """
        Return whether the bytes are there.

        :param head: The beginning of a file.
        """
        return head.find(self.content, self.offset, self.offset + self.slack + len(self.content)) >= 0


@dataclass(frozen=True)
class Container:
    """
    One kind of media file.

    :param content_type: Its media type.
    :param extension: Its file extension, with the dot.
    :param signatures: It has all of them.
    :param box: It is a sequence of boxes (ISO 14496-12) that must include this one.
    """

    content_type: str
    extension: str
    signatures: tuple[Signature, ...]
    box: bytes | None = None

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]


_EBML = Signature(b"\x1a\x45\xdf\xa3")
_FTYP = Signature(b"ftyp", 4)
_RIFF = Signature(b"RIFF")


def _iso(content_type: str, extension: str, box: bytes, *brands: bytes) -> tuple[Container, ...]:
    return tuple(
        Container(content_type, extension, (_FTYP, Signature(brand, 8)), box=box) for brand in brands or (b"",)
    )


def _starting(content_type: str, extension: str, *starts: bytes) -> tuple[Container, ...]:
    return tuple(Container(content_type, extension, (Signature(start),)) for start in starts)


# The first row that fits wins.
CONTAINERS: tuple[Container, ...] = (
    *_iso("video/quicktime", ".mov", b"moov", b"qt  "),
    *_iso("audio/mp4", ".m4a", b"moov", b"M4A ", b"M4B "),
    *_iso("image/avif", ".avif", b"meta", b"avif", b"avis"),
    *_iso("image/heic", ".heic", b"meta", b"heic", b"heix", b"mif1"),
    *_iso("video/mp4", ".mp4", b"moov"),
    Container("video/webm", ".webm", (_EBML, Signature(b"webm", 4, 60))),
    Container("video/x-matroska", ".mkv", (_EBML, Signature(b"matroska", 4, 60))),
    Container("video/x-msvideo", ".avi", (_RIFF, Signature(b"AVI ", 8))),
    Container("image/webp", ".webp", (_RIFF, Signature(b"WEBP", 8))),
    Container("audio/wav", ".wav", (_RIFF, Signature(b"WAVE", 8))),
    *_starting("image/png", ".png", b"\x89PNG\r\n\x1a\n"),
    *_starting("image/jpeg", ".jpg", b"\xff\xd8\xff"),
    *_starting("image/gif", ".gif", b"GIF87a", b"GIF89a"),
    *_starting("audio/flac", ".flac", b"fLaC"),
    *_starting("audio/ogg", ".ogg", b"OggS"),
    *_starting("audio/mpeg", ".mp3", b"ID3"),
    *_starting("audio/mpeg", ".mp3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2"),
    *_starting("audio/aac", ".aac", b"\xff\xf1", b"\xff\xf0", b"\xff\xf9", b"\xff\xf8"),
)

_RAW_AUDIO = Container("audio/pcm", ".pcm", ())
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|!--|html|head|body)", re.IGNORECASE)
_XML_ERROR = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?<Error\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,80})\s*</Code>", re.IGNORECASE)
_BUSY_CODES = frozenset({b"internalerror", b"serverbusy", b"serviceunavailable", b"slowdown", b"requesttimeout"})


def recognize(head: bytes) -> Container | None:
    """
    Return the container of a file, or ``None``.

    :param head: The first ``HEAD_SIZE`` bytes of the file.
    """
    return next((row for row in CONTAINERS if all(signature.matches(head) for signature in row.signatures)), None)


def error_page(head: bytes) -> Page | None:
    """
    Return which page came with a good status in place of media: object stores report an expired link in XML.

    :param head: The first ``HEAD_SIZE`` bytes of the file.
    """
    if _HTML.match(head):
        return "html"
    if not _XML_ERROR.match(head):
        return None
    code = _XML_CODE.search(head)
    return "busy" if code and code[1].lower() in _BUSY_CODES else "expired"


def check_media(file: BinaryIO, size: int, expect: str | None, *, raw_audio: bool = False) -> Container:
    """
    Return the container of a whole file, or refuse what is not the expected media.

    :param file: The file, open for reading.
    :param size: Its length.
    :param expect: Kind of media: ``video``, ``image`` or ``audio``; ``None`` accepts each of them.
    :param raw_audio: The host declares raw samples, so it is, unless its content is of a known container or text.
    :raises EvoLinkMediaError: it is empty, damaged, truncated or something else.
    """
    if not size:
        raise EvoLinkMediaError("the file is empty")
    file.seek(0)
    head = file.read(HEAD_SIZE)
    _refuse_page(head)
    container = recognize(head)
    # Two bytes that begin a frame of MP3 or AAC may as well be a sample.
    is_ambiguous = container is None or container.content_type in ("audio/mpeg", "audio/aac")
    if raw_audio and is_ambiguous and not _TEXT.fullmatch(head):
        container = _RAW_AUDIO
    if container is None:
        raise EvoLinkMediaError("the file is not in a known media format")
    if expect is not None and container.kind != expect:
        raise EvoLinkMediaError(f"expected {expect}, got {container.content_type}")
    if container.box is not None:
        _walk_boxes(file, size, container.box)
    return container


def _refuse_page(head: bytes) -> None:
    page = error_page(head)
    if page == "html":
        raise EvoLinkMediaError("the host sent an HTML page instead of media")
    if page == "expired":
        raise EvoLinkLinkExpired("the link has expired: the host sent an error page instead of media")
    if page == "busy":
        raise EvoLinkMediaError("the host is busy: it sent an error page instead of media")


def _walk_boxes(file: BinaryIO, size: int, needed: bytes) -> None:
    """Detect a file that was truncated before it was served: its boxes then do not end where it ends."""
    position, found = 0, False
    for _ in range(_MAX_BOXES):
        if position == size:
            break
        file.seek(position)
        length, name = _read_box(file.read(16), size - position)
        if not length <= size - position:
            raise EvoLinkMediaError("the media file is truncated: its last box is shorter than declared")
        found = found or name == needed
        position += length
    if position != size or not found:
        raise EvoLinkMediaError(f"the media file is damaged: it has no complete {needed.decode()!r} box")


def _read_box(header: bytes, rest: int) -> tuple[int, bytes]:
    """Return length and name of a box; length 0 means the rest of the file."""
    length, name, used = int.from_bytes(header[:4], "big"), header[4:8], 8
    if length == 1:
        length, used = int.from_bytes(header[8:16], "big"), 16
    elif length == 0:
        length = rest
    if len(header) < used or length < used:
        raise EvoLinkMediaError("the media file is damaged: its boxes do not fit together")
    return length, name
