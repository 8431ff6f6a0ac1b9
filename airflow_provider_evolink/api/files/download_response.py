"""
What to request of a media host, what its response means, and what a download does next. Pure.

Headers are remote text and often wrong: they decide how bytes are fetched, never whether a file is good. That is
proven by its length and its content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from airflow_provider_evolink.api.errors import EvoLinkMediaError

OVERLAP = 8192  # bytes that are fetched twice where no validator proves that a range is of the same file
PATIENCE_SECONDS = 60.0  # of one try, for results that are not there yet
_PAUSES = (1.0, 2.0, 4.0, 8.0)
EMPTY = "empty"  # code of an error: the host sent a file without bytes
_WHOLE = frozenset({200, 201, 203})
_BUSY = frozenset({408, 423, 425, 429})
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_NOT_YET = frozenset({202, 204, 205, 404})
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,256}"')
_HTTP_DATE = re.compile(r"[A-Za-z0-9:, ]{20,40}")
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
_RAW_AUDIO_TYPES = frozenset({"audio/pcm", "audio/x-pcm", "audio/l16"})
_NO_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})


class NextStep(Enum):
    """What a response means for the download."""

    WHOLE = auto()  # the body is the file from its first byte
    PART = auto()  # the body is a range that begins in or right behind what is there
    DOUBTFUL = auto()  # perhaps of another file: request a range that overlaps with what is there
    COMPLETE = auto()  # there is nothing behind what is there
    WRONG_RANGE = auto()
    BUSY = auto()
    GONE = auto()  # a fresh link may help


@dataclass(frozen=True)
class Have:
    """
    What is there of a file.

    :param size: Number of bytes.
    :param total: Length of the whole file, where known.
    :param etag: ``ETag`` of the response that the bytes came with.
    :param modified: ``Last-Modified`` of it.
    :param is_doubtful: A host has contradicted these two, so only equal bytes prove that it is the same file.
    """

    size: int = 0
    total: int | None = None
    etag: str | None = None
    modified: str | None = None
    is_doubtful: bool = False

    @property
    def condition(self) -> str | None:
        """What proves, in ``If-Range``, that the file is still the same one."""
        is_strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if is_strong else self.modified

    def contradicts(self, headers: Mapping[str, str]) -> bool:
        """
        Return whether a response comes with other validators than the bytes that are there.

        :param headers: Headers with lower-case names.
        """
        etag, modified = validators_of(headers)
        if etag and self.etag:
            return etag.removeprefix("W/") != self.etag.removeprefix("W/")
        return bool(modified and self.modified) and modified != self.modified


def first_byte(have: Have) -> int:
    """
    Return where the next request begins: behind what is there, or a little before its end to compare some bytes.

    :param have: What is there.
    """
    if have.condition and not have.is_doubtful:
        return have.size
    return have.size - min(OVERLAP, have.size // 2)


def range_headers(have: Have) -> dict[str, str]:
    """
    Return the headers that request what is missing; none for a whole file.

    :param have: What is there.
    """
    if not have.size:
        return {}
    start = first_byte(have)
    headers = {"Range": f"bytes={start}-"}
    return {**headers, "If-Range": str(have.condition)} if start == have.size else headers


def next_step(status: int, headers: Mapping[str, str], have: Have) -> NextStep:
    """
    Decide what a response means for the download.

    :param status: HTTP status.
    :param headers: Its headers, with lower-case names.
    :param have: What is there.
    """
    if status in _WHOLE or (status == 202 and _is_media_type(headers)):
        return _whole_step(headers, have)
    if status in _BUSY or status >= 500:
        return NextStep.BUSY
    if status == 206:
        return _range_step(headers, have)
    if status == 416 and have.size:
        end = headers.get("content-range", "").rpartition("/")[2]
        return NextStep.COMPLETE if end == str(have.size) and not have.is_doubtful else NextStep.WRONG_RANGE
    return NextStep.GONE


def _is_media_type(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").lower().startswith(("video/", "audio/", "image/"))


def _whole_step(headers: Mapping[str, str], have: Have) -> NextStep:
    """A host that sends all of a file because its validator is another one may be the next node of a CDN."""
    is_same_length = have.total is not None and body_length(headers) == have.total
    is_doubtful = have.size and not have.is_doubtful and have.contradicts(headers) and is_same_length
    return NextStep.DOUBTFUL if is_doubtful else NextStep.WHOLE


def _range_step(headers: Mapping[str, str], have: Have) -> NextStep:
    found = content_range(headers)
    if found is None:
        return NextStep.WRONG_RANGE if have.size else NextStep.WHOLE
    start, end, total = found
    length = body_length(headers)
    is_consistent = (length is None or length == end - start) and (total is None or end <= total)
    if not is_consistent or start > have.size or end < start or total not in (None, have.total or total):
        return NextStep.WRONG_RANGE
    is_doubtful = have.size and start == have.size and have.contradicts(headers)
    return NextStep.DOUBTFUL if is_doubtful else NextStep.PART


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None] | None:
    """
    Return first byte, end (exclusive) and length of the whole file, as ``Content-Range`` has them.

    :param headers: Headers with lower-case names.
    """
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    start, last, total = found.groups()
    return int(start), int(last) + 1, None if total == "*" else int(total)


def body_length(headers: Mapping[str, str]) -> int | None:
    """
    Return the length of a body; ``None`` where chunks or the end of the connection mark its end.

    :param headers: Headers with lower-case names.
    """
    length = headers.get("content-length", "").strip()
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) and not is_chunked(headers) else None


def is_chunked(headers: Mapping[str, str]) -> bool:
    """
    Return whether a body comes in chunks, of which the last one marks its end.

    :param headers: Headers with lower-case names.
    """
    return headers.get("transfer-encoding", "").rpartition(",")[2].strip().lower() == "chunked"


def validators_of(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """
    Return ``ETag``, strong or weak, and ``Last-Modified``, where they can be sent back.

    :param headers: Headers with lower-case names.
    """
    etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    return (
        etag if _ETAG.fullmatch(etag) else None,
        modified if _HTTP_DATE.fullmatch(modified) else None,
    )


def is_raw_audio(headers: Mapping[str, str], link: str) -> bool:
    """
    Return whether the host declares a file to be raw audio samples: by its type or, if it gives none, by its name.

    :param headers: Headers with lower-case names.
    :param link: The link of the file.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_raw_name = urlsplit(link).path.lower().endswith(".pcm")
    return content_type in _RAW_AUDIO_TYPES or (content_type in _NO_TYPES and has_raw_name)


def why_gone(status: int) -> str:
    """
    Return what a response without a file means, in words.

    :param status: HTTP status.
    """
    if status in _EXPIRED:
        return "the link has expired, or its host denies access"
    return "the file is not there yet" if status in _NOT_YET else "the link returned no file"


def may_appear(error: EvoLinkMediaError) -> bool:
    """
    Return whether the file of a new job may still be on its way to the host.

    :param error: What the last attempt ended with.
    """
    return error.status_code in _NOT_YET or error.code == EMPTY


def pauses(limit: float = PATIENCE_SECONDS) -> Iterator[float]:
    """
    Return the pauses before further attempts at what is not there yet.

    :param limit: Their sum, in seconds.
    """
    left = limit
    for number in range(1000):
        if left <= 0:
            return
        pause = min(_PAUSES[number] if number < len(_PAUSES) else 15.0, left)
        left -= pause
        yield pause
