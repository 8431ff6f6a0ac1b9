"""From a finished job to files: download each result link, verify it, publish it, say what it is."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.addresses import host_of, is_local_host
from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkJobTimeout,
    EvoLinkLinkExpired,
    EvoLinkMediaError,
)
from airflow_provider_evolink.api.files.download import download
from airflow_provider_evolink.api.files.probe import probe
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import JOB_ID, JobStatus
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.storage.object_store import publish, publish_json, read_json

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job

_PATIENCE = 30.0  # seconds for links to be there

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaFile:
    """
    One downloaded, verified result.

    :param uri: Where it is.
    :param index: Which result of the job, from 0.
    :param width: Pixels; as height and duration (seconds) of a clip known only with the extra ``media``.
    """

    uri: str
    sha256: str
    size: int
    content_type: str
    index: int
    job_id: str
    model: str | None
    width: int | None = None
    height: int | None = None
    duration: float | None = None


def job_id_of(job: Any) -> str:
    """
    Return the id in what a user passes as a job.

    :param job: The job as a generate operator returns it, or its id.
    :raises EvoLinkConfigError: neither of them.
    """
    job_id = job.get("job_id") if isinstance(job, dict) else job
    if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
        return job_id
    raise EvoLinkConfigError(
        "job must be the output of a generate operator (pass generate.output, not a template text) or a job id; got "
        f"{type(job).__name__}"
    )


def fetch_media(
    client: EvoLinkClient, job: Job | str, folder: ObjectStoragePath, request: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """
    Bring all results of a finished job into a folder. A second run changes nothing.

    Beside the files lies a receipt, ``<job id>.json``; with it a second run needs neither link nor job.

    :param client: Reads the job, and once more when a link has died.
    :param job: The job as just read, or its id.
    :param folder: Where the files go, named ``<job id>-<index>``.
    :param request: What was ordered, where it is known; for the manifest.
    :return: One entry per file; ``job`` in it holds what the manifest wants to know of the order.
    :raises EvoLinkMediaError: a link gave no usable file.
    :raises EvoLinkJobError: the job has no results, or none yet.
    """
    job_id = job if isinstance(job, str) else job.job_id
    receipt = folder / f"{job_id}.json"
    found = _received(read_json(receipt), job_id, folder)
    if found is None:
        found = _fetch_all(client, client.get_job(job_id) if isinstance(job, str) else job, folder)
        publish_json({"version": 1, "job_id": job_id, **found}, receipt)
    else:
        log.info("EvoLink job %s: %d file(s) are there already", job_id, len(found["files"]))
    return [{**file, "job": {**found["job"], "request": request}} for file in found["files"]]


def _fetch_all(client: EvoLinkClient, job: Job, folder: ObjectStoragePath) -> dict[str, Any]:
    """Download all results of a job and return what goes into the receipt."""
    if not job.status.is_over:
        raise EvoLinkJobTimeout(
            "the job still runs, so there is nothing to download yet. It stays billable; nothing was lost. What to do: "
            "retry later, with the same job",
            job_id=job.job_id,
        )
    job = with_results(client, job)
    if failure := job_error(job, Redactor.everything()):
        raise failure
    try:
        files = [asdict(_fetch(client, job, index, folder)) for index in range(len(job.results))]
    except EvoLinkMediaError as error:
        raise _advised(error) from None
    summary = job.summary()
    return {"job": {name: summary[name] for name in ("created", "credits")}, "files": files}


def with_results(client: EvoLinkClient, job: Job) -> Job:
    """
    Read a job again that is completed and has no links yet.

    :param client: Reads it.
    :param job: The job as just read.
    :raises EvoLinkNoResults: it stays without links.
    """
    if job.status is JobStatus.COMPLETED and not job.has_output:
        return client.wait(job.job_id, timeout=_PATIENCE, redactor=Redactor.everything())
    return job


def _fetch(client: EvoLinkClient, job: Job, index: int, folder: ObjectStoragePath) -> MediaFile:
    """Download one result; a dead link is asked for once more, and nothing is ever ordered again for it."""
    try:
        return _download(client, job, index, folder)
    except EvoLinkLinkExpired:
        log.info("EvoLink job %s: link %d has died, asking for a fresh one", job.job_id, index)
    fresh = with_results(client, client.get_job(job.job_id))
    if index >= len(fresh.results):
        raise job_error(fresh, Redactor.everything()) or EvoLinkMediaError(f"result {index} is gone", job_id=job.job_id)
    return _download(client, fresh, index, folder)


def _advised(error: EvoLinkMediaError) -> EvoLinkMediaError:
    """Return the same error with what the user can do."""
    advice = (
        "ask EvoLink's support, naming the job id"
        if error.permanent
        else "retry while the links live (24 hours): it asks for fresh links and orders nothing"
    )
    text = f"{error.message}. What to do: {advice}"
    return type(error)(text, code=error.code, status_code=error.status_code, job_id=error.job_id)


def _download(client: EvoLinkClient, job: Job, index: int, folder: ObjectStoragePath) -> MediaFile:
    local = is_local_host(host_of(client.settings.base_url))
    with download(
        job.results[index], expect=job.outputs[index]["kind"], allow_loopback=local, job_id=job.job_id
    ) as found:
        target = folder / f"{job.job_id}-{index}{found.extension}"
        with found.path.open("rb") as file:
            width, height, duration = probe(file, found.content_type)
        publish(found.path, target)
        log.info("EvoLink job %s: result %d, %d bytes of %s", job.job_id, index, found.size, found.content_type)
        return MediaFile(
            uri=str(target),
            sha256=found.sha256,
            size=found.size,
            content_type=found.content_type,
            index=index,
            job_id=job.job_id,
            model=job.model,
            width=width,
            height=height,
            duration=duration,
        )


def _received(receipt: Any, job_id: str, folder: ObjectStoragePath) -> dict[str, Any] | None:
    """Return what an earlier run brought, if its files are all still there in full."""
    try:
        files = [MediaFile(**row) for row in receipt["files"]]
        facts = {name: receipt["job"][name] for name in ("created", "credits")}
        paths = [folder / file.uri.rsplit("/", 1)[-1] for file in files]
    except (KeyError, TypeError, AttributeError):
        return None
    found = list(zip(paths, files, strict=True))
    whole = all(path.exists() and path.stat().st_size == file.size for path, file in found)
    if receipt.get("job_id") != job_id or not whole:
        return None
    return {"job": facts, "files": [asdict(replace(file, uri=str(path))) for path, file in found]}
