"""
What came: may this answer's body be a file, and which media is it. All decided without I/O but for reading the file.

The container is judged by content alone, a new one is a row of the table. Names and types that a server sends are not
believed: they are remote text, and errors come back as ``200 OK`` pages. Only bare samples of sound, which have no sign
of their own, are known by what the server calls them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.texts import clean_text

HEAD_SIZE = 4096

_GONE = frozenset({401, 403, 404, 410})
_BUSY = frozenset({408, 425, 429})
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_HTTP_DATE = re.compile(r"[A-Za-z0-9:, ]{20,40}")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
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
_SAMPLE_TYPES = frozenset({"audio/pcm", "audio/x-pcm", "audio/l16"})
_NO_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|!--|html|head|body)", re.IGNORECASE)
_XML_ERROR = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?<Error\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,80})\s*</Code>", re.IGNORECASE)
_BUSY_CODES = frozenset({b"internalerror", b"serverbusy", b"serviceunavailable", b"slowdown", b"requesttimeout"})


class Answer(Enum):
    """What an answer means for the download."""

    WHOLE = auto()
    REST = auto()
    WRONG_RANGE = auto()
    BUSY = auto()
    GONE = auto()
    UNUSABLE = auto()


def read_answer(
    status: int, headers: Mapping[str, str], *, size: int = 0, total: int | None = None, mark: str | None = None
) -> Answer:
    """
    Tell what an answer means.

    :param status: HTTP status.
    :param headers: Its headers, with lower-case names.
    :param size: Bytes we have, and asked to continue after.
    :param total: Length of the whole file, where known.
    :param mark: What :func:`validator` said of the answer that these bytes came from.
    """
    if status == 200:
        return Answer.WHOLE
    if status in _GONE:
        return Answer.GONE
    if status in _BUSY or status >= 500:
        return Answer.BUSY
    if size and status == 206:
        fits = _continues(headers, size, total) and validator(headers) in (None, mark)
        return Answer.REST if fits else Answer.WRONG_RANGE
    return Answer.WRONG_RANGE if size and status == 416 else Answer.UNUSABLE


def _continues(headers: Mapping[str, str], size: int, total: int | None) -> bool:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return False
    start, end, whole = map(int, found.groups())
    return start == size and end == whole - 1 and whole == (total or whole)


def body_length(headers: Mapping[str, str]) -> int | None:
    """
    Return how long a body will be; ``None`` where chunks say where it ends.

    :param headers: Headers with lower-case names.
    :raises EvoLinkMediaError: The body would be no media, or its end could not be proven.
    """
    if headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml")):
        raise EvoLinkMediaError("an HTML page came instead of media")
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise EvoLinkMediaError(f"the body is encoded ({clean_text(encoding, 40)}) although we asked for it plain")
    length = headers.get("content-length")
    if length is not None:
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise EvoLinkMediaError("the server announced an unreadable length")
        return int(length)
    if headers.get("transfer-encoding", "").strip().lower() != "chunked":
        raise EvoLinkMediaError("length unproven: the server neither announced it nor sent chunks")
    return None


def validator(headers: Mapping[str, str]) -> str | None:
    """
    Return what proves, in ``If-Range``, that the file is still the same one.

    :param headers: Headers with lower-case names.
    """
    etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    if etag:
        return etag if _STRONG_ETAG.fullmatch(etag) else None
    return modified if _HTTP_DATE.fullmatch(modified) else None


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


def tells_samples(headers: Mapping[str, str], link: str) -> bool:
    """
    Tell whether the server calls a file bare samples of sound, by its type or, where it gives none, by its name.

    :param headers: Headers with lower-case names.
    :param link: Where the file was asked for.
    """
    told = headers.get("content-type", "").partition(";")[0].strip().lower()
    named = urlsplit(link).path.lower().endswith(".pcm")
    return told in _SAMPLE_TYPES or (told in _NO_TYPES and named)


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
