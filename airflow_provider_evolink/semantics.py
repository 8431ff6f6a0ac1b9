"""EvoLink's errors in Airflow's terms: what fails at once and what uses the task's retries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def airflow_failures() -> Iterator[None]:
    """
    Turn an error that would come again into ``AirflowFailException``, so that no retry is used up.

    Everything else goes on as it is: Airflow's retries apply, and a retry waits for the same job.
    """
    from airflow_provider_evolink.api.errors import EvoLinkError

    try:
        yield
    except EvoLinkError as error:
        if error.permanent:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise
