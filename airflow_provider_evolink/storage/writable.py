"""Whether a folder takes files: found out before something is paid for that could not be stored."""

from __future__ import annotations

import contextlib
import errno
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.storage import local_folder, s3
from airflow_provider_evolink.storage.denials import one_word_for_denials
from airflow_provider_evolink.storage.object_store import is_local, open_folder, public_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

# What a person must change. A full disk, or a store that does not respond, may be well at the next try.
_FOR_GOOD = (FileNotFoundError, PermissionError, NotADirectoryError, FileExistsError)
_FOR_GOOD_NUMBERS = frozenset({errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})


def prove_writable(uri: str, *, what: str = "destination") -> str:
    """
    Prove that a folder takes files. No file is left behind.

    :param uri: The folder.
    :param what: Its name in errors.
    :return: The endpoint of its store, if that is an S3 that has honored a condition of a write; else nothing.
    :raises EvoLinkConfigError: it does not. A retry helps only where the store did not respond.
    """
    folder = open_folder(uri, what=what)
    try:
        return _prove(folder)
    except Exception as error:
        raise not_writable(error, uri, what) from error


def _prove(folder: ObjectStoragePath) -> str:
    if is_local(folder):
        local_folder.prove_writable(Path(folder.path))
    elif folder.protocol in s3.PROTOCOLS:
        return s3.identity(folder)[0] if s3.prove_writable(folder) else ""
    else:
        test = folder / f".evolink-write-test-{uuid.uuid4().hex}"
        with one_word_for_denials():
            test.fs.pipe_file(test.path, b"test")
        with contextlib.suppress(Exception):  # a role may write and not delete
            test.fs.rm_file(test.path)
    return ""


def not_writable(error: Exception, uri: str, what: str) -> EvoLinkConfigError:
    """
    Return the error for a folder that takes no files.

    :param error: What its store raised.
    :param uri: The folder.
    :param what: Its name.
    """
    number = error.errno if isinstance(error, OSError) else None
    for_good = isinstance(error, _FOR_GOOD) or number in _FOR_GOOD_NUMBERS
    todo = (
        "create the bucket or folder, or grant the right to write to it (docs/storage.md lists the rights), and clear "
        "the task"
        if for_good
        else "a retry tries again; if it stays so, check the store"
    )
    text = f"the {what} {public_uri(uri)} takes no files ({_why(error)}), so nothing was ordered. What to do: {todo}"
    return EvoLinkConfigError(text).amended(permanent=for_good)


def _why(error: Exception) -> str:
    if not isinstance(error, OSError):
        return type(error).__name__
    return str(error.strerror) if error.errno else f"{type(error).__name__}: {s3.code_of(error)}"
