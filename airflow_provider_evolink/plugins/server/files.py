"""
Which files may be shown, and their bytes.

A task instance has handed a file on, but XComs can be edited. So a file is opened only below a folder that the
deployment names, if what was written beside it names it with its checksum, and if the job of it is one of this DAG's,
or of a DAG whose XComs the user may read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath
from pydantic import ValidationError

from airflow_provider_evolink.api.errors import EvoLinkError
from airflow_provider_evolink.plugins.views.policy import MEDIA_TYPES
from airflow_provider_evolink.storage.archive.layout import MANIFEST
from airflow_provider_evolink.storage.archive.manifest import Manifest, ManifestFile, read_manifest
from airflow_provider_evolink.storage.input_roots import InputRoot, is_on_disk, open_file, ui_roots
from airflow_provider_evolink.storage.media_file import MediaFile, Receipt
from airflow_provider_evolink.storage.object_store import parse_json, public_uri

FIRST_PIECE = 64 * 1024  # players give many responses up after a moment
PIECE = 1024 * 1024
MAX_DOCUMENT = 4 * 1024 * 1024
_BLOCK = 1024 * 1024
_NO_ROOTS = (
    "files are not shown, since [evolink] ui_roots names no folder. What to do: name the folders of staging and "
    "archive there, in the configuration of the API server"
)
_OUTSIDE = "{uri} is not below a folder of [evolink] ui_roots, so it is not opened"
_NOT_OURS = "{uri} is not shown: nothing beside it says that it belongs to a job of this DAG, or of one you may read"
_CLOSED = "{uri} cannot be opened in the API server ({why}). What to do: check that it exists, and its connection there"


class Refused(Exception):
    """
    A file is not shown.

    :param line: Why, for people to read.
    """

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True)
class Evidence:
    """
    What is known besides the claim of an XCom.

    :param dag_id: The DAG of the task instance that handed the file on.
    :param has_ordered: Whether a record of the DAG names a job.
    :param may_read: Whether the user may read the XComs of a DAG.
    """

    dag_id: str
    has_ordered: Callable[[str], bool]
    may_read: Callable[[str], bool]

    def covers(self, job_id: str, owner: str | None) -> bool:
        """
        Return whether a file may be shown.

        :param job_id: The job that the document beside the file names.
        :param owner: The DAG that the document names.
        """
        if owner is not None and (owner == self.dag_id or self.may_read(owner)):
            return True
        return self.has_ordered(job_id)


@dataclass(frozen=True)
class Shown:
    """
    A file that may be shown.

    :param path: Where it is.
    :param root: The root that it is below.
    :param content_type: Its media type, one of the list.
    :param etag: Names its content.
    :param manifest: The manifest beside it, where it is archived.
    :param row: Its entry there.
    """

    path: ObjectStoragePath
    root: InputRoot
    content_type: str
    etag: str
    manifest: Manifest | None = None
    row: ManifestFile | None = None

    def poster(self) -> Shown:
        """
        Return its poster.

        :raises Refused: it has none.
        """
        name = self.row.poster if self.row else None
        if not name or not name.endswith(".jpg"):
            raise Refused("it has no poster")
        path = self.path.parent / name
        if not self.root.holds(path):
            raise Refused(_OUTSIDE.format(uri=public_uri(path)))
        return Shown(path, self.root, "image/jpeg", f"{self.etag}-poster", self.manifest, None)

    def open(self) -> tuple[BinaryIO, int]:
        """
        Return the open file, and its size.

        :raises Refused: it cannot be opened.
        """
        try:
            file = _open(self.path, self.root)
            return file, file.seek(0, os.SEEK_END)
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            _refuse(self.path, error)

    def read_first(self, body: Iterator[bytes]) -> bytes:
        """
        Return the first piece of the file: what a store denies is known before a response begins.

        :param body: The pieces.
        :raises Refused: it cannot be read.
        """
        try:
            return next(body, b"")
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            _refuse(self.path, error)


def find_file(claim: MediaFile, evidence: Evidence) -> Shown:
    """
    Return a file that a task instance has handed on, if it may be shown.

    :param claim: What its XCom says.
    :param evidence: What is known besides.
    :raises Refused: it may not be shown, or cannot be opened.
    """
    path, root = _placed(claim.uri)
    manifest = _manifest(path, root, claim)
    row = manifest.file(path.name) if manifest else None
    if manifest and row and row.sha256 == claim.sha256:
        job_id, owner, content_type = manifest.job_id, manifest.airflow.dag_id, row.content_type
    else:
        job_id, owner, content_type = claim.job_id, None, _receipt_type(path, root, claim)
        manifest = row = None
    if not evidence.covers(job_id, owner):
        raise Refused(_NOT_OURS.format(uri=public_uri(path)))
    if content_type not in MEDIA_TYPES:
        raise Refused(f"{public_uri(path)} is not shown: its media type is not one that is sent to a browser")
    return Shown(path, root, content_type, claim.sha256, manifest, row)


def pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """
    Yield bytes of a file in pieces of at most 1 MB, the first ones smaller, and close it.

    :param file: The open file.
    :param start: First byte.
    :param end: Byte after the last.
    """
    length = FIRST_PIECE
    with closing(file):
        file.seek(start)
        while start < end and (piece := file.read(min(length, end - start))):
            start, length = start + len(piece), min(PIECE, length * 2)
            yield piece


def _placed(uri: str) -> tuple[ObjectStoragePath, InputRoot]:
    """Return a path and its root. No store is opened whose connection does not exist."""
    try:
        roots = ui_roots()
    except EvoLinkError as error:
        raise Refused(error.message) from None
    if not roots:
        raise Refused(_NO_ROOTS)
    try:
        path = ObjectStoragePath(uri)  # opens nothing yet
        root = next((root for root in roots if root.holds(path)), None)
        if root is not None and root.conn_id:
            BaseHook.get_connection(root.conn_id)
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        _refuse(uri, error)
    if root is None:
        raise Refused(_OUTSIDE.format(uri=public_uri(uri)))
    return path, root


def _refuse(uri: object, error: Exception) -> NoReturn:
    raise Refused(_CLOSED.format(uri=public_uri(uri), why=type(error).__name__)) from None


def _open(path: ObjectStoragePath, root: InputRoot) -> BinaryIO:
    if is_on_disk(path):
        return open_file(os.path.realpath(path.path), below=root.path)
    # Without read-ahead, which would cost the API server a hundred MB for each viewer.
    return cast("BinaryIO", path.open("rb", block_size=_BLOCK, cache_type="none"))  # type: ignore[no-untyped-call]


def _document(path: ObjectStoragePath, root: InputRoot) -> Any:
    """Return a small JSON document; ``None``: there is none that can be read."""
    if not root.holds(path):
        return None
    try:
        with closing(_open(path, root)) as file:
            content = file.read(MAX_DOCUMENT + 1)
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        _refuse(path, error)
    if len(content) > MAX_DOCUMENT:
        raise Refused(f"{public_uri(path)} is longer than any document of this package, so it is not read")
    try:
        return parse_json(content, public_uri(path))
    except (EvoLinkError, json.JSONDecodeError, ValueError):
        raise Refused(f"{public_uri(path)} is no JSON document that can be read, so its files are not shown") from None


def _manifest(path: ObjectStoragePath, root: InputRoot, claim: MediaFile) -> Manifest | None:
    beside = path.parent / MANIFEST
    try:
        return read_manifest(_document(beside, root), public_uri(beside), claim.job_id)
    except EvoLinkError as error:
        raise Refused(error.message) from None


def _receipt_type(path: ObjectStoragePath, root: InputRoot, claim: MediaFile) -> str:
    """Return the media type that the receipt beside a downloaded file gives."""
    value = _document(path.parent / f"{claim.job_id}.json", root)
    try:
        receipt = Receipt.model_validate(value)
    except ValidationError:
        receipt = None
    names = (file for file in receipt.files if receipt.job_id == claim.job_id) if receipt else ()
    for file in names:
        if file.uri.rpartition("/")[2] == path.name and file.sha256 == claim.sha256:
            return file.content_type
    raise Refused(_NOT_OURS.format(uri=public_uri(path)))
