"""Replaces the file of a folded day, unless another process has changed it since it was read."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.archive.reader import MAX_DAY, rows_in
from airflow_provider_evolink.storage.object_store import is_local, public_uri, publish_bytes, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.index import Row

PARQUET = "application/vnd.apache.parquet"


class Changed(Exception):
    """Another process has written the file meanwhile."""


class DayFile:
    """
    The file of a folded day, as it was read.

    :param path: The file.
    """

    def __init__(self, path: ObjectStoragePath) -> None:
        self._path = path
        self._tag: str | None = None
        self._content = self._read()

    def _read(self) -> bytes | None:
        try:
            if self._path.protocol in s3.PROTOCOLS:
                content, self._tag = s3.read_tagged(self._path, MAX_DAY)
                return content
            return read_bytes(self._path, MAX_DAY)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def rows(self) -> list[Row]:
        """Return the rows in it."""
        return rows_in(self._content, public_uri(self._path)) if self._content is not None else []

    def write(self, content: bytes) -> None:
        """
        Replace it.

        :param content: What it is to hold.
        :raises Changed: it is no longer as it was read. Stores other than folders and S3 replace it all the same.
        """
        if self._path.protocol in s3.PROTOCOLS:
            try:
                s3.replace(self._path, content, self._tag, PARQUET)
            except FileExistsError:
                raise Changed from None
            return
        publish_bytes(content, self._path, content_type=PARQUET)


@contextlib.contextmanager
def replaced(path: ObjectStoragePath) -> Iterator[DayFile]:
    """
    Provide the file of a day; in a folder no other process of this kind reads or writes it meanwhile.

    :param path: The file.
    """
    with _lock(path) if is_local(path) else contextlib.nullcontext():
        yield DayFile(path)


@contextlib.contextmanager
def _lock(path: ObjectStoragePath) -> Iterator[IO[bytes]]:
    folder = Path(path.parent.path)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
