"""Reads the index of an archive: folded days and single rows, each job once."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.storage.archive.index import Lookup, Row, find_request, index_root, read_row
from airflow_provider_evolink.storage.archive.layout import UNDATED, day_of
from airflow_provider_evolink.storage.object_store import MAX_JSON, is_local, open_folder, public_uri, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MAX_DAY = 1024**3  # bytes of a folded day
_PARALLEL = 16  # reads of an object store at a time


class EvoLinkArchive:
    """
    The archived jobs, as the index knows them. Folded days need the extra ``index`` (pyarrow).

    :param path: Root of the archive, as the archive operator has it.
    :param conn_id: Connection for the object store, if required.
    :raises EvoLinkConfigError: it cannot be opened.
    """

    def __init__(self, path: str, conn_id: str | None = None) -> None:
        self.root = open_folder(path, conn_id, what="archive")

    def find(
        self,
        *,
        model: str | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
        dag_id: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """
        Yield the archived jobs, each once, in the order of their creation.

        :param model: EvoLink's name of the model.
        :param since: Created at this moment or later: a date, a time with zone, or either as ISO 8601.
        :param until: Created before this moment.
        :param dag_id: Archived by this DAG.
        :return: Plain dicts, as :class:`~airflow_provider_evolink.storage.archive.index.Row` describes them.
        """
        first, last = _moment(since), _moment(until)
        days = [day for day in days_of(self.root) if _may_hold(day, first, last)]
        for row in sorted(rows_of(self.root, days), key=lambda row: (row.created or "", row.job_id)):
            if model in (None, row.model) and dag_id in (None, row.dag_id) and _is_within(row, first, last):
                yield row.model_dump()

    def job(self, job_id: str) -> dict[str, Any] | None:
        """
        Return one archived job.

        :param job_id: EvoLink's ID of the job.
        """
        return next((row for row in self.find() if row["job_id"] == job_id), None)

    def request(self, fingerprint: str) -> Lookup | None:
        """
        Return the newest archived job of a request: one read, however large the archive is.

        :param fingerprint: Hash of the request, as the result of a generate operator has it.
        """
        return find_request(self.root, fingerprint)


def _moment(value: date | str | None) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
    except ValueError:
        raise EvoLinkConfigError(f"{value!r} is no date or time: write it as 2026-11-30 or 2026-11-30T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _may_hold(day: str, first: datetime | None, last: datetime | None) -> bool:
    if day == UNDATED:
        return first is None and last is None
    return (first is None or day >= day_of(first)) and (last is None or day <= day_of(last))


def _is_within(row: Row, first: datetime | None, last: datetime | None) -> bool:
    created = _moment(row.created)
    if created is None:
        return first is None and last is None
    return (first is None or created >= first) and (last is None or created < last)


def rows_folder(root: ObjectStoragePath) -> ObjectStoragePath:
    """
    Return the folder of the rows that are not folded.

    :param root: Root of the archive.
    """
    return index_root(root) / "rows"


def day_path(root: ObjectStoragePath, day: str) -> ObjectStoragePath:
    """
    Return the file of a folded day.

    :param root: Root of the archive.
    :param day: The day.
    """
    return index_root(root) / "days" / f"{day}.parquet"


def days_of(root: ObjectStoragePath) -> list[str]:
    """
    Return the days of which the index holds anything.

    :param root: Root of the archive.
    """
    folded = {path.stem for path in list_folder(index_root(root) / "days") if path.suffix == ".parquet"}
    return sorted(folded | {path.name for path in list_folder(rows_folder(root))})


def list_folder(folder: ObjectStoragePath) -> list[ObjectStoragePath]:
    """
    Return what is directly in a folder, hidden files apart; nothing if there is none.

    :param folder: The folder.
    """
    try:
        if not is_local(folder):
            folder.fs.invalidate_cache(folder.path)
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def rows_of(root: ObjectStoragePath, days: Iterable[str]) -> list[Row]:
    """
    Return the rows of some days, each job once. A single row counts before a folded one: it is newer.

    :param root: Root of the archive.
    :param days: The days.
    """
    found: dict[str, Row] = {}
    for day in days:  # the single rows last, but listed first: one that is folded meanwhile is then in the file
        single = [row for _, row in single_rows(root, day)]
        found.update({row.job_id: row for row in [*folded_rows(root, day), *single]})
    return list(found.values())


def single_rows(root: ObjectStoragePath, day: str) -> list[tuple[ObjectStoragePath, Row]]:
    """
    Return the rows of a day that are not folded, with their places.

    :param root: Root of the archive.
    :param day: The day.
    """
    if is_local(root):
        return _local_rows(rows_folder(root) / day)
    paths = [path for path in list_folder(rows_folder(root) / day) if path.suffix == ".json"]
    return [(path, row) for path, row in zip(paths, _read_many(paths), strict=True) if row is not None]


def _local_rows(folder: ObjectStoragePath) -> list[tuple[ObjectStoragePath, Row]]:
    """Return the rows of a folder without the cost of a path object for each of 10,000 files."""
    try:
        names = [name for name in os.listdir(folder.path) if name.endswith(".json") and not name.startswith(".")]  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    read = [(name, _parsed(Path(folder.path, name).read_bytes)) for name in names]
    return [(folder / name, row) for name, row in read if row is not None]


def _read_many(paths: Sequence[ObjectStoragePath]) -> list[Row | None]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(_read_row, paths))


def _read_row(path: ObjectStoragePath) -> Row | None:
    return _parsed(partial(read_bytes, path, MAX_JSON))


def _parsed(read: Callable[[], bytes]) -> Row | None:
    try:
        return read_row(json.loads(read()))
    except (FileNotFoundError, ValueError, RecursionError):  # folded meanwhile, or no row of ours
        return None


def folded_rows(root: ObjectStoragePath, day: str) -> list[Row]:
    """
    Return the rows of a folded day.

    :param root: Root of the archive.
    :param day: The day.
    :raises EvoLinkConfigError: pyarrow is not installed, or the file is damaged.
    """
    path = day_path(root, day)
    try:
        content = read_bytes(path, MAX_DAY)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return rows_in(content, public_uri(path))


def rows_in(content: bytes, name: str) -> list[Row]:
    """
    Return the rows in the content of a Parquet file.

    :param content: The file.
    :param name: Its name in errors.
    :raises EvoLinkConfigError: pyarrow is not installed, or the file is damaged.
    """
    arrow = arrow_or_raise()
    try:
        lines = arrow.parquet.read_table(arrow.BufferReader(content)).to_pylist()
        return [Row.model_validate(line) for line in lines]
    except (arrow.ArrowException, ValueError, OSError) as error:
        raise EvoLinkConfigError(
            f"{name} is no folded day of the index ({type(error).__name__}). What to do: `evolink archive rebuild` "
            "makes the index again from the manifests"
        ) from None


def arrow_or_raise() -> Any:
    """
    Return pyarrow.

    :raises EvoLinkConfigError: it is not installed.
    """
    try:
        arrow = import_module("pyarrow")
        import_module("pyarrow.parquet")
    except ImportError:
        raise EvoLinkConfigError(
            "folded days of the index are Parquet, and pyarrow is not installed here. What to do: install "
            "airflow-provider-evolink[index]"
        ) from None
    return arrow
