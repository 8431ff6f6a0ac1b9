"""Re-runs: what a retry, a clear and a backfill mean, and what happens where an outcome is unknown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from evolink_support import MAPPED

from airflow_provider_evolink.api.errors import EvoLinkJobFailed, EvoLinkLedgerError, EvoLinkOrderStopped
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


def orders(emulator: EmulatorServer) -> int:
    """Return how many orders were accepted."""
    return int(emulator.books()["orders"])


def backfill(stage: Any) -> Any:
    """Make the run one of a backfill."""
    plain = stage.context
    stage.context = lambda: plain() | {"dag_run": SimpleNamespace(run_type=SimpleNamespace(value="backfill"))}
    return stage


# --- clear and backfill


@pytest.mark.parametrize(("policy", "paid"), [("regenerate", 2), ("reuse", 1)])
def test_what_clearing_a_delivered_task_means(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str, paid: int
) -> None:
    first = stage.run(make(on_clear=policy))
    again = stage.clear().run(make(on_clear=policy))
    assert (first["job_id"] == again["job_id"]) is (paid == 1)
    assert orders(emulator) == paid


@pytest.mark.parametrize(("keys", "paid"), [(["return_value", "x"], 2), (["x"], 1), ([], 1), (None, 2)])
def test_a_result_that_never_reached_xcom_is_not_ordered_anew_by_a_clear(
    stage: Any, make: Make, emulator: EmulatorServer, keys: Any, paid: int
) -> None:
    stage.run(make())
    stage.ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=keys)
    stage.clear().run(make())
    assert orders(emulator) == paid


@pytest.mark.parametrize(("policy", "paid"), [("generate", 2), ("reuse", 1), ("fail", 1)])
def test_what_a_backfill_of_a_delivered_run_means(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str, paid: int
) -> None:
    stage.run(make())
    again = backfill(stage).clear()
    if policy == "fail":
        with pytest.raises(AirflowFailException, match="nothing is submitted"):
            again.run(make(on_backfill=policy))
    else:
        again.run(make(on_backfill=policy, on_clear="regenerate"))
    assert orders(emulator) == paid


@pytest.mark.parametrize(("policy", "paid"), [("generate", 1), ("reuse", 1), ("fail", 0)])
def test_what_a_backfill_of_a_new_run_means(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str, paid: int
) -> None:
    try:
        backfill(stage).run(make(on_backfill=policy))
    except AirflowFailException:
        assert paid == 0
    assert orders(emulator) == paid


@pytest.mark.parametrize("wrong", [{"on_clear": "x"}, {"on_unknown_submit": None}, {"max_regenerations": -1}])
def test_a_policy_that_does_not_exist_orders_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match=next(iter(wrong))):
        stage.run(make(**wrong, **MAPPED))
    assert "submit" not in emulator.books()["requests"]


# --- failed jobs


@pytest.mark.parametrize(("most", "paid"), [(None, 4), (0, 1), (2, 3)])
def test_how_often_a_failed_job_is_ordered_anew(
    stage: Any, make: Make, emulator: EmulatorServer, most: int | None, paid: int
) -> None:
    emulator.fault("job_fails", code="service_error", times=-1)
    keys = set()
    for number in range(4):
        with pytest.raises((EvoLinkJobFailed, AirflowFailException)) as told:
            (stage.retry() if number else stage).run(make(max_regenerations=most))
        keys.add(stage.store.record["key"])
    assert orders(emulator) == len(keys) == paid
    assert isinstance(told.value, EvoLinkJobFailed) is (most is None), "no retries are burned for nothing"
    stage.clear()
    with pytest.raises((EvoLinkJobFailed, AirflowFailException)):
        stage.run(make(max_regenerations=most))
    assert orders(emulator) == paid + 1, "a clear is a wish of its own"


# --- an unknown outcome


LOST = [{"kind": "lost_answer"}, {"kind": "html", "on": "submit"}]


def lose(emulator: EmulatorServer, fault: dict[str, Any]) -> int:
    """Queue a fault after which nobody knows; return how many jobs are paid for by it."""
    emulator.fault(**fault)
    return 1 if fault["kind"] == "lost_answer" else 0


@pytest.mark.parametrize("fault", LOST, ids=lambda one: one["kind"])
def test_replay_sends_the_same_key_and_pays_once(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    says_so(emulator, monkeypatch)
    lose(emulator, fault)
    assert stage.run(make(on_unknown_submit="replay"))["status"] == "completed"
    assert orders(emulator) == 1
    assert emulator.books()["requests"]["submit"] == 2


def says_so(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection say that EvoLink honours the key."""
    facts = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789"}
    facts |= {"extra": {"honors_idempotency_key": True}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts))


@pytest.mark.parametrize("spoil", ["not said", "old", "conflict"])
def test_replay_stops_where_it_cannot_be_trusted(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    if spoil != "not said":
        says_so(emulator, monkeypatch)
    if spoil == "old":
        monkeypatch.setattr("airflow_provider_evolink.ledger.decisions.REPLAY_WITHIN_SECONDS", -1.0)
    fault = {"kind": "status", "status": 409, "code": "idempotency_conflict"} if spoil == "conflict" else LOST[0]
    emulator.fault(**{**fault, "on": "submit"})
    with pytest.raises(AirflowFailException):
        stage.run(make(on_unknown_submit="replay"))
    assert emulator.books()["requests"]["submit"] == 1


def test_replay_with_other_inputs_stops(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(emulator, LOST[0])
    with pytest.raises(AirflowFailException):
        stage.run(make())
    says_so(emulator, monkeypatch)
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(make(on_unknown_submit="replay", parameters={"prompt": "other", "duration": 2}))
    assert stage.retry().run(make(on_unknown_submit="replay"))["status"] == "completed"
    assert orders(emulator) == 1


def test_reconcile_with_other_inputs_hands_on_no_result_of_theirs(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    lose(emulator, LOST[0])
    with pytest.raises(AirflowFailException):
        stage.run(make())
    (paid,) = emulator.books()["jobs"]
    other = {"prompt": "other", "duration": 2}
    with pytest.raises(AirflowFailException, match=f"(?s)inputs of this task have changed.*{paid['id']}"):
        stage.retry().run(make(on_unknown_submit="reconcile", parameters=other))
    assert stage.retry().run(make(on_unknown_submit="reconcile"))["job_id"] == paid["id"]
    assert orders(emulator) == 1


@pytest.mark.parametrize(("others", "found"), [(0, True), (1, False)])
def test_reconcile_adopts_the_one_job_it_can_be(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, others: int, found: bool
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    for number in range(others):
        other = type(stage)()
        other.ti.task_id = f"other-{number}"
        other.run(make(task_id=f"other-{number}"))
    lose(emulator, LOST[0])
    if found:
        assert stage.run(make(on_unknown_submit="reconcile"))["status"] == "completed"
        assert stage.store.record["state"] == "delivered"
    else:
        with pytest.raises(AirflowFailException, match="2 could be it"):
            stage.run(make(on_unknown_submit="reconcile"))
    assert orders(emulator) == 1 + others


def test_reconcile_never_orders_where_nothing_is_found(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    lose(emulator, LOST[1])
    with pytest.raises(AirflowFailException, match="0 could be it"):
        stage.run(make(on_unknown_submit="reconcile"))
    assert emulator.books()["requests"]["submit"] == 1


def test_resubmit_pays_at_most_once_more(stage: Any, make: Make, emulator: EmulatorServer, logs: Any) -> None:
    emulator.settings(idempotency=False)
    emulator.fault("lost_answer", times=-1)
    for again in (lambda: stage, stage.retry, stage.clear):
        with pytest.raises(AirflowFailException):
            again().run(make(on_unknown_submit="resubmit"))
    assert orders(emulator) == 2
    assert "may be paid twice" in logs.text


# --- the second copy


@pytest.mark.parametrize("lost", ["state store", "folder", "both"])
def test_a_record_lost_in_one_place_is_found_in_the_other(
    stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path, lost: str
) -> None:
    operator = make(ledger_path=f"file://{tmp_path}")
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    job_id = stage.store.record["job_id"]
    if lost != "folder":
        stage.store.rows.clear()
    if lost != "state store":
        next(tmp_path.rglob("*.json")).unlink()
    again = stage.retry().run(operator)
    assert (again["job_id"] == job_id) is (lost != "both") or slow.books()["replays"] == 1
    assert next(tmp_path.rglob("*.json")).read_text().count("delivered") == 1
    assert "xylophonist" not in next(tmp_path.rglob("*.json")).read_text()


def test_the_folder_alone_is_enough(stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path) -> None:
    slow.settings(idempotency=False)
    stage.store = None
    operator = make(ledger_path=f"file://{tmp_path}")
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    assert stage.retry().run(operator)["status"] == "completed"
    assert orders(slow) == 1
    assert stage.clear().run(operator)["status"] == "completed"
    assert orders(slow) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": ["dag", "run", "other", -1], "record": {}}'])
def test_a_folder_with_something_else_in_it_orders_nothing(
    stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path, content: str
) -> None:
    operator = make(ledger_path=f"file://{tmp_path}")
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    next(tmp_path.rglob("*.json")).write_text(content)
    with pytest.raises(AirflowFailException, match="nothing was submitted"):
        stage.retry().run(operator)
    assert orders(slow) == 1


def test_an_id_that_one_place_does_not_take_is_kept_in_the_other(
    stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task was cleared while it ordered: its own place in the state store is gone, the folder is not."""
    operator = make(ledger_path=f"file://{tmp_path}")
    set_ = stage.store.set

    def dies(key: str, value: Any, **more: Any) -> None:
        if value["job_id"]:
            raise OSError
        set_(key, value, **more)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "set", dies)
        with pytest.raises(TaskDeferred):
            operator().execute(stage.context())
    assert stage.store.record["state"] == "intent"
    assert stage.clear().run(operator)["status"] == "completed"
    assert orders(slow) == 1


def test_a_place_that_keeps_something_else_orders_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_ = stage.store.set
    monkeypatch.setattr(stage.store, "set", lambda key, value, **more: set_(key, value | {"order_number": 7}, **more))
    with pytest.raises(EvoLinkLedgerError, match="does not return"):
        stage.run(make())
    assert "submit" not in emulator.books()["requests"]


# --- the moment of paying


def test_a_worker_that_stood_still_does_not_order(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.ledger.lease.LEASE_SECONDS", 0.2)
    real = submission.Lease.check

    def stopped(lease: Any, *step: str) -> None:
        if stage.store.record:  # after the intent was written
            time.sleep(0.3)
        real(lease, *step)

    with monkeypatch.context() as patch:
        patch.setattr(submission.Lease, "check", stopped)
        with pytest.raises(EvoLinkOrderStopped, match="stalled"):
            stage.run(make())
    assert "submit" not in emulator.books()["requests"]
    assert stage.store.record["state"] == "refused"
    assert stage.retry().run(make())["status"] == "completed"


def test_a_terminated_worker_does_not_submit(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = make()()
    operator.on_kill()
    with pytest.raises(EvoLinkOrderStopped, match="being terminated"):
        operator.execute(stage.context())
    assert "submit" not in emulator.books()["requests"]


def test_after_a_refusal_another_try_may_have_taken_over(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "0.1"})
    renew = submission.Lease.renew

    def meanwhile(lease: Any) -> None:
        if emulator.books()["requests"].get("submit"):
            stage.store.set("evolink_generation", stage.store.record | {"revision": 9, "state": "unknown"})
        renew(lease)

    monkeypatch.setattr(submission.Lease, "renew", meanwhile)
    with pytest.raises(EvoLinkOrderStopped, match="taken over"):
        stage.run(make())
    assert emulator.books()["requests"]["submit"] == 1
    assert orders(emulator) == 0


def test_a_refused_order_whose_record_cannot_be_read_then_is_sent_by_the_retry(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is still ours is asked before the second sending, so that one never was."""
    emulator.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "0.1"})
    renew = submission.Lease.renew

    def unread(*_: Any) -> None:
        raise OSError

    def meanwhile(lease: Any) -> None:
        with monkeypatch.context() as patch:
            if emulator.books()["requests"].get("submit"):
                patch.setattr(stage.store, "get", unread)
            renew(lease)

    with monkeypatch.context() as patch:
        patch.setattr(submission.Lease, "renew", meanwhile)
        with pytest.raises(EvoLinkLedgerError, match="nothing was submitted"):
            stage.run(make())
    assert stage.retry().run(make())["status"] == "completed"
    assert orders(emulator) == 1
