"""The archive: a folder per job with its files and a manifest, and an index of all jobs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.storage.archive.archiving import archive_files
    from airflow_provider_evolink.storage.archive.reader import EvoLinkArchive

__all__ = ["EvoLinkArchive", "archive_files"]

_HOMES = {"archive_files": "archiving", "EvoLinkArchive": "reader"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is needed: a DAG file that names a layout needs none of it."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
