"""
Where results are while they are fetched, so that the next try goes on where this one stopped.

For ``file://`` that is a hidden file beside the target: publishing is renaming, and every worker that shares the folder
goes on with it. For object stores it is a file of a stable name in the spool folder of this machine.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.files.transfer.part import Part, PartInUse, sweep
from airflow_provider_evolink.storage import local_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

_SHARED = 0o666  # less the umask: it becomes the result
_PRIVATE = 0o600

log = logging.getLogger(__name__)


@contextmanager
def result_part(folder: ObjectStoragePath, job_id: str, index: int) -> Iterator[Part]:
    """
    Provide the part of a result, with what an earlier try has fetched of it.

    It is kept at the end unless it is empty. While another process fills it, this one gets an empty one for itself.

    :param folder: Where the result goes.
    :param job_id: The job.
    :param index: Number of the result, from 0.
    :raises EvoLinkConfigError: the spool folder cannot be used.
    """
    path, mode = _place(folder, job_id, index)
    try:
        part = Part(path, lasting=True, mode=mode)
    except PartInUse:
        log.warning("EvoLink job %s: another process fetches result %d, too", job_id, index)
        with Part(path.with_name(f"{path.stem}.{uuid.uuid4().hex}.part"), mode=mode) as own:
            try:
                yield own
            finally:
                own.discard()
    else:
        with part:
            yield part


@contextmanager
def private_file() -> Iterator[Path]:
    """
    Provide the path of an empty private file in the spool folder, which is deleted at the end.

    What killed processes have left of such files is deleted first: nobody goes on with it.

    :raises EvoLinkConfigError: the spool folder cannot be used.
    """
    folder = spool_folder()
    for path in folder.glob("*.tmp"):
        with suppress(OSError, PartInUse), Part(path, lasting=True) as part:
            part.discard()
    with Part(folder / f"{uuid.uuid4().hex}.tmp") as part:
        try:
            yield part.path
        finally:
            part.discard()


def forget(folder: ObjectStoragePath, job_id: str, index: int) -> None:
    """
    Delete what is left of a part whose result is in a receipt.

    :param folder: Where the result went.
    :param job_id: The job.
    :param index: Number of the result, from 0.
    """
    path, mode = _place(folder, job_id, index)
    with suppress(PartInUse), Part(path, lasting=True, mode=mode) as part:
        part.discard()


def sweep_parts(folder: ObjectStoragePath) -> None:
    """
    Delete parts that nobody will go on with: no process holds them, and the links of their jobs have expired.

    :param folder: Where results go.
    """
    place, pattern = (
        (Path(folder.path), ".*.part") if folder.protocol in local_folder.PROTOCOLS else (spool_folder(), "*.part")
    )
    if swept := sweep(place, pattern):
        log.info("Deleted %d part(s) of results whose links have expired", len(swept))


def _place(folder: ObjectStoragePath, job_id: str, index: int) -> tuple[Path, int]:
    if folder.protocol in local_folder.PROTOCOLS:
        place = Path(folder.path)
        place.mkdir(parents=True, exist_ok=True)
        return place / f".{job_id}-{index}.part", _SHARED
    return spool_folder() / f"{job_id}-{index}.part", _PRIVATE


def spool_folder() -> Path:
    """
    Return the folder for results on their way to an object store: ``[evolink] spool_folder``, else a temporary one.

    :raises EvoLinkConfigError: it is not a folder of ours.
    """
    configured = str(conf.get("evolink", "spool_folder", fallback="") or "")
    root = Path(configured) if configured else Path(tempfile.gettempdir())
    folder = root / ("evolink-spool" if configured else f"evolink-spool-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, type(error).__name__) from None
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(folder, "it is no folder")
    if not configured and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise _unusable(folder, "others may write to it")
    return folder


def _unusable(folder: Path, reason: str) -> EvoLinkConfigError:
    return EvoLinkConfigError(
        f"the spool folder {folder} cannot be used ({reason}). What to do: name a folder that the worker may write to "
        "in [evolink] spool_folder"
    )
