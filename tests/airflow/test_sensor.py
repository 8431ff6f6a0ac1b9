"""The sensor recovers a job by its id: it waits, returns the job, and submits nothing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from evolink_support import MAPPED, set_policy

from airflow_provider_evolink.api.errors import EvoLinkNotFoundError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.sensors import EvoLinkJobSensor

CONTEXT: Any = {}


@pytest.fixture
def job_id(emulator: EmulatorServer, evolink_conn: str) -> str:
    """Return a job that another task submitted and that is still running."""
    with EvoLinkHook().get_conn() as client:
        job = client.submit({"model": "wan2.7-text-to-video", "prompt": "A clip", "duration": 2})
    emulator.job(job.job_id, state="processing")
    return job.job_id


def sensor(job_id: str, **arguments: Any) -> EvoLinkJobSensor:
    """Build a sensor as a DAG file would."""
    return EvoLinkJobSensor(task_id="recover", job_id=job_id, **arguments)


def test_returns_a_finished_job_without_deferring(emulator: EmulatorServer, job_id: str) -> None:
    """A job that has ended needs no trigger, and nothing is submitted."""
    emulator.job(job_id, state="completed")
    job = sensor(job_id).execute(CONTEXT)
    assert (job["job_id"], job["status"], len(job["results"])) == (job_id, "completed", 1)
    assert emulator.books()["orders"] == 1


def test_waits_in_the_triggerer_for_a_running_job(emulator: EmulatorServer, job_id: str) -> None:
    """A running job is awaited by the trigger of the generate operators; on resume the job is read again."""
    waiting = sensor(job_id)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(CONTEXT)
    assert deferred.value.trigger.serialize()[1]["job_id"] == job_id
    emulator.job(job_id, state="completed")
    assert waiting.execute_complete(CONTEXT, {"job_id": job_id, "status": "completed"})["job_id"] == job_id


def test_the_error_of_a_failed_job_quotes_no_prompt(emulator: EmulatorServer, job_id: str, logs: Any) -> None:
    """The request is not known here, so EvoLink's own words are left out; the code and what to do are not."""
    emulator.job(job_id, state="failed", code="content_policy_violation", message="rejected prompt: A xylophonist")
    with pytest.raises(AirflowFailException, match=f"{job_id}, code content_policy_violation") as raised:
        sensor(job_id).execute(CONTEXT)
    assert "xylophonist" not in str(raised.value) + repr(raised.value.__cause__) + logs.text


def test_waits_for_links_that_are_not_there_yet(
    emulator: EmulatorServer, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may be completed a moment before its results can be read."""
    set_policy(monkeypatch, reread_after=0.05)
    emulator.job(job_id, state="completed")
    emulator.fault("no_results", **{"as": "empty"}, times=3)
    assert len(sensor(job_id).execute(CONTEXT)["results"]) == 1
    assert emulator.faults()[0]["done"]


def test_pokes_when_it_is_not_deferrable(emulator: EmulatorServer, job_id: str) -> None:
    """Neither a transient error nor a running job ends the wait."""
    emulator.fault("status", on="read", status=503, times=3)
    poking = sensor(job_id, deferrable=False)
    assert not poking.poke(CONTEXT).is_done
    assert not poking.poke(CONTEXT).is_done
    emulator.job(job_id, state="completed")
    assert poking.poke(CONTEXT).is_done


@pytest.mark.parametrize("deferrable", [True, False])
def test_fails_with_the_job(emulator: EmulatorServer, job_id: str, deferrable: bool) -> None:
    """A job that EvoLink failed fails the sensor at once."""
    emulator.job(job_id, state="failed", code="content_policy_violation", message="refused")
    with pytest.raises(AirflowFailException, match="content_policy_violation"):
        sensor(job_id, deferrable=deferrable).execute(CONTEXT)


def test_times_out_while_the_job_is_running(job_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """A timeout loses nothing: a retry continues to wait. The log says so as it says every failure."""
    with pytest.raises(AirflowSensorTimeout, match=f"{job_id} is still running"):
        sensor(job_id).execute_complete(CONTEXT, {"job_id": job_id, "status": "timeout"})
    (error,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert error.splitlines()[1:] == [
        f"Job {job_id}: it keeps running and is still billed",
        "What to do: clear this task, or give it a longer timeout",
    ]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
def test_a_failed_job_skips_the_task_on_request(
    emulator: EmulatorServer, job_id: str, deferrable: bool, choice: str
) -> None:
    """Airflow's own soft_fail and never_fail hold for a failed job, in a deferrable sensor too."""
    emulator.job(job_id, state="failed", code="content_policy_violation", message="refused")
    with pytest.raises(AirflowSkipException):
        sensor(job_id, deferrable=deferrable, **{choice: True}).execute(CONTEXT)


def test_pokes_on_the_worker_where_the_triggerer_cannot_read(emulator: EmulatorServer, job_id: str) -> None:
    """A triggerer without access does not end the wait of a worker that has it."""
    threading.Timer(0.5, lambda: emulator.job(job_id, state="completed")).start()
    job = sensor(job_id, poke_interval=0.2).execute_complete(CONTEXT, {"job_id": job_id, "status": "unreadable"})
    assert job["status"] == "completed"


def test_does_not_find_an_unknown_job(evolink_conn: str) -> None:
    """A wrong id says so, with the id."""
    with pytest.raises(EvoLinkNotFoundError, match="task-unified-1-nobody00"):
        sensor("task-unified-1-nobody00").execute(CONTEXT)


FAILED = "__fail__"


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
def test_a_job_that_ended_counts_whatever_became_of_the_trigger(
    emulator: EmulatorServer, job_id: str, error: str
) -> None:
    """Airflow ends a trigger after its timeout, or where it cannot run; the job is polled once more."""
    emulator.job(job_id, state="completed")
    assert sensor(job_id).resume_execution(FAILED, {"error": error}, CONTEXT)["job_id"] == job_id


@pytest.mark.parametrize(("choice", "end"), [({}, AirflowSensorTimeout), ({"soft_fail": True}, AirflowSkipException)])
def test_a_trigger_that_timed_out_while_the_job_runs_times_out(job_id: str, choice: Any, end: Any) -> None:
    with pytest.raises(end):
        sensor(job_id, **choice).resume_execution(FAILED, {"error": "Trigger timeout"}, CONTEXT)


def test_a_trigger_that_crashed_is_replaced_by_the_worker_until_the_deadline(job_id: str) -> None:
    waiting = sensor(job_id, poke_interval=0.2, timeout=3600, execution_timeout=timedelta(seconds=1.5))
    began = time.monotonic()
    with pytest.raises(AirflowSensorTimeout):
        waiting.resume_execution(FAILED, {"error": "Trigger failure"}, CONTEXT)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("timeout", "execution_timeout", "seconds"), [(600, None, 600), (600, 20, 20), (20, 600, 20), (600, 600, 600)]
)
def test_the_shorter_limit_is_the_deadline(
    job_id: str, timeout: float, execution_timeout: float | None, seconds: float
) -> None:
    limit = None if execution_timeout is None else timedelta(seconds=execution_timeout)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(job_id, timeout=timeout, execution_timeout=limit).execute(CONTEXT)
    assert deferred.value.trigger.deadline - time.time() == pytest.approx(seconds, abs=5)
    started = SimpleNamespace(start_date=datetime.now(UTC) - timedelta(seconds=seconds - 10))
    with pytest.raises(TaskDeferred) as deferred:
        sensor(job_id, timeout=timeout, execution_timeout=limit).execute({"ti": started})
    assert deferred.value.trigger.deadline - time.time() == pytest.approx(10, abs=5)


def test_a_whole_job_is_reduced_to_its_id_before_airflow_stores_it(job_id: str) -> None:
    job = {"job_id": job_id, "request": {"prompt": "SECRETPROMPT"}, "results": ["https://m/1.mp4?sig=SECRETLINK"]}
    with pytest.raises(TaskDeferred) as deferred:
        sensor(job).execute(CONTEXT)
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["job_id"] == job_id
    assert "SECRET" not in str(arguments)


@pytest.mark.parametrize("wrong", [7, [], {}, {"job_id": None}, {"job_id": ["a"]}, "../etc", "{'job_id': 1}"])
def test_what_is_no_job_is_refused_at_once(evolink_conn: str, wrong: Any) -> None:
    with pytest.raises(AirflowFailException, match="job_id must be"):
        sensor(wrong, **MAPPED).execute(CONTEXT)
