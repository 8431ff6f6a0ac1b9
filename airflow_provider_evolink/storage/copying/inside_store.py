"""Which copies a store makes itself: source and target are in it, and the same connection or key reaches both."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_evolink.compat import store_connection
from airflow_provider_evolink.storage import local_folder, s3
from airflow_provider_evolink.storage.copying import kernel_copy, s3_copy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.copying.copied import Copied, Wanted

log = logging.getLogger(__name__)


def copy_inside(source: ObjectStoragePath, target: ObjectStoragePath, wanted: Wanted) -> Copied | None:
    """
    Copy a staged file without its bytes passing this machine; ``None`` where that cannot be, or must not.

    :param source: A staged file.
    :param target: Where it goes; what is there is replaced.
    :param wanted: What it must be. A copy that turns out to be something else is removed.
    """
    if {source.protocol, target.protocol} <= local_folder.PROTOCOLS:
        return kernel_copy.copy(Path(source.path), Path(target.path), wanted)
    if not is_same_store(source, target):
        return None
    try:
        copied = s3_copy.copy(source, target, wanted)
    except OSError as error:  # a role without a right to it, a store without copies, a source that has just changed
        log.info("The store did not copy a file itself (%s), so it goes through this worker", s3.code_of(error))
        return None
    if copied is not None and not copied.is_right(wanted):
        remove(target)
    return copied


def is_same_store(source: ObjectStoragePath, target: ObjectStoragePath) -> bool:
    """
    Return whether S3 can copy from one path to another: the endpoint and the key that call it are the same.

    :param source: A path.
    :param target: Another path.
    """
    if not {source.protocol, target.protocol} <= s3.PROTOCOLS:
        return False
    return store_connection(source) == store_connection(target) or s3.identity(source) == s3.identity(target)


def remove(path: ObjectStoragePath) -> bool:
    """
    Delete a file; return whether it is gone. One that may not be deleted stays, and the log says so.

    :param path: The file.
    """
    try:
        if path.protocol in s3.PROTOCOLS:
            s3.delete(path)
        else:
            with suppress(FileNotFoundError):
                path.fs.rm_file(path.path)
    except OSError as error:
        log.warning("A file could not be deleted and stays where it is (%s)", type(error).__name__)
        return False
    return True
