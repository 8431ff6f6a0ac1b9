"""What a batch decides, as tables."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.errors import EvoLinkContentError, EvoLinkError, EvoLinkJobTimeout
from airflow_provider_evolink.arguments.choices import OnFailedJob
from airflow_provider_evolink.execution.batch_decisions import ends_batch, refill_threshold

PASSING, LASTING = EvoLinkJobTimeout("p"), EvoLinkContentError("l")


@pytest.mark.parametrize(
    ("running", "waiting", "wanted"), [(100, 0, 100), (1, 0, 1), (100, 1, 25), (4, 9, 1), (3, 9, 1), (1, 9, 1)]
)
def test_how_many_jobs_must_be_over_before_a_worker_goes_on(running: int, waiting: int, wanted: int) -> None:
    assert refill_threshold(running, waiting) == wanted


@pytest.mark.parametrize(
    ("failed", "policy", "all_over", "is_last_try", "wanted"),
    [
        ({}, "fail_fast", True, False, None),
        ({3: PASSING}, "fail_fast", False, False, 3),
        ({3: PASSING, 5: LASTING}, "fail_fast", False, False, 5),
        ({}, "collect", True, False, None),
        ({3: LASTING}, "collect", True, False, None),
        ({3: LASTING, 5: PASSING}, "collect", False, False, None),
        ({3: LASTING, 5: PASSING}, "collect", True, False, 5),
        ({3: LASTING, 5: PASSING}, "collect", True, True, None),
    ],
)
def test_which_failure_ends_a_try(
    failed: dict[int, EvoLinkError], policy: OnFailedJob, all_over: bool, is_last_try: bool, wanted: int | None
) -> None:
    assert ends_batch(failed, policy, all_over=all_over, is_last_try=is_last_try) == wanted
