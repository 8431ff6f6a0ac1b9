"""What is not provably harmless is unknown: errors that nobody has thought of, and successes that are none."""

from __future__ import annotations

import json

import pytest

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.http import wire
from airflow_provider_evolink.api.http.failures import refused_before_charging
from airflow_provider_evolink.api.http.retries import SubmitOutcome, submit_outcome

JOB = {"id": "task-unified-1-x", "status": "pending", "model": "m"}


NOT_RECORDED = errors.EvoLinkLedgerError("x", job_id=JOB["id"])


@pytest.mark.parametrize("error", [RuntimeError("x"), errors.EvoLinkError("x"), NOT_RECORDED])
def test_an_error_that_nobody_has_thought_of_leaves_the_outcome_unknown(error):
    assert submit_outcome(error) is SubmitOutcome.UNKNOWN


def test_a_record_that_cannot_be_read_comes_before_the_order():
    assert submit_outcome(errors.EvoLinkLedgerError("x")) is SubmitOutcome.UNSENT


@pytest.mark.parametrize("status", [200, 302, 406, 408, 409, 423, 425, 451, 499, *range(500, 530)])
def test_only_a_documented_status_says_that_nothing_was_charged(status):
    said = {"error": {"code": "some_code", "message": "x", "type": "invalid_request_error"}}
    assert refused_before_charging(400, said)
    assert not refused_before_charging(status, said)


@pytest.mark.parametrize("status", [300, 302, 307, 399])
def test_a_redirect_is_no_success_even_with_a_job_in_it(status):
    answer = wire.Response(status, {}, json.dumps(JOB).encode())
    with pytest.raises(errors.EvoLinkSubmissionUnknown):
        wire.job_from(wire.submit("/v1/videos/generations", {"model": "m"}, "k" * 20), answer)
    with pytest.raises(errors.EvoLinkUnavailable):
        wire.job_from(wire.read_job(JOB["id"]), answer)
