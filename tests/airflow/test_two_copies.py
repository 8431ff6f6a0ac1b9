"""The record is kept in two places: what holds where they differ, and how long a paid job waits for either."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkLedgerError, EvoLinkOrderStopped
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.execution.generation import GenerationAttempt
from airflow_provider_evolink.execution.job_tracker import JobTracker
from airflow_provider_evolink.ledger import lease, ledger, record
from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


def orders(emulator: EmulatorServer) -> int:
    """Return how many orders were accepted."""
    return int(emulator.books()["orders"])


def copy_in(folder: Path) -> Path:
    """Return the one file of the folder."""
    (found,) = folder.rglob("*.json")
    return found


def defer(stage: Any, operator: Callable[[], Any]) -> dict[str, Any]:
    """Run a try up to its deferral and return the record."""
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    return stage.store.record if stage.store else {}


@pytest.fixture
def kept(make: Make, tmp_path: Path) -> Callable[[], EvoLinkGenerateOperator]:
    """Return a maker of operators with a second copy of the record in a folder."""
    return make(ledger_path=f"file://{tmp_path}")


def test_an_old_copy_does_not_hide_an_order_of_unknown_outcome(
    stage: Any, kept: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(idempotency=False)
    stage.run(kept)
    old = copy_in(tmp_path).read_text()
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.clear().run(kept)
    copy_in(tmp_path).write_text(old)
    with pytest.raises(AirflowFailException, match="nothing is sent"):
        stage.retry().run(kept)
    assert orders(emulator) == 2


def test_an_old_copy_does_not_make_one_clear_count_twice(stage: Any, kept: Any, slow: EmulatorServer) -> None:
    old = defer(stage, kept)
    new = defer(stage.clear(), kept)
    assert new["clear_count"] != old["clear_count"]
    stage.store.set("evolink_generation", old)
    slow.job(new["job_id"], state="failed", code="content_policy_violation")
    with pytest.raises(AirflowFailException, match="content_policy_violation"):
        stage.retry().run(kept)
    assert orders(slow) == 1


def test_every_copy_says_what_deleting_it_means(
    stage: Any, kept: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    """In every state, for one order and for the orders of a batch; a record without the sentence is read as before."""
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(kept)
    stage.store.rows.clear()
    copy_in(tmp_path).unlink()
    stage.run(kept)
    batch = type(stage)()
    batch.run(make(EvoLinkBatchOperator, requests=[{"model": "wan2.7-text-to-video", "prompt": "p"}] * 2))
    written = [value for one in (stage, batch) for value in one.store.writes]
    copy = json.loads(copy_in(tmp_path).read_text())["record"]
    assert {value["state"] for value in written} == {"intent", "unknown", "submitted", "delivered"}
    assert {next(iter(value.items())) for value in [*written, copy]} == {
        ("note", "Deleting this record lets the task order, and pay, again.")
    }
    older = {name: value for name, value in stage.store.record.items() if name != "note"}
    stage.store.set("evolink_generation", older)
    assert stage.retry().run(kept)["job_id"] == older["job_id"]


def test_deleting_every_copy_pays_again(stage: Any, kept: Any, emulator: EmulatorServer, tmp_path: Path) -> None:
    """The sentence is true: an EvoLink that repeats no job for a key takes the next order."""
    emulator.settings(idempotency=False)
    stage.run(kept)
    stage.store.rows.clear()
    copy_in(tmp_path).unlink()
    stage.retry().run(kept)
    assert orders(emulator) == 2


@pytest.mark.parametrize("lost", ["state store", "folder"])
def test_either_copy_alone_keeps_from_paying_again(
    stage: Any, kept: Any, slow: EmulatorServer, tmp_path: Path, lost: str
) -> None:
    slow.settings(idempotency=False)
    job_id = defer(stage, kept)["job_id"]
    if lost == "folder":
        copy_in(tmp_path).unlink()
    else:
        stage.store.rows.clear()
    assert stage.retry().run(kept)["job_id"] == job_id
    assert orders(slow) == 1


def test_of_two_copies_as_new_as_each_other_the_one_with_the_job_holds(
    stage: Any, kept: Any, slow: EmulatorServer
) -> None:
    """A try that was cleared away kept the id in the folder while the next one noted that it knows nothing."""
    record = defer(stage, kept)
    stage.store.set("evolink_generation", record | {"state": "unknown", "job_id": None})
    assert stage.retry().run(kept)["job_id"] == record["job_id"]
    assert orders(slow) == 1


def test_the_intent_is_in_both_places_before_the_order(
    stage: Any, kept: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_evolink.api.client.EvoLinkClient.submit", die)
        with pytest.raises(Killed):
            stage.run(kept)
    stage.store.rows.clear()
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.retry().run(kept)
    assert "submit" not in emulator.books()["requests"]


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str) -> None:
    """Let the next call of a place fail."""
    real = getattr(owner, method)

    def fails(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, method, real)
        raise TimeoutError

    monkeypatch.setattr(owner, method, fails)


def test_an_intent_that_the_second_place_does_not_take_is_taken_back(
    stage: Any, kept: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so the retry has nothing to ask a person about."""
    once(monkeypatch, ledger.FolderStore, "set")
    with pytest.raises(EvoLinkLedgerError, match="ledger folder could not be written"):
        stage.run(kept)
    assert "submit" not in emulator.books()["requests"]
    assert stage.retry().run(kept)["status"] == "completed"
    assert emulator.books()["requests"]["submit"] == orders(emulator) == 1


@pytest.mark.parametrize("before", ["nothing", "an order that was delivered", "an order that was refused"])
def test_a_full_folder_is_named_and_no_job_that_does_not_exist(
    stage: Any, kept: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, logs: Any, before: str
) -> None:
    """Also where the folder has the record of an earlier order of this task."""
    if before == "an order that was delivered":
        stage.run(kept)
    elif before == "an order that was refused":
        emulator.fault("status", on="submit", status=402, code="insufficient_quota")
        with pytest.raises(AirflowFailException):
            stage.run(kept)
    before_it = orders(emulator)

    def is_full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger.FolderStore, "_write", is_full)
    with pytest.raises(EvoLinkLedgerError) as raised:
        stage.clear().run(kept)
    assert "the ledger folder could not be written (OSError: No space left on device)" in str(raised.value)
    assert orders(emulator) == before_it
    assert "None" not in logs.text
    assert "another try" not in logs.text, "there is none"


@pytest.mark.parametrize("state", ["intent", "unknown", "refused"])
def test_a_record_that_is_not_taken_is_named_by_its_key_where_there_is_no_job(
    stage: Any, kept: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, logs: Any, state: str
) -> None:
    """An order that is refused or lost has no job, and its record may not reach a place, or meet another try's."""
    emulator.settings(idempotency=False)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(kept)
    mine = record.read_record(stage.store.record)
    lost = replace(mine, state=record.State(state), job_id=None)
    later = replace(mine, key="af1-another", revision=mine.revision + 5, state=record.State.UNKNOWN).to_json()
    stage.store.set("evolink_generation", later)
    identity = record.TaskIdentity.of(stage.context())
    book = ledger.Ledger.of(stage.context(), identity, durable=True)
    book.write_best_effort(lost)
    monkeypatch.setattr(stage.store, "set", lambda *_, **__: 1 / 0)
    stage.store.rows.clear()
    book.write_best_effort(lost)
    said = [line for line in logs.told if "not recorded in the task state store" in line]
    assert len(said) == 2, logs.text
    assert all(mine.key in line and "None" not in line for line in said)


def test_a_replay_whose_intent_is_not_taken_leaves_the_order_before_it_open(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789"}
    facts |= {"extra": {"honors_idempotency_key": True}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts))
    given = {"ledger_path": f"file://{tmp_path}"}
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make(**given))
    place, set_ = ledger.FolderStore, ledger.FolderStore.set

    def takes_no_intent(store: Any, value: dict[str, Any]) -> None:
        if value["state"] == "intent":
            raise OSError
        set_(store, value)

    with monkeypatch.context() as patch:
        patch.setattr(place, "set", takes_no_intent)
        with pytest.raises(EvoLinkLedgerError):
            stage.retry().run(make(**given, on_unknown_submit="replay"))
    assert stage.store.record["state"] == "unknown"
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.retry().run(make(**given))
    assert emulator.books()["requests"]["submit"] == 1


def test_the_file_of_another_task_is_not_believed(stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path) -> None:
    other = type(stage)(store=None)
    other.ti.task_id = "other"
    operator = make(task_id="other", ledger_path=f"file://{tmp_path}/elsewhere")
    other.run(operator)
    theirs = copy_in(tmp_path).read_text()
    stage.store = None
    defer(stage, make(ledger_path=f"file://{tmp_path}/here"))
    copy_in(tmp_path / "here").write_text(theirs)
    with pytest.raises(AirflowFailException, match="is not the record of this task"):
        stage.retry().run(make(ledger_path=f"file://{tmp_path}/here"))
    assert orders(slow) == 2


def test_every_map_index_has_its_file(stage: Any, kept: Any, emulator: EmulatorServer, tmp_path: Path) -> None:
    jobs = set()
    for index in range(3):
        one = type(stage)(store=None)
        one.ti.map_index = index
        jobs.add(one.run(kept)["job_id"])
    assert len(jobs) == orders(emulator) == len(list(tmp_path.rglob("*.json"))) == 3


# --- a try that was frozen and cleared away writes late


def frozen_in(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, meanwhile: Callable[[], Any]) -> None:
    """Let the next try stand still as it enters a method, and something else happen."""
    real = getattr(owner, method)

    def stands_still(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, method, real)
        meanwhile()
        return real(*given, **more)

    monkeypatch.setattr(owner, method, stands_still)


def test_a_late_try_does_not_mark_the_job_of_the_next_one_delivered(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one after was cleared while it was deferred, so its result reached nobody, and is owed still."""
    stage.store = None  # Airflow's own store refuses what a late try writes
    late, start = type(stage)(store=None), stage.ti

    def meanwhile() -> None:
        stage.ti = start
        defer(stage.clear(), kept)
        slow.job(slow.books()["jobs"][0]["id"], state="completed")

    frozen_in(monkeypatch, JobTracker, "poll_before_defer", meanwhile)
    first = late.run(kept)
    assert stage.clear().run(kept)["job_id"] == first["job_id"]
    assert orders(slow) == 1


def test_a_late_try_does_not_write_over_the_next_order(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.store = None
    late, newer = type(stage)(store=None), []

    def meanwhile() -> None:
        slow.job(slow.books()["jobs"][0]["id"], state="failed", code="content_policy_violation")
        with pytest.raises(TaskDeferred):
            kept().execute(stage.clear().context())
        newer.append(slow.books()["jobs"][-1]["id"])

    frozen_in(monkeypatch, JobTracker, "poll_before_defer", meanwhile)
    with pytest.raises(AirflowFailException):
        late.run(kept)
    assert orders(slow) == 2
    slow.job(newer[0], state="completed")
    assert stage.retry().run(kept)["job_id"] == newer[0]
    assert orders(slow) == 2


def test_a_late_try_does_not_hide_a_clear_whose_order_was_refused(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.store = None
    with pytest.raises(TaskDeferred):
        kept().execute(stage.context())
    old = slow.books()["jobs"][0]["id"]

    def meanwhile() -> None:
        slow.job(old, state="completed")
        assert stage.retry().run(kept)["job_id"] == old
        slow.fault("status", on="submit", status=402, code="insufficient_credits")
        with pytest.raises(AirflowFailException, match="credits"):
            stage.clear().run(kept)

    late = type(stage)(store=None)
    stage.clear()
    late.ti = SimpleNamespace(**vars(stage.ti))
    frozen_in(monkeypatch, GenerationAttempt, "_attach", meanwhile)
    late.run(kept)
    assert stage.retry().run(kept)["job_id"] != old
    assert orders(slow) == 2


def test_a_late_try_does_not_order_where_the_next_one_has(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found nothing recorded; the late one was frozen before it wrote its intent."""
    slow.settings(idempotency=False)
    stage.store = None
    late = type(stage)(store=None)

    def meanwhile() -> None:
        with pytest.raises(TaskDeferred):
            kept().execute(stage.retry().context())

    frozen_in(monkeypatch, submission, "fingerprints", meanwhile)
    with pytest.raises(EvoLinkOrderStopped, match="another try has taken over"):
        late.run(kept)
    assert stage.retry().run(kept)["job_id"] == slow.books()["jobs"][0]["id"]
    assert orders(slow) == 1


def test_a_late_try_whose_intent_no_place_takes_does_not_hide_the_next_order(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's store refuses its intent, and the folder holds that of a try that died while it ordered."""
    slow.settings(idempotency=False)

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    def meanwhile() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(ledger.Ledger, "write_submitted", die)
            with pytest.raises(Killed):
                kept().execute(stage.retry().context())

    def refuses(*_: Any, **__: Any) -> None:
        raise OSError

    late = type(stage)(store=SimpleNamespace(get=stage.store.get, set=refuses))
    frozen_in(monkeypatch, ledger.Ledger, "write_intent", meanwhile)
    with pytest.raises(EvoLinkLedgerError, match="could not be written"):
        late.run(kept)
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.retry().run(kept)
    assert orders(slow) == 1


def test_a_late_refusal_does_not_hide_the_next_job_where_a_read_fails(
    stage: Any, kept: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The late try stood still after its intent; the next one ordered once more, by its policy."""
    slow.settings(idempotency=False)
    stage.store = None
    late = type(stage)(store=None)
    again = make(ledger_path=f"file://{tmp_path}", on_unknown_submit="resubmit")

    def meanwhile() -> None:
        with pytest.raises(TaskDeferred):
            again().execute(stage.retry().context())
        monkeypatch.setattr(lease, "LEASE_SECONDS", -1.0)
        once(monkeypatch, ledger.FolderStore, "get")

    frozen_in(monkeypatch, EvoLinkClient, "submit", meanwhile)
    with pytest.raises(EvoLinkOrderStopped, match="stalled"):
        late.run(kept)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 10.0)
    assert stage.retry().run(kept)["job_id"] == slow.books()["jobs"][0]["id"]
    assert orders(slow) == 1


def test_a_late_delivery_does_not_hide_the_next_job_where_a_read_fails(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.settings(idempotency=False)
    stage.store = None
    late = type(stage)(store=None)

    def meanwhile() -> None:
        stage.clear().run(kept)
        with pytest.raises(TaskDeferred):
            kept().execute(stage.clear().context())
        once(monkeypatch, ledger.FolderStore, "get")

    frozen_in(monkeypatch, GenerationAttempt, "mark_delivered", meanwhile)
    late.run(kept)
    assert stage.retry().run(kept)["job_id"] == slow.books()["jobs"][1]["id"]
    assert orders(slow) == 2


@pytest.fixture
def overtaken(slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Let the next order be accepted, and something else happen before its try can record the job."""
    real = EvoLinkClient.submit

    def arrange(meanwhile: Callable[[], Any]) -> None:
        def submit(client: EvoLinkClient, *given: Any, **more: Any) -> Any:
            monkeypatch.setattr(EvoLinkClient, "submit", real)
            job = real(client, *given, **more)
            with pytest.raises(AirflowFailException):
                meanwhile()
            slow.clear_faults()
            return job

        monkeypatch.setattr(EvoLinkClient, "submit", submit)

    return arrange


def test_a_late_try_records_its_job_where_the_later_one_knows_of_none(
    stage: Any, kept: Any, slow: EmulatorServer, overtaken: Any
) -> None:
    stage.store = None
    late = type(stage)(store=None)
    overtaken(lambda: stage.retry().run(kept))
    with pytest.raises(TaskDeferred):
        kept().execute(late.context())
    assert stage.clear().run(kept)["job_id"] == slow.books()["jobs"][0]["id"]
    assert orders(slow) == 1


def test_a_late_try_with_its_job_does_not_hide_another_open_order(
    stage: Any, kept: Any, make: Make, slow: EmulatorServer, overtaken: Any, tmp_path: Path
) -> None:
    """The later one ordered once more by its policy, and lost that answer; the id of the first is in the log."""
    slow.settings(idempotency=False)
    stage.store = None
    again = make(ledger_path=f"file://{tmp_path}", on_unknown_submit="resubmit")

    def meanwhile() -> None:
        slow.fault("lost_answer", times=-1)
        stage.retry().run(again)

    late = type(stage)(store=None)
    overtaken(meanwhile)
    with pytest.raises(TaskDeferred):
        kept().execute(late.context())
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.clear().run(kept)
    assert orders(slow) == 2


# --- how long a paid job waits for its record


class Failing:
    """
    A place that does not take the id of a job for some tries.

    :param set_: Writes.
    :param times: How often it fails.
    """

    def __init__(self, set_: Callable[..., None], times: int) -> None:
        self.asked, self._set, self._times = 0, set_, times

    def __call__(self, *given: Any, **more: Any) -> None:
        if any(isinstance(value, dict) and value.get("state") == "submitted" for value in given):
            self.asked += 1
            if self.asked <= self._times:
                raise OSError
        self._set(*given, **more)


def test_the_only_record_of_a_paid_job_has_the_long_patience(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SUBMITTED_RETRY_SECONDS", 60.0)
    monkeypatch.setattr(ledger, "SECOND_COPY_RETRY_SECONDS", 0.2)
    stage.store.set = Failing(stage.store.set, times=2)
    assert defer(stage, make())["state"] == "submitted"
    assert stage.store.set.asked == 3
    assert orders(slow) == 1


def folder_fails(monkeypatch: pytest.MonkeyPatch, times: int) -> Failing:
    """Let the folder not take the id of a job."""
    failing = Failing(ledger.FolderStore.set, times)
    monkeypatch.setattr(ledger.FolderStore, "set", lambda *given: failing(*given))  # noqa: PLW0108 - a method
    return failing


def test_the_second_copy_has_the_short_patience(
    stage: Any, kept: Any, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SUBMITTED_RETRY_SECONDS", 3.0)
    monkeypatch.setattr(ledger, "SECOND_COPY_RETRY_SECONDS", 0.2)
    failing = folder_fails(monkeypatch, times=99)
    assert defer(stage, kept)["state"] == "submitted"
    assert failing.asked <= 2
    assert orders(slow) == 1


def test_the_second_copy_is_tried_again(
    stage: Any, kept: Any, slow: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SECOND_COPY_RETRY_SECONDS", 30.0)
    folder_fails(monkeypatch, times=1)
    record = defer(stage, kept)
    assert json.loads(copy_in(tmp_path).read_text())["record"] == record


@pytest.mark.parametrize("found", [{"state": "nonsense"}, OSError("no connection")])
def test_the_id_of_a_paid_job_is_written_over_a_record_that_cannot_be_read(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    real = EvoLinkClient.submit

    def submit(client: EvoLinkClient, *given: Any, **more: Any) -> Any:
        job = real(client, *given, **more)
        if isinstance(found, Exception):
            once(monkeypatch, stage.store, "get")
        else:
            stage.store.set("evolink_generation", found)
        return job

    monkeypatch.setattr(EvoLinkClient, "submit", submit)
    record = defer(stage, make())
    assert (record["state"], record["job_id"]) == ("submitted", slow.books()["jobs"][0]["id"])
    assert stage.retry().run(make())["job_id"] == record["job_id"]
    assert orders(slow) == 1
