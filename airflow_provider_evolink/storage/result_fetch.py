"""The results of one job in one try: fresh links, patience with what is not there yet, and files that stay damaged."""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkLinkExpired,
    EvoLinkLinkRefused,
    EvoLinkMediaError,
)
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.containers import HEAD_SIZE, error_page
from airflow_provider_evolink.api.files.download import MediaBytes, fill, naming, verify
from airflow_provider_evolink.api.files.download_response import may_appear, pauses
from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side, transfer_turn
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME, JobStatus
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.storage.media_file import MediaFile
from airflow_provider_evolink.storage.object_store import about, holds, is_local, public_uri, publish
from airflow_provider_evolink.storage.spool import result_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.files.transfer.fetching import DownloadLimits
    from airflow_provider_evolink.api.files.transfer.part import Part
    from airflow_provider_evolink.api.http.patience import Patience
    from airflow_provider_evolink.api.jobs.job import Job

_RESULTS_TIMEOUT_SECONDS = 30.0  # for a completed job to get its links
_LIFETIME = LINK_LIFETIME.total_seconds()
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")
_MAGIC_TEXT = (b"GIF8", b"ID3", b"RIFF", b"OggS", b"fLaC", b"BM")  # media that begin with letters

log = logging.getLogger(__name__)


def with_results(client: EvoLinkClient, job: Job, patience: Patience | None = None) -> Job:
    """
    Return a job with its links: one that is completed without links is read again.

    :param client: Reads it.
    :param job: The job as just read.
    :param patience: What the try may still wait for rate limits.
    :raises EvoLinkNoResults: it still has no links.
    """
    if job.status is JobStatus.COMPLETED and not job.has_output:
        return client.wait(
            job.job_id, timeout=_RESULTS_TIMEOUT_SECONDS, redactor=Redactor.everything(), patience=patience
        )
    return job


def patience(job: Job, now: float) -> Iterator[float]:
    """
    Return the pauses before further attempts: a file of an old job is not on its way any more.

    :param job: The job.
    :param now: Unix seconds.
    """
    return pauses() if job.created is None or now - job.created < _LIFETIME else iter(())


def is_media_perhaps(head: bytes) -> bool:
    """
    Return whether bytes that are refused may still be of a file that was paid for: no page, and no text.

    :param head: Their beginning.
    """
    return error_page(head) is None and (head.startswith(_MAGIC_TEXT) or not _TEXT.fullmatch(head))


class ResultFetch:
    """
    Fetches the results that are not there yet. One that fails does not keep the others from being published.

    A result is known by its index: its place among all that EvoLink sent. One that has no usable link is missing.

    :param client: Reads the job again if a link has expired.
    :param job: The job, with its links.
    :param folder: Where the files go.
    :param limits: Limits of each download.
    :param files: What is there, by index.
    :param patience: What the try may still wait for rate limits.
    """

    def __init__(
        self,
        client: EvoLinkClient,
        job: Job,
        folder: ObjectStoragePath,
        limits: DownloadLimits,
        files: dict[int, MediaFile],
        *,
        patience: Patience,
    ) -> None:
        self.job = job
        self.files = files
        self.indexes = sorted({*job.indexes, *job.faults})
        self.missing: dict[int, EvoLinkError] = {}
        self._client = client
        self._folder = folder
        self._limits = limits
        self._patience = patience
        self._refreshed: set[int] = set()
        self._lock = threading.RLock()

    def run(self, save: Callable[[], object]) -> None:
        """
        Fetch what is missing, and then once more what may still appear.

        :param save: Called after each file that was published.
        """
        self._attempt_all([index for index in self.indexes if index not in self.files], save)
        for pause in patience(self.job, time.time()):
            late = [
                index
                for index, error in self.missing.items()
                if isinstance(error, EvoLinkMediaError) and may_appear(error)
            ]
            if not late:
                return
            log.info(
                "EvoLink job %s: %d result(s) not there yet, next attempt in %g s", self.job.job_id, len(late), pause
            )
            time.sleep(pause)
            self._attempt_all(late, save)

    def _attempt_all(self, indexes: list[int], save: Callable[[], object]) -> None:
        side_by_side(lambda index: self._attempt(index, save), indexes)
        self.missing = dict(sorted(self.missing.items()))

    def _attempt(self, index: int, save: Callable[[], object]) -> None:
        try:
            with transfer_turn():
                file = self._fetch(index)
        except EvoLinkError as error:
            self.missing[index] = error
            return
        with self._lock:
            self.files[index] = file
            self.missing.pop(index, None)
            save()

    def _fetch(self, index: int) -> MediaFile:
        with result_part(self._folder, self.job.job_id, index) as part:
            if part.note.published and (file := self._published(part.note.published)):
                return file
            media = self._media(part, index)
            return self._publish(part, media, index)

    def _published(self, row: dict[str, object]) -> MediaFile | None:
        """Return what an earlier try published before it could write the receipt."""
        try:
            file = MediaFile.model_validate(row)
        except ValueError:
            return None
        path = self._folder / file.uri.rsplit("/", 1)[-1]
        is_there = file.job_id == self.job.job_id and holds(path, sha256=file.sha256, size=file.size)
        return file.model_copy(update={"uri": str(path)}) if is_there else None

    def _media(self, part: Part, index: int) -> MediaBytes:
        """Return a whole file. For an expired link, or a damaged file, the job is read once for a fresh link."""
        while True:
            job = self.job
            try:
                return self._download(part, job, index)
            except EvoLinkMediaError as error:
                is_damaged = part.is_complete
                may_help = isinstance(error, EvoLinkLinkExpired | EvoLinkLinkRefused) or may_appear(error)
                if index in self._refreshed or not (is_damaged or may_help):
                    raise self._set_aside(part, index, error) if is_damaged else error from None
                log.info(
                    "EvoLink job %s: result %d: %s; reading the job for a fresh link", self.job.job_id, index, error
                )
            if is_damaged:
                part.restart()
            self._refresh(index, job)

    def _download(self, part: Part, job: Job, index: int) -> MediaBytes:
        settings = self._client.settings
        if index not in job.indexes:
            raise EvoLinkMediaError(job.faults.get(index, "EvoLink no longer lists it"), job_id=job.job_id)
        place = job.indexes.index(index)
        link = job.results[place]
        connector = hosts.Connector(
            network=settings.network,
            allow_loopback=settings.is_local,
            private_hosts=settings.private_media_hosts,
            max_redirects=self._limits.max_redirects,
        )
        expires = None if job.created is None else job.created + _LIFETIME
        with naming(link, job.job_id):
            fill(part, link, connector, self._limits, expires=expires, patience=self._patience)
            return verify(part, job.outputs[place]["kind"], self._limits)

    def _refresh(self, index: int, used: Job) -> None:
        """Read the job for a fresh link, unless that was just done; nothing is ever submitted again for it."""
        self._refreshed.add(index)
        with self._lock:
            if self.job is used:
                found = self._client.get_job(used.job_id, patience=self._patience)
                fresh = with_results(self._client, found, self._patience)
                if index not in fresh.indexes:
                    failure = job_error(fresh, Redactor.everything())
                    raise failure or EvoLinkMediaError(
                        f"EvoLink's job no longer has result {index}. What to do: contact EvoLink support with the job "
                        "ID",
                        job_id=used.job_id,
                    )
                self.job = fresh

    def _publish(self, part: Part, media: MediaBytes, index: int) -> MediaFile:
        job, info = self.job, media.info
        target = self._folder / f"{job.job_id}-{index}{info.extension}"
        file = MediaFile(
            uri=str(target),
            sha256=media.sha256,
            size=media.size,
            content_type=info.content_type,
            verified=info.verified,
            index=index,
            job_id=job.job_id,
            model=job.model,
            width=info.width,
            height=info.height,
            duration=info.seconds,
        )
        part.change(published=file.model_dump(mode="json", exclude={"job", "manifest"}))
        self._move(part, target, media.sha256, info.content_type)
        if part.note.damaged:
            (self._folder / f"{job.job_id}-{index}.damaged").unlink(missing_ok=True)
            part.change(damaged=None)
        log.info("EvoLink job %s: result %d, %d bytes of %s", job.job_id, index, media.size, info.content_type)
        return file

    def _move(self, part: Part, target: ObjectStoragePath, sha256: str, content_type: str) -> None:
        if is_local(target):
            part.path.replace(Path(target.path))
            part.moved()
        else:
            kept = about(self.job.job_id, sha256)
            publish(part.path, target, content_type=content_type, metadata=kept)

    def _set_aside(self, part: Part, index: int, error: EvoLinkMediaError) -> EvoLinkMediaError:
        """Keep a file that is damaged behind a fresh link, too: it was paid for. A page or a text is not kept."""
        part.file.seek(0)
        if not is_media_perhaps(part.file.read(HEAD_SIZE)):
            part.restart()
            return error
        target = self._folder / f"{self.job.job_id}-{index}.damaged"
        self._move(part, target, part.sha256(), "application/octet-stream")
        if not is_local(target):
            part.restart()
        part.change(damaged=str(target))
        return error.amended(
            message=f"{error.message}, also behind a fresh link; it was paid for, so it is kept as "
            f"{public_uri(target)}: if it stays so, send that to EvoLink's support with the job ID"
        )
