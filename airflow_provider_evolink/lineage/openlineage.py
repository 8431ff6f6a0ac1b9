"""OpenLineage: the media that a task read and wrote, and its jobs. Imported only where Airflow asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.media_fields import find_media
from airflow_provider_evolink.api.jobs.job_id import JOB_ID, job_of
from airflow_provider_evolink.api.redaction import public_link
from airflow_provider_evolink.storage.object_store import public_uri

try:
    from airflow.providers.common.compat.openlineage.facet import Dataset, RunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage
except ImportError:  # without the OpenLineage provider nobody asks
    Dataset = OperatorLineage = Any  # type: ignore[misc, assignment]
    RunFacet = object  # type: ignore[misc, assignment]

NAMESPACE = "evolink"  # of jobs
FACET = "evolink"


@attrs.define
class EvoLinkJobsFacet(RunFacet):
    """
    The jobs that a task was about.

    :param jobs: For each ``jobId``, ``model``, ``credits`` and ``requestHash``, the fingerprint of its request.
    """

    jobs: list[dict[str, Any]] = attrs.Factory(list)


def of_jobs(results: Iterable[Mapping[str, Any]]) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of generations: from input media and earlier jobs to the jobs, and the files in ``destination``.

    :param results: What a generate operator returned, or each entry of a batch.
    """
    done = [result for result in results if result.get("job_id")]
    inputs = [dataset for result in done for dataset in _inputs(result)]
    files = [dataset_of(file["uri"]) for result in done for file in result.get("files") or ()]
    return _lineage(inputs, [*(_job(result["job_id"]) for result in done), *files], done)


def of_download(files: Iterable[Mapping[str, Any]]) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of a download: from the job to the staged files.

    :param files: What the download returned.
    """
    entries = [{**file, **(file.get("job") or {}), "job_id": file["job_id"]} for file in files]
    return _lineage(
        [_job(entry["job_id"]) for entry in entries], [dataset_of(entry["uri"]) for entry in entries], entries
    )


def of_archive(staged: Iterable[Mapping[str, Any]], archived: Iterable[Mapping[str, Any]]) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of an archive task: from the staged files to those in the archive.

    :param staged: What the download returned.
    :param archived: What the archive returned.
    """
    lineage = of_download(staged)
    outputs = [dataset_of(file["uri"]) for file in archived]
    return OperatorLineage(inputs=lineage.outputs, outputs=_once(outputs), run_facets=lineage.run_facets)


def dataset_of(uri: str) -> Dataset:
    """
    Return a file as OpenLineage names it, without connection, login and signature.

    :param uri: URI of a file in object storage, or a link to it.
    """
    parts = urlsplit(public_uri(public_link(uri) if uri.lower().startswith(("http:", "https:")) else uri))
    if parts.scheme in ("", "file", "local"):
        return Dataset(namespace="file", name=parts.path)
    scheme = "s3" if parts.scheme == "s3a" else parts.scheme
    return Dataset(namespace=f"{scheme}://{parts.netloc}", name=parts.path.lstrip("/"))


def _lineage(
    inputs: list[Dataset], outputs: list[Dataset], jobs: Iterable[Mapping[str, Any]]
) -> OperatorLineage[Any, Any]:
    by_id = {job["job_id"]: _summary(job) for job in jobs}
    return OperatorLineage(
        inputs=_once(inputs), outputs=_once(outputs), run_facets={FACET: EvoLinkJobsFacet(list(by_id.values()))}
    )


def _summary(job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "jobId": job["job_id"],
        "model": job.get("model"),
        "credits": job.get("credits"),
        "requestHash": job.get("fingerprint"),
    }


def _job(job_id: str) -> Dataset:
    return Dataset(namespace=NAMESPACE, name=job_id)


def _inputs(result: Mapping[str, Any]) -> Iterator[Dataset]:
    request, spec = result.get("request"), catalog.find_spec(result.get("model") or "")
    if not isinstance(request, Mapping) or spec is None:
        return
    for _, value in find_media(spec.parameters, request):
        if isinstance(value, str) and (job_id := job_of(value)):
            yield _job(job_id)
        elif isinstance(value, str) and ("://" in value or value.startswith("/")):
            yield dataset_of(value)
    for name, parameter in spec.parameters.items():
        value = request.get(name)
        if parameter.from_job and isinstance(value, str) and JOB_ID.fullmatch(value):
            yield _job(value)


def _once(datasets: Iterable[Dataset]) -> list[Dataset]:
    return list({(dataset.namespace, dataset.name): dataset for dataset in datasets}.values())
