"""What differs between Airflow versions, or is missing from common.compat."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

# What Airflow passes instead of the name of a resume method when a trigger failed or timed out.
TRIGGER_FAILED = "__fail__"
TRIGGER_TIMEOUT = "Trigger timeout"  # and why, if it timed out


def default_deferrable() -> bool:
    """
    Return ``[operators] default_deferrable`` where the environment sets it, else True.

    Airflow's own default of that option is False, and every generated ``airflow.cfg`` holds it, so a False from there
    is nobody's choice; see ``docs/decisions``. A single task takes ``deferrable=False``.
    """
    chosen = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ
    return conf.getboolean("operators", "default_deferrable", fallback=True) if chosen else True


def triggerer_stats() -> Any:
    """Return Airflow's metrics in the triggerer: from 3.2 on it sets up its own copy, not the one that tasks use."""
    try:
        from airflow.observability.stats import Stats
    except ImportError:
        from airflow.providers.common.compat.sdk import Stats  # type: ignore[assignment]
    return Stats


def store_connection(path: ObjectStoragePath) -> str | None:
    """
    Return the connection of a path; before Airflow 3.2 it is among its storage options alone.

    :param path: The path.
    """
    found: str | None = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")
    return found


def never_expire() -> timedelta:
    """Return the retention of a stored value that never expires."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return NEVER_EXPIRE


try:
    from airflow.providers.common.compat.sdk import RetryDecision as RetryDecision  # noqa: PLC0414 - exported
    from airflow.providers.common.compat.sdk import RetryPolicy as RetryPolicy  # noqa: PLC0414
except ImportError:

    class RetryPolicy:  # type: ignore[no-redef]
        """Stands in before Airflow 3.3, which has no retry policies."""

        def __init__(self) -> None:
            raise RuntimeError("retry policies need Airflow 3.3 or later; use retry_delay")

    RetryDecision = None  # type: ignore[assignment,misc]
