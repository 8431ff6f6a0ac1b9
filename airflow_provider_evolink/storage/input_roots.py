"""
Folders and stores that the deployment's configuration names: ``[evolink] input_roots``, where inputs may come from, and
``[evolink] ui_roots``, whose media the UI may show.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.compat import store_connection
from airflow_provider_evolink.storage.object_store import open_folder, public_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import ObjectStoragePath

_LOCAL = frozenset({"", "file", "local"})
_ALIASES = {"s3a": "s3", "gcs": "gs"}
# What a store, or a library on the way to it, might read as a step out of a folder.
_STEPS = re.compile(r"%2e|%2f|%5c|%00|[\\\x00-\x1f\x7f]", re.IGNORECASE)
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularFile(Exception):
    """
    What has the name of a file is none, so it was not opened: reading a pipe or a device may never end.

    :param kind: What it is, in words.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def is_on_disk(path: ObjectStoragePath) -> bool:
    """
    Return whether a path is on this machine, not in a store.

    :param path: The path.
    """
    return path.protocol in _LOCAL


def open_file(path: str, below: str | None = None) -> BinaryIO:
    """
    Open a regular file on this machine, and nothing else.

    :param path: The file.
    :param below: Its root, free of links. From there no link is followed: one that was put in since the path was
        checked leads nowhere.
    :raises NotRegularFile: it is a folder, a pipe, a socket or a device.
    :raises FileNotFoundError: it does not exist, or is reached over a link.
    """
    _check_kind(Path(path).stat(follow_symlinks=below is None).st_mode)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags) if below is None else _open_below(Path(below), Path(path), flags)
    try:
        _check_kind(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(root: Path, path: Path, flags: int) -> int:
    """Open a file step by step, so that no step is a link."""
    *folders, name = path.relative_to(root).parts
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in folders:
            inner = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise FileNotFoundError(error.errno, "changed since it was checked") from None
    finally:
        os.close(folder)


def _check_kind(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise FileNotFoundError
    if not stat.S_ISREG(mode):
        raise NotRegularFile(next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file"))


@dataclass(frozen=True)
class InputRoot:
    """
    A folder or store that inputs may come from, or that the UI may show media of.

    :param protocol: ``file``, ``s3`` and so on.
    :param conn_id: The connection that the root names; another one may lead to another store of that name.
    :param path: On this machine with all links resolved, else bucket and prefix.
    """

    protocol: str
    conn_id: str | None
    path: str

    @classmethod
    def of(cls, text: str, option: str = "input_roots") -> Self:
        """
        Read an entry of the configuration.

        :param text: The entry.
        :param option: Name of the option, for errors.
        :raises EvoLinkConfigError: it is no absolute path and no store.
        """
        path = open_folder(text, what=f"entry of [evolink] {option}")
        on_disk = is_on_disk(path)
        if on_disk and not text.removeprefix(f"{path.protocol}://").startswith("/"):
            raise EvoLinkConfigError(
                f"[evolink] {option}: {public_uri(text)} is a relative path, which is another folder on each "
                "machine. What to do: give an absolute one, e.g. file:///data/inputs"
            )
        root = os.path.realpath(path.path) if on_disk else "/".join(_steps(path.path) or ())
        if not root or (not on_disk and ":" in root.partition("/")[0]):  # s3://conn@ is read as a path "s3:"
            raise EvoLinkConfigError(
                f"[evolink] {option}: {public_uri(text)} names no bucket. What to do: give bucket and prefix, e.g. "
                "s3://bucket/inputs"
            )
        return cls(_protocol(path), store_connection(path), root)

    def holds(self, path: ObjectStoragePath) -> bool:
        """
        Return whether a path is inside: after links, not by its text.

        :param path: The path of an input.
        """
        if (_protocol(path), store_connection(path)) != (self.protocol, self.conn_id):
            return False
        if self.protocol == "file":
            return _is_inside(Path(os.path.realpath(path.path)).parts, Path(self.path).parts)
        steps = None if "::" in str(path) or _STEPS.search(path.path) else _steps(path.path)
        return steps is not None and _is_inside(steps, self.path.split("/"))


def _is_inside(steps: Sequence[str], root: Sequence[str]) -> bool:
    return len(steps) > len(root) and steps[: len(root)] == root


def _steps(path: str) -> list[str] | None:
    """Return the steps of a path in a store; ``None``: one of them may lead out of a folder, or to an unnamed one."""
    steps = path.strip("/").split("/")
    return None if {"", ".", ".."} & set(steps) else steps


def _protocol(path: ObjectStoragePath) -> str:
    return "file" if is_on_disk(path) else _ALIASES.get(path.protocol, path.protocol)


def input_roots() -> tuple[InputRoot, ...]:
    """
    Return the roots of this deployment; none: ``[evolink] input_roots`` is not set.

    :raises EvoLinkConfigError: an entry cannot be used.
    """
    return _roots("input_roots")


def ui_roots() -> tuple[InputRoot, ...]:
    """
    Return the roots whose media the UI may show; none: ``[evolink] ui_roots`` is not set.

    :raises EvoLinkConfigError: an entry cannot be used.
    """
    return _roots("ui_roots")


def _roots(option: str) -> tuple[InputRoot, ...]:
    text = str(conf.get("evolink", option, fallback="") or "")
    return tuple(InputRoot.of(entry.strip(), option) for entry in text.split(",") if entry.strip())


def root_of(path: ObjectStoragePath) -> InputRoot | None:
    """
    Return the root that holds a path; ``None``: no root does.

    :param path: The path of an input.
    :raises EvoLinkConfigError: an entry of the configuration cannot be used.
    """
    try:
        return next((root for root in input_roots() if root.holds(path)), None)
    except ValueError:  # a null byte: no file has such a name
        return None
