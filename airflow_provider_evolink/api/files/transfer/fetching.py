"""
From a link to a complete part: requests, resumes and pauses until all bytes are there.

What a response means is decided in ``download_response.py``.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import httpx
import tenacity

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.download_response import (
    EMPTY,
    NextStep,
    body_length,
    content_range,
    is_chunked,
    is_raw_audio,
    next_step,
    range_headers,
    validators_of,
    why_gone,
)
from airflow_provider_evolink.api.files.inspection import MediaInfo, inspect_media
from airflow_provider_evolink.api.files.transfer.body import pieces
from airflow_provider_evolink.api.files.transfer.decoding import decode
from airflow_provider_evolink.api.files.transfer.line_watch import LineWatch
from airflow_provider_evolink.api.files.transfer.part import LIFETIME, PLAIN, Part, beside, check_room
from airflow_provider_evolink.api.files.transfer.progress import Progress
from airflow_provider_evolink.api.files.transfer.side_by_side import check_stopped
from airflow_provider_evolink.api.http.failures import is_certificate_error
from airflow_provider_evolink.api.http.patience import Patience
from airflow_provider_evolink.api.http.retries import retry_after
from airflow_provider_evolink.api.http.transport import USER_AGENT
from airflow_provider_evolink.api.redaction import public_link, sanitize

log = logging.getLogger(__name__)

_MAX_LAYERS = 3
# Formats that end with a mark, or state their length: without it they are not whole.
_PROVE_THEIR_END = frozenset(
    [
        *("video/mp4", "video/quicktime", "video/x-msvideo", "audio/mp4", "audio/wav"),
        *("image/avif", "image/heic", "image/png", "image/jpeg", "image/gif", "image/webp"),
    ]
)


@dataclass(frozen=True)
class DownloadLimits:
    """
    Limits of a download. Times are in seconds.

    :param max_bytes: Maximum size of the file.
    :param connect_timeout: For a connection.
    :param read_timeout: For the next bytes, and for the headers of a response.
    :param total_timeout: For everything, pauses included; by default 24 hours, as long as a link is valid.
    :param min_rate: Bytes per second; less over ``rate_window`` counts as an interruption.
    :param rate_window: What ``min_rate`` is averaged over.
    :param max_redirects: Hops from the link to the file.
    :param max_resumes: Further attempts that bring no new byte.
    :param backoff: First pause between attempts; it doubles while nothing arrives.
    """

    max_bytes: int = 4 * 1024**3
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = LIFETIME
    min_rate: float = 10 * 1024
    rate_window: float = 60.0
    max_redirects: int = 5
    max_resumes: int = 5
    backoff: float = 0.5


DEFAULT_LIMITS = DownloadLimits()


def inspect_part(part: Part, expect: str | None, max_bytes: int) -> MediaInfo:
    """
    Decode what came encoded, layer by layer, and judge it.

    :param part: A complete part.
    :param expect: Announced kind of media; it decides ties only.
    :param max_bytes: Maximum size of the file.
    :raises EvoLinkMediaError: it is damaged or no media.
    """
    plain = beside(part.path, PLAIN)
    try:
        for _ in range(_MAX_LAYERS):
            if not decode(part.file, plain, max_bytes):
                break
            part.take(plain)
    except EvoLinkMediaError:
        plain.unlink()
        if not part.note.raw_audio:  # samples may begin with any bytes
            raise
    return inspect_media(part.file, part.size, expect, raw_audio=part.note.raw_audio)


def pause_before(attempts: int, backoff: float) -> float:
    """Return how long to wait before the next attempt: longer each time nothing arrived."""
    return min(backoff * 2.0 ** min(attempts - 1, 10), 30.0)


class _Interrupted(Exception):
    """The bytes stopped, or never came; another attempt may help."""


class _Throttled(_Interrupted):
    """The host lets us through later: that is no failed attempt."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.retry_after = status, retry_after


class _Attempts:
    """Counts attempts that bring nothing new, so that a host that always interrupts does not hold us."""

    def __init__(self, backoff: float, size: int) -> None:
        self._backoff = backoff
        self.count = 0
        self.max_size = size
        self.without_progress = 0
        self.pause = backoff

    def failed(self, size: int) -> None:
        self.count += 1
        self.without_progress = 1 if size > self.max_size else self.without_progress + 1
        self.max_size = max(self.max_size, size)
        self.pause = pause_before(self.without_progress, self._backoff)


def _busy(status: int, headers: Mapping[str, str]) -> _Interrupted:
    """Return what a busy host means: one that names a time, or limits its rate, lets us through later."""
    requested = retry_after(headers)
    if status == 429 or requested is not None:
        return _Throttled(status, requested)
    return _Interrupted(f"HTTP {status}")


def _may_help(error: BaseException | None) -> bool:
    return isinstance(error, _Interrupted) and not isinstance(error, _Throttled)


class LinkFetch:
    """
    Fills one part from one link.

    :param link: The link.
    :param part: What is there, and where the rest goes.
    :param connector: Opens the link.
    :param limits: Limits of the download.
    :param patience: What the try may still wait for a host that limits its rate.
    """

    def __init__(
        self,
        link: str,
        part: Part,
        connector: hosts.Connector,
        limits: DownloadLimits,
        patience: Patience | None = None,
    ) -> None:
        self._link = link
        self._part = part
        self._connector = connector
        self._limits = limits
        self._patience = patience or Patience()
        self._deadline = time.monotonic() + limits.total_timeout
        self._attempts = _Attempts(limits.backoff, part.size)
        self._had_wrong_range = False

    def run(self) -> None:
        """Fill the part, or raise why not."""
        attempts = self._attempts
        retrying = tenacity.Retrying(
            retry=lambda state: state.outcome is not None and _may_help(state.outcome.exception()),
            wait=lambda _: attempts.pause,
            stop=lambda _: attempts.without_progress > self._limits.max_resumes or attempts.pause >= self._time_left(),
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _Interrupted as error:
            if not self._proves_its_end():
                raise self._why_given_up(error) from None
        self._part.change(total=self._part.size)

    def _why_given_up(self, error: _Interrupted) -> EvoLinkMediaError:
        text = f"gave up at byte {self._attempts.max_size}: {error}"
        if not isinstance(error, _Throttled):
            return EvoLinkMediaError(text)
        text = f"{text}: the host lets nothing through now. {self._patience.summary}"
        return EvoLinkMediaError(text, status_code=error.status, retry_after=error.retry_after)

    def _attempt(self) -> None:
        try:
            while self._request_patiently() is NextStep.DOUBTFUL:
                self._part.change(is_doubtful=True)
        except _Throttled:
            raise
        except _Interrupted as error:
            self._attempts.failed(self._part.size)
            log.warning("%s stopped at byte %d: %s", sanitize(public_link(self._link)), self._part.size, error)
            raise

    def _request_patiently(self) -> NextStep:
        """Request until the host lets us through."""
        for refusals in itertools.count(1):
            try:
                return self._request()
            except _Throttled as error:
                what = f"{sanitize(public_link(self._link))}: {error}"
                if not self._patience.wait(what, refusals, error.retry_after, left=self._time_left()):
                    raise
        raise AssertionError

    def _request(self) -> NextStep:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        headers |= range_headers(self._part.have)
        try:
            with self._connector.open(
                self._link, headers=headers, timeout=self._timeout, attempt=self._attempts.count
            ) as response:
                return self._receive(response)
        except httpx.TransportError as error:
            self._time_left()
            if is_certificate_error(error):
                raise EvoLinkMediaError("the host has no trusted certificate for its name") from None
            raise _Interrupted(type(error).__name__) from None

    def _timeout(self) -> httpx.Timeout:
        left, limits = self._time_left(), self._limits
        return httpx.Timeout(min(limits.read_timeout, left), connect=min(limits.connect_timeout, left))

    def _receive(self, response: httpx.Response) -> NextStep:
        status, headers = response.status_code, response.headers
        step = next_step(status, headers, self._part.have)
        if step is NextStep.BUSY:
            raise _busy(status, headers)
        if step is NextStep.GONE:
            raise EvoLinkLinkExpired(why_gone(status), status_code=status)
        if step is NextStep.WRONG_RANGE:
            self._restart_once()
        if step in (NextStep.WHOLE, NextStep.PART):
            self._copy(response, *self._begin(step, response))
        return step

    def _begin(self, step: NextStep, response: httpx.Response) -> tuple[int, int | None]:
        """Note what the host announces; return where its body begins, and where it ends."""
        part, headers, length = self._part, response.headers, body_length(response.headers)
        found = content_range(headers) if step is NextStep.PART else None
        start, end, total = found or (0, length, length)
        self._check_size(total or 0)
        if step is NextStep.WHOLE and total is not None and total < part.size:
            part.restart()
        is_doubtful = part.size > 0 and (part.note.is_doubtful or part.have.contradicts(headers))
        raw_audio = part.note.raw_audio if part.size else is_raw_audio(headers, self._link)
        known = total if step is NextStep.WHOLE else total or part.note.total
        etag, modified = validators_of(headers)
        part.change(total=known, etag=etag, modified=modified, is_doubtful=is_doubtful, raw_audio=raw_audio)
        check_room(part, (total or 0) - part.size)
        return start, end

    def _copy(self, response: httpx.Response, start: int, end: int | None) -> None:
        """Write a body to its place, and verify that it is as long as announced."""
        limits, part = self._limits, self._part
        watch = LineWatch(response, limits.min_rate, limits.rate_window, self._deadline)
        try:
            with watch:
                position = self._write(response, start, end, watch)
        finally:
            if watch.is_slow:
                raise _Interrupted(f"slower than {limits.min_rate:g} bytes per second")
        self._time_left()
        if position < part.size:
            part.cut(position)
        if end is None and not is_chunked(response.headers) and not self._proves_its_end():
            raise _Interrupted("the length cannot be verified: the host neither announced it nor sent chunks")
        if end not in (None, position) or part.note.total not in (None, position):
            raise _Interrupted("the body is not as long as announced")
        if not part.size:
            raise EvoLinkMediaError("the file is empty", code=EMPTY)

    def _write(self, response: httpx.Response, start: int, end: int | None, watch: LineWatch) -> int:
        part, position = self._part, start
        length = None if end is None or is_chunked(response.headers) else body_length(response.headers)
        progress = Progress(start, part.note.total, time.monotonic())
        for chunk in pieces(response, length, min(self._limits.read_timeout, self._time_left())):
            self._check_size(position + len(chunk))
            if not part.write(position, chunk):
                if start:
                    self._restart_once()
                part.cut(position)  # all before it was the same
                part.write(position, chunk)
            position += len(chunk)
            watch.count(len(chunk))
            if not start and part.note.is_doubtful and position >= part.size:
                part.change(is_doubtful=False)  # all of it came with, or was the same as, this response
            self._time_left()
            if line := progress.line(position, time.monotonic()):
                log.info("%s: %s", sanitize(public_link(self._link)), line)
        return position

    def _proves_its_end(self) -> bool:
        """Whether the bytes that are there are a whole file by themselves, whatever the host announced."""
        if not self._part.size:
            return False
        try:
            return inspect_part(self._part, None, self._limits.max_bytes).content_type in _PROVE_THEIR_END
        except EvoLinkMediaError:
            return False

    def _restart_once(self) -> NoReturn:
        """Start over after a range that does not fit what we have; a host that repeats this is of no use."""
        self._part.restart()
        reason = "the host sent a wrong range of the file"
        if self._had_wrong_range:
            raise EvoLinkMediaError(reason)
        self._had_wrong_range = True
        raise _Interrupted(reason)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise EvoLinkMediaError(f"the file is larger than the {self._limits.max_bytes} bytes allowed")

    def _time_left(self) -> float:
        check_stopped()
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise EvoLinkMediaError(f"the download took longer than {self._limits.total_timeout:g} s")
        return left
