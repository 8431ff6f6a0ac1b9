"""A wait that has timed out advises what works today: the advice is followed, word for word, and pays nothing more."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkJobTimeout
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkBatchOperator

LONGER = (
    "What to do: give the task a longer timeout and clear it: it continues to wait for this job and submits nothing. "
    "A retry with the same timeout only polls the job once more"
)
NEXT_TRY = (
    "What to do: nothing if retries are left: the next try continues to wait for this job and submits nothing. "
    "Otherwise give the task a longer execution_timeout and clear it"
)
REQUESTS = {"requests": [{"model": "wan2.7-text-to-video", "prompt": "p"}]}


def times_out(stage: Any, operator: Any, advice: str) -> None:
    """Run a try that is over before its job."""
    stage.ti.start_date = datetime.now(UTC)
    with pytest.raises(EvoLinkJobTimeout) as told:
        stage.run(operator)
    assert advice in str(told.value)
    assert "still billed" in str(told.value)


@pytest.fixture
def endless(slow: EmulatorServer) -> EmulatorServer:
    """Serve a job that does not end by itself."""
    slow.settings(polls=10_000)
    return slow


def completes(emulator: EmulatorServer) -> None:
    """End the one job in a moment."""
    job_id = emulator.books()["jobs"][0]["id"]
    threading.Timer(0.3, lambda: emulator.job(job_id, state="completed")).start()


@pytest.mark.parametrize("kind", ["deferred", "on the worker", "a batch", "a batch on the worker"])
def test_after_its_timeout_a_task_needs_a_longer_one(stage: Any, make: Any, endless: EmulatorServer, kind: str) -> None:
    given: dict[str, Any] = {"deferrable": "worker" not in kind}
    which = (EvoLinkBatchOperator,) if "batch" in kind else ()
    given |= REQUESTS if which else {}
    times_out(stage, make(*which, timeout=0.4, **given), LONGER)
    times_out(stage.retry(), make(*which, timeout=0.4, **given), LONGER)
    completes(endless)
    assert stage.clear().run(make(*which, timeout=60, **given))
    assert endless.books()["orders"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_after_its_execution_timeout_the_next_try_waits(
    stage: Any, make: Any, endless: EmulatorServer, deferrable: bool
) -> None:
    given = {"deferrable": deferrable, "timeout": 600, "execution_timeout": timedelta(seconds=0.6)}
    times_out(stage, make(**given), NEXT_TRY)
    times_out(stage.retry(), make(**given), NEXT_TRY)
    completes(endless)
    stage.retry().ti.start_date = datetime.now(UTC)
    assert stage.run(make(**{**given, "execution_timeout": timedelta(seconds=60)}))["status"] == "completed"
    assert endless.books()["orders"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_job_that_nothing_remembers_is_not_left_to_a_retry(
    stage: Any, make: Any, endless: EmulatorServer, deferrable: bool
) -> None:
    endless.settings(idempotency=False)
    advice = "wait for it with EvoLinkJobSensor and this job ID: it is recorded nowhere, so a retry submits, and pays,"
    times_out(stage, make(timeout=0.4, durable=False, deferrable=deferrable), advice)
    with pytest.raises(EvoLinkJobTimeout):
        stage.retry().run(make(timeout=0.4, durable=False, deferrable=deferrable))
    assert endless.books()["orders"] == 2, "it does"


def test_a_script_is_told_to_wait_again(endless: EmulatorServer) -> None:
    with EvoLinkClient(ClientSettings("test-key-0123456789", base_url=endless.url)) as client:
        job = client.submit({"model": "wan2.7-text-to-video", "prompt": "p"}, idempotency_key="af1-script-0123456789")
        with pytest.raises(EvoLinkJobTimeout, match="What to do: wait again with this job ID and a longer timeout"):
            client.wait(job.job_id, timeout=0.2, poll_interval=0.05)
        completes(endless)
        assert client.wait(job.job_id, timeout=60, poll_interval=0.05).job_id == job.job_id
