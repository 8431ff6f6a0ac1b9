"""Staged files that an archive has moved: gone from staging, and still found by a download that is cleared."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from airflow_provider_evolink.storage.media_file import MediaFile, Receipt
from airflow_provider_evolink.storage.object_store import (
    holds,
    is_local,
    open_folder,
    public_uri,
    publish_json,
    read_json,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)


def remove_staged(file: MediaFile, target: ObjectStoragePath) -> bool:
    """
    Remove a staged file that is in the archive, once it is verified there. Its receipt stays, and names where it went.

    The receipt is written first: a download that is cleared then finds the file, wherever this was killed.

    :param file: The file as the download returned it.
    :param target: The file in the archive.
    :return: Whether it is gone from staging.
    """
    staged = open_folder(file.uri, what="staged file")
    if is_same(staged, target) or not holds(target, sha256=file.sha256, size=file.size):
        return False
    receipt = staged.parent / f"{file.job_id}.json"
    moved = _moved(_receipt(receipt, file), file, str(target)).to_json()
    if moved != read_json(receipt):
        publish_json(moved, receipt)
    return delete(staged)


def _receipt(path: ObjectStoragePath, file: MediaFile) -> Receipt:
    """Return the receipt beside a staged file; a new one where there is none."""
    with contextlib.suppress(ValidationError):
        found = Receipt.model_validate(read_json(path))
        if found.job_id == file.job_id:
            return found
    return Receipt(job_id=file.job_id, job=file.job, files=[file])


def _moved(receipt: Receipt, file: MediaFile, uri: str) -> Receipt:
    files = [one for one in receipt.files if one.index != file.index]
    files = sorted([*files, file], key=lambda one: one.index)
    return receipt.model_copy(update={"files": files, "moved": {**receipt.moved, file.index: uri}})


def is_same(one: ObjectStoragePath, other: ObjectStoragePath) -> bool:
    """
    Return whether two paths are, or may be, the same object; connections do not tell.

    :param one: A path.
    :param other: Another one.
    """
    if is_local(one) and is_local(other):
        with contextlib.suppress(OSError):
            return Path(one.path).samefile(other.path)
        return Path(one.path).resolve() == Path(other.path).resolve()
    return public_uri(one).partition("://")[2] == public_uri(other).partition("://")[2]


def delete(path: ObjectStoragePath) -> bool:
    """
    Delete a file.

    :param path: The file.
    :return: Whether it was there.
    """
    try:
        if is_local(path):
            Path(path.path).unlink()
        else:
            path.fs.rm_file(path.path)
    except FileNotFoundError:
        return False
    return True
