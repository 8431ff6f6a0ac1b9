"""Local files that become inputs: their type, size and checksum by content, and a verified copy."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_evolink.api.catalog.media_limits import MAX_UPLOAD, MB, InputFile
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkInputError, EvoLinkMediaError
from airflow_provider_evolink.api.files.containers import HEAD_SIZE, error_page
from airflow_provider_evolink.api.files.inspection import inspect_media
from airflow_provider_evolink.storage.denials import one_word_for_denials
from airflow_provider_evolink.storage.input_roots import NotRegularFile, is_on_disk, open_file
from airflow_provider_evolink.storage.object_store import CHUNK, open_folder, open_to_read
from airflow_provider_evolink.storage.spool import private_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.input_roots import InputRoot

# Names that no file can have.
_NO_SUCH_NAME = (errno.ELOOP, errno.ENAMETOOLONG)

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
    A file in object storage or on this machine. Folders, pipes, sockets and devices are refused, not opened.

    :param uri: ``s3://``, ``gs://``, ``file://`` and so on; a plain path means ``file``.
    :param conn_id: Connection for the object store, if required.
    :param root: The file must be inside of it, whenever it is read.
    :param expected: SHA-256 and size that the file may have; empty: any.
    """

    def __init__(
        self,
        uri: str,
        conn_id: str | None = None,
        *,
        root: InputRoot | None = None,
        expected: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self._path: ObjectStoragePath = open_folder(uri, conn_id, what="input file")
        self._root = root
        self._expected = expected

    def checksum(self) -> str:
        """Read the file and return its SHA-256."""
        with self._open() as file:
            return _checksum(file)[0]

    def inspect(self, kind: str | None = None) -> InputFile:
        """
        Read and describe the file. Only whole media is accepted: nothing else on a worker's disk is ever sent anywhere.

        :param kind: ``video``, ``image`` or ``audio``, as the field wants it; it decides ties only.
        :raises InvalidInputFile: it is missing, empty, too large, damaged or not media.
        :raises EvoLinkInputError: the object store does not respond.
        """
        with self._open() as file:
            digest, size = _checksum(file)
            _check_size(size)
            if self._expected and (digest, size) not in self._expected:
                raise InvalidInputFile(
                    "is not the file that the download or archive task returned (SHA-256 or size differs). What to do: "
                    "run the download again"
                )
            file.seek(0)
            if error_page(file.read(HEAD_SIZE)):
                raise InvalidInputFile("the file is not in a known media format")
            try:
                info = inspect_media(file, size, kind)
            except EvoLinkMediaError as error:
                raise InvalidInputFile(error.message) from None
        return InputFile(digest, size, **dataclasses.asdict(info))

    @contextmanager
    def copy(self, file: InputFile) -> Iterator[Path]:
        """
        Provide a local copy, which is deleted on every exit.

        :param file: The file as it was inspected.
        :raises EvoLinkInputError: its content has changed since.
        """
        with private_file() as local:
            with self._open() as source, local.open("wb") as out:
                digest, _ = _checksum(source, out)
            if digest != file.sha256:
                raise EvoLinkInputError("an input file changed while it was being read; a retry reads it again")
            yield local

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self._opened() as file:
                yield file
        except (FileNotFoundError, NotADirectoryError):
            raise InvalidInputFile("the file does not exist") from None
        except PermissionError:
            raise InvalidInputFile("the file may not be read by this task, or does not exist") from None
        except IsADirectoryError:
            raise InvalidInputFile("must be a regular file", "a folder") from None
        except (InvalidInputFile, EvoLinkError):
            raise
        except Exception as error:
            raise EvoLinkInputError(
                f"an input file cannot be read ({type(error).__name__}), so nothing was submitted. A retry reads it "
                "again"
            ) from error

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        if is_on_disk(self._path):
            return _open_on_disk(self._path.path, self._root)
        with one_word_for_denials():
            info = self._path.fs.info(self._path.path)
        if info.get("type") == "directory":
            raise IsADirectoryError
        _check_size(info.get("size") or 0)
        return open_to_read(self._path)


def _open_on_disk(path: str, root: InputRoot | None) -> BinaryIO:
    try:
        file = open_file(path) if root is None else open_file(os.path.realpath(path), root.path)
    except NotRegularFile as error:
        raise InvalidInputFile("must be a regular file", error.kind) from None
    except (ValueError, OSError) as error:  # a null byte; or outside of the root by now, over a link
        if isinstance(error, ValueError) or error.errno in _NO_SUCH_NAME:
            raise FileNotFoundError from None
        raise
    try:
        _check_size(os.fstat(file.fileno()).st_size)
    except InvalidInputFile:
        file.close()
        raise
    return file


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
