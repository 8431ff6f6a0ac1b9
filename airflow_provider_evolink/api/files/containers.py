"""
Which container a file is in, by its content alone, and what its structure proves.

Names and types that a server sends are not trusted: they are remote text, and errors come back as ``200 OK`` pages. The
one exception are raw audio samples, which have no signature of their own.
"""

from __future__ import annotations

import re
from typing import Literal

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files.formats.flac import read_flac
from airflow_provider_evolink.api.files.formats.frames import read_aac, read_mp3, skip_tags
from airflow_provider_evolink.api.files.formats.iso import is_iso, read_iso
from airflow_provider_evolink.api.files.formats.jpeg import read_jpeg
from airflow_provider_evolink.api.files.formats.matroska import read_matroska
from airflow_provider_evolink.api.files.formats.ogg import read_ogg
from airflow_provider_evolink.api.files.formats.pictures import read_bmp, read_gif, read_png
from airflow_provider_evolink.api.files.formats.riff import read_avi, read_wav, read_webp
from airflow_provider_evolink.api.files.formats.source import Source, damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

HEAD_SIZE = 4096

Page = Literal["html", "expired", "busy"]

_RIFF = {b"AVI ": read_avi, b"WEBP": read_webp, b"WAVE": read_wav}
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", read_png),
    (b"\xff\xd8\xff", read_jpeg),
    (b"GIF87a", read_gif),
    (b"GIF89a", read_gif),
    (b"OggS", read_ogg),
    (b"\x1a\x45\xdf\xa3", read_matroska),
    (b"BM", read_bmp),
)

_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|!--|html|head|body)", re.IGNORECASE)
_XML_ERROR = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?<Error\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,80})\s*</Code>", re.IGNORECASE)
_BUSY_CODES = frozenset({b"internalerror", b"serverbusy", b"serviceunavailable", b"slowdown", b"requesttimeout"})


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


def read_structure(source: Source, expect: str | None = None, *, raw_audio: bool = False) -> Structure:
    """
    Return what a whole file is, or refuse what is damaged, cut, or no media.

    :param source: The file.
    :param expect: The announced kind, ``video``, ``image`` or ``audio``; it decides ties only.
    :param raw_audio: The host declares raw samples, so it is, unless its content is of a known container or text.
    :raises EvoLinkLinkExpired: it is the error page of an expired link.
    :raises EvoLinkMediaError: it is empty, damaged, cut, a page, or in no known format.
    """
    if not source.size:
        raise EvoLinkMediaError("the file is empty")
    head = source.read(0, HEAD_SIZE)
    _refuse_page(head)
    found = _read_signed(source, head, expect) or _read_sound(source)
    if found is not None:
        return found
    if raw_audio and expect in (None, "audio") and not _TEXT.fullmatch(head):
        return Structure("audio/pcm", source.size, has_sound=True)
    if head.startswith(b"ID3"):
        raise damaged("there is no sound behind its tags")
    raise EvoLinkMediaError("the file is not in a known media format")


def _read_signed(source: Source, head: bytes, expect: str | None) -> Structure | None:
    if is_iso(head):
        return read_iso(source, expect)
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        read = read_wav if head[:4] != b"RIFF" and head[8:12] == b"WAVE" else _RIFF.get(head[8:12])
        return read(source) if read else None
    reader = next((row for signature, row in _SIGNATURES if head.startswith(signature)), None)
    return reader(source) if reader else None


def _read_sound(source: Source) -> Structure | None:
    """Return what a file is that has no signature at its beginning: frames of sound, also behind tags or zero bytes."""
    start = skip_tags(source, 0)
    if source.read(start, 4) == b"fLaC":
        return read_flac(source, start)
    return read_mp3(source, start) or read_aac(source, start)


def _refuse_page(head: bytes) -> None:
    page = error_page(head)
    if page == "html":
        raise EvoLinkMediaError("the host sent an HTML page instead of media")
    if page == "expired":
        raise EvoLinkLinkExpired("the link has expired: the host sent an error page instead of media")
    if page == "busy":
        raise EvoLinkMediaError("the host is busy: it sent an error page instead of media")
