"""Files of the user's that become inputs: what they are, told by their content, and a copy that is proven the same."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_evolink.api.catalog.media_limits import MAX_UPLOAD, MB, InputFile
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkInputError, EvoLinkMediaError
from airflow_provider_evolink.api.files.containers import HEAD_SIZE, check_media, recognize
from airflow_provider_evolink.storage.object_store import CHUNK, open_folder, spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)


class InvalidInputFile(Exception):
    """
    There is no such file, or nobody would take it.

    :param rule: What is wrong, in words.
    :param given: What there is instead.
    """

    def __init__(self, rule: str, given: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.given = given


class InputSource:
    """
    A file in object storage or on this machine.

    :param uri: ``s3://``, ``gs://``, ``file://`` and so on; a plain path means ``file``.
    :param conn_id: Airflow connection of the store.
    """

    def __init__(self, uri: str, conn_id: str | None = None) -> None:
        self._path: ObjectStoragePath = open_folder(uri, conn_id, what="input file")

    def checksum(self) -> str:
        """Read the file and return its SHA-256."""
        with self._open() as file:
            return _sum(file)[0]

    def inspect(self, *, measure: bool) -> InputFile:
        """
        Read the file and say what it is. Only media passes: nothing else of a worker's disk is ever sent anywhere.

        :param measure: Look for pixels and seconds as well, where the extra ``media`` is there to tell.
        :raises InvalidInputFile: it is missing, empty, too large, damaged or no media.
        :raises EvoLinkInputError: the store does not answer.
        """
        with self._open() as file:
            digest, size = _sum(file)
            _check_size(size)
            file.seek(0)
            if size and recognize(file.read(HEAD_SIZE)) is None:
                raise InvalidInputFile("is no image, video or audio of a known type")
            try:
                container = check_media(file, size, None)
            except EvoLinkMediaError as error:
                raise InvalidInputFile(error.message) from None
            sides = _measured(file, container.content_type) if measure else (None, None, None)
        return InputFile(digest, size, container.content_type, container.extension, *sides)

    @contextmanager
    def copy(self, file: InputFile) -> Iterator[Path]:
        """
        Lend a copy on this machine, which is deleted on every exit.

        :param file: What the file was when it was inspected.
        :raises EvoLinkInputError: it is another one by now.
        """
        with spool() as local:
            with self._open() as source, local.open("wb") as out:
                digest, _ = _sum(source, out)
            if digest != file.sha256:
                raise EvoLinkInputError("an input file was changed while it was read; a retry reads it again")
            yield local

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            _check_size(self._path.stat().st_size)
            with self._path.open("rb") as file:  # type: ignore[no-untyped-call]
                yield file
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise InvalidInputFile("there is no such file") from None
        except (InvalidInputFile, EvoLinkError):
            raise
        except Exception as error:
            raise EvoLinkInputError(
                f"an input file cannot be read ({type(error).__name__}), so nothing is ordered. A retry reads it again"
            ) from error


def _check_size(size: int) -> None:
    if size > MAX_UPLOAD:
        raise InvalidInputFile(f"can be uploaded up to {MAX_UPLOAD // MB} MB", f"{size / MB:.1f} MB")


def _sum(file: BinaryIO, out: BinaryIO | None = None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while size <= MAX_UPLOAD and (chunk := file.read(CHUNK)):
        size += len(chunk)
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest(), size


def _measured(file: BinaryIO, content_type: str) -> tuple[int | None, int | None, float | None]:
    from airflow_provider_evolink.api.files.probe import probe

    return probe(file, content_type)
