"""EvoLink over HTTP. Knows nothing of Airflow; usable from any script."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "AsyncEvoLinkClient": "client",
    "EvoLinkClient": "client",
    "ClientSettings": "settings",
    "Credits": "jobs.credits",
    "Job": "jobs.job",
    "JobStatus": "jobs.job",
    "build_request": "catalog",
}
__all__ = [
    "AsyncEvoLinkClient",
    "ClientSettings",
    "Credits",
    "EvoLinkClient",
    "Job",
    "JobStatus",
    "build_request",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
