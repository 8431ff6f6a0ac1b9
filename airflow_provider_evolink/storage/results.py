"""From a finished job to files in a folder: download each result, verify it and publish it, with a receipt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkJobTimeout,
    EvoLinkLinkExpired,
    EvoLinkMediaError,
)
from airflow_provider_evolink.api.files.download import download
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import JOB_ID, JobStatus
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.storage.media_file import JobInfo, MediaFile, Receipt
from airflow_provider_evolink.storage.object_store import publish, publish_json, read_json

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job

_RESULTS_TIMEOUT_SECONDS = 30.0  # for a completed job to get its links

log = logging.getLogger(__name__)


def job_id_of(job: Any) -> str:
    """
    Return the ID of what a user passes as a job.

    :param job: The job as a generate operator returns it, or its ID.
    :raises EvoLinkConfigError: it is neither of them.
    """
    job_id = job.get("job_id") if isinstance(job, dict) else job
    if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
        return job_id
    raise EvoLinkConfigError(
        "job must be the output of a generate operator (pass generate.output, not a template string) or a job ID, got "
        f"{type(job).__name__}"
    )


def fetch_media(
    client: EvoLinkClient, job: Job | str, folder: ObjectStoragePath, request: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """
    Download all results of a finished job into a folder. A second run changes nothing.

    Beside the files it writes a receipt, ``<job id>.json``; with it a second run needs neither links nor the job.

    :param client: Reads the job, and again if a link has expired.
    :param job: The job as just read, or its ID.
    :param folder: Where the files go, named ``<job id>-<index>``.
    :param request: What was submitted, if it is known; for the manifest.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.MediaFile` as JSON for each file.
    :raises EvoLinkMediaError: a link gave no usable file.
    :raises EvoLinkJobError: the job has no results, or none yet.
    """
    job_id = job if isinstance(job, str) else job.job_id
    path = folder / f"{job_id}.json"
    receipt = _read_receipt(path, job_id, folder)
    if receipt is None:
        receipt = _fetch_all(client, client.get_job(job_id) if isinstance(job, str) else job, folder)
        publish_json(receipt.to_json(), path)
    else:
        log.info("EvoLink job %s: %d file(s) already downloaded", job_id, len(receipt.files))
    info = receipt.job.model_copy(update={"request": request})
    return [file.downloaded(info) for file in receipt.files]


def _fetch_all(client: EvoLinkClient, job: Job, folder: ObjectStoragePath) -> Receipt:
    if not job.status.is_over:
        raise EvoLinkJobTimeout(
            "the job is still running, so there is nothing to download yet; it is still billed. What to do: retry "
            "later",
            job_id=job.job_id,
        )
    job = with_results(client, job)
    if failure := job_error(job, Redactor.everything()):
        raise failure
    try:
        files = [_fetch(client, job, index, folder) for index in range(len(job.results))]
    except EvoLinkMediaError as error:
        raise _with_advice(error) from None
    info = JobInfo(created=job.created_at, credits=job.summary()["credits"])
    return Receipt(job_id=job.job_id, job=info, files=files)


def with_results(client: EvoLinkClient, job: Job) -> Job:
    """
    Return a job with its links: one that is completed without links is read again.

    :param client: Reads it.
    :param job: The job as just read.
    :raises EvoLinkNoResults: it still has no links.
    """
    if job.status is JobStatus.COMPLETED and not job.has_output:
        return client.wait(job.job_id, timeout=_RESULTS_TIMEOUT_SECONDS, redactor=Redactor.everything())
    return job


def _fetch(client: EvoLinkClient, job: Job, index: int, folder: ObjectStoragePath) -> MediaFile:
    """Download one result. For an expired link the job is read once more; nothing is ever submitted again for it."""
    try:
        return _download(client, job, index, folder)
    except EvoLinkLinkExpired:
        log.info("EvoLink job %s: link %d has expired, reading the job for a fresh one", job.job_id, index)
    fresh = with_results(client, client.get_job(job.job_id))
    if index >= len(fresh.results):
        failure = job_error(fresh, Redactor.everything())
        raise failure or EvoLinkMediaError(f"result {index} no longer exists", job_id=job.job_id)
    return _download(client, fresh, index, folder)


def _with_advice(error: EvoLinkMediaError) -> EvoLinkMediaError:
    """Return the same error with what the user can do."""
    advice = (
        "contact EvoLink support with the job ID"
        if error.permanent
        else "retry within 24 hours; a retry reads fresh links and submits nothing"
    )
    text = f"{error.message}. What to do: {advice}"
    return type(error)(text, code=error.code, status_code=error.status_code, job_id=error.job_id)


def _download(client: EvoLinkClient, job: Job, index: int, folder: ObjectStoragePath) -> MediaFile:
    with download(
        job.results[index],
        expect=job.outputs[index]["kind"],
        allow_loopback=client.settings.is_local,
        job_id=job.job_id,
    ) as found:
        info = found.info
        target = folder / f"{job.job_id}-{index}{info.extension}"
        publish(found.path, target)
        log.info("EvoLink job %s: result %d, %d bytes of %s", job.job_id, index, found.size, info.content_type)
        return MediaFile(
            uri=str(target),
            sha256=found.sha256,
            size=found.size,
            content_type=info.content_type,
            verified=info.verified,
            index=index,
            job_id=job.job_id,
            model=job.model,
            width=info.width,
            height=info.height,
            duration=info.seconds,
        )


def _read_receipt(path: ObjectStoragePath, job_id: str, folder: ObjectStoragePath) -> Receipt | None:
    """Return the receipt of an earlier run if all of its files are in the folder in full, which may have been moved."""
    try:
        receipt = Receipt.model_validate(read_json(path))
    except ValidationError:
        return None
    found = [(folder / file.uri.rsplit("/", 1)[-1], file) for file in receipt.files]
    is_complete = all(path.exists() and path.stat().st_size == file.size for path, file in found)
    if receipt.job_id != job_id or not is_complete:
        return None
    return receipt.model_copy(update={"files": [file.model_copy(update={"uri": str(path)}) for path, file in found]})
