"""What the response of a media host means, and what a download does next. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from urllib.parse import urlsplit

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.redaction import sanitize

_GONE = frozenset({401, 403, 404, 410})
_BUSY = frozenset({408, 425, 429})
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_HTTP_DATE = re.compile(r"[A-Za-z0-9:, ]{20,40}")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_RAW_AUDIO_TYPES = frozenset({"audio/pcm", "audio/x-pcm", "audio/l16"})
_NO_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})


class NextStep(Enum):
    """What a response means for the download."""

    WHOLE = auto()
    REST = auto()
    WRONG_RANGE = auto()
    BUSY = auto()
    GONE = auto()
    UNUSABLE = auto()


def next_step(
    status: int, headers: Mapping[str, str], *, size: int = 0, total: int | None = None, validator: str | None = None
) -> NextStep:
    """
    Decide what a response means for the download.

    :param status: HTTP status.
    :param headers: Its headers, with lower-case names.
    :param size: Bytes that we have; the range starts after them.
    :param total: Length of the whole file, where known.
    :param validator: :func:`validator_of` the response that these bytes came from.
    """
    if status == 200:
        return NextStep.WHOLE
    if status in _GONE:
        return NextStep.GONE
    if status in _BUSY or status >= 500:
        return NextStep.BUSY
    if size and status == 206:
        fits = _continues(headers, size, total) and validator_of(headers) in (None, validator)
        return NextStep.REST if fits else NextStep.WRONG_RANGE
    return NextStep.WRONG_RANGE if size and status == 416 else NextStep.UNUSABLE


def _continues(headers: Mapping[str, str], size: int, total: int | None) -> bool:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return False
    start, end, whole = map(int, found.groups())
    return start == size and end == whole - 1 and whole == (total or whole)


def body_length(headers: Mapping[str, str]) -> int | None:
    """
    Return the length of a body; ``None`` where chunks mark its end.

    :param headers: Headers with lower-case names.
    :raises EvoLinkMediaError: the body would not be media, or its end could not be verified.
    """
    if headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml")):
        raise EvoLinkMediaError("the host sent an HTML page instead of media")
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise EvoLinkMediaError(
            f"the body is encoded ({sanitize(encoding, 40)}) although identity encoding was requested"
        )
    length = headers.get("content-length")
    if length is not None:
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise EvoLinkMediaError("the host announced an invalid length")
        return int(length)
    if headers.get("transfer-encoding", "").strip().lower() != "chunked":
        raise EvoLinkMediaError("the length cannot be verified: the host neither announced it nor sent chunks")
    return None


def validator_of(headers: Mapping[str, str]) -> str | None:
    """
    Return the validator that proves, in ``If-Range``, that the file is still the same one.

    :param headers: Headers with lower-case names.
    """
    etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    if etag:
        return etag if _STRONG_ETAG.fullmatch(etag) else None
    return modified if _HTTP_DATE.fullmatch(modified) else None


def is_raw_audio(headers: Mapping[str, str], link: str) -> bool:
    """
    Return whether the host declares a file to be raw audio samples: by its type or, if it gives none, by its name.

    :param headers: Headers with lower-case names.
    :param link: The link of the file.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_raw_name = urlsplit(link).path.lower().endswith(".pcm")
    return content_type in _RAW_AUDIO_TYPES or (content_type in _NO_TYPES and has_raw_name)
