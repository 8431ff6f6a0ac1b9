"""The folder of this machine for what is on its way to an object store."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError


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
