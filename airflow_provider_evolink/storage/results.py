"""From a finished job to files in a folder: download each result, verify it and publish it, with a receipt."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobTimeout,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
)
from airflow_provider_evolink.api.files.transfer.fetching import DEFAULT_LIMITS, DownloadLimits
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.redaction import Redactor, sanitize
from airflow_provider_evolink.storage.media_file import JobInfo, MissingResult, Receipt
from airflow_provider_evolink.storage.object_store import holds, public_uri, publish_json, read_json
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
    Return the limits of a download.

    :param given: Limits by name, checked; ``None``: the default.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(DEFAULT_LIMITS, **chosen)  # type: ignore[arg-type]


def fetch_media(
    client: EvoLinkClient,
    job: Job | str,
    folder: ObjectStoragePath,
    request: dict[str, Any] | None = None,
    *,
    limits: DownloadLimits = DEFAULT_LIMITS,
    on_missing: OnMissing = "fail",
) -> list[dict[str, Any]]:
    """
    Download all results of a finished job into a folder. A second run changes nothing.

    Beside the files it writes a receipt, ``<job id>.json``; with it a second run needs neither links nor the job. A
    result that cannot be fetched does not keep the others from being published; a second run fetches just that one.

    :param client: Reads the job, and again if a link has expired.
    :param job: The job as just read, or its ID.
    :param folder: Where the files go, named ``<job id>-<index>``.
    :param request: What was submitted, if it is known; for the manifest.
    :param limits: Limits of each download.
    :param on_missing: ``deliver``: hand on what is there, with the missing ones in ``job["missing"]``.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.MediaFile` as JSON for each file.
    :raises EvoLinkMediaError: a link gave no usable file.
    :raises EvoLinkJobError: the job has no results, or none yet.
    """
    delivery = _Delivery(client, job if isinstance(job, str) else job.job_id, folder)
    receipt, is_complete = delivery.read_receipt()
    if receipt is None or not is_complete:
        receipt = delivery.fetch(job, receipt, limits, on_missing)
    else:
        log.info("EvoLink job %s: %d file(s) already downloaded", receipt.job_id, len(receipt.files))
    missing = {"missing": [one.model_dump() for one in receipt.missing]} if receipt.missing else {}
    info = receipt.job.model_copy(update={"request": request, **missing})
    return [file.downloaded(info) for file in receipt.files]


@dataclass(frozen=True)
class _Delivery:
    """From one job to one folder and its receipt."""

    client: EvoLinkClient
    job_id: str
    folder: ObjectStoragePath

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
        found = [(self.folder / file.uri.rsplit("/", 1)[-1], file) for file in receipt.files]  # it may have been moved
        files = [
            file.model_copy(update={"uri": str(path)})
            for path, file in found
            if holds(path, sha256=file.sha256, size=file.size)
        ]
        is_complete = len(files) == len(found) and not receipt.missing
        return receipt.model_copy(update={"files": files}), is_complete

    def fetch(
        self, given: Job | str, receipt: Receipt | None, limits: DownloadLimits, on_missing: OnMissing
    ) -> Receipt:
        """Fetch what is missing and write the receipt, or raise what is missing and why."""
        try:
            job = self.client.get_job(given) if isinstance(given, str) else given
        except EvoLinkNotFoundError:
            if on_missing == "deliver" and receipt is not None and receipt.files:
                return receipt
            raise
        job = _with_links(self.client, job)
        sweep_parts(self.folder)
        files = {file.index: file for file in receipt.files} if receipt else {}
        fetch = ResultFetch(self.client, job, self.folder, limits, files)
        fetch.run(lambda: self._save(fetch))
        written = self._save(fetch, is_over=True)
        if fetch.missing and (on_missing == "fail" or not fetch.files):
            raise _why_missing(fetch, self.folder)
        return written

    def _save(self, fetch: ResultFetch, *, is_over: bool = False) -> Receipt:
        """Write the receipt: after each of several files, and in the end if there is anything to write."""
        job, count = fetch.job, len(fetch.job.results)
        left = [index for index in range(count) if index not in fetch.files]
        missing = [MissingResult(index=index, error=_reason(fetch.missing.get(index))) for index in left]
        files = [fetch.files[index] for index in sorted(fetch.files)]
        info = JobInfo(created=job.created_at, credits=job.summary()["credits"])
        receipt = Receipt(job_id=job.job_id, job=info, files=files, missing=missing)
        if (is_over or missing) and (files or not missing):
            publish_json(receipt.to_json(), self.receipt_path)
            for file in files:
                forget(self.folder, job.job_id, file.index)
        return receipt


def _with_links(client: EvoLinkClient, job: Job) -> Job:
    if not job.status.is_over:
        raise EvoLinkJobTimeout(
            "the job is still running, so there is nothing to download yet; it is still billed. What to do: retry "
            "later",
            job_id=job.job_id,
        )
    job = with_results(client, job)
    if failure := job_error(job, Redactor.everything()):
        raise failure
    return job


def _reason(error: EvoLinkError | None) -> str:
    return _NOT_YET if error is None else sanitize(f"{type(error).__name__}: {error.message}", _MAX_REASON)


def _why_missing(fetch: ResultFetch, folder: ObjectStoragePath) -> EvoLinkError:
    """Return the error for results that could not be fetched: which of how many, why, and what the user can do."""
    errors, count = list(fetch.missing.items()), len(fetch.job.results)
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
