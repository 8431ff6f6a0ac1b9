"""
One result link -> one verified file on this machine.

Which hosts are contacted is decided in ``hosts.py``, what a response means in ``download_response.py``, and what a file
is, and whether it is whole, in ``inspection.py``. What has arrived is in a ``Part``, with which a later try can go on.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_evolink.api.addresses import is_local_host
from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.inspection import MediaInfo
from airflow_provider_evolink.api.files.transfer.fetching import (
    DEFAULT_LIMITS,
    DownloadLimits,
    LinkFetch,
    inspect_part,
)
from airflow_provider_evolink.api.files.transfer.part import Part, PartInUse
from airflow_provider_evolink.api.http.patience import Patience
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.redaction import link_identity, public_link, sanitize


@dataclass(frozen=True)
class MediaBytes:
    """
    A result, complete and verified, in a file that exists as long as the ``with`` block.

    :param path: The file.
    :param size: Number of bytes.
    :param sha256: Checksum, in hexadecimal.
    :param info: What the file is, by its content.
    """

    path: Path
    size: int
    sha256: str
    info: MediaInfo

    @property
    def content_type(self) -> str:
        """By the content, e.g. ``video/mp4``."""
        return self.info.content_type

    @property
    def extension(self) -> str:
        """By the content, e.g. ``.mp4``."""
        return self.info.extension


_PLAIN_LINK = re.compile(r"(?i)(http://)([a-z0-9.-]+)(?=[/?#]|$)")


@contextmanager
def download(
    link: str,
    *,
    expect: str | None = "video",
    allow_loopback: bool = False,
    limits: DownloadLimits = DEFAULT_LIMITS,
    job_id: str | None = None,
    spool_dir: Path | None = None,
    keep: Path | None = None,
    network: NetworkPolicy | None = None,
    private_hosts: Collection[tuple[str, int]] = (),
) -> Iterator[MediaBytes]:
    """
    Fetch a result link into a private file, which is removed at the end of the ``with`` block.

    An interrupted download is resumed if the host supports it: within the call, and with ``keep`` by a later call or
    another process, too. The file is yielded only when its length is verified and
    its content is a whole file of media. A full disk raises ``OSError``.

    :param link: A result link of a job.
    :param expect: The announced kind, ``video``, ``image`` or ``audio``; it decides ties only.
    :param allow_loopback: Accept links to this machine, over plain HTTP too: for the emulator.
    :param limits: Limits of the download.
    :param job_id: The job, for error texts.
    :param spool_dir: Where the private directory is made; the system's temporary directory by default.
    :param keep: A file of your own, in a folder that only you may write to, for what has arrived. It is removed when
        the ``with`` block ends well, and kept otherwise, with a note beside it: a call with the same path and link,
        which may be signed anew, goes on there.
    :param network: Proxy and trusted authorities; by default those of the environment.
    :param private_hosts: Hosts and ports that may have private addresses, over HTTPS, at any port: ``(host, port)``.
    :raises EvoLinkLinkExpired: the link has expired; the job may hold a fresh one.
    :raises EvoLinkLinkRefused: the link or a redirect leaves the public internet.
    :raises EvoLinkMediaError: there was no usable file.
    """
    connector = hosts.Connector(
        network=network,
        allow_loopback=allow_loopback,
        private_hosts=private_hosts,
        max_redirects=limits.max_redirects,
    )
    if keep is not None:
        with _kept_part(keep, link, job_id) as part:
            with naming(link, job_id):
                media = _resume(part, link, connector, expect, limits)
            yield media
            part.discard()
        return
    with tempfile.TemporaryDirectory(prefix="evolink-", dir=spool_dir) as private:
        with naming(link, job_id):
            media = fetch(link, Path(private), connector, expect=expect, limits=limits)
        yield media


@contextmanager
def _kept_part(path: Path, link: str, job_id: str | None) -> Iterator[Part]:
    try:
        part = Part(path, lasting=True)
    except PartInUse:
        reason = f"another process fetches into {path}, or its file system has no locks"
        raise EvoLinkMediaError(f"{reason}. What to do: name another file, or none", job_id=job_id) from None
    with part:
        if part.size and not part.note.source:
            raise EvoLinkMediaError(f"{path} is not what a download has left; it stays as it is", job_id=job_id)
        if part.note.source != _source(link):
            part.restart()  # a complete file of another link would be taken for this one
        yield part


def _resume(
    part: Part, link: str, connector: hosts.Connector, expect: str | None, limits: DownloadLimits
) -> MediaBytes:
    try:
        fill(part, link, connector, limits)
        return verify(part, expect, limits)
    except EvoLinkMediaError:
        if part.is_complete:
            part.restart()  # damaged: no later call could make anything of it
        raise


def _source(link: str) -> str:
    return hashlib.sha256(link_identity(link).encode()).hexdigest()[:16]


def fetch(
    link: str, folder: Path, connector: hosts.Connector, *, expect: str | None, limits: DownloadLimits
) -> MediaBytes:
    """Fetch a result link into a private folder that the caller removes."""
    with Part(folder / "part") as part:
        fill(part, link, connector, limits)
        return verify(part, expect, limits)


def over_https(link: str) -> str:
    """
    Return a result link over HTTPS: over plain HTTP a file that was paid for would only be refused.

    :param link: A result link. One with a port, or to this machine, stays as it is.
    """
    found = _PLAIN_LINK.match(link)
    return f"https://{link[found.end(1) :]}" if found and not is_local_host(found[2]) else link


def fill(
    part: Part,
    link: str,
    connector: hosts.Connector,
    limits: DownloadLimits,
    *,
    expires: float | None = None,
    patience: Patience | None = None,
) -> None:
    """
    Fetch what is missing of a file.

    :param part: What is there of it, and where the rest goes.
    :param link: Its link.
    :param connector: Opens the link.
    :param limits: Limits of the download.
    :param expires: When the link expires, in Unix seconds, if that is known.
    :param patience: What the try may still wait for rate limits; by default all of it.
    :raises EvoLinkLinkExpired: the link gives no file; the job may hold a fresh one.
    :raises EvoLinkLinkRefused: the link or a redirect leaves the public internet.
    :raises EvoLinkMediaError: the host interrupts again and again, or a limit is exceeded; what came is kept.
    """
    source = _source(link)
    is_doubtful = part.size > 0 and (part.note.is_doubtful or part.note.source != source)
    part.change(source=source, expires=expires, is_doubtful=is_doubtful)
    if not part.is_complete:
        LinkFetch(over_https(link), part, connector, limits, patience).run()


def verify(part: Part, expect: str | None, limits: DownloadLimits) -> MediaBytes:
    """
    Return what a complete part is. An encoded file is decoded first.

    :param part: The part.
    :param expect: Announced kind of media; it decides ties only.
    :param limits: Limits of the download.
    :raises EvoLinkMediaError: it is damaged or no media.
    """
    info = inspect_part(part, expect, limits.max_bytes)
    return MediaBytes(part.path, part.size, part.sha256(), info)


@contextmanager
def naming(link: str, job_id: str | None) -> Iterator[None]:
    """
    Add the link, without its query, and the job to an error.

    :param link: The link.
    :param job_id: The job.
    """
    try:
        yield
    except EvoLinkMediaError as error:
        shown = sanitize(public_link(link))
        named = error if shown in error.message else error.amended(message=f"{error.message} ({shown})")
        named.job_id = job_id
        raise named from None
