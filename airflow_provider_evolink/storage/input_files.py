"""Local files that become inputs: their type, size and checksum by content, and a verified copy."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_evolink.api.catalog.media_limits import MAX_UPLOAD, MB, InputFile
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkInputError, EvoLinkMediaError
from airflow_provider_evolink.api.files.inspection import inspect_media
from airflow_provider_evolink.storage.object_store import CHUNK, open_folder, open_to_read, spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)


class InvalidInputFile(Exception):
    """
    The file does not exist, or EvoLink would not accept it.

    :param rule: What is wrong, in words.
    :param given: The value that is wrong.
    """

    def __init__(self, rule: str, given: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.given = given


class InputSource:
    """
    A file in object storage or on this machine.

    :param uri: ``s3://``, ``gs://``, ``file://`` and so on; a plain path means ``file``.
    :param conn_id: Connection for the object store, if required.
    """

    def __init__(self, uri: str, conn_id: str | None = None) -> None:
        self._path: ObjectStoragePath = open_folder(uri, conn_id, what="input file")

    def checksum(self) -> str:
        """Read the file and return its SHA-256."""
        with self._open() as file:
            return _checksum(file)[0]

    def inspect(self, *, measure: bool) -> InputFile:
        """
        Read and describe the file. Only media is accepted: nothing else on a worker's disk is ever sent anywhere.

        :param measure: Return dimensions and duration as well.
        :raises InvalidInputFile: it is missing, empty, too large, damaged or not media.
        :raises EvoLinkInputError: the object store does not respond.
        """
        with self._open() as file:
            digest, size = _checksum(file)
            _check_size(size)
            try:
                info = inspect_media(file, size)
            except EvoLinkMediaError as error:
                raise InvalidInputFile(error.message) from None
        dimensions = (info.width, info.height, info.seconds) if measure else (None, None, None)
        return InputFile(digest, size, info.content_type, info.extension, *dimensions)

    @contextmanager
    def copy(self, file: InputFile) -> Iterator[Path]:
        """
        Provide a local copy, which is deleted on every exit.

        :param file: The file as it was inspected.
        :raises EvoLinkInputError: its content has changed since.
        """
        with spool() as local:
            with self._open() as source, local.open("wb") as out:
                digest, _ = _checksum(source, out)
            if digest != file.sha256:
                raise EvoLinkInputError("an input file changed while it was being read; a retry reads it again")
            yield local

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            _check_size(self._path.stat().st_size)
            with open_to_read(self._path) as file:
                yield file
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise InvalidInputFile("the file does not exist") from None
        except PermissionError:
            raise InvalidInputFile("the file may not be read by this task, or does not exist") from None
        except (InvalidInputFile, EvoLinkError):
            raise
        except Exception as error:
            raise EvoLinkInputError(
                f"an input file cannot be read ({type(error).__name__}), so nothing was submitted. A retry reads it "
                "again"
            ) from error


def _check_size(size: int) -> None:
    if size > MAX_UPLOAD:
        raise InvalidInputFile(f"must not exceed {MAX_UPLOAD // MB} MB", f"{size / MB:.1f} MB")


def _checksum(file: BinaryIO, out: BinaryIO | None = None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while size <= MAX_UPLOAD and (chunk := file.read(CHUNK)):
        size += len(chunk)
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest(), size
