"""F31: EvoLink ends a job as failed. A typed error per documented code; a new order only where its page says so."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.api.errors import EvoLinkJobFailed

# EvoLink's error page, and beyond it codes that were seen: whether a retry of the task may order anew.
CODES = {
    "content_policy_violation": False,
    "invalid_parameters": False,
    "image_processing_error": False,
    "image_dimension_mismatch": False,
    "request_cancelled": False,
    "generation_failed_no_content": False,
    "service_error": True,
    "generation_timeout": True,
    "resource_exhausted": True,
    "quota_exceeded": True,
    "service_unavailable": True,
    "resource_not_found": False,
    "unknown_error": False,
    "video_probe_failed": False,
    "": False,
}


@pytest.mark.parametrize("code", CODES)
def test_f31_failed_job(waiting, clock, code):
    waiting.emulator.fault("job_fails", code=code, message="said EvoLink")
    told = EvoLinkJobFailed if CODES[code] else AirflowFailException
    assert "What to do" in waiting.fails(told, "EvoLink reported the job as failed: “said EvoLink”", poll_interval=None)
    assert waiting.met()
    assert (waiting.orders, waiting.state) == (1, "submitted")
    first = waiting.record
    waiting.retry()
    if CODES[code]:
        waiting.delivers(orders=2, poll_interval=None)
        assert waiting.record["job_id"] != first["job_id"]
        assert waiting.record["key"] != first["key"], "another key, or EvoLink answers with the failed job"
    else:
        waiting.fails(AirflowFailException, "said EvoLink", poll_interval=None)
        assert (waiting.orders, waiting.record["job_id"]) == (1, first["job_id"])
    assert waiting.emulator.books()["jobs"][0]["refunded"]
