"""What ends a batch, and when it submits more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from airflow_provider_evolink.api.errors import (
    EvoLinkContentError,
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkJobError,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
)

OnFailedJob = Literal["fail_fast", "collect"]

# What is the affair of one request of a batch. Everything else, such as a refused key, would meet the others as well.
REQUEST_ERRORS = (
    EvoLinkJobError,
    EvoLinkContentError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
    EvoLinkMediaError,
)

REFILL_SHARE = 4  # the part of its places that a batch lets become free before it orders on


def refill_threshold(running: int, waiting: int) -> int:
    """
    Return how many jobs of a batch must be over before a worker goes on with it.

    A resumption costs more than a job's place standing empty for a while, so several orders are made in one.

    :param running: How many jobs run.
    :param waiting: How many requests are still to be ordered.
    """
    return max(1, running // REFILL_SHARE) if waiting else running


def ends_batch(
    failed: Mapping[int, EvoLinkError], on_failed_job: OnFailedJob, *, all_over: bool, is_last_try: bool
) -> int | None:
    """
    Return the request whose error ends a try of a batch; ``None``: the try goes on.

    Where failures are collected, those that a retry may mend are left to the retries as long as there are any.

    :param failed: The requests that gave nothing so far, and why.
    :param on_failed_job: What the DAG author chose.
    :param all_over: Whether nothing of the batch is left to wait for.
    :param is_last_try: Whether Airflow has no retry left.
    """
    lasting = [number for number, error in failed.items() if error.permanent]
    passing = [number for number, error in failed.items() if not error.permanent]
    if on_failed_job == "fail_fast":
        return next(iter(lasting + passing), None)
    return next(iter(passing), None) if all_over and not is_last_try else None
