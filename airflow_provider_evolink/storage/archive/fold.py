"""
Folds the rows of finished days into one Parquet file each, and builds the index again from the manifests.

A row is deleted only after it was read back from the file. Of two folds at once one begins the day again.
"""

from __future__ import annotations

import contextlib
import io
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.arguments.layout import INDEX
from airflow_provider_evolink.storage.archive.index import Row, index_root, row_of, row_path, write_index
from airflow_provider_evolink.storage.archive.layout import MANIFEST, UNDATED
from airflow_provider_evolink.storage.archive.manifest import read_manifest
from airflow_provider_evolink.storage.archive.moving import delete
from airflow_provider_evolink.storage.archive.reader import (
    arrow_or_raise,
    day_path,
    days_of,
    folded_rows,
    list_folder,
    rows_folder,
    single_rows,
)
from airflow_provider_evolink.storage.archive.replacing import Changed, replaced
from airflow_provider_evolink.storage.object_store import public_uri, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.manifest import Manifest

_ROUNDS = 5  # of one day, while another fold writes it

log = logging.getLogger(__name__)


def fold(root: ObjectStoragePath, today: str | None = None) -> dict[str, int]:
    """
    Fold the rows of all days that are over.

    :param root: Root of the archive.
    :param today: The first day that is not folded; by default today, UTC.
    :return: Rows folded, by day.
    :raises EvoLinkConfigError: pyarrow is not installed, or a folded day is damaged.
    """
    arrow_or_raise()
    first_open = today or datetime.now(UTC).strftime("%Y-%m-%d")
    waiting = [path.name for path in list_folder(rows_folder(root))]
    days = [day for day in sorted(waiting) if day == UNDATED or day < first_open]
    return {day: count for day in days if (count := fold_day(root, day))}


def fold_day(root: ObjectStoragePath, day: str) -> int:
    """
    Fold the rows of one day: into the file, read back, then deleted.

    :param root: Root of the archive.
    :param day: The day.
    :return: How many rows.
    """
    for _ in range(_ROUNDS):
        with contextlib.suppress(Changed):
            return _fold_once(root, day)
    log.warning("The rows of %s are left for the next fold: another one keeps changing them", day)
    return 0


def _fold_once(root: ObjectStoragePath, day: str) -> int:
    path = day_path(root, day)
    if not single_rows(root, day):
        return 0
    with replaced(path) as file:
        single = single_rows(root, day)  # listed once more: what another fold has deleted is in the file
        rows = {row.job_id: row for row in file.rows()} | {row.job_id: row for _, row in single}
        file.write(parquet_of(rows.values()))
    written = {row.job_id: row for row in folded_rows(root, day)}
    folded = [place for place, row in single if written.get(row.job_id) == row]
    for place in folded:
        if _is_still(place, written):  # one that was written anew meanwhile is for the next fold
            delete(place)
    return len(folded)


def _is_still(place: ObjectStoragePath, written: Mapping[str, Row]) -> bool:
    value = read_json(place)
    job_id = value.get("job_id") if isinstance(value, dict) else None
    row = written.get(str(job_id))
    return row is not None and row.model_dump() == value


def parquet_of(rows: Any) -> bytes:
    """
    Return rows as a Parquet file. The columns are the same in every file, whatever is known of its jobs.

    :param rows: The rows.
    """
    arrow = arrow_or_raise()
    ordered = sorted(rows, key=lambda row: (row.created or "", row.job_id))
    table = arrow.Table.from_pylist([row.model_dump() for row in ordered], schema=_schema(arrow))
    out = io.BytesIO()
    arrow.parquet.write_table(table, out, compression="snappy")
    return out.getvalue()


def _schema(arrow: Any) -> Any:
    text, whole, number = arrow.string(), arrow.int64(), arrow.float64()
    file = arrow.struct(
        [
            *((name, text) for name in ("name", "sha256")),
            ("size", whole),
            ("content_type", text),
            *((name, whole) for name in ("width", "height")),
            *((name, number) for name in ("duration", "frame_rate")),
            ("audio", arrow.bool_()),
            ("poster", text),
        ]
    )
    others = {"files": arrow.list_(file), "credits": number}
    others |= dict.fromkeys(("version", "map_index", "try_number", "size"), whole)
    return arrow.schema([(name, others.get(name, text)) for name in Row.model_fields])


def manifest_paths(root: ObjectStoragePath) -> list[ObjectStoragePath]:
    """
    Return the places of all manifests of an archive.

    :param root: Root of the archive.
    """
    base = root.path.rstrip("/")
    root.fs.invalidate_cache()
    below = [key.removeprefix(base).strip("/") for key in sorted(root.fs.find(root.path))]
    return [root / name for name in below if name.endswith(f"/{MANIFEST}") and not name.startswith(f"{INDEX}/")]


def read_at(path: ObjectStoragePath) -> Manifest | None:
    """
    Read a manifest; ``None`` for what is none.

    :param path: The manifest.
    :raises EvoLinkConfigError: it is of a newer version.
    """
    return read_manifest(read_json(path), public_uri(path))


def rebuild(root: ObjectStoragePath) -> int:
    """
    Build the index again from the manifests: write every row, then remove what no manifest stands behind.

    Readers see every job all the time. Rows are single afterwards; the next fold puts them into files.

    :param root: Root of the archive.
    :return: How many jobs there are.
    """
    rows: dict[str, Row] = {}
    for path in manifest_paths(root):
        manifest = read_at(path)
        if manifest is None:
            continue
        row = row_of(manifest, path.parent.path.removeprefix(root.path.rstrip("/")).strip("/"))
        rows[row.job_id] = row
        write_index(root, row)
    for day in days_of(root):
        delete(day_path(root, day))
        for place, row in single_rows(root, day):
            wanted = rows.get(row.job_id, row)
            if place.path != row_path(root, wanted.day, wanted.job_id).path or _has_no_manifest(root, row):
                delete(place)
    _sweep_lookups(root)
    return len(rows)


def _has_no_manifest(root: ObjectStoragePath, row: Row) -> bool:
    return not isinstance(read_json(root / row.manifest), dict)


def _sweep_lookups(root: ObjectStoragePath) -> None:
    """Remove look-up objects whose job is no longer in the archive."""
    for part in list_folder(index_root(root) / "requests"):
        for path in list_folder(part):
            value = read_json(path)
            manifest = value.get("manifest") if isinstance(value, dict) else None
            if not isinstance(manifest, str) or not isinstance(read_json(root / manifest), dict):
                delete(path)
