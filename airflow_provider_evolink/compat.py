"""What differs between Airflow versions, or is missing from common.compat."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

# What Airflow passes instead of the name of a resume method when a trigger failed or timed out.
TRIGGER_FAILED = "__fail__"


def default_deferrable() -> bool:
    """
    Return ``[operators] default_deferrable`` where the environment sets it, else True.

    Airflow's own default of that option is False, and every generated ``airflow.cfg`` holds it, so a False from there
    is nobody's choice; see ``docs/decisions``. A single task takes ``deferrable=False``.
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
    """Return the retention of a stored value that never expires."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    return NEVER_EXPIRE


def span(name: str, attributes: dict[str, str]) -> AbstractContextManager[Any]:
    """
    Return an OpenTelemetry span, or nothing where that is not installed (Airflow 2).

    :param name: Its name.
    :param attributes: Its attributes.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        return nullcontext()
    return trace.get_tracer("airflow_provider_evolink").start_as_current_span(name, attributes=attributes)


try:
    from airflow.providers.common.compat.sdk import RetryDecision as RetryDecision  # noqa: PLC0414 - exported
    from airflow.providers.common.compat.sdk import RetryPolicy as RetryPolicy  # noqa: PLC0414
except ImportError:

    class RetryPolicy:  # type: ignore[no-redef]
        """Stands in before Airflow 3.3, which has no retry policies."""

        def __init__(self) -> None:
            raise RuntimeError("retry policies need Airflow 3.3 or later; use retry_delay")

    RetryDecision = None  # type: ignore[assignment,misc]
