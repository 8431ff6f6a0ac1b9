"""Where nobody knows whether an order was accepted: one payment, and the job is found if it can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.api.errors import EvoLinkLedgerError, EvoLinkSubmissionUnknown
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


def paid(emulator: EmulatorServer) -> tuple[int, int]:
    """Return how many orders were accepted, and how many were sent."""
    books = emulator.books()
    return books["orders"], books["requests"].get("submit", 0)


def test_a_key_that_was_used_with_other_inputs_is_not_sent_by_the_retry(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.fault("status", on="submit", status=409, code="idempotency_conflict")
    for again in (lambda: stage, stage.retry, stage.clear):
        with pytest.raises(AirflowFailException):
            again().run(make())
    assert paid(emulator) == (0, 1)


def test_other_inputs_do_not_change_the_key(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    """The record is lost and a template has moved: EvoLink still knows the order, and says so."""
    stage.run(make())
    stage.store.rows.clear()
    with pytest.raises(AirflowFailException, match="idempotency_conflict"):
        stage.retry().run(make(parameters={"prompt": "another boat", "duration": 2}))
    assert paid(emulator) == (1, 2)


def test_what_the_other_try_recorded_just_now_is_noticed(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This try finds the intent of one that is about to record its job."""
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    job_id, get, reads = stage.store.record["job_id"], stage.store.get, []

    def late(key: str, default: Any = None) -> Any:
        reads.append(key)
        found = get(key, default)
        before = {"state": "intent", "job_id": None, "revision": found["revision"] - 1}
        return found | before if len(reads) == 1 else found

    monkeypatch.setattr(stage.store, "get", late)
    assert stage.clear().run(make())["job_id"] == job_id
    assert stage.retry().run(make())["job_id"] == job_id, "one clear is one wish"
    assert paid(slow) == (1, 1)


def test_a_store_that_fails_for_a_moment_is_not_empty(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.settings(idempotency=False)
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    get, reads = stage.store.get, []

    def fails_once(key: str, default: Any = None) -> Any:
        reads.append(key)
        if len(reads) == 1:
            raise OSError
        return get(key, default)

    monkeypatch.setattr(stage.store, "get", fails_once)
    with pytest.raises(EvoLinkLedgerError, match="could not be read"):
        stage.retry().run(make())
    assert stage.retry().run(make())["status"] == "completed"
    assert paid(slow) == (1, 1)


@pytest.fixture
def blind(stage: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the answer of the order be lost, and the store not be readable from then on; the retry can read it."""
    emulator.settings(idempotency=False)
    emulator.fault("lost_answer")
    get, tries = stage.store.get, stage.ti.try_number

    def down(key: str, default: Any = None) -> Any:
        if emulator.books()["requests"].get("submit") and stage.ti.try_number == tries:
            raise OSError
        return get(key, default)

    monkeypatch.setattr(stage.store, "get", down)


@pytest.mark.usefixtures("blind")
def test_a_lost_response_is_reported_where_the_record_cannot_be_read(
    stage: Any, make: Make, emulator: EmulatorServer, logs: Any
) -> None:
    with pytest.raises(AirflowFailException, match=r"(?s)EvoLinkSubmissionUnknown.* its idempotency key is af1-"):
        stage.run(make())
    assert "outcome is unknown" in logs.text
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.retry().run(make())
    assert paid(emulator) == (1, 1)


@pytest.mark.usefixtures("blind")
def test_a_retry_settles_by_its_policy_what_could_not_be_read(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    with pytest.raises(EvoLinkSubmissionUnknown):
        stage.run(make(on_unknown_submit="reconcile"))
    assert stage.retry().run(make(on_unknown_submit="reconcile"))["status"] == "completed"
    assert paid(emulator) == (1, 1)


def test_an_adopted_job_that_cannot_be_recorded_is_named(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    set_ = stage.store.set

    def takes_no_job(key: str, value: Any, **more: Any) -> None:
        if value["job_id"]:
            raise OSError
        set_(key, value, **more)

    monkeypatch.setattr(stage.store, "set", takes_no_job)
    emulator.fault("lost_answer")
    with pytest.raises(EvoLinkLedgerError, match="could not be recorded") as told:
        stage.run(make(on_unknown_submit="reconcile"))
    assert told.value.job_id == emulator.books()["jobs"][0]["id"]


@pytest.fixture
def believed(evolink_conn: str, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection say that EvoLink honours the key."""
    facts = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789"}
    facts |= {"extra": {"honors_idempotency_key": True}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{evolink_conn.upper()}", json.dumps(facts))


@pytest.mark.usefixtures("believed")
def test_a_replay_that_is_refused_says_nothing_about_the_order_before_it(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(idempotency=False)  # so that an order sent anew would be paid once more
    emulator.fault("lost_answer")
    emulator.fault("status", on="submit", status=402, code="insufficient_credits")
    with pytest.raises(AirflowFailException, match="credits"):
        stage.run(make(on_unknown_submit="replay"))
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.clear().run(make())
    assert paid(emulator) == (1, 2)


@pytest.mark.usefixtures("believed")
def test_a_replay_that_is_lost_as_well_is_not_replayed(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    emulator.fault("lost_answer", times=5)
    with pytest.raises(AirflowFailException):
        stage.run(make(on_unknown_submit="replay"))
    assert paid(emulator) == (1, 2)


def test_reconcile_lists_jobs_only_when_nobody_can_submit_any_more(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    listed = submission.time.time

    class Clock:
        """The clock of the buyer: a sleep takes no time."""

        ahead = 0.0

        def time(self) -> float:
            return listed() + self.ahead

        def sleep(self, seconds: float) -> None:
            assert "list" not in emulator.books()["requests"]
            waits.append(seconds)
            self.ahead += seconds

    monkeypatch.setattr(submission, "time", Clock())
    emulator.fault("lost_answer")
    assert stage.run(make(on_unknown_submit="reconcile"))["status"] == "completed"
    assert waits == [pytest.approx(330, abs=30)]
    assert emulator.books()["requests"]["list"] == 1
    assert paid(emulator) == (1, 1)


def test_reconcile_does_not_mistake_a_job_of_another_time(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    for shift, operator in ((-1800, "earlier"), (1800, "later")):
        emulator.settings(clock_shift=shift)
        other = type(stage)()
        other.ti.task_id = operator
        other.run(make(task_id=operator))
    emulator.settings(clock_shift=0)
    emulator.fault("lost_answer")
    found = stage.run(make(on_unknown_submit="reconcile"))
    assert found["job_id"] == emulator.books()["jobs"][-1]["id"]
    assert paid(emulator) == (3, 3)


def test_a_job_that_was_adopted_is_found_by_the_retry(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    slow.fault("lost_answer")
    with pytest.raises(TaskDeferred):
        make(on_unknown_submit="reconcile")().execute(stage.context())
    assert stage.retry().run(make())["job_id"] == slow.books()["jobs"][0]["id"]
    assert paid(slow) == (1, 1)


def test_reconcile_does_not_adopt_the_own_job_of_an_earlier_clear(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two orders within minutes; the second never got there, and the first is the only one that EvoLink lists."""
    monkeypatch.setattr(submission, "STALE_WORKER_SECONDS", 0.2)
    stage.run(make())
    emulator.fault("cut_before")
    with pytest.raises(AirflowFailException, match="0 could be it"):
        stage.clear().run(make(on_unknown_submit="reconcile"))
    assert paid(emulator)[0] == 1
