"""What a download task takes, jobs or their IDs, and the files of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.catalog.parameter import is_list
from airflow_provider_evolink.api.http.patience import Patience
from airflow_provider_evolink.storage.archive.reusable import copy_reused
from airflow_provider_evolink.storage.many_jobs import for_each_job
from airflow_provider_evolink.storage.media_file import JobInfo
from airflow_provider_evolink.storage.results import fetch_media

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.files.transfer.fetching import DownloadLimits
    from airflow_provider_evolink.arguments.choices import OnMissing
    from airflow_provider_evolink.storage.media_file import DownloadedFile


def jobs_by_id(given: Any) -> dict[str, Any]:
    """
    Return jobs by their ID, each once.

    :param given: A job as a generate operator returns it, or its ID; or a list of them, which may be nested. Checked.
    """
    return {entry["job_id"] if isinstance(entry, Mapping) else entry: entry for entry in _entries(given)}


def _entries(given: Any) -> Iterator[Any]:
    if not is_list(given):
        yield given
        return
    for entry in given:
        yield from _entries(entry)


def fetch_jobs(
    client: EvoLinkClient,
    jobs: Mapping[str, Any],
    folder: ObjectStoragePath,
    *,
    limits: DownloadLimits,
    on_missing: OnMissing,
) -> list[DownloadedFile]:
    """
    Download the results of jobs into a folder, of several at a time. A second run changes nothing.

    :param client: Reads the jobs.
    :param jobs: By ID, see :func:`jobs_by_id`. The files of a reused result come from its archive.
    :param folder: Where the files go.
    :param limits: Limits of each download.
    :param on_missing: ``deliver``: hand on what is there, of each job and of all of them.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.DownloadedFile` for each file, in the order of the
        jobs.
    :raises EvoLinkError: results of some jobs could not be fetched; those of the others are there.
    """
    patience = Patience()

    def fetch(given: Any) -> list[DownloadedFile]:
        if isinstance(given, Mapping) and given.get("reused"):
            return copy_reused(given, folder)
        job_id = given["job_id"] if isinstance(given, Mapping) else given
        known = JobInfo.of(given)
        return fetch_media(client, job_id, folder, known, limits=limits, on_missing=on_missing, patience=patience)

    found = for_each_job(fetch, jobs, folder, done="fetched", needs_all=on_missing == "fail")
    return [file for files in found for file in files]
