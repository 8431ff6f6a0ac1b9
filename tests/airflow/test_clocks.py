"""Worker and triggerer whose clocks differ by 40 minutes, both ways: a wait lasts as long as its timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, TaskDeferred

from airflow_provider_evolink.api.http.server_clock import ServerClock
from airflow_provider_evolink.api.polling import poller
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import batch, batch_item, job_tracker, submission, task_run
from airflow_provider_evolink.operators import EvoLinkBatchOperator, generate
from airflow_provider_evolink.operators import batch as batch_operator
from airflow_provider_evolink.sensors import EvoLinkJobSensor
from airflow_provider_evolink.sensors import evolink as sensor

WORKER = (submission, task_run, job_tracker, generate, batch, batch_item, batch_operator, sensor)
MINUTES = 60.0
Make = Callable[..., Callable[[], Any]]


def shift(patch: pytest.MonkeyPatch, modules: tuple[Any, ...], seconds: float) -> None:
    """Set the wall clock that some modules read; the monotonic clock goes on."""
    clock = SimpleNamespace(**vars(time))
    clock.time = lambda: time.time() + seconds
    for module in modules:
        patch.setattr(module, "time", clock)


@pytest.fixture(params=[(-40, 0), (40, 0), (0, -40), (0, 40), (-40, 40)], ids=lambda pair: f"{pair[0]} {pair[1]}")
def clocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's clock and the triggerer's, in minutes beside EvoLink's."""
    worker, triggerer = request.param
    shift(monkeypatch, WORKER, worker * MINUTES)
    shift(monkeypatch, (poller,), triggerer * MINUTES)


@pytest.mark.usefixtures("clocks")
def test_a_job_that_takes_its_time_is_waited_for_in_the_triggerer(stage: Any, make: Make, slow: EmulatorServer) -> None:
    result = stage.run(make(timeout=30 * MINUTES, poll_interval=0.5))
    assert result["status"] == "completed"
    assert [event["status"] for event in stage.events] == ["completed"], "and no time ran out"
    assert slow.books()["orders"] == 1


@pytest.mark.usefixtures("clocks")
def test_a_batch_that_takes_its_time_is_waited_for_in_the_triggerer(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    requests = [{"prompt": f"A paper boat, number {number}", "duration": 2} for number in range(2)]
    shared = {"model": "wan2.7-text-to-video", "parameters": None, "timeout": 30 * MINUTES, "poll_interval": 0.5}
    results = stage.run(make(EvoLinkBatchOperator, requests=requests, **shared))
    assert [result["status"] for result in results] == ["completed"] * 2
    assert all(event["without_result"] == {} for event in stage.events)
    assert slow.books()["orders"] == 2


@pytest.mark.usefixtures("clocks")
def test_a_wait_that_is_too_long_ends_in_time(stage: Any, make: Make, slow: EmulatorServer) -> None:
    slow.settings(polls=10**6)
    began = time.monotonic()
    with pytest.raises(Exception, match="still runs after the timeout"):
        stage.run(make(timeout=4, poll_interval=0.5))
    assert time.monotonic() - began < 40


@pytest.mark.usefixtures("clocks")
def test_the_sensor_waits_in_the_triggerer(stage: Any, make: Make, slow: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    job_id = slow.books()["jobs"][0]["id"]
    stage.events.clear()
    waits = stage.run(lambda: EvoLinkJobSensor(task_id="s", job_id=job_id, timeout=30 * MINUTES, poll_interval=0.5))
    assert waits["job_id"] == job_id
    assert [event["status"] for event in stage.events] in ([], ["completed"])


@pytest.mark.usefixtures("clocks")
def test_the_sensor_times_out_in_time(stage: Any, make: Make, slow: EmulatorServer) -> None:
    slow.settings(polls=10**6)
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    job_id = slow.books()["jobs"][0]["id"]
    began = time.monotonic()
    with pytest.raises(AirflowSensorTimeout):
        stage.run(lambda: EvoLinkJobSensor(task_id="s", job_id=job_id, timeout=3, poll_interval=0.5))
    assert time.monotonic() - began < 40


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Thu, 01 Jan 2026 00:40:00 GMT", 2400.0),
        ("Wed, 31 Dec 2025 23:20:00 GMT", -2400.0),
        ("Thu, 01 Jan 2026 00:00:03 GMT", 0.0),
        ("Sun, 01 Jan 2090 00:00:00 GMT", 0.0),
        ("yesterday", 0.0),
        ("", 0.0),
    ],
)
def test_only_a_date_that_can_be_a_clock_moves_deadlines(date: str, expected: float) -> None:
    clock = ServerClock()
    clock.note({"date": date} if date else {})
    assert clock.offset(1767225600.0) == pytest.approx(expected, abs=1.0)
