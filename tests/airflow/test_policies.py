"""Clears, backfills and failed jobs in a row: each decides by what went before, and none pays more than it may."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from evolink_support import set_policy

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobFailed,
    EvoLinkNotFoundError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
)
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]
THROTTLED = {"on": "submit", "status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "999"}}


def orders(emulator: EmulatorServer) -> int:
    """Return how many orders were accepted."""
    return int(emulator.books()["orders"])


def backfill(stage: Any) -> Any:
    """Make the run one of a backfill."""
    plain = stage.context
    stage.context = lambda: plain() | {"dag_run": SimpleNamespace(run_type=SimpleNamespace(value="backfill"))}
    return stage


def honours_the_key(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection say that EvoLink does."""
    facts = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789"}
    facts |= {"extra": {"honors_idempotency_key": True}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts))


def defer(stage: Any, operator: Callable[[], Any]) -> str:
    """Run a try up to its deferral and return the id of its job."""
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    return str(stage.store.record["job_id"])


# --- backfills


def test_a_backfill_that_must_not_order_does_not_order_after_a_refusal(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.fault("status", **THROTTLED)
    with pytest.raises(EvoLinkRateLimited):
        stage.run(make(on_backfill="fail"))
    with pytest.raises(AirflowFailException, match="nothing is submitted"):
        backfill(stage.retry()).run(make(on_backfill="fail"))
    assert orders(emulator) == 0


@pytest.mark.parametrize("policy", ["fail", "reuse"])
def test_a_backfill_that_orders_nothing_twice_does_not_repeat_a_failed_job(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str
) -> None:
    emulator.fault("job_fails", code="service_error")
    with pytest.raises(EvoLinkJobFailed):
        stage.run(make(on_backfill=policy))
    for again in (stage.retry, stage.clear):
        with pytest.raises(AirflowFailException, match=rf'service_error.*on_backfill="{policy}" does not submit again'):
            backfill(again()).run(make(on_backfill=policy))
    assert orders(emulator) == 1


@pytest.mark.parametrize("policy", ["replay", "resubmit"])
def test_a_backfill_that_must_not_order_sends_nothing_where_the_outcome_is_unknown(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    honours_the_key(emulator, monkeypatch)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    given = {"on_backfill": "fail", "on_unknown_submit": policy}
    with pytest.raises(AirflowFailException, match=r"nothing is sent.*on_backfill"):
        backfill(stage.clear()).run(make(**given))
    assert emulator.books()["requests"]["submit"] == 1


def test_a_backfill_that_must_not_order_still_adopts_the_job_of_a_lost_order(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    found = backfill(stage.clear()).run(make(on_backfill="fail", on_unknown_submit="reconcile"))
    assert found["job_id"] == emulator.books()["jobs"][0]["id"]
    assert emulator.books()["requests"]["submit"] == 1


def test_on_backfill_says_nothing_about_other_runs(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    assert stage.run(make(on_backfill="fail"))["status"] == "completed"
    assert orders(emulator) == 1


# --- clears


def test_a_clear_is_noticed_where_the_dag_file_has_fewer_retries_by_now(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    many = type(stage)(retries=5)
    first = many.run(make(retries=5))
    many.retries = 0
    assert many.clear().ti.max_tries < 5
    assert many.run(make(retries=0))["job_id"] != first["job_id"]
    assert orders(emulator) == 2


def test_one_clear_is_one_wish(stage: Any, make: Make, slow: EmulatorServer) -> None:
    """It attaches to the job that runs; when that fails for good, the next retry does not order."""
    job_id = defer(stage, make())
    assert defer(stage.clear(), make()) == job_id
    slow.job(job_id, state="failed", code="content_policy_violation")
    with pytest.raises(AirflowFailException, match="content_policy_violation"):
        stage.retry().run(make())
    assert orders(slow) == 1


def cleared_keys(stage: Any, *keys: str) -> Any:
    """Say which results Airflow cleared as this try began."""
    stage.ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=list(keys))
    return stage


def test_a_clear_is_remembered_where_its_try_fails_before_it_orders(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    """That try has cleared the old result, so the next one finds none; it is a new job all the same."""
    first = stage.run(make())
    with pytest.raises(AirflowFailException):
        cleared_keys(stage.clear(), "return_value").run(make(parameters={"prompt": "p", "duration": 999}))
    assert orders(emulator) == 1
    assert cleared_keys(stage.retry()).run(make())["job_id"] != first["job_id"]
    assert orders(emulator) == 2


def test_a_clear_of_a_task_that_hands_on_no_result_orders_anew(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    stage.run(make(do_xcom_push=False))
    cleared_keys(stage.clear()).run(make(do_xcom_push=False))
    assert orders(emulator) == 2


def test_a_job_that_was_adopted_after_a_clear_is_that_clears_job(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    adopted = stage.clear().run(make(on_unknown_submit="reconcile"))
    assert stage.retry().run(make())["job_id"] == adopted["job_id"]
    assert orders(emulator) == 1


def test_a_clear_before_the_download_is_done_takes_the_job_that_is_paid(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.fault("html", on="media", times=-1)
    with pytest.raises(EvoLinkError):
        stage.run(make(destination=f"file://{tmp_path}"))
    emulator.clear_faults()
    assert len(stage.clear().run(make(destination=f"file://{tmp_path}"))["files"]) == 1
    assert orders(emulator) == 1


def test_a_clear_orders_anew_what_was_cancelled(stage: Any, make: Make, slow: EmulatorServer) -> None:
    job_id = defer(stage, make())
    slow.job(job_id, state="cancelled")
    with pytest.raises(AirflowFailException, match="cancelled"):
        stage.retry().run(make())
    assert stage.clear().run(make())["status"] == "completed"
    assert orders(slow) == 2


def test_a_clear_begins_the_count_of_regenerations_anew(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    emulator.fault("job_fails", code="service_error", times=-1)
    paid = []
    for again in (lambda: stage, stage.retry, stage.retry, stage.clear, stage.retry, stage.retry):
        with pytest.raises((EvoLinkJobFailed, AirflowFailException)):
            again().run(make(max_regenerations=1))
        paid.append(orders(emulator))
    assert paid == [1, 2, 2, 3, 4, 4]


def test_a_refused_order_does_not_begin_the_count_of_regenerations_anew(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.fault("job_fails", code="service_error", times=-1)
    paid = []
    for again in (lambda: stage, stage.retry, stage.retry, stage.retry, stage.clear):
        if again == stage.retry and len(paid) == 1:
            emulator.fault("status", **THROTTLED)
        with pytest.raises((EvoLinkJobFailed, EvoLinkRateLimited, AirflowFailException)):
            again().run(make(max_regenerations=1))
        paid.append(orders(emulator))
    assert paid == [1, 1, 2, 2, 3]


# --- the right to pay once more is used up


def test_a_failed_job_does_not_bring_back_the_right_to_pay_once_more(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(idempotency=False)
    emulator.fault("lost_answer")
    emulator.fault("job_fails", code="service_error", after=1)
    with pytest.raises(EvoLinkJobFailed):
        stage.run(make(on_unknown_submit="resubmit"))
    assert orders(emulator) == 2
    emulator.fault("lost_answer", times=-1)
    with pytest.raises(AirflowFailException):
        stage.retry().run(make(on_unknown_submit="resubmit"))
    assert orders(emulator) == 3


def test_a_refusal_does_not_bring_back_the_right_to_pay_once_more(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(idempotency=False)
    emulator.fault("lost_answer")
    emulator.fault("status", **THROTTLED)
    with pytest.raises(EvoLinkRateLimited):
        stage.run(make(on_unknown_submit="resubmit"))
    emulator.fault("lost_answer", times=-1)
    with pytest.raises(AirflowFailException):
        stage.retry().run(make(on_unknown_submit="resubmit"))
    assert orders(emulator) == 2


def test_an_order_whose_time_lies_in_the_future_is_not_replayed(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock was wrong, then or now: nobody knows whether EvoLink still knows the key."""
    honours_the_key(emulator, monkeypatch)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    late = stage.store.record["ordered_at"] + 86400
    stage.store.set("evolink_generation", stage.store.record | {"ordered_at": late})
    with pytest.raises(AirflowFailException, match="not replayed"):
        stage.retry().run(make(on_unknown_submit="replay"))
    assert emulator.books()["requests"]["submit"] == 1


# --- readings


def test_a_failure_that_is_read_once_pays_for_no_second_job(stage: Any, make: Make, slow: EmulatorServer) -> None:
    job_id = defer(stage, make())
    failed = {"status": "failed", "error": {"code": "service_error", "message": "x"}}
    slow.fault("patch_json", on="read", fields=failed)
    assert stage.retry().run(make())["job_id"] == job_id
    assert slow.faults()[0]["done"]
    assert orders(slow) == 1


def test_links_that_the_worker_does_not_get_yet_are_waited_for(stage: Any, make: Make, slow: EmulatorServer) -> None:
    """The trigger has seen them; another node of EvoLink answers the worker."""
    job_id = defer(stage, make())
    slow.job(job_id, state="completed")
    slow.fault("no_results", **{"as": "empty"}, times=2)
    event = {"event": {"job_id": job_id, "status": "completed"}}
    assert len(make()().resume_execution("execute_complete", event, stage.context())["results"]) == 1
    assert slow.faults()[0]["done"]


def test_a_job_that_vanished_is_not_waited_for(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.job(defer(stage, make()), vanish=True)
    set_policy(monkeypatch, not_found_grace=0.0)
    with pytest.raises(EvoLinkNotFoundError):
        stage.retry().run(make())
    assert stage.deferrals == []
    assert orders(slow) == 1


def test_a_terminated_worker_does_not_wait_on(stage: Any, make: Make, slow: EmulatorServer) -> None:
    slow.settings(polls=10_000)
    operator = make(deferrable=False, timeout=10)()
    threading.Timer(0.6, operator.on_kill).start()
    with pytest.raises(EvoLinkOrderStopped, match="the job keeps running"):
        operator.execute(stage.context())
    slow.job(stage.store.record["job_id"], state="completed")
    assert stage.retry().run(make())["status"] == "completed"
    assert orders(slow) == 1
