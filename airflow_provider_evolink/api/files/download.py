"""
One result link -> one verified file on this machine.

Which hosts are contacted is decided in ``hosts.py``, what a response means in ``download_response.py``, and what a file
is in ``inspection.py``.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import httpx
import tenacity

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.download_response import (
    NextStep,
    body_length,
    is_raw_audio,
    next_step,
    validator_of,
)
from airflow_provider_evolink.api.files.inspection import MediaInfo, inspect_media
from airflow_provider_evolink.api.http.failures import is_certificate_error
from airflow_provider_evolink.api.http.transport import USER_AGENT
from airflow_provider_evolink.api.redaction import public_link, sanitize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadLimits:
    """
    Limits of a download. Times are in seconds.

    :param max_bytes: Maximum size of the file.
    :param connect_timeout: For a connection.
    :param read_timeout: For the next bytes, and for the headers of a response.
    :param total_timeout: For everything, pauses included.
    :param min_rate: Bytes per second; less over ``rate_window`` counts as an interruption.
    :param rate_window: What ``min_rate`` is averaged over.
    :param max_redirects: Hops from the link to the file.
    :param max_resumes: Further attempts that bring no new byte.
    :param backoff: First pause between attempts; it doubles while nothing arrives.
    """

    max_bytes: int = 4 * 1024**3
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 1800.0
    min_rate: float = 10 * 1024
    rate_window: float = 60.0
    max_redirects: int = 5
    max_resumes: int = 5
    backoff: float = 0.5


DEFAULT_LIMITS = DownloadLimits()


@dataclass(frozen=True)
class MediaBytes:
    """
    A result, complete and verified, in a file that exists as long as the ``with`` block.

    :param path: The file.
    :param size: Number of bytes.
    :param sha256: Checksum, in hexadecimal.
    :param info: What it is, by its content.
    """

    path: Path
    size: int
    sha256: str
    info: MediaInfo

    @property
    def content_type(self) -> str:
        """Its media type, e.g. ``video/mp4``."""
        return self.info.content_type

    @property
    def extension(self) -> str:
        """Its file extension, e.g. ``.mp4``."""
        return self.info.extension


@contextmanager
def download(
    link: str,
    *,
    expect: str | None = "video",
    allow_loopback: bool = False,
    limits: DownloadLimits = DEFAULT_LIMITS,
    job_id: str | None = None,
    spool_dir: Path | None = None,
) -> Iterator[MediaBytes]:
    """
    Fetch a result link into a private file, which is removed at the end of the ``with`` block.

    An interrupted download is resumed if the host supports it. The file is yielded only when its length is verified and
    its content is a whole file of media. A full disk raises ``OSError``.

    :param link: A result link of a job.
    :param expect: The announced kind, ``video``, ``image`` or ``audio``; it decides ties only.
    :param allow_loopback: Accept links to this machine, over plain HTTP too: for the emulator.
    :param limits: Limits of the download.
    :param job_id: The job, for error texts.
    :param spool_dir: Where the private directory is made; the system's temporary directory by default.
    :raises EvoLinkLinkExpired: the link has expired; the job may hold a fresh one.
    :raises EvoLinkLinkRefused: the link or a redirect leaves the public internet.
    :raises EvoLinkMediaError: there was no usable file.
    """
    connector = hosts.Connector(allow_loopback=allow_loopback, max_redirects=limits.max_redirects)
    with tempfile.TemporaryDirectory(prefix="evolink-", dir=spool_dir) as private:
        try:
            media = fetch(link, Path(private), connector, expect=expect, limits=limits)
        except EvoLinkMediaError as error:
            raise _with_link(error, link, job_id) from None
        yield media


def fetch(
    link: str, folder: Path, connector: hosts.Connector, *, expect: str | None, limits: DownloadLimits
) -> MediaBytes:
    """Fetch a result link into a private folder that the caller removes."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w+b") as file:
        spool = _Spool(file)
        _Fetch(link, spool, connector, limits).run()
        info = inspect_media(file, spool.size, expect, raw_audio=spool.raw_audio)
    return MediaBytes(Path(name), spool.size, spool.hash.hexdigest(), info)


def pause_before(attempts: int, backoff: float, retry_after: str | None = None) -> float:
    """Return how long to wait before the next attempt: longer each time nothing arrived."""
    requested = float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.0
    return max(requested, min(backoff * 2.0 ** min(attempts - 1, 10), 30.0))


@dataclass
class RateMeter:
    """Detects bodies that drip: fewer than ``min_rate`` bytes per second over ``window`` seconds."""

    min_rate: float
    window: float
    since: float
    received: int = 0

    def is_too_slow(self, count: int, now: float) -> bool:
        """Count bytes; return whether a window has just ended with too few of them."""
        self.received += count
        if now - self.since < self.window:
            return False
        is_slow = self.received < self.min_rate * (now - self.since)
        self.since, self.received = now, 0
        return is_slow


def _with_link(error: EvoLinkMediaError, link: str, job_id: str | None) -> EvoLinkMediaError:
    """Return the same error with the link, without its query, and the job."""
    shown = sanitize(public_link(link))
    message = error.message if shown in error.message else f"{shown}: {error.message}"
    return type(error)(message, status_code=error.status_code, job_id=job_id)


class _Interrupted(Exception):
    """The bytes stopped, or never came; another attempt may help."""

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _Spool:
    """The file being filled. Its checksum always covers exactly what is in it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.restart()

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size = 0
        self.total: int | None = None  # length of the whole file, where known
        self.validator: str | None = None  # proves that a range is of the same file
        self.raw_audio = False
        self.hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.hash.update(chunk)
        self.size += len(chunk)

    def check_room(self, length: int) -> None:
        if shutil.disk_usage(self.file.fileno()).free < length:
            raise OSError(errno.ENOSPC, f"the spool disk has no room for {length} more bytes of media")


class _Attempts:
    """Counts attempts that bring nothing new, so that a host that always interrupts does not hold us."""

    def __init__(self, backoff: float) -> None:
        self._backoff = backoff
        self.count = 0
        self.max_size = 0
        self.without_progress = 0
        self.pause = backoff

    def failed(self, size: int, retry_after: str | None) -> None:
        self.count += 1
        self.without_progress = 1 if size > self.max_size else self.without_progress + 1
        self.max_size = max(self.max_size, size)
        self.pause = pause_before(self.without_progress, self._backoff, retry_after)


class _Fetch:
    """Fills one spool from one link."""

    def __init__(self, link: str, spool: _Spool, connector: hosts.Connector, limits: DownloadLimits) -> None:
        self._link = link
        self._spool = spool
        self._connector = connector
        self._limits = limits
        self._deadline = time.monotonic() + limits.total_timeout
        self._attempts = _Attempts(limits.backoff)
        self._had_wrong_range = False

    def run(self) -> None:
        """Fill the spool, or raise why not."""
        attempts = self._attempts
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Interrupted),
            wait=lambda _: attempts.pause,
            stop=lambda _: attempts.without_progress > self._limits.max_resumes or attempts.pause >= self._time_left(),
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _Interrupted as error:
            raise EvoLinkMediaError(f"gave up at byte {attempts.max_size}: {error}") from None

    def _attempt(self) -> None:
        try:
            self._request()
        except _Interrupted as error:
            self._attempts.failed(self._spool.size, error.retry_after)
            log.warning("%s stopped at byte %d: %s", sanitize(public_link(self._link)), self._spool.size, error)
            raise

    def _request(self) -> None:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        if self._spool.size and self._spool.validator:
            headers |= {"Range": f"bytes={self._spool.size}-", "If-Range": self._spool.validator}
        else:
            self._spool.restart()
        left = self._time_left()
        timeout = httpx.Timeout(min(self._limits.read_timeout, left), connect=min(self._limits.connect_timeout, left))
        try:
            with self._connector.open(
                self._link, headers=headers, timeout=timeout, attempt=self._attempts.count
            ) as response:
                self._receive(response)
        except httpx.TransportError as error:
            if is_certificate_error(error):
                raise EvoLinkMediaError("the host has no trusted certificate for its name") from None
            raise _Interrupted(type(error).__name__) from None

    def _receive(self, response: httpx.Response) -> None:
        status, headers, spool = response.status_code, response.headers, self._spool
        step = next_step(status, headers, size=spool.size, total=spool.total, validator=spool.validator)
        if step is NextStep.BUSY:
            raise _Interrupted(f"HTTP {status}", headers.get("retry-after"))
        if step is NextStep.GONE:
            raise EvoLinkLinkExpired("the link has expired, or its host denies access", status_code=status)
        if step is NextStep.UNUSABLE:
            raise EvoLinkMediaError("the link returned no file", status_code=status)
        if step is NextStep.WRONG_RANGE:
            self._restart_once()
        if step is NextStep.WHOLE:
            spool.restart()
            spool.validator = validator_of(headers)
            spool.raw_audio = is_raw_audio(headers, self._link)
        self._copy(response, body_length(headers))

    def _copy(self, response: httpx.Response, length: int | None) -> None:
        """Append a body to the spool, and verify that it is as long as announced."""
        spool = self._spool
        if length is not None:
            end = spool.size + length
            if spool.total not in (None, end):
                self._restart_once()
            spool.total = end
            self._check_size(end)
            spool.check_room(length)
        meter = RateMeter(self._limits.min_rate, self._limits.rate_window, since=time.monotonic())
        for chunk in response.iter_raw():
            self._check_size(spool.size + len(chunk))
            spool.write(chunk)
            self._time_left()
            if meter.is_too_slow(len(chunk), time.monotonic()):
                raise _Interrupted(f"slower than {self._limits.min_rate:g} bytes per second")
        if spool.total not in (None, spool.size):
            raise _Interrupted("the body is not as long as announced")

    def _restart_once(self) -> NoReturn:
        """Start over after a range that does not fit what we have; a host that repeats this is of no use."""
        self._spool.restart()
        reason = "the host sent a wrong range of the file"
        if self._had_wrong_range:
            raise EvoLinkMediaError(reason)
        self._had_wrong_range = True
        raise _Interrupted(reason)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise EvoLinkMediaError(f"the file is larger than the {self._limits.max_bytes} bytes allowed")

    def _time_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise EvoLinkMediaError(f"the download took longer than {self._limits.total_timeout:g} s")
        return left
