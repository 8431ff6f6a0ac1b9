"""What becomes of files in time: staging that is archived goes, the archive is verified, a job is forgotten."""

from __future__ import annotations

import hashlib
import logging
import random
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import ValidationError

from airflow_provider_evolink.storage.archive.fold import manifest_paths, parquet_of, read_at
from airflow_provider_evolink.storage.archive.index import find_request, lookup_path, row_path
from airflow_provider_evolink.storage.archive.known import mark_forgotten
from airflow_provider_evolink.storage.archive.layout import MANIFEST, unique_name
from airflow_provider_evolink.storage.archive.moving import delete, remove_staged
from airflow_provider_evolink.storage.archive.reader import day_path, days_of, rows_of
from airflow_provider_evolink.storage.archive.replacing import Changed, replaced
from airflow_provider_evolink.storage.media_file import Receipt
from airflow_provider_evolink.storage.object_store import CHUNK, below, holds, open_folder, open_to_read, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.index import Row
    from airflow_provider_evolink.storage.archive.manifest import Manifest, ManifestFile

log = logging.getLogger(__name__)


def verify(root: ObjectStoragePath, sample: int | None = None) -> tuple[int, list[dict[str, str]]]:
    """
    Read archived files again and compare their checksums with the manifests.

    :param root: Root of the archive.
    :param sample: How many jobs, at random; ``None``: all.
    :return: How many files were read, and what is wrong: job, file and ``missing`` or ``changed``.
    """
    paths = manifest_paths(root)
    chosen = paths if sample is None or sample >= len(paths) else random.sample(paths, sample)
    count, wrong = 0, []
    for path in chosen:
        manifest = read_at(path)
        if manifest is None:
            wrong.append({"job_id": path.parent.name, "name": MANIFEST, "problem": "changed"})
            continue
        for file in manifest.files:
            count += 1
            if problem := _problem(path.parent / file.name, file):
                wrong.append({"job_id": manifest.job_id, "name": file.name, "problem": problem})
    return count, wrong


def _problem(path: ObjectStoragePath, file: ManifestFile) -> str | None:
    digest, left = hashlib.sha256(), file.size + 1
    try:
        with open_to_read(path) as source:
            while left > 0 and (chunk := source.read(min(CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
    except (FileNotFoundError, IsADirectoryError):
        return "missing"
    return None if digest.hexdigest() == file.sha256 else "changed"


def clean(staging: ObjectStoragePath, root: ObjectStoragePath, older_than: timedelta) -> list[str]:
    """
    Remove staged files that are verified in the archive. Their receipts stay, and name where they went.

    :param staging: Folder of downloads, with all folders in it.
    :param root: Root of the archive.
    :param older_than: Only files that were staged longer ago.
    :return: What was removed.
    """
    archived = {row.job_id: row for row in rows_of(root, days_of(root))}
    limit = datetime.now(UTC) - older_than
    removed = []
    for receipt, folder in _receipts(staging, archived):
        row = archived[receipt.job_id]
        names = {file.sha256: file.name for file in row.files}
        for file in receipt.files:
            staged = folder / file.uri.rsplit("/", 1)[-1]
            if file.sha256 in names and _is_older(staged, limit):
                here = file.model_copy(update={"uri": str(staged), "job": receipt.job})
                if remove_staged(here, root / row.folder / names[file.sha256]):
                    removed.append(str(staged))
    return removed


def _receipts(staging: ObjectStoragePath, archived: dict[str, Row]) -> Iterator[tuple[Receipt, ObjectStoragePath]]:
    base = staging.path.rstrip("/")
    for key in sorted(staging.fs.find(staging.path)):
        path = staging / key.removeprefix(base).strip("/")
        if path.suffix != ".json" or path.name.removesuffix(".json") not in archived:
            continue
        try:
            receipt = Receipt.model_validate(read_json(path))
        except ValidationError:
            continue
        if receipt.job_id in archived:
            yield receipt, path.parent


def _is_older(path: ObjectStoragePath, limit: datetime) -> bool:
    try:
        staged: datetime = path.fs.modified(path.path)
    except FileNotFoundError:
        return False
    return staged.astimezone(UTC) <= limit


def forget(root: ObjectStoragePath, job_id: str, staging_conn_id: str | None = None) -> list[str]:
    """
    Remove a job from the archive: look-up object, staged copies, files, posters, manifest and row, in this order.

    The record in the ledger stays, so that nothing is paid again, and a mark without a name keeps a recovery from
    archiving the job again. Killed in the middle, the next call completes it.

    :param root: Root of the archive.
    :param job_id: EvoLink's ID of the job.
    :param staging_conn_id: Connection for the object store of the staged copies, if required.
    :return: What was removed; empty: the archive does not know the job.
    """
    removed: list[str] = []
    name = unique_name(job_id)
    mark_forgotten(root, job_id)
    rows = [row for row in rows_of(root, days_of(root)) if row.job_id == job_id]
    places = [path for path in manifest_paths(root) if name in str(path.path)]
    found = [(path, manifest) for path in places if (manifest := read_at(path)) and manifest.job_id == job_id]
    fingerprints = {row.fingerprint for row in rows} | {manifest.fingerprint for _, manifest in found}
    for fingerprint in fingerprints - {None}:
        lookup = find_request(root, str(fingerprint))
        if lookup is not None and lookup.job_id == job_id:
            _remove(lookup_path(root, str(fingerprint)), removed)
    for path, manifest in found:
        _forget_staged(manifest, staging_conn_id, removed)
        _forget_folder(path.parent, [MANIFEST], manifest, removed)
    for row in rows:
        _forget_row(root, row, removed)
    return removed


def _forget_staged(manifest: Manifest, conn_id: str | None, removed: list[str]) -> None:
    """Remove staged copies and their receipts. A manifest can be edited, so nothing else is deleted for it."""
    for file in manifest.files:
        if not file.staged_from:
            continue
        try:
            staged = open_folder(file.staged_from, conn_id, what="staged file")
            receipt = staged.parent / f"{manifest.job_id}.json"
            if holds(staged, sha256=file.sha256, size=file.size):
                _remove(staged, removed)
            if _is_receipt(receipt, manifest.job_id):
                _remove(receipt, removed)
        except Exception as error:  # noqa: BLE001 - staging may be out of reach from here, and the archive must go on
            log.warning("A staged copy of %s was not removed (%s)", file.name, type(error).__name__)


def _is_receipt(path: ObjectStoragePath, job_id: str) -> bool:
    try:
        return Receipt.model_validate(read_json(path)).job_id == job_id
    except ValidationError:
        return False


def _forget_folder(folder: ObjectStoragePath, last: list[str], manifest: Manifest, removed: list[str]) -> None:
    names = [name for file in manifest.files for name in (file.name, file.poster) if name]
    for name in [*names, *last]:
        _remove(folder / name, removed)


def _forget_row(root: ObjectStoragePath, row: Row, removed: list[str]) -> None:
    names = [name for file in row.files for name in (file.name, file.poster) if name]
    for path in [PurePosixPath(row.folder, name) for name in names]:
        if ".." not in path.parts and not path.is_absolute():  # a row can be edited
            _remove(below(root, *path.parts), removed)
    if day_path(root, row.day).exists():
        _unfold(root, row, removed)
    _remove(row_path(root, row.day, row.job_id), removed)


def _unfold(root: ObjectStoragePath, row: Row, removed: list[str]) -> None:
    """Write a folded day again, without a row."""
    path = day_path(root, row.day)
    while True:
        with replaced(path) as file:
            rows = file.rows()
            kept = [one for one in rows if one.job_id != row.job_id]
            if len(kept) == len(rows):
                return
            try:
                file.write(parquet_of(kept))
            except Changed:
                continue
        removed.append(f"row in {path}")
        return


def _remove(path: ObjectStoragePath, removed: list[str]) -> None:
    if delete(path):
        removed.append(str(path))
