"""Folders of this machine or of a shared disk: whole files by renaming, and no way out through a link."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOLS = frozenset({"", "file", "local"})
CHUNK = 1024 * 1024
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def part_of(target: Path) -> Iterator[BinaryIO]:
    """
    Provide a hidden file beside a target, to be renamed; what a killed process left there is used again.

    :param target: The file that it becomes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _only_holder(target.parent / f".{target.name}.new")
    if part is None:
        part = (target.parent / f".{target.name}.{uuid.uuid4().hex}.new").open("xb")
    with part:
        try:
            yield part
        finally:
            if _is_at(part, Path(part.name)):
                Path(part.name).unlink()


def _only_holder(path: Path) -> BinaryIO | None:
    """Open a file for this process alone, emptied; ``None`` if another process writes it."""
    while True:
        file = open(path, "ab", opener=_unless_link)  # noqa: SIM115 - it stays open, and so locked
        if not _lock(file):
            file.close()
            return None
        if _is_at(file, path):
            if os.fstat(file.fileno()).st_nlink == 1:
                file.truncate(0)
                return file
            path.unlink()  # a kill came after it was published under its other name, which must stay as it is
        file.close()  # the process that held it has renamed it meanwhile


def _unless_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def write(target: Path, source: IO[bytes]) -> None:
    """
    Publish a file: readers see all of it or nothing.

    :param target: Where it goes; what is there is replaced.
    :param source: Its content, at its start.
    """
    with part_of(target) as part:
        shutil.copyfileobj(source, part, CHUNK)
        part.flush()
        Path(part.name).replace(target)


def create(target: Path, content: bytes) -> None:
    """
    Publish a file where none is.

    :param target: Where it goes.
    :param content: Its content.
    :raises FileExistsError: there is one already.
    """
    with part_of(target) as part:
        part.write(content)
        part.flush()
        try:
            os.link(part.name, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with target.open("xb") as out:  # a file system without hard links
                out.write(content)


def prove_writable(folder: Path) -> None:
    """
    Prove that files may be written into a folder, which is made later if it does not exist. Nothing is left behind.

    :param folder: Where files are to go.
    :raises OSError: they may not be written there.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    with tempfile.TemporaryFile(dir=nearest, prefix=".evolink-write-test-") as file:
        file.write(b"test")


def size_of(path: Path) -> int | None:
    """
    Return the size of a file; ``None`` for what is none: a folder, a symbolic link, a device.

    :param path: The file.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def link_below(root: Path, folder: Path) -> Path | None:
    """
    Return the first symbolic link on the way from a root to a folder in it; the root itself may be one.

    :param root: The root.
    :param folder: A folder below it.
    """
    steps = folder.relative_to(root).parts
    ways = [root.joinpath(*steps[: number + 1]) for number in range(len(steps))]
    return next((way for way in ways if way.is_symlink()), None)


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        return False
    return True
