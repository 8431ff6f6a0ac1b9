"""What an order reserved is stated in the response to the order alone: the result and the record keep it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger.record import read_record


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_result_states_what_was_reserved(stage: Any, make: Any, slow: EmulatorServer, deferrable: bool) -> None:
    result = stage.run(make(deferrable=deferrable, poll_interval=0.05))
    assert (result["credits_reserved"], result["credits_charged"], result["credits"]) == (10.88, 10.88, 10.88)
    assert stage.store.record["credits_reserved"] == 10.88
    again = stage.retry().run(make(deferrable=deferrable))
    assert again["credits_reserved"] == 10.88, "the next try knows it too"


def test_without_a_record_the_try_that_ordered_knows_it(stage: Any, make: Any, emulator: EmulatorServer) -> None:
    result = stage.run(make(durable=False, deferrable=False, poll_interval=0.05))
    assert result["credits_reserved"] == 10.88


def test_a_failed_job_states_it_too(stage: Any, make: Any, emulator: EmulatorServer, hurry: None) -> None:
    pushed: dict[str, Any] = {}
    stage.ti.xcom_push = lambda key, value: pushed.update({key: value})
    emulator.fault("job_fails", code="content_policy_violation", message="no brands")
    with pytest.raises(AirflowFailException):
        stage.run(make(deferrable=False, poll_interval=0.05))
    assert pushed["failed_job"]["credits_reserved"] == 10.88


@pytest.mark.parametrize("value", ["x", True, -1, None, [], float("nan"), float("inf"), 10**12, {}])
def test_a_record_with_an_odd_amount_is_still_a_record(stage: Any, make: Any, emulator: Any, value: Any) -> None:
    stage.run(make())
    record = read_record({**stage.store.record, "credits_reserved": value})
    assert record.credits_reserved is None
    assert record.job_id == stage.store.record["job_id"]


def test_a_record_of_an_older_version_has_none(stage: Any, make: Any, emulator: EmulatorServer) -> None:
    stage.run(make())
    older = {name: value for name, value in stage.store.record.items() if name != "credits_reserved"}
    assert read_record(older).credits_reserved is None


def test_what_evolink_does_not_state_is_not_printed_as_none(
    stage: Any, make: Any, emulator: EmulatorServer, logs: Any
) -> None:
    """Neither the response to the order nor the job names model and credits: both lines stay readable."""
    job_id = "task-unified-1790000000-demo0001"
    ended = {"id": job_id, "status": "completed", "results": ["https://media.example.com/clip.mp4"]}
    emulator.fault("status", on="submit", status=200, body=json.dumps({"data": {"task_id": job_id}}))
    emulator.fault("status", on="read", status=200, body=json.dumps(ended), times=-1)
    assert stage.run(make(deferrable=False))["job_id"] == job_id
    submitted, completed = (next(line for line in logs.told if words in line) for words in ("Submitted", "completed:"))
    assert f"{job_id} (wan2.7-text-to-video), an unknown number of credits reserved" in submitted
    assert completed == f"EvoLink job {job_id} completed: 1 result, an unknown number of credits"
    assert not [line for line in logs.told if re.search(r"\bNone\b", line)]
