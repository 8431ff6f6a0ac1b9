"""Copies on this machine's disks by the kernel: blocks are shared where the file system can, never names."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from airflow_provider_evolink.storage import local_folder
from airflow_provider_evolink.storage.copying.copied import Copied, Wanted

_FICLONE = 0x40049409
_STEP = 64 * 1024 * 1024
_CANNOT = frozenset(
    [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EPERM, errno.EBADF]
)


def copy(source: Path, target: Path, wanted: Wanted) -> Copied | None:
    """
    Copy a file and hash the copy, which is published only if it is right; ``None`` if the source is not as it must be.

    :param source: A staged file.
    :param target: Where it goes; what is there is replaced.
    :param wanted: What it must be.
    :raises OSError: the disk refuses.
    """
    if not source.is_file() or source.stat().st_size != wanted.size:
        return None
    with source.open("rb") as file, local_folder.part_of(target) as part:
        _fill(file, part)
        part.flush()
        with Path(part.name).open("rb") as written:
            copied = Copied("kernel", "sha256", hashlib.file_digest(written, "sha256").hexdigest())
        if copied.is_right(wanted):
            Path(part.name).replace(target)
    return copied


def _fill(source: BinaryIO, out: BinaryIO) -> None:
    for way in (_clone, _copy_range, _send):
        try:
            way(source.fileno(), out.fileno())
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        else:
            return
    source.seek(0)
    out.seek(0)
    out.truncate()
    shutil.copyfileobj(source, out, local_folder.CHUNK)


def _clone(source: int, out: int) -> None:
    fcntl.ioctl(out, _FICLONE, source)


def _copy_range(source: int, out: int) -> None:
    done = 0
    while count := os.copy_file_range(source, out, _STEP, done, done):
        done += count


def _send(source: int, out: int) -> None:
    os.lseek(out, 0, os.SEEK_SET)
    done = 0
    while count := os.sendfile(out, source, done, _STEP):
        done += count
