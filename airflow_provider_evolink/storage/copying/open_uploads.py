"""
Multipart uploads that a kill does not leave open: a note in the spool folder names the one that is under way.

The next try for the same object on this machine aborts it. On a fresh pod a lifecycle rule of the bucket does.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import logging
import os
import uuid
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from airflow_provider_evolink.compat import store_connection
from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.spool import spool_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

_MAX_NOTE = 64 * 1024

log = logging.getLogger(__name__)


class OpenUpload:
    """
    One multipart upload: completed, or aborted at the end of the ``with`` block, or by the next try.

    :param target: The object that it becomes, or a folder that it goes to.
    :param name: Names the upload for later tries; by default the target does.
    """

    def __init__(self, target: ObjectStoragePath, name: str | None = None) -> None:
        self._target = target
        self._stem = hashlib.sha256((name or f"{store_connection(target)}:{target.path}").encode()).hexdigest()[:32]
        self._parts: dict[int, dict[str, str]] = {}
        self._upload_id: str | None = None

    def __enter__(self) -> Self:
        self._note = _lock_note(self._stem)
        abort_left(self._target, self._note)
        for path in spool_folder().glob(f"{self._stem}.*.upload"):
            _abort_forsaken(self._target, path)
        return self

    def __exit__(self, *_: object) -> None:
        with self._note:
            if self._upload_id is None or abort(self._target, self._target.path, self._upload_id):
                Path(self._note.name).unlink(missing_ok=True)

    def start(self, target: ObjectStoragePath, **details: Any) -> None:
        """
        Open the upload in the store.

        :param target: The object that it becomes.
        :param details: Arguments of ``CreateMultipartUpload``.
        """
        self._target = target
        _write(self._note, {"path": self._target.path})
        started = s3.call(self._target, "create_multipart_upload", **details)
        self._upload_id = str(started["UploadId"])
        _write(self._note, {"path": self._target.path, "id": self._upload_id})

    def copy_part(self, number: int, **source: Any) -> None:
        """
        Add a part that the store copies from another object.

        :param number: Of the part, from 1.
        :param source: Arguments of ``UploadPartCopy``.
        """
        done = s3.call(self._target, "upload_part_copy", UploadId=self._upload_id, PartNumber=number, **source)
        self._parts[number] = _row(done["CopyPartResult"])

    def put_part(self, number: int, body: bytes) -> None:
        """
        Add a part, whose checksum the store verifies.

        :param number: Of the part, from 1.
        :param body: Its bytes.
        """
        checksum = {"ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}
        done = s3.call(self._target, "upload_part", UploadId=self._upload_id, PartNumber=number, Body=body, **checksum)
        self._parts[number] = _row(done) | checksum

    def complete(self) -> str:
        """Make the object visible; return its ETag."""
        parts = [{"PartNumber": number, **self._parts[number]} for number in sorted(self._parts)]
        done = s3.call(
            self._target, "complete_multipart_upload", UploadId=self._upload_id, MultipartUpload={"Parts": parts}
        )
        self._upload_id = None
        return str(done["ETag"])


def _row(done: Mapping[str, Any]) -> dict[str, str]:
    """Return what the completion of an upload must repeat of a part."""
    return {
        name: value
        for name, value in done.items()
        if value and (name == "ETag" or name.startswith("Checksum")) and name != "ChecksumType"
    }


def abort(near: ObjectStoragePath, path: str, upload_id: str) -> bool:
    """
    Abort an upload; return whether it is gone.

    :param near: A path in the same store.
    :param path: Bucket and key of the upload.
    :param upload_id: Its ID.
    """
    try:
        s3.call(near, "abort_multipart_upload", at=path, UploadId=upload_id)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning(
            "A multipart upload is left open in the store, since its abort failed (%s): a lifecycle rule of the bucket "
            "(AbortIncompleteMultipartUpload) removes it",
            s3.code_of(error),
        )
        return False
    return True


def abort_left(near: ObjectStoragePath, note: BinaryIO) -> None:
    """
    Abort what a note names, if it names anything: its writer was killed.

    :param near: A path in the same store.
    :param note: The note, locked; it is empty afterwards.
    """
    note.seek(0)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        left = json.loads(note.read(_MAX_NOTE))
        path, upload_id = str(left["path"]), left.get("id")
        ids = [str(upload_id)] if upload_id else _listed(near, path)
        gone = [abort(near, path, one) for one in ids]
        if gone and all(gone):
            log.info("Aborted the multipart upload that a killed try had left open")
    note.seek(0)
    note.truncate()


def _listed(near: ObjectStoragePath, path: str) -> list[str]:
    """Return the open uploads of an object, where this role may list them: the kill came before an ID was noted."""
    key = path.partition("/")[2]
    try:
        found = s3.call(near, "list_multipart_uploads", at=path, Key=None, Prefix=key)
    except OSError:
        return []
    return [row["UploadId"] for row in found.get("Uploads") or [] if row["Key"] == key]


def _write(note: BinaryIO, value: dict[str, str]) -> None:
    note.seek(0)
    note.truncate()
    note.write(json.dumps(value).encode())
    note.flush()


def _lock_note(stem: str) -> BinaryIO:
    """Open the note of an object for this process alone; one of another name while another process has it."""
    folder = spool_folder()
    own = folder / f"{stem}.{uuid.uuid4().hex}.upload"
    return _locked(folder / f"{stem}.upload") or _locked(own) or _opened(own)  # a file system may have no locks


def _abort_forsaken(near: ObjectStoragePath, path: Path) -> None:
    if note := _locked(path):
        with note:
            abort_left(near, note)
            path.unlink(missing_ok=True)


def _opened(path: Path) -> BinaryIO:
    return open(path, "r+b", opener=_unless_link)


def _unless_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _locked(path: Path) -> BinaryIO | None:
    file = _opened(path)
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
            return file
    file.close()
    return None
