"""What Airflow does after an error: fail at once, retry, or retry after EvoLink's own delay (Airflow 3.3 and later)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_evolink.compat import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


__all__ = ["EvoLinkRetryPolicy"]

# Limits of a key that, by EvoLink's own clients, reset at midnight. The time zone is not documented; UTC is assumed.
DAILY = frozenset({"token_daily_quota_exceeded", "key_daily_quota_exhausted"})
AFTER_MIDNIGHT = timedelta(minutes=5)


def resets_at_midnight(error: BaseException) -> bool:
    """
    Return whether an error is a daily limit of the key.

    :param error: What a task raised.
    """
    return getattr(error, "code", None) in DAILY


class EvoLinkRetryPolicy(RetryPolicy):
    """
    Delay a retry as long as EvoLink demands: its ``Retry-After``, or five past midnight (UTC) for a daily limit.

    Use it as ``retry_policy=EvoLinkRetryPolicy()``. Without it a daily limit fails the task at once. It never adds
    retries to ``retries``, and costs nothing: a retry waits for the same job, or submits what was refused.

    :raises RuntimeError: before Airflow 3.3, which has no retry policies.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> Any:
        """
        Return Airflow's decision about one failure.

        :param exception: What the task raised.
        :param try_number: Number of the try.
        :param max_tries: Maximum number of tries.
        :param context: Airflow's context.
        """
        if resets_at_midnight(exception):
            now = pendulum.now("UTC")
            delay = now.add(days=1).start_of("day") + AFTER_MIDNIGHT - now
            return RetryDecision.retry(delay=delay, reason="the daily limit of the EvoLink key resets at midnight")
        retry_after = getattr(exception, "retry_after", None)
        if isinstance(retry_after, int | float) and retry_after > 0:
            return RetryDecision.retry(delay=timedelta(seconds=float(retry_after)), reason="EvoLink sent Retry-After")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return what the serialized DAG stores: nothing, it has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> EvoLinkRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """
        Build it from a serialized DAG.

        :param data: The result of :meth:`serialize`.
        """
        return cls()


@contextmanager
def airflow_failures(operator: Any = None) -> Iterator[None]:
    """
    Log a failure in three lines, and turn a permanent one into ``EvoLinkTaskFailed``, so that no retry is used up.

    Any other error is raised unchanged: Airflow's retries apply, and a retry waits for the same job.

    :param operator: The operator; its ``EvoLinkRetryPolicy``, if it has one, can wait for a daily limit to reset.
    """
    from airflow_provider_evolink.api.errors import EvoLinkError

    try:
        yield
    except EvoLinkError as error:
        waits = isinstance(getattr(operator, "retry_policy", None), EvoLinkRetryPolicy) and resets_at_midnight(error)
        from airflow_provider_evolink.task_failures import EvoLinkTaskFailed, keep_failure, log_failure

        log_failure(error)
        keep_failure(error)
        if error.permanent and not waits:
            raise EvoLinkTaskFailed(error) from None
        raise
