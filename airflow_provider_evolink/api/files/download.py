"""
One result link -> one verified file on this machine.

Which hosts are contacted is decided in ``hosts.py``, what an answer is in ``download_response.py``, and what a file is
in ``containers.py``.
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

from airflow_provider_evolink import __version__
from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import containers, hosts
from airflow_provider_evolink.api.files.download_response import (
    NextStep,
    body_length,
    read_answer,
    tells_samples,
    validator,
)

log = logging.getLogger(__name__)

USER_AGENT = f"airflow-provider-evolink/{__version__}"


@dataclass(frozen=True)
class DownloadLimits:
    """
    How much a download may take. Times are in seconds.

    :param max_bytes: Longest file.
    :param connect_timeout: For a connection.
    :param read_timeout: For the next bytes, and for the head of an answer.
    :param total_timeout: For everything, pauses included.
    :param min_rate: Bytes per second; less over ``rate_window`` counts as a cut.
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
    A result, whole and verified, in a file that lives as long as the ``with`` block.

    :param path: Where the bytes are.
    :param size: Their number.
    :param sha256: Their checksum, in hexadecimal.
    :param content_type: Told by the content, e.g. ``video/mp4``.
    :param extension: Told by the content, e.g. ``.mp4``.
    """

    path: Path
    size: int
    sha256: str
    content_type: str
    extension: str


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

    A cut is resumed where the server allows it. The file is handed out only when its length is proven and its
    content is the media expected. A full disk raises ``OSError``.

    :param link: A result link of a job.
    :param expect: Kind of media: ``video``, ``image``, ``audio``; ``None`` accepts each of them.
    :param allow_loopback: Accept links to this machine, over plain HTTP too: for the emulator.
    :param limits: How much the download may take.
    :param job_id: The job concerned, for messages.
    :param spool_dir: Where the private directory is made; the system's temporary directory by default.
    :raises EvoLinkLinkExpired: The link has died; the job may hold a fresh one.
    :raises EvoLinkLinkRefused: The link or a redirect leaves the public internet.
    :raises EvoLinkMediaError: No usable file came.
    """
    connector = hosts.Connector(allow_loopback=allow_loopback, max_redirects=limits.max_redirects)
    with tempfile.TemporaryDirectory(prefix="evolink-", dir=spool_dir) as private:
        try:
            media = fetch(link, Path(private), connector, expect=expect, limits=limits)
        except EvoLinkMediaError as error:
            raise _about(error, link, job_id) from None
        yield media


def fetch(
    link: str, folder: Path, connector: hosts.Connector, *, expect: str | None, limits: DownloadLimits
) -> MediaBytes:
    """Fetch a result link into a private folder that the caller removes."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w+b") as file:
        spool = _Spool(file)
        _Fetch(link, spool, connector, limits).run()
        container = containers.check_media(file, spool.size, expect, samples=spool.samples)
    return MediaBytes(Path(name), spool.size, spool.hash.hexdigest(), container.content_type, container.extension)


def pause_before(attempts: int, backoff: float, retry_after: str | None = None) -> float:
    """Return how long to wait before the next attempt: longer each time nothing arrived."""
    asked = float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.0
    return max(asked, min(backoff * 2.0 ** min(attempts - 1, 10), 30.0))


@dataclass
class RateMeter:
    """Finds bodies that drip: fewer than ``least`` bytes per second over ``window`` seconds."""

    least: float
    window: float
    since: float
    seen: int = 0

    def too_slow(self, count: int, now: float) -> bool:
        """Count bytes; tell whether a window just ended with too few of them."""
        self.seen += count
        if now - self.since < self.window:
            return False
        slow = self.seen < self.least * (now - self.since)
        self.since, self.seen = now, 0
        return slow


def _about(error: EvoLinkMediaError, link: str, job_id: str | None) -> EvoLinkMediaError:
    """Return the same error with the link, without its query, and the job."""
    shown = hosts.show_link(link)
    message = error.message if shown in error.message else f"{shown}: {error.message}"
    return type(error)(message, status_code=error.status_code, job_id=job_id)


class _Cut(Exception):
    """The bytes stopped, or never came; another attempt may help."""

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _Spool:
    """The file being filled; its checksum always covers exactly what is in it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.restart()

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size, self.samples = 0, False
        self.hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.hash.update(chunk)
        self.size += len(chunk)

    def check_room(self, length: int) -> None:
        if shutil.disk_usage(self.file.fileno()).free < length:
            raise OSError(errno.ENOSPC, f"the spool disk has no room for {length} more bytes of media")


@dataclass
class _Attempts:
    """
    What the attempts have come to so far.

    :param number: How many were cut.
    :param stalled: How many of the last ones brought no new byte.
    :param received: Bytes that the best of them had.
    :param wrong_ranges: How often another range came than the one requested.
    """

    number: int = 0
    stalled: int = 0
    received: int = 0
    wrong_ranges: int = 0


class _Fetch:
    """The attempts to fill one spool from one link."""

    def __init__(self, link: str, spool: _Spool, connector: hosts.Connector, limits: DownloadLimits) -> None:
        self._link = link
        self._spool = spool
        self._connector = connector
        self._limits = limits
        self._deadline, self._pause = time.monotonic() + limits.total_timeout, limits.backoff
        self._total: int | None = None
        self._mark: str | None = None
        self._attempts = _Attempts()

    def run(self) -> None:
        """Fill the spool, or say why not."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Cut),
            wait=lambda _: self._pause,
            stop=lambda _: self._attempts.stalled > self._limits.max_resumes or self._pause >= self._time_left(),
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _Cut as cut:
            raise EvoLinkMediaError(f"gave up at byte {self._attempts.received}: {cut}") from None

    def _attempt(self) -> None:
        """Try once; count attempts that bring nothing new, so that a server that always cuts does not hold us."""
        try:
            self._receive()
        except _Cut as cut:
            self._attempts.number += 1
            self._attempts.stalled = 1 if self._spool.size > self._attempts.received else self._attempts.stalled + 1
            self._attempts.received = max(self._attempts.received, self._spool.size)
            self._pause = pause_before(self._attempts.stalled, self._limits.backoff, cut.retry_after)
            log.warning("%s stopped at byte %d: %s", hosts.show_link(self._link), self._spool.size, cut)
            raise

    def _receive(self) -> None:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        if self._spool.size and self._mark:
            headers |= {"Range": f"bytes={self._spool.size}-", "If-Range": self._mark}
        else:
            self._spool.restart()
        left = self._time_left()
        timeout = httpx.Timeout(min(self._limits.read_timeout, left), connect=min(self._limits.connect_timeout, left))
        try:
            with self._connector.open(
                self._link, headers=headers, timeout=timeout, turn=self._attempts.number
            ) as response:
                self._take(response)
        except httpx.TransportError as error:
            if hosts.is_bad_certificate(error):
                raise EvoLinkMediaError("the host has no certificate we trust for its name") from None
            raise _Cut(type(error).__name__) from None

    def _take(self, response: httpx.Response) -> None:
        status, headers = response.status_code, response.headers
        answer = read_answer(status, headers, size=self._spool.size, total=self._total, mark=self._mark)
        if answer is NextStep.BUSY:
            raise _Cut(f"HTTP {status}", headers.get("retry-after"))
        if answer is NextStep.GONE:
            raise EvoLinkLinkExpired("the link has died, or its host refuses us", status_code=status)
        if answer is NextStep.UNUSABLE:
            raise EvoLinkMediaError("the link gave no file", status_code=status)
        if answer is NextStep.WRONG_RANGE:
            self._restart_once()
        if answer is NextStep.WHOLE:
            self._spool.restart()
            self._total, self._mark = None, validator(headers)
            self._spool.samples = tells_samples(headers, self._link)
        self._copy(response, body_length(headers))

    def _copy(self, response: httpx.Response, length: int | None) -> None:
        """Write a body behind what we have, and see that it ends where it was said to end."""
        if length is not None:
            end = self._spool.size + length
            if self._total not in (None, end):
                self._restart_once()
            self._total = end
            self._check_size(end)
            self._spool.check_room(length)
        meter = RateMeter(self._limits.min_rate, self._limits.rate_window, since=time.monotonic())
        for chunk in response.iter_raw():
            self._check_size(self._spool.size + len(chunk))
            self._spool.write(chunk)
            self._time_left()
            if meter.too_slow(len(chunk), time.monotonic()):
                raise _Cut(f"slower than {self._limits.min_rate:g} bytes per second")
        if self._total not in (None, self._spool.size):
            raise _Cut("the body did not end where it was said to end")

    def _restart_once(self) -> NoReturn:
        """Begin again after a range that does not fit what we have; a server that repeats this is of no use."""
        self._spool.restart()
        self._attempts.wrong_ranges += 1
        reason = "the server answered with a wrong part of the file"
        raise _Cut(reason) if self._attempts.wrong_ranges == 1 else EvoLinkMediaError(reason)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise EvoLinkMediaError(f"the file is larger than the {self._limits.max_bytes} bytes allowed")

    def _time_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise EvoLinkMediaError(f"the download took longer than {self._limits.total_timeout:g} s")
        return left
