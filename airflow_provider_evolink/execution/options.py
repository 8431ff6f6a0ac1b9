"""What a DAG author chose, checked before anything is paid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.execution.batch_decisions import OnFailedJob

LONGEST_WAIT = 365 * 86400.0  # seconds

MOST_ACTIVE = 1000  # more would not fit into the row that Airflow keeps of a trigger on MySQL


def check_waits(operator: Any) -> None:
    """
    Check how long an operator is told to wait, before anything is paid.

    :param operator: A generate operator.
    :raises EvoLinkConfigError: a value that is no number of seconds.
    """
    for name in ("timeout", "poll_interval", "defer_after"):
        value = getattr(operator, name)
        if name == "timeout" and isinstance(value, timedelta):
            value = value.total_seconds()
        elif name != "timeout" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LONGEST_WAIT:
            given = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
            raise EvoLinkConfigError(
                f"{name} must be a number of seconds from 0 to {LONGEST_WAIT:.0f}, and is {given}; this try ordered "
                "nothing. What to do: correct it in the DAG file and clear the task"
            )


def check_batch(on_failed_job: Any, max_active: Any) -> None:
    """
    Check what a DAG author chose for a batch.

    :param on_failed_job: What a request without a result means for the others.
    :param max_active: How many jobs may run at a time.
    :raises EvoLinkConfigError: a value that is none of the choices.
    """
    if on_failed_job not in get_args(OnFailedJob):
        raise EvoLinkConfigError(f"on_failed_job must be one of {', '.join(get_args(OnFailedJob))}")
    if isinstance(max_active, bool) or not isinstance(max_active, int) or not 1 <= max_active <= MOST_ACTIVE:
        raise EvoLinkConfigError(f"max_active must be a whole number from 1 to {MOST_ACTIVE}")
