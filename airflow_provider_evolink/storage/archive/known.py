"""Which jobs an archive knows already: by its index and, for a job whose place is known, by the manifest there."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.storage.archive.index import index_root, read_row, row_path
from airflow_provider_evolink.storage.archive.layout import MANIFEST, day_of, job_folder
from airflow_provider_evolink.storage.archive.manifest import read_manifest
from airflow_provider_evolink.storage.archive.reader import days_of, folded_rows, rows_of
from airflow_provider_evolink.storage.object_store import below, is_local, public_uri, publish_json, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.index import Row
    from airflow_provider_evolink.storage.archive.manifest import Manifest

_PARALLEL = 16  # reads of an object store at a time
_SKEW = timedelta(hours=1)  # between an order by our clock and the creation of its job by EvoLink's

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """
    A job that the archive knows.

    :param path: Its manifest.
    :param manifest: What that says; ``None``: a newer release has written it.
    """

    path: ObjectStoragePath
    manifest: Manifest | None

    @property
    def is_whole(self) -> bool:
        """Whether no result of the job is missing."""
        return self.manifest is None or not self.manifest.missing


def find_known(root: ObjectStoragePath, ordered: dict[str, float]) -> dict[str, Known]:
    """
    Return the jobs that the index knows and whose manifests are there.

    :param root: Root of the archive.
    :param ordered: About when each job was created, in epoch seconds.
    """
    folded = cache(partial(_folded, root))

    def find(job_id: str) -> Known | None:
        for day in _days(ordered[job_id]):
            row = read_row(read_json(row_path(root, day, job_id)))
            if row is not None and (known := _of_row(root, row, job_id)):
                return known
        return None

    found = each(root, find, ordered)
    for job_id in ordered.keys() - found.keys():
        rows = [row for day in _days(ordered[job_id]) if (row := folded(day).get(job_id))]
        if known := next((known for row in rows if (known := _of_row(root, row, job_id))), None):
            found[job_id] = known
    return found


def find_anywhere(root: ObjectStoragePath, job_ids: Iterable[str]) -> dict[str, Known]:
    """
    Return the jobs that the index knows, by reading all of it: for jobs of which nobody knows when they were created.

    :param root: Root of the archive.
    :param job_ids: EvoLink's IDs.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    rows = {row.job_id: row for row in rows_of(root, days_of(root)) if row.job_id in wanted}
    return each(root, lambda job_id: _of_row(root, rows[job_id], job_id), rows)


def find_at_place(
    root: ObjectStoragePath, layout: str, model: str | None, created: datetime | None, job_id: str
) -> Known | None:
    """
    Return a job whose manifest is where this layout has it, whether or not the index knows it.

    :param root: Root of the archive.
    :param layout: The folder of a job.
    :param model: EvoLink's name of the model.
    :param created: When EvoLink created the job.
    :param job_id: EvoLink's ID of the job.
    """
    return known_at(below(root, *job_folder(layout, model, created, job_id), MANIFEST), job_id)


def known_at(path: ObjectStoragePath, job_id: str) -> Known | None:
    """
    Return a job if its manifest is there.

    :param path: Where the manifest is to be.
    :param job_id: EvoLink's ID of the job.
    """
    value = read_json(path)
    try:
        manifest = read_manifest(value, public_uri(path), job_id)
    except EvoLinkConfigError:  # of a newer release, or of another job
        return Known(path, None) if isinstance(value, dict) and value.get("job_id") == job_id else None
    return Known(path, manifest) if manifest is not None and manifest.files else None


def each(root: ObjectStoragePath, find: Callable[[str], Known | None], job_ids: Iterable[str]) -> dict[str, Known]:
    """
    Return what is found for each job: in an object store for several at a time.

    :param root: Root of the archive.
    :param find: Finds one.
    :param job_ids: EvoLink's IDs.
    """
    names = list(job_ids)
    if is_local(root) or len(names) < 2:
        found = [find(name) for name in names]
    else:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            found = list(pool.map(find, names))
    return {name: known for name, known in zip(names, found, strict=True) if known is not None}


def _days(ordered: float) -> list[str]:
    moment = datetime.fromtimestamp(ordered, UTC)
    return sorted({day_of(moment - _SKEW), day_of(moment), day_of(moment + _SKEW)})


def _folded(root: ObjectStoragePath, day: str) -> dict[str, Row]:
    try:
        return {row.job_id: row for row in folded_rows(root, day)}
    except EvoLinkConfigError as error:  # the manifests are still where they are
        log.warning("A folded day of the index cannot be read: %s", error.message)
        return {}


def _of_row(root: ObjectStoragePath, row: Row, job_id: str) -> Known | None:
    names = row.manifest.split("/")
    if row.job_id != job_id or {"", ".", ".."} & set(names):  # anybody who may write to the archive can edit a row
        return None
    return known_at(below(root, *names), job_id)


def mark_forgotten(root: ObjectStoragePath, job_id: str) -> None:
    """
    Note that a person asked for the deletion of a job. The mark holds no name, and the ID only as a checksum.

    :param root: Root of the archive.
    :param job_id: EvoLink's ID of the job.
    """
    path = _mark(root, job_id)
    if read_json(path) is None:
        publish_json({"forgotten": datetime.now(UTC).isoformat(timespec="seconds")}, path)


def is_forgotten(root: ObjectStoragePath, job_id: str) -> bool:
    """
    Return whether a person asked for the deletion of a job.

    :param root: Root of the archive.
    :param job_id: EvoLink's ID of the job.
    """
    return read_json(_mark(root, job_id)) is not None


def _mark(root: ObjectStoragePath, job_id: str) -> ObjectStoragePath:
    name = hashlib.sha256(job_id.encode()).hexdigest()[:40]
    return below(index_root(root), "forgotten", f"{name}.json")
