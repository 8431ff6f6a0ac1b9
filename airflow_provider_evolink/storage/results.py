"""From a finished job to files in a folder: download each result, verify it and publish it, with a receipt."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkJobTimeout,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
)
from airflow_provider_evolink.api.files.transfer.fetching import DEFAULT_LIMITS, DownloadLimits
from airflow_provider_evolink.api.http.patience import Patience
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.redaction import Redactor, sanitize
from airflow_provider_evolink.storage.media_file import (
    OF_ORDER,
    DownloadedFile,
    JobInfo,
    MediaFile,
    MissingResult,
    Receipt,
)
from airflow_provider_evolink.storage.object_store import holds, open_folder, public_uri, publish_json, read_json
from airflow_provider_evolink.storage.result_fetch import ResultFetch, with_results
from airflow_provider_evolink.storage.spool import forget, sweep_parts

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.arguments.choices import OnMissing

_NOT_YET = "not fetched yet"
_MAX_REASON = 500

log = logging.getLogger(__name__)


def download_limits(**given: float | None) -> DownloadLimits:
    """
    Return the limits of downloads that an operator was given, as numbers or, from templates and forms, as text.

    :param given: Limits by name, checked; ``None``: the default.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(DEFAULT_LIMITS, **chosen)  # type: ignore[arg-type]


def fetch_media(
    client: EvoLinkClient,
    job: Job | str,
    folder: ObjectStoragePath,
    known: JobInfo | None = None,
    *,
    limits: DownloadLimits = DEFAULT_LIMITS,
    on_missing: OnMissing = "fail",
    patience: Patience | None = None,
) -> list[DownloadedFile]:
    """
    Download all results of a finished job into a folder. A second run changes nothing.

    Beside the files it writes a receipt, ``<job id>.json``; with it a second run needs neither links nor the job. A
    result that cannot be fetched does not keep the others from being published; a second run fetches just that one.

    :param client: Reads the job, and again if a link has expired.
    :param job: The job as just read, or its ID.
    :param folder: Where the files go, named ``<job id>-<index>``.
    :param known: What the task that ordered knows of the job, if it is known; for the manifest.
    :param limits: Limits of each download.
    :param on_missing: ``deliver``: hand on what is there, with the missing ones in ``job["missing"]``.
    :param patience: What the try may still wait for rate limits; by default all of it.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.DownloadedFile` for each file.
    :raises EvoLinkMediaError: a link gave no usable file.
    :raises EvoLinkJobError: the job has no results, or none yet.
    """
    delivery = _Delivery(client, job if isinstance(job, str) else job.job_id, folder, patience or Patience())
    receipt, is_complete = delivery.read_receipt()
    if receipt is None or not is_complete:
        receipt = delivery.fetch(job, receipt, limits, on_missing)
    else:
        log.info("EvoLink job %s: %d file(s) already downloaded", receipt.job_id, len(receipt.files))
    missing = {"missing": [one.model_dump() for one in receipt.missing]} if receipt.missing else {}
    of_order = (known or JobInfo()).model_dump(include={"request", *OF_ORDER})
    info = receipt.job.model_copy(update={**of_order, **missing})
    return [file.downloaded(info) for file in receipt.files]


@dataclass(frozen=True)
class _Delivery:
    """From one job to one folder and its receipt."""

    client: EvoLinkClient
    job_id: str
    folder: ObjectStoragePath
    patience: Patience

    @property
    def receipt_path(self) -> ObjectStoragePath:
        return self.folder / f"{self.job_id}.json"

    def read_receipt(self) -> tuple[Receipt | None, bool]:
        """Return the receipt of an earlier run with its files that are there in full, and whether that is all."""
        try:
            receipt = Receipt.model_validate(read_json(self.receipt_path))
        except ValidationError:
            return None, False
        if receipt.job_id != self.job_id:
            return None, False
        files = [found for file in receipt.files if (found := self._found(file, receipt.moved.get(file.index)))]
        is_complete = len(files) == len(receipt.files) and not receipt.missing
        return receipt.model_copy(update={"files": files}), is_complete

    def _found(self, file: MediaFile, moved: str | None) -> MediaFile | None:
        """Return a file where it is: in this folder, which may have been moved, or in the archive that took it."""
        places = [self.folder / file.uri.rsplit("/", 1)[-1]]
        if moved:
            with contextlib.suppress(EvoLinkConfigError):
                places.append(open_folder(moved, what="archived file"))
        for path in places:
            if holds(path, sha256=file.sha256, size=file.size):
                return file.model_copy(update={"uri": str(path)})
        return None

    def fetch(
        self, given: Job | str, receipt: Receipt | None, limits: DownloadLimits, on_missing: OnMissing
    ) -> Receipt:
        """Fetch what is missing and write the receipt, or raise what is missing and why."""
        try:
            job = self.client.get_job(given, patience=self.patience) if isinstance(given, str) else given
        except EvoLinkNotFoundError:
            if on_missing == "deliver" and receipt is not None and receipt.files:
                return receipt
            raise
        job = _with_links(self.client, job, self.patience)
        sweep_parts(self.folder)
        files = {file.index: file for file in receipt.files} if receipt else {}
        fetch = ResultFetch(self.client, job, self.folder, limits, files, patience=self.patience)
        moved = receipt.moved if receipt else {}
        fetch.run(lambda: self._save(fetch, moved=moved))
        written = self._save(fetch, is_over=True, moved=moved)
        if fetch.missing and (on_missing == "fail" or not fetch.files):
            raise _why_missing(fetch, self.folder)
        return written

    def _save(self, fetch: ResultFetch, *, moved: dict[int, str], is_over: bool = False) -> Receipt:
        """Write the receipt: after each of several files, and in the end if there is anything to write."""
        job = fetch.job
        left = [index for index in fetch.indexes if index not in fetch.files]
        missing = [MissingResult(index=index, error=_reason(fetch.missing.get(index))) for index in left]
        files = [fetch.files[index] for index in sorted(fetch.files)]
        info = JobInfo(created=job.created_at, credits=job.summary()["credits"])
        receipt = Receipt(job_id=job.job_id, job=info, files=files, missing=missing, moved=_still(moved, files))
        if (is_over or missing) and (files or not missing):
            publish_json(receipt.to_json(), self.receipt_path)
            for file in files:
                forget(self.folder, job.job_id, file.index)
        return receipt


def _still(moved: dict[int, str], files: list[MediaFile]) -> dict[int, str]:
    """Return where files are that an archive has moved: a file that was fetched again is in staging."""
    return {file.index: file.uri for file in files if moved.get(file.index) == file.uri}


def _with_links(client: EvoLinkClient, job: Job, patience: Patience) -> Job:
    if not job.status.is_over:
        raise EvoLinkJobTimeout(
            "the job is still running, so there is nothing to download yet; it is still billed. What to do: wait "
            "for it with EvoLinkJobSensor, or retry later; nothing is submitted",
            job_id=job.job_id,
        )
    job = with_results(client, job, patience)
    if failure := job_error(job, Redactor.everything()):
        raise failure
    return job


def _reason(error: EvoLinkError | None) -> str:
    return _NOT_YET if error is None else sanitize(f"{type(error).__name__}: {error.message}", _MAX_REASON)


def _why_missing(fetch: ResultFetch, folder: ObjectStoragePath) -> EvoLinkError:
    """Return the error for results that could not be fetched: which of how many, why, and what the user can do."""
    errors, count = list(fetch.missing.items()), len(fetch.indexes)
    first = errors[0][1]
    if not isinstance(first, EvoLinkMediaError) and count == 1:
        return first
    permanent = all(error.permanent for _, error in errors)
    advice = (
        "contact EvoLink support with the job ID"
        if permanent
        else "retry within 24 hours; a retry reads fresh links and submits nothing"
    )
    if count == 1:
        return first.amended(message=f"{first.message}. What to do: {advice}")
    each = "; ".join(f"result {index + 1} of {count} (index {index}): {error.message}" for index, error in errors)
    others = (
        f"; the other {len(fetch.files)} are in {public_uri(folder)} and are not fetched again" if fetch.files else ""
    )
    also = ', or hand on the others with on_missing="deliver"' if fetch.files else ""
    text = f"{len(errors)} of {count} results could not be fetched: {each}{others}. What to do: {advice}{also}"
    return first.amended(message=text, permanent=permanent)
