"""EvoLink over HTTP. Knows nothing of Airflow; usable from any script. Names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

# Where a public name lives; the errors are not listed.
_MODULES = {
    "AsyncEvoLinkClient": "client",
    "ClientSettings": "settings",
    "Credits": "jobs.credits",
    "DownloadLimits": "files.transfer.fetching",
    "EvoLinkClient": "client",
    "Job": "jobs.job",
    "JobStatus": "jobs.job",
    "NetworkPolicy": "network",
    "Patience": "http.patience",
    "Redactor": "redaction",
    "build_request": "catalog",
    "download": "files.download",
}
__all__ = [
    "AsyncEvoLinkClient",
    "ClientSettings",
    "Credits",
    "DownloadLimits",
    "EvoLinkAPIError",
    "EvoLinkAccessError",
    "EvoLinkAuthError",
    "EvoLinkBudgetError",
    "EvoLinkClient",
    "EvoLinkConfigError",
    "EvoLinkContentError",
    "EvoLinkCreditsError",
    "EvoLinkError",
    "EvoLinkInputError",
    "EvoLinkInvalidError",
    "EvoLinkJobError",
    "EvoLinkJobFailed",
    "EvoLinkJobTimeout",
    "EvoLinkLedgerError",
    "EvoLinkLinkExpired",
    "EvoLinkLinkRefused",
    "EvoLinkMediaError",
    "EvoLinkNoResults",
    "EvoLinkNotFoundError",
    "EvoLinkOrderStopped",
    "EvoLinkRateLimited",
    "EvoLinkRequestError",
    "EvoLinkRerunRefused",
    "EvoLinkSubmissionUnknown",
    "EvoLinkUnavailable",
    "Job",
    "JobStatus",
    "NetworkPolicy",
    "Patience",
    "Redactor",
    "Violation",
    "build_request",
    "download",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
