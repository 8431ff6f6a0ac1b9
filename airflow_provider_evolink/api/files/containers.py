"""
What came: may this answer's body be a file, and which media is it. All decided without I/O but for reading the file.

The container is judged by content alone, a new one is a row of the table. Names and types that a server sends are not
believed: they are remote text, and errors come back as ``200 OK`` pages. Only bare samples of sound, which have no sign
of their own, are known by what the server calls them.
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
class Sign:
    """
    Bytes that mark a container.

    :param content: The bytes.
    :param start: Where they stand.
    :param reach: They may start this much later.
    """

    content: bytes
    start: int = 0
    reach: int = 0

    def marks(self, head: bytes) -> bool:
        """
        Tell whether the bytes are there.

        :param head: The beginning of a file.
        """
        return head.find(self.content, self.start, self.start + self.reach + len(self.content)) >= 0


@dataclass(frozen=True)
class Container:
    """
    One kind of media file.

    :param content_type: Its media type.
    :param extension: Its file extension, with the dot.
    :param signs: All of them mark it.
    :param box: It is a row of boxes (ISO 14496-12) that has to hold this one.
    """

    content_type: str
    extension: str
    signs: tuple[Sign, ...]
    box: bytes | None = None

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]


_EBML = Sign(b"\x1a\x45\xdf\xa3")
_FTYP = Sign(b"ftyp", 4)
_RIFF = Sign(b"RIFF")


def _iso(content_type: str, extension: str, box: bytes, *brands: bytes) -> tuple[Container, ...]:
    return tuple(Container(content_type, extension, (_FTYP, Sign(brand, 8)), box=box) for brand in brands or (b"",))


def _starting(content_type: str, extension: str, *starts: bytes) -> tuple[Container, ...]:
    return tuple(Container(content_type, extension, (Sign(start),)) for start in starts)


# The first row that fits wins.
CONTAINERS: tuple[Container, ...] = (
    *_iso("video/quicktime", ".mov", b"moov", b"qt  "),
    *_iso("audio/mp4", ".m4a", b"moov", b"M4A ", b"M4B "),
    *_iso("image/avif", ".avif", b"meta", b"avif", b"avis"),
    *_iso("image/heic", ".heic", b"meta", b"heic", b"heix", b"mif1"),
    *_iso("video/mp4", ".mp4", b"moov"),
    Container("video/webm", ".webm", (_EBML, Sign(b"webm", 4, 60))),
    Container("video/x-matroska", ".mkv", (_EBML, Sign(b"matroska", 4, 60))),
    Container("video/x-msvideo", ".avi", (_RIFF, Sign(b"AVI ", 8))),
    Container("image/webp", ".webp", (_RIFF, Sign(b"WEBP", 8))),
    Container("audio/wav", ".wav", (_RIFF, Sign(b"WAVE", 8))),
    *_starting("image/png", ".png", b"\x89PNG\r\n\x1a\n"),
    *_starting("image/jpeg", ".jpg", b"\xff\xd8\xff"),
    *_starting("image/gif", ".gif", b"GIF87a", b"GIF89a"),
    *_starting("audio/flac", ".flac", b"fLaC"),
    *_starting("audio/ogg", ".ogg", b"OggS"),
    *_starting("audio/mpeg", ".mp3", b"ID3"),
    *_starting("audio/mpeg", ".mp3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2"),
    *_starting("audio/aac", ".aac", b"\xff\xf1", b"\xff\xf0", b"\xff\xf9", b"\xff\xf8"),
)

_SAMPLES = Container("audio/pcm", ".pcm", ())
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|!--|html|head|body)", re.IGNORECASE)
_XML_ERROR = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?<Error\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,80})\s*</Code>", re.IGNORECASE)
_BUSY_CODES = frozenset({b"internalerror", b"serverbusy", b"serviceunavailable", b"slowdown", b"requesttimeout"})


def recognise(head: bytes) -> Container | None:
    """
    Name the container of a file, or ``None``.

    :param head: The first ``HEAD_SIZE`` bytes of the file.
    """
    return next((row for row in CONTAINERS if all(sign.marks(head) for sign in row.signs)), None)


def read_page(head: bytes) -> Page | None:
    """
    Tell which page came under a good status in place of media: object stores say "link expired" in XML.

    :param head: The first ``HEAD_SIZE`` bytes of the file.
    """
    if _HTML.match(head):
        return "html"
    if not _XML_ERROR.match(head):
        return None
    code = _XML_CODE.search(head)
    return "busy" if code and code[1].lower() in _BUSY_CODES else "expired"


def check_media(file: BinaryIO, size: int, expect: str | None, *, samples: bool = False) -> Container:
    """
    Recognise a whole file and refuse what is not the media expected.

    :param file: The file, open for reading.
    :param size: Its length.
    :param expect: Kind of media: ``video``, ``image`` or ``audio``; ``None`` accepts each of them.
    :param samples: The server calls it bare samples, so it is, unless it says in itself what it is or is a text.
    """
    if not size:
        raise EvoLinkMediaError("the file is empty")
    file.seek(0)
    head = file.read(HEAD_SIZE)
    _refuse_page(head)
    container = recognise(head)
    # Two bytes that begin a frame of MP3 or AAC may as well be a sample.
    unsure = container is None or container.content_type in ("audio/mpeg", "audio/aac")
    if samples and unsure and not _TEXT.fullmatch(head):
        container = _SAMPLES
    if container is None:
        raise EvoLinkMediaError("the link gave no known media container")
    if expect is not None and container.kind != expect:
        raise EvoLinkMediaError(f"expected {expect}, the link gave {container.content_type}")
    if container.box is not None:
        _walk_boxes(file, size, container.box)
    return container


def _refuse_page(head: bytes) -> None:
    page = read_page(head)
    if page == "html":
        raise EvoLinkMediaError("an HTML page came instead of media")
    if page == "expired":
        raise EvoLinkLinkExpired("the link has died: an error page came instead of media")
    if page == "busy":
        raise EvoLinkMediaError("the media host is busy: an error page came instead of media")


def _walk_boxes(file: BinaryIO, size: int, needed: bytes) -> None:
    """Catch a file that was cut before it was served: its boxes then do not end where it ends."""
    position, found = 0, False
    for _ in range(_MAX_BOXES):
        if position == size:
            break
        file.seek(position)
        length, name = _read_box(file.read(16), size - position)
        if not length <= size - position:
            raise EvoLinkMediaError("the media file is cut: its last part is shorter than it says")
        found = found or name == needed
        position += length
    if position != size or not found:
        raise EvoLinkMediaError(f"the media file is damaged: it has no complete {needed.decode()!r} part")


def _read_box(header: bytes, rest: int) -> tuple[int, bytes]:
    """Return length and name of a box; ``rest`` is how far the file goes, which is what length 0 means."""
    length, name, used = int.from_bytes(header[:4], "big"), header[4:8], 8
    if length == 1:
        length, used = int.from_bytes(header[8:16], "big"), 16
    elif length == 0:
        length = rest
    if len(header) < used or length < used:
        raise EvoLinkMediaError("the media file is damaged: its parts do not fit together")
    return length, name
