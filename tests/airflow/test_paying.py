"""The moment of paying, the budget, the deadline, and what is counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.api.errors import EvoLinkCreditsError, EvoLinkJobTimeout, EvoLinkRateLimited
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkGenerateOperator
from airflow_provider_evolink.retry_policies import EvoLinkRetryPolicy

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


class Alarm(BaseException):
    """What a signal handler of the test raises, as Airflow's time-out does."""


@pytest.fixture(params=[signal.SIGALRM, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set a handler that raises, as Airflow has for execution_timeout, and in version 2 for SIGTERM."""

    def handler(*_: Any) -> None:
        raise Alarm

    before = signal.signal(request.param, handler)
    yield request.param
    signal.signal(request.param, before)


def once_ordered(emulator: EmulatorServer, number: int) -> None:
    """Send this process a signal while EvoLink has the order and has not answered yet, from another thread."""

    def watch() -> None:
        while not emulator.books()["orders"]:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def test_no_signal_falls_between_the_order_and_its_record(
    stage: Any, make: Make, emulator: EmulatorServer, number: int
) -> None:
    emulator.fault("delay", on="submit", seconds=1.0)
    once_ordered(emulator, number)
    with pytest.raises(Alarm):
        stage.run(make())
    assert stage.store.record["state"] == "submitted"
    assert stage.retry().run(make())["job_id"] == stage.store.record["job_id"]
    assert emulator.books()["orders"] == 1


def test_a_signal_before_the_order_stops_it(
    stage: Any, make: Make, emulator: EmulatorServer, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_ = stage.store.set

    def signalled(key: str, value: Any, **more: Any) -> None:
        set_(key, value, **more)
        if value["state"] == "intent":
            os.kill(os.getpid(), number)
            time.sleep(0.05)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "set", signalled)
        with pytest.raises(Alarm):
            stage.run(make())
    assert "submit" not in emulator.books()["requests"]
    assert stage.store.record["state"] == "refused"
    assert stage.retry().run(make())["status"] == "completed"


def test_off_the_main_thread_signals_are_left_alone(stage: Any, make: Make) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(stage.run(make())))
    thread.start()
    thread.join()
    assert found[0]["status"] == "completed"


# --- budget


T2V = {"model": "wan2.7-text-to-video"}


@pytest.mark.parametrize(
    ("parameters", "limit", "says"),
    [
        ({"prompt": "p", "duration": 2}, 10.87, "may cost 10.88 credits"),
        ({"prompt": "p"}, 27, "may cost 27.2 credits"),
        ({"prompt": "p", "duration": 15, "quality": "1080p"}, 136, "may cost 136.272 credits"),
    ],
)
def test_an_order_over_budget_is_not_sent(
    stage: Any, make: Make, emulator: EmulatorServer, parameters: dict[str, Any], limit: float, says: str
) -> None:
    with pytest.raises(AirflowFailException, match=says):
        stage.run(make(parameters=parameters, max_credits=limit))
    assert "submit" not in emulator.books()["requests"]
    assert stage.store.writes == []


def test_an_order_within_budget_is_sent_and_costs_no_more(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    result = stage.run(make(parameters={"prompt": "p", "duration": 3}, max_credits=16.32))
    assert result["credits_charged"] == emulator.books()["credits_spent"] == 16.32


@pytest.mark.parametrize(("policy", "paid"), [("refuse", 0), ("order", 1)])
def test_without_a_price_the_user_chooses(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str, paid: int
) -> None:
    operator = make(model="brand-new-model", parameters={"prompt": "p"}, max_credits=1000, unknown_price=policy)
    if not paid:
        with pytest.raises(AirflowFailException, match=r"price of this request .* is not known"):
            stage.run(operator)
    else:
        stage.run(operator)
    assert emulator.books()["orders"] == paid


# --- time


def test_execution_timeout_ends_the_wait_of_a_try_and_a_retry_goes_on(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    slow.settings(polls=10_000)
    stage.ti.start_date = datetime.now(UTC)
    operator = make(execution_timeout=timedelta(seconds=1.5), timeout=600)
    with pytest.raises(EvoLinkJobTimeout):
        stage.run(operator)
    deferred = stage.deferrals[0]
    assert deferred.trigger.deadline == pytest.approx(stage.ti.start_date.timestamp() + 1.5, abs=0.1)
    assert deferred.timeout.total_seconds() == pytest.approx(121, abs=2)
    slow.job(stage.store.record["job_id"], state="completed")
    assert stage.retry().run(operator)["status"] == "completed"
    assert slow.books()["orders"] == 1


def test_the_deadline_of_the_order_is_the_same_for_all_tries(stage: Any, make: Make, slow: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as first:
        make(timeout=500)().execute(stage.context())
    stage.store.set("evolink_generation", stage.store.record | {"ordered_at": stage.store.record["ordered_at"] - 100})
    with pytest.raises(TaskDeferred) as second:
        make(timeout=600)().execute(stage.retry().context())
    assert second.value.trigger.deadline == pytest.approx(first.value.trigger.deadline, abs=0.1)


# --- what is counted


class Counts(dict[str, float]):
    """Counts what is sent to Airflow's metrics."""

    def incr(self, name: str, count: int = 1, rate: float = 1, *, tags: Any = None) -> None:
        assert tags["operator"] == "EvoLinkGenerateOperator"
        self[name] = self.get(name, 0) + count


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Put a counter in the place of Airflow's metrics."""
    found = Counts()
    monkeypatch.setattr("airflow_provider_evolink.metrics.Stats", found)
    return found


def test_decisions_and_credits_are_counted(stage: Any, make: Make, emulator: EmulatorServer, counts: Counts) -> None:
    stage.run(make())
    stage.retry().run(make())
    assert counts == {
        "resumable_job.fresh_submit": 1,
        "evolink.credits_reserved": 11,
        "evolink.credits_charged": 11,
        "resumable_job.reconnect_attempt": 1,
        "resumable_job.already_succeeded": 1,
    }


def test_a_failed_job_hands_on_what_it_cost(stage: Any, make: Make, emulator: EmulatorServer, counts: Counts) -> None:
    emulator.fault("job_fails", code="content_policy_violation")
    pushed: dict[str, Any] = {}
    stage.ti.xcom_push = lambda key, value: pushed.update({key: value})
    with pytest.raises(AirflowFailException):
        stage.run(make())
    job = pushed["failed_job"]
    assert (job["status"], job["credits_reserved"], job["credits_charged"]) == ("failed", 10.88, 0)
    assert counts["evolink.credits_reserved"] == 11


# --- when to retry


def test_the_retry_policy_waits_as_evolink_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = EvoLinkRetryPolicy()
    asked = policy.evaluate(EvoLinkRateLimited("x", retry_after=90.0), 1, 3)
    assert (asked.action.value, asked.retry_delay) == ("retry", timedelta(seconds=90))
    late = pendulum.datetime(2026, 11, 21, 23, 50, tz="UTC")
    monkeypatch.setattr("airflow_provider_evolink.retry_policies.pendulum.now", lambda _: late)
    daily = policy.evaluate(EvoLinkCreditsError("x", code="key_daily_quota_exhausted"), 1, 3)
    assert daily.retry_delay == timedelta(minutes=15)
    assert policy.evaluate(ValueError("x"), 1, 3).action.value == "default"


@pytest.mark.parametrize("policy", [None, EvoLinkRetryPolicy()])
def test_a_daily_limit_fails_at_once_unless_the_policy_waits_for_it(
    stage: Any, make: Make, emulator: EmulatorServer, policy: Any
) -> None:
    emulator.fault("status", on="submit", status=402, code="key_daily_quota_exhausted")
    with pytest.raises(EvoLinkCreditsError if policy else AirflowFailException):
        stage.run(make(retry_policy=policy))
    assert stage.retry().run(make(retry_policy=policy))["status"] == "completed"
    assert emulator.books()["orders"] == 1
