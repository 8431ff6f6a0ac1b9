"""Airflow facts that differ between versions or that common.compat has no name for."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

# The value Airflow puts in the place of a resume method when a trigger failed or timed out.
TRIGGER_FAILED = "__fail__"


def default_deferrable() -> bool:
    """
    Return ``[operators] default_deferrable`` where the environment sets it, else True.

    Airflow's own default of that option is False and is also written into every generated ``airflow.cfg``, so a
    False from there is no choice of anybody's; see ``docs/decisions``. A single task takes ``deferrable=False``.
    """
    chosen = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ
    return conf.getboolean("operators", "default_deferrable", fallback=True) if chosen else True


def task_state_store(context: Context) -> Any | None:
    """
    Return Airflow's durable store of this task instance (3.3 and later), or ``None``.

    :param context: Context of ``execute``.
    """
    return context.get("task_state_store")


def never_expire() -> timedelta:
    """Return the retention that keeps a stored value for ever."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return NEVER_EXPIRE
