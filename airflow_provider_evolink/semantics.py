"""EvoLink's errors in Airflow's terms: what fails at once and what uses the task's retries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def airflow_failures(operator: Any = None) -> Iterator[None]:
    """
    Turn an error that would come again into ``AirflowFailException``, so that no retry is used up.

    Everything else goes on as it is: Airflow's retries apply, and a retry waits for the same job.

    :param operator: The operator; its ``EvoLinkRetryPolicy``, if it has one, can wait for a daily limit to reset.
    """
    from airflow_provider_evolink.api.errors import EvoLinkError
    from airflow_provider_evolink.retry_policies import EvoLinkRetryPolicy, resets_at_midnight

    try:
        yield
    except EvoLinkError as error:
        waits = isinstance(getattr(operator, "retry_policy", None), EvoLinkRetryPolicy) and resets_at_midnight(error)
        if error.permanent and not waits:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise
