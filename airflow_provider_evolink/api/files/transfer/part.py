"""
The part of a file that has arrived so far: bytes on a disk and, beside them, what a later try must know to go on.

A part is locked by the process that fills it, and the kernel ends the lock with the process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from airflow_provider_evolink.api.files.download_response import Have, validators_of
from airflow_provider_evolink.api.files.transfer.body import Bytes
from airflow_provider_evolink.api.files.transfer.running_hash import RunningHash

CHUNK = 1024 * 1024
PLAIN = "plain"  # suffix of the decoded file of an encoded one
LIFETIME = 24 * 3600.0  # seconds that links are valid
_MAX_NOTE = 64 * 1024


class PartInUse(Exception):
    """Another process fills this part."""


@dataclass(frozen=True)
class PartNote:
    """
    What is stored beside a part. Without it, only equal bytes prove that a range is of the same file.

    :param source: Digest of the link without its query.
    :param total: Length of the whole file, where known.
    :param etag: ``ETag`` of the response that the bytes came with.
    :param modified: ``Last-Modified`` of it.
    :param is_doubtful: These two are not proven.
    :param raw_audio: The host declares raw audio samples.
    :param expires: When the links of the job expire, in Unix seconds: then nobody goes on with the part.
    :param published: What was published from the part, until that is in a receipt.
    :param damaged: Where the file was kept, because it was damaged.
    """

    source: str = ""
    total: int | None = None
    etag: str | None = None
    modified: str | None = None
    is_doubtful: bool = False
    raw_audio: bool = False
    expires: float | None = None
    published: dict[str, Any] | None = None
    damaged: str | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """
        Read a note; one that is missing or broken is empty, and then nothing is taken for proven.

        :param path: The note.
        """
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(_MAX_NOTE))
            note = cls(**{field.name: found.get(field.name, field.default) for field in fields(cls)})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return cls()
        return note if note.is_plausible() else cls()

    def is_plausible(self) -> bool:
        """Return whether every value is of its type: the file can be edited."""
        texts = [self.source, self.etag or "", self.modified or "", self.damaged or ""]
        return (
            all(isinstance(text, str) for text in texts)
            and validators_of({"etag": self.etag or "", "last-modified": self.modified or ""})
            == (self.etag, self.modified)
            and (self.total is None or type(self.total) is int)
            and (self.expires is None or isinstance(self.expires, int | float))
            and (self.published is None or isinstance(self.published, dict))
        )


class Part:
    """
    An open, locked part. Write only with :meth:`write`, which compares what is there already.

    :param path: Its file; made if it is not there.
    :param lasting: Keep it, with its note, for a later try unless it is discarded. Otherwise its name is known to this
        process alone, so it works without a lock as well, as on a file system that has none.
    :param mode: Access rights of a new file.
    :raises PartInUse: another process has it.
    """

    def __init__(self, path: Path, *, lasting: bool = False, mode: int = 0o600) -> None:
        self.path = path
        self.lasting = lasting
        self._file = _open_locked(path, mode, needs_lock=lasting)
        self.size = os.fstat(self._file.fileno()).st_size
        self.note = PartNote.read(note_path(path)) if lasting else PartNote()
        self._hash = RunningHash()
        if self.size and not self.note.source:
            self.change(is_doubtful=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.size and _is_at(self._file, self.path):
            self.path.unlink(missing_ok=True)
            if self.note.published is None and self.note.damaged is None:
                self._unlink()
        self._hash.close()
        self._file.close()

    @property
    def have(self) -> Have:
        """What is there, for the next request."""
        note = self.note
        return Have(self.size, note.total, note.etag, note.modified, note.is_doubtful)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there that were announced."""
        return bool(self.size) and self.size == self.note.total

    @property
    def file(self) -> BinaryIO:
        """The file, open for reading and writing; what was written can be read under its path, too."""
        self._file.flush()
        return self._file

    def change(self, **values: Any) -> None:
        """
        Change the note; readers see all of it or the one before.

        :param values: Fields of the note.
        """
        changed = replace(self.note, **values)
        if changed == self.note:
            return
        self.note = changed
        if self.lasting:
            temporary = beside(note_path(self.path), "new")
            temporary.write_text(json.dumps(asdict(changed)), encoding="utf-8")
            temporary.replace(note_path(self.path))

    def write(self, position: int, chunk: Bytes) -> bool:
        """
        Write bytes to their place, and hash them meanwhile. Those that are there already are compared.

        :param position: Where they belong, at most at the end of what is there.
        :param chunk: The bytes; they must not change while further ones are written, see ``pieces``.
        :return: Whether all that was there already is the same.
        """
        known = min(max(self.size - position, 0), len(chunk))
        self._file.seek(position)
        if known and self._file.read(known) != chunk[:known]:
            return False
        if known < len(chunk):
            self._hash.feed(position + known, chunk[known:])
            self._file.seek(position + known)
            self._file.write(chunk[known:])
        self.size = max(self.size, position + len(chunk))
        return True

    def sha256(self) -> str:
        """Return the checksum of what is there; only what has not passed by while it was written is read."""
        self._hash.catch_up(self.file, self.size)
        return self._hash.hexdigest()

    def cut(self, size: int) -> None:
        """
        Drop what is behind a position.

        :param size: How many bytes are kept.
        """
        self._file.truncate(size)
        self.size = size
        if size < self._hash.size:
            self._hash.restart()

    def restart(self) -> None:
        """Forget what is there."""
        self.cut(0)
        self._forget_bytes()

    def moved(self) -> None:
        """Note that the file has another name now and is no longer ours: nothing may be written to it."""
        self._forget_bytes()

    def _forget_bytes(self) -> None:
        self.size = 0
        self._hash.restart()
        self.change(total=None, etag=None, modified=None, is_doubtful=False, raw_audio=False)

    def take(self, other: Path) -> None:
        """
        Take over a decoded file in place of the bytes that came; they can no longer be gone on with.

        :param other: The file; it is deleted.
        """
        # First the note: what is written next must not be taken for the bytes that came.
        self.change(total=None, etag=None, modified=None, is_doubtful=True)
        self.cut(0)
        self._file.seek(0)
        with other.open("rb") as decoded:
            shutil.copyfileobj(decoded, self._file, CHUNK)
        self.size = self._file.tell()
        other.unlink()
        self.change(total=self.size)

    def discard(self) -> None:
        """Delete the part and its note."""
        self.size, self.note = 0, PartNote()
        self._unlink()

    def _unlink(self) -> None:
        note = note_path(self.path)
        notes = (beside(note, "new"), note) if self.lasting else ()
        for path in (*notes, beside(self.path, PLAIN), self.path):
            path.unlink(missing_ok=True)


def check_room(part: Part, length: int) -> None:
    """
    Fail before a disk is full.

    :param part: Where bytes are to go.
    :param length: How many are to come.
    :raises OSError: there is no room for them.
    """
    if shutil.disk_usage(part.file.fileno()).free < length:
        raise OSError(errno.ENOSPC, f"{part.path.parent} has no room for {length} more bytes of media")


def note_path(part: Path) -> Path:
    """
    Return where the note of a part is.

    :param part: The part.
    """
    return beside(part, "json")


def beside(path: Path, suffix: str) -> Path:
    """
    Return the path of a file that belongs to another.

    :param path: The other file.
    :param suffix: What it is.
    """
    return path.with_name(f"{path.name}.{suffix}")


def _open_locked(path: Path, mode: int, *, needs_lock: bool) -> BinaryIO:
    """Open and lock a file, and make sure that it is still the one of this name: it may just have been moved away."""
    for _ in range(100):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, mode), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if needs_lock:
                if not isinstance(error, BlockingIOError) and not os.fstat(file.fileno()).st_size:
                    path.unlink(missing_ok=True)  # a file system without locks: nobody else goes on with it, either
                file.close()
                raise PartInUse(str(path)) from error
        if _is_at(file, path):
            return file
        file.close()
    raise PartInUse(str(path))


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether a file still has its name: it may have been published under another one."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False


def sweep(folder: Path, pattern: str, now: float | None = None) -> list[str]:
    """
    Delete the parts that no living process holds and whose links have expired, so that nobody will go on with them.

    :param folder: Where they are.
    :param pattern: Their names.
    :param now: Unix seconds.
    :return: The names of those that were deleted.
    """
    moment = time.time() if now is None else now
    notes = {path.with_name(path.name.removesuffix(".json")) for path in folder.glob(f"{pattern}.json")}
    swept = []
    for path in sorted({*folder.glob(pattern), *notes}):
        with suppress(OSError, PartInUse):
            if _has_expired(path, moment):
                with Part(path, lasting=True) as part:
                    part.discard()
                swept.append(path.name)
    return swept


def _has_expired(path: Path, now: float) -> bool:
    expires = PartNote.read(note_path(path)).expires
    if expires is not None:
        return now > expires
    found = path if os.path.lexists(path) else note_path(path)
    return now > found.lstat().st_mtime + LIFETIME
