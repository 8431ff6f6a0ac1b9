"""What ends a batch, and when it submits more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import (
    EvoLinkContentError,
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkJobError,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
)

if TYPE_CHECKING:
    from airflow_provider_evolink.arguments.choices import OnFailedJob

# Errors that concern one request of a batch. All others, such as a rejected key, concern every request.
REQUEST_ERRORS = (
    EvoLinkJobError,
    EvoLinkContentError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
    EvoLinkMediaError,
)

REFILL_SHARE = 4  # a batch submits more once one in four of its running jobs has ended


def refill_threshold(running: int, waiting: int) -> int:
    """
    Return how many jobs of a batch must have ended before a worker continues.

    Resuming a task costs more than a free slot for a while, so several requests are submitted at once.

    :param running: How many jobs run.
    :param waiting: How many requests are still to be submitted.
    """
    return max(1, running // REFILL_SHARE) if waiting else running


def ends_batch(
    failed: Mapping[int, EvoLinkError], on_failed_job: OnFailedJob, *, all_over: bool, is_last_try: bool
) -> int | None:
    """
    Return the request whose error ends the try of a batch; ``None``: the try continues.

    If failures are collected, transient ones are left to Airflow's retries as long as there are any.

    :param failed: The requests that have failed so far, and why.
    :param on_failed_job: What the DAG author chose.
    :param all_over: Whether nothing of the batch is left to wait for.
    :param is_last_try: Whether Airflow has no retry left.
    """
    permanent = [number for number, error in failed.items() if error.permanent]
    transient = [number for number, error in failed.items() if not error.permanent]
    if on_failed_job == "fail_fast":
        return next(iter(permanent + transient), None)
    return next(iter(transient), None) if all_over and not is_last_try else None
