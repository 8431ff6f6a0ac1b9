"""Copy a staged file into the archive, inside its store where that is possible, and verify what arrived."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.storage.copying.copied import Copied, Wanted
from airflow_provider_evolink.storage.copying.inside_store import copy_inside, remove
from airflow_provider_evolink.storage.object_store import checksum_of, is_local, public_uri, write_open

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath


def copy_checked(
    source: ObjectStoragePath, target: ObjectStoragePath, *, file: Mapping[str, Any], metadata: Mapping[str, str]
) -> Copied:
    """
    Copy a file, inside its store where both are in the same one, else through this machine; verify its checksum.

    :param source: A staged file.
    :param target: Where it goes.
    :param file: Its expected ``sha256`` and ``size`` in bytes, of which no more are ever read, and ``content_type``.
    :param metadata: What to keep beside it, in stores that can.
    :return: How it was copied, and what of the copy was verified.
    :raises EvoLinkMediaError: the staged file no longer exists, or its content has changed.
    """
    wanted = Wanted(file["sha256"], file["size"], file["content_type"], metadata)
    copied = copy_inside(source, target, wanted) or _through_worker(source, target, wanted)
    if not copied.is_right(wanted):
        raise _has_changed(source)
    return copied


def remove_staged(source: ObjectStoragePath) -> bool:
    """
    Delete a staged file whose copy was verified; return whether it is gone.

    :param source: The staged file.
    """
    return remove(source)


def _through_worker(source: ObjectStoragePath, target: ObjectStoragePath, wanted: Wanted) -> Copied:
    with tempfile.TemporaryFile() as local:  # it has no name, so a kill leaves nothing behind
        try:
            copied = Copied("worker", "sha256", checksum_of(source, wanted.size, local))
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise EvoLinkMediaError(_why_gone(source, error)) from None
        if copied.is_right(wanted):
            local.seek(0)
            write_open(target, local, wanted.content_type, wanted.metadata)
    return copied


def _has_changed(source: ObjectStoragePath) -> Exception:
    return EvoLinkMediaError(
        f"staged file {public_uri(source)} has changed since it was downloaded (SHA-256 differs), so it is not "
        "archived. What to do: clear the download task, which compares the checksum and fetches the file "
        "again while EvoLink has it (24 hours); then clear this task"
    )


def _why_gone(source: ObjectStoragePath, error: OSError) -> str:
    causes = (
        "The likely cause is a disk that this worker does not share with the worker of the download"
        if is_local(source)
        else "It was deleted, or this task's role may not read it"
    )
    return (
        f"staged file {public_uri(source)} no longer exists here ({type(error).__name__}). {causes}. What to do: let "
        "destination name an object store or a folder that all workers share, then clear the download task, which "
        "fetches the file again while EvoLink has it (24 hours)"
    )
