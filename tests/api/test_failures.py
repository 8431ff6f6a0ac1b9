"""What EvoLink's codes mean."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.http.failures import REFUSAL_ADVICE, REFUSAL_STATUS, refusal, refused_before_charging
from airflow_provider_evolink.api.jobs.failures import FAILURE_CODES, failure_code, job_error
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.redaction import Redactor

REPEATABLE = {"service_error", "generation_timeout", "resource_exhausted", "quota_exceeded", "service_unavailable"}
FINAL = {
    "content_policy_violation",
    "invalid_parameters",
    "image_processing_error",
    "image_dimension_mismatch",
    "request_cancelled",
    "generation_failed_no_content",
    "resource_not_found",
    "unknown_error",
}


def job(**fields):
    return Job.model_validate({"id": "task-1", **fields})


def test_every_documented_code_has_its_row():
    assert set(FAILURE_CODES) == REPEATABLE | FINAL
    assert {row.code for row in FAILURE_CODES.values() if row.repeatable} == REPEATABLE
    assert all(row.advice for row in FAILURE_CODES.values())


@pytest.mark.parametrize("code", [None, "", "video_probe_failed", "SERVICE_ERROR", "upstream_error", "404"])
def test_an_unknown_code_is_never_worth_a_new_order(code):
    assert not failure_code(code).repeatable


@pytest.mark.parametrize("code", sorted(REPEATABLE | FINAL | {"video_probe_failed"}))
def test_a_failed_job(code):
    error = job_error(job(status="failed", error={"code": code, "message": "why\nnot"}, usage={"credits_used": 0}))
    assert isinstance(error, errors.EvoLinkJobFailed)
    assert (error.code, error.job_id, error.repeatable, error.permanent) == (
        code,
        "task-1",
        code in REPEATABLE,
        code not in REPEATABLE,
    )
    assert str(error) == (
        f"EvoLink ended the job as failed: “why not”; 0 credits were charged. "
        f"What to do: {failure_code(code).advice} [job task-1, code {code}]"
    )


def test_a_failed_job_quotes_no_prompt_of_many_lines():
    prompt = "Scene 1:\nA secret boat\twith a sail"
    error = job_error(
        job(status="failed", error={"message": f"rejected prompt: {prompt}"}), Redactor.of({"prompt": prompt})
    )
    assert "“rejected prompt: …”" in str(error)


@pytest.mark.parametrize("error", [None, {}, "", {"code": None, "message": None}, [1]])
def test_a_failed_job_without_a_reason(error):
    failure = job_error(job(status="failed", error=error))
    assert "“no reason given”; EvoLink does not say what was charged" in str(failure)
    assert failure.permanent


def test_a_hold_that_is_not_settled_is_no_charge():
    failure = job_error(job(status="failed", billing={"charge_status": "reserved", "charged_credits": 0}))
    assert "does not say what was charged" in str(failure)


def test_a_cancelled_job():
    failure = job_error(job(status="canceled"))
    assert isinstance(failure, errors.EvoLinkJobFailed)
    assert "as cancelled" in str(failure)
    assert FAILURE_CODES["request_cancelled"].advice in str(failure)
    assert failure.permanent


def test_a_completed_job():
    assert job_error(job(status="completed", results=["https://a.example/x"])) is None
    failure = job_error(job(status="completed", results=[]))
    assert isinstance(failure, errors.EvoLinkNoResults)
    assert (failure.job_id, failure.permanent) == ("task-1", True)


def test_every_refusal_has_its_advice():
    kinds = {
        refusal(status, code) for status in range(200, 600) for code in (None, "x", "content_filter", "key_expired")
    }
    assert kinds <= set(REFUSAL_ADVICE)
    assert set(REFUSAL_STATUS.values()) < set(REFUSAL_ADVICE)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "task_not_found", errors.EvoLinkNotFoundError),
        (404, None, errors.EvoLinkUnavailable),
        (403, None, errors.EvoLinkUnavailable),
        (401, None, errors.EvoLinkAuthError),
        (429, None, errors.EvoLinkRateLimited),
        (200, "429", errors.EvoLinkRateLimited),
        (200, "key_expired", errors.EvoLinkAuthError),
        (200, "x", errors.EvoLinkUnavailable),
        (200, None, errors.EvoLinkUnavailable),
        (500, "key_expired", errors.EvoLinkUnavailable),
        (500, "401", errors.EvoLinkUnavailable),
        (402, "key_expired", errors.EvoLinkAuthError),
        (599, None, errors.EvoLinkUnavailable),
    ],
)
def test_a_refused_call(status, code, expected):
    assert refusal(status, code) is expected


@pytest.mark.parametrize("word", ["paid_outcome_unknown", "Idempotency_Conflict", " PAID_OUTCOME_UNKNOWN"])
@pytest.mark.parametrize("where", ["code", "type"])
@pytest.mark.parametrize("nested", [True, False])
def test_an_order_that_may_be_paid_is_never_a_refusal(word: str, where: str, nested: bool) -> None:
    error = {"code": "x", "message": "m"} | {where: word}
    payload = {"error": error} if nested else error
    assert not refused_before_charging(400, payload)
    assert refused_before_charging(400, {"error": {"code": "x", "message": "m", "type": "invalid_request_error"}})
    assert not refused_before_charging(400, None)
    assert not refused_before_charging(503, {"error": {"code": "x"}})
