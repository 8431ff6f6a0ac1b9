"""Generate operators: one order per intent, whatever happens in between. Real HTTP to the emulator, a fake context."""

from __future__ import annotations

import inspect
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred
from evolink_support import MAPPED, set_policy

from airflow_provider_evolink import metrics, operators, sensors
from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkLedgerError,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkGenerateOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkTextToVideoOperator,
    EvoLinkVideoEditOperator,
)
from airflow_provider_evolink.sensors import EvoLinkJobSensor
from airflow_provider_evolink.task_failures import EvoLinkTaskFailed

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]
KEY = "test-key-0123456789"
PROMPT = "a paper boat with the secret word xylophonist"
LINK = "https://example.com/clip.mp4?signature=5ecre7"
ALL = [getattr(room, name) for room in (operators, sensors) for name in room.__all__]
GENERATE = [kind for kind in ALL if issubclass(kind, EvoLinkGenerateOperator)]
CLIP, IMAGE, VOICE = "https://example.com/clip.mp4", "https://example.com/a.png", "https://example.com/a.mp3"


def outcome(run: Callable[[], Any]) -> Any:
    """Return what a try gives: its result, or class, EvoLink's class and text of its error, the same every time."""
    try:
        found = run()
    except Exception as error:
        text = re.sub(r"task-unified-\S+?(?=[\s,\]])", "JOB", str(error))
        text = re.sub(r"af1-\w+", "KEY", re.sub(r"request id \w+", "request id ID", text))
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", text)
        return type(error), type(getattr(error, "error", None)), text
    drop = {"job_id", "results", "created", "expires_at", "submitted", "completed", "request_id"}
    return {name: value for name, value in found.items() if name not in drop}


def unsent(emulator: EmulatorServer) -> bool:
    books = emulator.books()
    return books["orders"] == 0 and "submit" not in books["requests"]


# --- what a user sees of the operators


@pytest.mark.parametrize("kind", ALL)
def test_templated_fields_are_the_documented_ones_and_are_stored_unchanged(kind: type) -> None:
    documented: set[str] = set()
    parameters: dict[str, Any] = {}
    for cls in (cls for cls in kind.__mro__ if cls.__module__.startswith("airflow_provider_evolink")):
        text = inspect.getdoc(cls) or ""
        documented |= set(re.findall(r":param (\w+):(?:(?!:param|:return|:raises)[\s\S])*?\(templated\)", text))
        parameters |= dict(inspect.signature(inspect.unwrap(cls.__init__)).parameters)
    assert set(kind.template_fields) == documented
    assert len(kind.template_fields) == len(set(kind.template_fields))
    assert "evolink_conn_id" in kind.template_fields or kind is operators.EvoLinkArchiveOperator
    assert {name for name in parameters if name.endswith("conn_id")} <= set(kind.template_fields)

    marks = {name: f"{{{{ mark_{name} }}}}" for name in kind.template_fields}
    operator = kind(task_id="task", **marks)
    assert {name: getattr(operator, name) for name in marks} == marks


@pytest.mark.parametrize("kind", ALL)
def test_every_parameter_is_documented(kind: type) -> None:
    ours = [cls for cls in kind.__mro__ if cls.__module__.startswith("airflow_provider_evolink")]
    for cls in (cls for cls in ours if "__init__" in vars(cls)):
        own = set(inspect.signature(inspect.unwrap(cls.__init__)).parameters) - {"self", "kwargs"}
        assert own == set(re.findall(r":param (\w+):", inspect.getdoc(cls) or ""))


@pytest.mark.parametrize("kind", GENERATE)
def test_default_args_reach_every_argument_of_the_generic_operator(kind: type[EvoLinkGenerateOperator]) -> None:
    wanted = {
        "kind": "image",
        "evolink_conn_id": "other",
        "poll_interval": 7.0,
        "timeout": 77.0,
        "deferrable": False,
        "defer_after": 3.0,
        "durable": False,
        "validation": "warn",
        "idempotency_namespace": "ns",
        "destination": "file:///x",
        "callback_url": "https://example.com/hook",
        "ledger_path": "file:///ledger",
        "max_credits": 9.0,
        "unknown_price": "order",
        "max_regenerations": 1,
        "on_unknown_submit": "reconcile",
        "on_clear": "reuse",
        "on_backfill": "fail",
        "hide_prompt": True,
        "reuse": "same_request",
        "reuse_unseeded": True,
        "archive_path": "file:///archive",
        "archive_conn_id": "store",
        "on_missing": "deliver",
        "total_timeout": 99.0,
        "max_bytes": 10**6,
        "min_rate": 1.0,
    }
    generic = set(inspect.signature(inspect.unwrap(EvoLinkGenerateOperator.__init__)).parameters)
    assert set(wanted) == generic - {"self", "kwargs", "model", "parameters"}
    if kind is EvoLinkBatchOperator:
        wanted["on_unknown_submit"] = "replay"  # a batch takes no other order for its own
    needed = {
        name: [{"prompt": "x"}] if name == "requests" else "x"
        for name, parameter in inspect.signature(inspect.unwrap(kind.__init__)).parameters.items()
        if parameter.default is parameter.empty and name not in ("self", "kwargs")
    }
    with DAG("dag", default_args=wanted):
        operator = kind(task_id="task", **needed)
        own = kind(task_id="own", **needed, durable=True)
    if made := getattr(kind, "only_kind", None):
        wanted["kind"] = made  # an operator for one kind takes no other from anywhere
    assert {name: getattr(operator, name) for name in wanted} == wanted
    assert own.durable is True


def test_an_operator_is_deferrable_unless_the_environment_says_otherwise() -> None:
    assert EvoLinkGenerateOperator(task_id="task", model="m").deferrable is True


@pytest.mark.parametrize(("seconds", "reads"), [(0, 0), (None, 1), (9.0, 3)])
def test_the_user_decides_how_long_the_worker_polls(
    stage: Any, make: Any, emulator: EmulatorServer, seconds: float | None, reads: int
) -> None:
    emulator.settings(polls=100, estimated_time=60)
    with pytest.raises(TaskDeferred):
        make(defer_after=seconds)().execute(stage.context())
    assert (emulator.books()["requests"].get("read", 0) >= reads) is True
    assert reads or "read" not in emulator.books()["requests"]


# --- deferred and blocking are the same

SUCCESSES: dict[str, dict[str, Any]] = {
    "short": {"polls": 2, "estimated_time": 1},
    "long": {"polls": 4, "estimated_time": 60},
    "at once": {"polls": 0, "estimated_time": 60},
}


@pytest.mark.parametrize("settings", SUCCESSES.values(), ids=SUCCESSES)
def test_deferred_and_blocking_give_the_same_result(
    stage: Any, make: Make, emulator: EmulatorServer, settings: dict[str, Any]
) -> None:
    emulator.settings(**settings)
    deferred = outcome(lambda: stage.run(make(deferrable=True)))
    assert bool(stage.deferrals) is (settings["polls"] == 4)
    stage.ti.run_id, stage.store.rows = "second", {}
    blocking = outcome(lambda: stage.run(make(deferrable=False)))
    assert deferred == blocking
    assert re.fullmatch(r"[0-9a-f]{32}", deferred.pop("fingerprint"))
    assert deferred == {
        "model": "wan2.7-text-to-video",
        "kind": "video",
        "status": "completed",
        "outputs": [{"kind": "video"}],
        "made": {},
        "credits": 10.88,
        "credits_reserved": 10.88,
        "credits_charged": 10.88,
        "request": {"model": "wan2.7-text-to-video", "prompt": PROMPT, "duration": 2},
    }
    assert emulator.books()["orders"] == 2


def _refusals(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {"kind": "status", "status": status, "code": code, "on": "submit", "times": -1, **more}


FAILURES: dict[str, tuple[dict[str, Any] | None, str, bool]] = {
    # fault, class, orders accepted
    "401": (_refusals(401, "unauthorized"), "!EvoLinkAuthError", False),
    "402": (_refusals(402, "insufficient_quota"), "!EvoLinkCreditsError", False),
    "403": (_refusals(403, "model_access_denied"), "!EvoLinkAccessError", False),
    "400": (_refusals(400, "invalid_request"), "!EvoLinkInvalidError", False),
    "content": (_refusals(400, "content_policy_violation"), "!EvoLinkContentError", False),
    "429": (_refusals(429, "rate_limit_exceeded", headers={"Retry-After": "60"}), "EvoLinkRateLimited", False),
    "500": (_refusals(500, "internal_error"), "!EvoLinkSubmissionUnknown", False),
    "html": ({"kind": "html", "on": "submit"}, "!EvoLinkSubmissionUnknown", False),
    "cut": ({"kind": "cut_before", "on": "submit"}, "!EvoLinkSubmissionUnknown", False),
    "lost answer": ({"kind": "lost_answer", "on": "submit"}, "!EvoLinkSubmissionUnknown", True),
    "content failure": ({"kind": "job_fails", "code": "content_policy_violation"}, "!EvoLinkJobFailed", True),
    "passing failure": ({"kind": "job_fails", "code": "service_error"}, "EvoLinkJobFailed", True),
    "strange failure": ({"kind": "job_fails", "code": "quantum_foam"}, "!EvoLinkJobFailed", True),
    "no results": ({"kind": "no_results", "times": -1}, "!EvoLinkNoResults", True),
    "vanished": (_refusals(404, "task_not_found", on="read"), "EvoLinkNotFoundError", True),
    "key dies": (_refusals(401, "unauthorized", on="read", after=2), "!EvoLinkAuthError", True),
}


@pytest.mark.parametrize(("fault", "kind", "ordered"), FAILURES.values(), ids=FAILURES)
def test_deferred_and_blocking_give_the_same_error(
    stage: Any,
    make: Make,
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    kind: str,
    ordered: bool,
) -> None:
    set_policy(monkeypatch, not_found_grace=0.0)
    emulator.settings(polls=4, estimated_time=60)
    seen = []
    for run_id, deferrable in (("one", True), ("two", False)):
        emulator.clear_faults()
        emulator.fault(**fault)
        stage.ti.run_id, stage.store.rows = run_id, {}
        seen.append(outcome(lambda: stage.run(make(deferrable=deferrable))))  # noqa: B023 - called at once
        assert emulator.faults()[0]["met"] >= 1
    assert seen[0] == seen[1]
    raised, cause, text = seen[0]
    if kind.startswith("!"):
        assert raised is EvoLinkTaskFailed
        assert cause.__name__ == kind[1:]
        assert text.startswith(f"{kind[1:]}: ")
    else:
        assert raised.__name__ == kind
    assert "What to do" in text
    assert emulator.books()["orders"] == (2 if ordered else 0)


def test_a_broken_rule_and_a_timeout_read_the_same_deferred_and_blocking(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(polls=10_000, estimated_time=60)
    for given in ({"parameters": {"prompt": PROMPT, "duration": 99}}, {"timeout": 0.5}):
        seen = []
        for run_id, deferrable in (("one", True), ("two", False)):
            stage.ti.run_id, stage.store.rows = run_id, {}
            seen.append(outcome(lambda: stage.run(make(deferrable=deferrable, **given))))  # noqa: B023
        assert seen[0] == seen[1]
    assert seen[0][0] is EvoLinkJobTimeout
    assert len(stage.deferrals) == 1
    assert emulator.books()["orders"] == 2


def test_a_job_that_ends_in_the_first_seconds_is_finished_on_the_worker(stage: Any, make: Make) -> None:
    assert make()().execute(stage.context())["status"] == "completed"


def test_a_long_job_is_deferred_and_the_trigger_knows_what_it_needs(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make(timeout=timedelta(hours=1))().execute(stage.context())
    trigger = deferred.value.trigger
    record = stage.store.record
    assert trigger.job_id == record["job_id"]
    assert trigger.deadline == record["ordered_at"] + 3600
    assert trigger.started == record["ordered_at"]
    assert trigger.poll_interval == 0.05
    left = deferred.value.timeout - timedelta(seconds=trigger.deadline - time.time())
    assert timedelta(seconds=60) < left < timedelta(seconds=180), "Airflow gives up later than the trigger itself"


def test_parameters_that_are_not_a_dict_are_a_wrong_request(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    with pytest.raises(AirflowFailException, match="parameters: must be a dict of fields, not str"):
        stage.run(make(parameters="a boat", **MAPPED))
    assert unsent(emulator)


# --- never pay twice


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_retry_attaches_to_the_job_and_gives_the_same_result(
    stage: Any, make: Make, slow: EmulatorServer, deferrable: bool
) -> None:
    if deferrable:
        with pytest.raises(TaskDeferred):
            make()().execute(stage.context())
    else:
        slow.fault("status", status=401, code="unauthorized", on="read", after=1, times=2)
        with pytest.raises(AirflowFailException):
            make(deferrable=False)().execute(stage.context())
    first = stage.store.record
    result = stage.retry().run(make(deferrable=deferrable))
    again = stage.retry().run(make(deferrable=deferrable))
    assert result == again | {"results": result["results"]}
    assert result["job_id"] == first["job_id"]
    assert set(result) >= {"results", "credits", "request", "expires_at"}
    assert slow.books()["orders"] == 1
    assert slow.books()["requests"]["submit"] == 1


def test_an_intent_without_an_id_orders_nothing_more(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    emulator.fault("lost_answer", on="submit")
    with pytest.raises(AirflowFailException, match="outcome is unknown"):
        stage.run(make())
    assert stage.store.record["state"] == "unknown"
    for again in (stage.retry, stage.clear):
        with pytest.raises(AirflowFailException, match="nothing is sent") as told:
            again().run(make())
        assert stage.store.record["key"] in str(told.value)
    assert emulator.books()["orders"] == 1
    assert emulator.books()["requests"]["submit"] == 1


def test_a_crash_while_ordering_orders_nothing_more(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_evolink.api.client.EvoLinkClient.submit", die)
        with pytest.raises(Killed):
            stage.run(make())
    with pytest.raises(AirflowFailException, match="interrupted while it submitted"):
        stage.retry().run(make())
    assert unsent(emulator)


def test_a_refused_order_can_be_ordered_again_with_the_same_key(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.fault("status", status=429, code="rate_limit_exceeded", on="submit", headers={"Retry-After": "999"})
    with pytest.raises(EvoLinkRateLimited):
        stage.run(make())
    refused = stage.store.record
    assert refused["state"] == "refused"
    stage.retry().run(make())
    assert stage.store.record["key"] == refused["key"]
    assert [job["idempotency_key"] for job in emulator.books()["jobs"]] == [refused["key"]]


def test_a_refused_connection_can_be_ordered_again(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = {"conn_type": "evolink", "host": "http://127.0.0.1:1", "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_DEAD", json.dumps(dead))
    with pytest.raises(EvoLinkUnavailable, match="nothing was sent"):
        stage.run(make(evolink_conn_id="dead"))
    assert stage.store.record["state"] == "refused"
    assert stage.retry().run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_a_job_that_failed_for_a_transient_reason_is_submitted_again_by_a_retry(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.fault("job_fails", code="service_error")
    with pytest.raises(EvoLinkJobFailed):
        stage.run(make())
    assert stage.retry().run(make())["status"] == "completed"
    jobs = emulator.books()["jobs"]
    assert [job["status"] for job in jobs] == ["failed", "completed"]
    assert jobs[0]["idempotency_key"] != jobs[1]["idempotency_key"]
    assert emulator.books()["credits_spent"] == jobs[1]["credits_charged"]


@pytest.mark.parametrize("code", ["content_policy_violation", "quantum_foam"])
def test_a_job_that_failed_for_good_is_ordered_anew_only_by_a_clear(
    stage: Any, make: Make, emulator: EmulatorServer, code: str
) -> None:
    emulator.fault("job_fails", code=code)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=code):
            stage.run(make())
        stage.retry()
    assert emulator.books()["orders"] == 1
    assert stage.clear().run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 2


def test_a_clear_before_delivery_attaches_and_a_clear_after_it_orders_anew(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    first = stage.clear().run(make())
    assert slow.books()["orders"] == 1
    assert stage.retry().run(make())["job_id"] == first["job_id"]
    second = stage.clear().run(make())
    assert second["job_id"] != first["job_id"]
    assert stage.retry().run(make())["job_id"] == second["job_id"]
    keys = [job["idempotency_key"] for job in slow.books()["jobs"]]
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.parametrize("honored", [True, False])
def test_who_deletes_the_record_and_clears_orders_again_with_the_same_key(
    stage: Any, make: Make, emulator: EmulatorServer, honored: bool
) -> None:
    emulator.settings(idempotency=honored)
    emulator.fault("lost_answer")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    with pytest.raises(AirflowFailException):
        stage.clear().run(make())
    assert emulator.books()["orders"] == 1
    emulator.clear_faults()
    stage.store.delete("evolink_generation")
    assert stage.clear().run(make())["status"] == "completed"
    assert emulator.books()["orders"] == (1 if honored else 2)
    assert len({job["idempotency_key"] for job in emulator.books()["jobs"]}) == 1


def test_without_memory_every_try_orders_even_where_evolink_honours_the_key(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    first = stage.run(make(durable=False))
    second = stage.retry().run(make(durable=False))
    assert first["job_id"] != second["job_id"]
    assert emulator.books()["orders"] == 2
    assert stage.store.writes == []


def test_before_airflow_3_3_the_key_alone_keeps_a_retry_from_paying_again(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    stage.store = None
    first = stage.run(make())
    assert stage.retry().run(make())["job_id"] == first["job_id"]
    assert emulator.books()["orders"] == 1
    assert emulator.books()["replays"] == 1


def test_the_key_is_one_per_intent(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    def key() -> str:
        stage.store.rows.clear()
        stage.run(make(idempotency_namespace=namespace))
        return emulator.books()["jobs"][-1]["idempotency_key"]

    namespace = None
    keys = [key()]
    assert re.fullmatch(r"[A-Za-z0-9._-]{16,96}", keys[0])
    assert key() == keys[0], "lost ledger: EvoLink is asked with the same key and answers with the same job"
    for name, value in (("map_index", 3), ("run_id", "other"), ("task_id", "other"), ("dag_id", "other")):
        before = getattr(stage.ti, name)
        setattr(stage.ti, name, value)
        keys.append(key())
        setattr(stage.ti, name, before)
    namespace = "other"
    keys.append(key())
    assert len(set(keys)) == 6
    assert emulator.books()["orders"] == 6
    assert emulator.books()["replays"] == 1


def test_the_namespace_may_come_from_the_deployment(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(make(idempotency_namespace="prod"))
    stage.store.rows.clear()
    monkeypatch.setenv("AIRFLOW__EVOLINK__IDEMPOTENCY_NAMESPACE", "prod")
    stage.run(make())
    assert emulator.books()["orders"] == 1


BROKEN = {
    "text": "nonsense",
    "list": [],
    "empty": {},
    "strange state": {"state": "paused"},
    "no id": {
        "state": "submitted",
        "key": "k" * 20,
        "order_number": 0,
        "clear_count": 0,
        "fingerprint": "f",
        "model": "m",
        "ordered_at": 1.0,
        "job_id": None,
    },
    "id leaves the path": {
        "state": "submitted",
        "key": "k" * 20,
        "order_number": 0,
        "clear_count": 0,
        "fingerprint": "f",
        "model": "m",
        "ordered_at": 1.0,
        "job_id": "../credits",
    },
}


@pytest.mark.parametrize("record", BROKEN.values(), ids=BROKEN)
def test_an_unreadable_record_orders_nothing(stage: Any, make: Make, emulator: EmulatorServer, record: Any) -> None:
    stage.store.set("evolink_generation", record)
    with pytest.raises(AirflowFailException, match="not readable, so nothing was submitted"):
        stage.run(make())
    with pytest.raises(AirflowFailException, match="not readable, so nothing was submitted"):
        make()().resume_execution("__fail__", {"error": "Trigger timeout"}, stage.context())
    assert unsent(emulator)


def test_a_store_that_cannot_be_read_orders_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.store, "get", _broken)
    with pytest.raises(EvoLinkLedgerError, match="could not be read"):
        stage.run(make())
    assert unsent(emulator)


def test_a_store_that_cannot_be_written_orders_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.store, "set", _broken)
    with pytest.raises(EvoLinkLedgerError, match="could not be written"):
        stage.run(make())
    assert unsent(emulator)


def test_a_store_that_fails_after_the_submission_needs_a_decision_before_the_next(
    stage: Any, make: Make, emulator: EmulatorServer, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_ = stage.store.set

    def dies(key: str, value: Any, **more: Any) -> None:
        if value["state"] == "submitted":
            _broken()
        set_(key, value, **more)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "set", dies)
        with pytest.raises(EvoLinkLedgerError, match="could not be recorded") as told:
            stage.run(make())
    (job,) = emulator.books()["jobs"]
    assert told.value.job_id == job["id"]
    assert f"Submitted EvoLink job {job['id']} " in logs.text
    with pytest.raises(AirflowFailException, match="nothing is sent"):
        stage.retry().run(make())
    assert emulator.books()["requests"]["submit"] == 1


def _broken(*_: Any, **__: Any) -> None:
    raise OSError("the store is down")


def test_the_intent_is_written_before_the_order_and_kept_for_ever(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    at: list[tuple[str, int]] = []
    set_ = stage.store.set

    def watched(key: str, value: Any, **more: Any) -> None:
        at.append((value["state"], emulator.books()["orders"]))
        set_(key, value, **more)

    monkeypatch.setattr(stage.store, "set", watched)
    stage.run(make())
    assert at == [("intent", 0), ("submitted", 1), ("delivered", 1)]
    assert set(stage.store.retentions) == {NEVER_EXPIRE}


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object(), "\ud800"])
def test_a_request_that_is_no_json_leaves_no_intent(
    stage: Any, make: Make, emulator: EmulatorServer, value: Any
) -> None:
    with pytest.raises(AirflowFailException, match="plain JSON"):
        stage.run(make(model="brand-new-model", parameters={"odd": value}))
    assert stage.store.writes == []
    assert unsent(emulator)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", None),
        ("timeout", "half an hour"),
        ("timeout", "-1"),
        ("max_credits", "{{ params.cap }}"),
        ("max_credits", float("nan")),
        ("max_credits", True),
        ("max_credits", -1),
        ("max_credits", [100]),
        ("max_regenerations", 1.5),
        ("max_regenerations", "-1"),
        ("timeout", float("inf")),
        ("timeout", timedelta(seconds=-1)),
        ("poll_interval", "1e9"),
        ("poll_interval", timedelta(seconds=-30)),
        ("poll_interval", True),
        ("defer_after", "soon"),
        ("defer_after", float("nan")),
    ],
)
def test_an_argument_that_is_no_number_is_refused_before_anything_is_ordered(
    stage: Any, make: Make, emulator: EmulatorServer, name: str, value: Any
) -> None:
    with pytest.raises(AirflowFailException, match=rf"{name} must be a (whole )?number"):
        stage.run(make(**{name: value}, **MAPPED))
    assert unsent(emulator)


@pytest.mark.parametrize("value", ["100", "100.0", " 100 ", 100, 100.5])
def test_a_number_may_be_text(stage: Any, make: Make, emulator: EmulatorServer, value: Any) -> None:
    """A form or the argument of a mapped task group gives it so."""
    assert stage.run(make(max_credits=value, timeout="600", max_regenerations="2"))["status"] == "completed"


def test_a_limit_that_is_text_limits(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    with pytest.raises(AirflowFailException, match="max_credits is 1"):
        stage.run(make(max_credits="1"))
    assert unsent(emulator)


def test_an_xcom_that_cannot_be_pushed_hides_no_news(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    def down(**_: Any) -> None:
        raise RuntimeError("the XCom backend is down")

    stage.ti.xcom_push = down
    emulator.fault("job_fails", code="content_policy_violation", message="no")
    with pytest.raises(AirflowFailException, match="EvoLinkJobFailed: EvoLink reported the job as failed"):
        stage.run(make())


def test_metrics_that_cannot_be_sent_hide_no_result(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise OSError("no route to statsd")

    monkeypatch.setattr(metrics.Stats, "incr", down)
    assert stage.run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_a_timedelta_is_a_number_of_seconds(stage: Any, make: Make, slow: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make(poll_interval=timedelta(seconds=30), timeout=timedelta(minutes=5), defer_after=timedelta(0))().execute(
            stage.context()
        )
    assert deferred.value.trigger.serialize()[1]["poll_interval"] == 30.0


@pytest.mark.parametrize("there", [{"voice_bindings": {"image1": LINK}}, "voice_bindings"])
def test_voices_given_twice_with_two_values_are_refused(
    stage: Any, make: Make, emulator: EmulatorServer, there: Any
) -> None:
    given = {"prompt": "Image 1", "image_urls": [LINK], "voice_bindings": {"image1": "https://example.com/other.mp3"}}
    with pytest.raises(AirflowFailException, match="voice_bindings: is given as an argument and in parameters"):
        stage.run(make(EvoLinkReferenceVideoOperator, **given, parameters={"model_params": there}))
    assert unsent(emulator)


def test_a_field_given_twice_with_two_values_is_refused(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    twice = make(EvoLinkTextToVideoOperator, prompt=PROMPT, duration=2, parameters={"duration": 3})
    with pytest.raises(AirflowFailException, match="duration: is given as an argument and in parameters"):
        stage.run(twice)
    assert unsent(emulator)
    stage.run(make(EvoLinkTextToVideoOperator, prompt=PROMPT, duration=2, parameters={"duration": 2}))


def test_inputs_that_changed_since_the_order_do_not_order_again(
    stage: Any, make: Make, slow: EmulatorServer, logs: Any
) -> None:
    other = make(parameters={"prompt": "another text", "duration": 3})
    with pytest.raises(TaskDeferred) as first:
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    for again in (stage.retry, stage.clear):
        with pytest.raises(AirflowFailException, match=f"inputs of this task have changed.*{job_id}"):
            again().run(other)
    slow.job(job_id, state="completed")
    event = {"event": {"job_id": job_id, "status": "completed"}}
    result = other().resume_execution(first.value.method_name, event, stage.context())
    assert result["request"] is None, "what was ordered is no longer known"
    with pytest.raises(AirflowFailException, match=f"inputs of this task have changed.*{job_id}"):
        stage.retry().run(other)
    assert stage.retry().run(make())["job_id"] == job_id, "what was delivered stays delivered"
    assert slow.books()["orders"] == 1


def test_links_signed_anew_are_no_change(stage: Any, make: Make, slow: EmulatorServer) -> None:
    def signed(signature: str) -> Any:
        given = {"generation_mode": "video_continuation", "prompt": "p", "duration": 6}
        return make(EvoLinkImageToVideoOperator, **given, video_urls=[f"https://example.com/clip.mp4?s={signature}"])

    with pytest.raises(TaskDeferred):
        signed("one")().execute(stage.context())
    assert stage.retry().run(signed("two"))["request"]["video_urls"] == ["https://example.com/clip.mp4"]
    assert slow.books()["orders"] == 1


# --- waiting


PASSING = {
    "500": {"kind": "status", "status": 500, "code": "internal_error"},
    "429": {"kind": "status", "status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "0.1"}},
    "html": {"kind": "html"},
    "cut": {"kind": "cut_before"},
    "nonsense": {"kind": "malformed_json"},
    "another job": {"kind": "id_mismatch", "id": "task-unified-1-other"},
    "404": {"kind": "status", "status": 404, "code": "task_not_found"},
}


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_transient_failure_of_the_first_polls_does_not_fail_the_try(
    stage: Any,
    make: Make,
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    deferrable: bool,
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.1)
    emulator.fault(**fault, on="read", times=3)
    assert stage.run(make(deferrable=deferrable))["status"] == "completed"
    assert emulator.faults()[0]["done"]
    assert emulator.books()["orders"] == 1


def test_a_transient_failure_while_a_retry_attaches_does_not_fail_it(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.1)
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    slow.fault("status", status=503, code="service_unavailable", on="read", times=3)
    assert stage.retry().run(make())["status"] == "completed"
    assert slow.books()["orders"] == 1


def test_a_transient_failure_after_the_trigger_waits_on(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, max_error_backoff=0.1)
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    slow.fault("status", status=503, code="service_unavailable", on="read", times=6)
    event = {"event": {"job_id": job_id, "status": "completed"}}
    with pytest.raises(TaskDeferred):
        make()().resume_execution(deferred.value.method_name, event, stage.context())


def test_a_job_that_vanished_long_after_its_order_is_an_error_and_never_an_order(
    stage: Any, make: Make, slow: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    slow.job(stage.store.record["job_id"], vanish=True)
    set_policy(monkeypatch, not_found_grace=0.0)
    for again in (stage.retry, stage.clear):
        with pytest.raises(EvoLinkNotFoundError):
            again().run(make())
    assert slow.books()["orders"] == 1


def test_an_event_about_another_job_is_refused(stage: Any, make: Make, slow: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    for event in ({"job_id": "task-unified-1-other", "status": "completed"}, {"status": "completed"}, {}, None):
        with pytest.raises(AirflowFailException, match="about another job"):
            make()().resume_execution(deferred.value.method_name, {"event": event}, stage.context())
    assert slow.books()["requests"]["read"] == 1


def test_a_timeout_event_about_a_job_that_has_finished_meanwhile_is_a_success(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    slow.job(job_id, state="completed")
    event = {"event": {"job_id": job_id, "status": "timeout"}}
    assert make()().resume_execution(deferred.value.method_name, event, stage.context())["status"] == "completed"


def test_when_airflow_gives_up_the_wait_the_job_is_polled_once_more(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    slow.settings(polls=10_000)
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    fail = ("__fail__", {"error": "Trigger timeout"})
    with pytest.raises(EvoLinkJobTimeout, match="keeps running and is still billed"):
        make(timeout=0.1)().resume_execution(*fail, stage.context())
    slow.job(stage.store.record["job_id"], state="completed")
    assert make()().resume_execution(*fail, stage.context())["status"] == "completed"
    assert stage.store.record["state"] == "delivered"
    assert slow.books()["orders"] == 1


def test_when_airflow_gives_up_the_wait_and_nothing_is_known_airflow_says_why(stage: Any, make: Make) -> None:
    from airflow.sdk.exceptions import TaskDeferralTimeout

    with pytest.raises(TaskDeferralTimeout):
        make()().resume_execution("__fail__", {"error": "Trigger timeout"}, stage.context())


def test_a_retry_with_a_longer_timeout_waits_on(stage: Any, make: Make, slow: EmulatorServer) -> None:
    slow.settings(polls=10_000)
    with pytest.raises(EvoLinkJobTimeout):
        stage.run(make(timeout=0.4))
    with pytest.raises(EvoLinkJobTimeout):
        stage.retry().run(make(timeout=0.4))
    threading.Timer(0.3, lambda: slow.job(stage.store.record["job_id"], state="completed")).start()
    assert stage.retry().run(make(timeout=60))["status"] == "completed"
    assert slow.books()["orders"] == 1


def test_a_kill_touches_nothing_and_says_that_the_job_goes_on(
    make: Make, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.hooks.evolink.EvoLinkHook.get_connection", _broken)
    make()().on_kill()
    assert "keeps running and is still billed" in logs.text


# --- the sensor


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_waits_for_a_job_it_did_not_order(
    stage: Any, make: Make, slow: EmulatorServer, deferrable: bool
) -> None:
    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    given = {"job_id": stage.store.record["job_id"], "deferrable": deferrable, "retries": 1, "poll_interval": 0.05}
    found = stage.run(lambda: EvoLinkJobSensor(task_id="wait", poke_interval=0.05, timeout=60, **given))
    assert bool(stage.deferrals) is deferrable
    assert found["job_id"] == given["job_id"]
    assert found["results"]
    assert set(found) == set(stage.retry().run(make()))
    assert slow.books()["orders"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_fails_with_the_job(stage: Any, make: Make, emulator: EmulatorServer, deferrable: bool) -> None:
    emulator.fault("job_fails", code="content_policy_violation")
    with pytest.raises(AirflowFailException):
        stage.run(make())
    job_id = emulator.books()["jobs"][0]["id"]
    with pytest.raises(AirflowFailException, match="content_policy_violation"):
        stage.run(lambda: EvoLinkJobSensor(task_id="wait", job_id=job_id, deferrable=deferrable))
    assert emulator.books()["orders"] == 1


# --- nothing secret


def test_no_key_prompt_or_link_is_stored_or_logged(stage: Any, make: Make, slow: EmulatorServer, logs: Any) -> None:
    i2v = make(
        EvoLinkImageToVideoOperator,
        generation_mode="video_continuation",
        video_urls=[LINK],
        prompt=PROMPT,
        duration=6,
    )
    result = stage.run(i2v)
    stored = json.dumps([stage.store.writes, stage.events, [one.trigger.serialize() for one in stage.deferrals]])
    assert stage.deferrals
    for secret in (KEY, "xylophonist", "5ecre7", "signature"):
        assert secret not in stored
        assert secret not in logs.text
    link = result["results"][0]
    assert link not in stored
    assert link not in logs.text
    assert result["request"]["video_urls"] == ["https://example.com/clip.mp4"]
    assert set(stage.events[0]) == {"job_id", "status"}


@pytest.mark.parametrize("name", [name for name in FAILURES if name != "vanished"])
def test_no_error_holds_a_key_or_a_prompt(
    stage: Any, make: Make, emulator: EmulatorServer, logs: Any, name: str
) -> None:
    emulator.fault(**FAILURES[name][0] | {"after": 0})
    with pytest.raises((AirflowFailException, EvoLinkError)) as told:
        stage.run(make())
    import traceback

    text = "".join(traceback.format_exception(told.value)) + logs.text
    assert KEY not in text
    assert "xylophonist" not in text


# --- what is sent


BODIES: dict[str, tuple[type, dict[str, Any], dict[str, Any]]] = {
    "text": (
        EvoLinkTextToVideoOperator,
        {"prompt": "p", "negative_prompt": "n", "audio_urls": [VOICE], "quality": "1080p", "aspect_ratio": "9:16"}
        | {"duration": "4", "seed": 7, "prompt_extend": True},
        {"model": "wan2.7-text-to-video", "prompt": "p", "negative_prompt": "n", "audio_urls": [VOICE]}
        | {"quality": "1080p", "aspect_ratio": "9:16", "duration": 4, "seed": 7, "prompt_extend": True},
    ),
    "text, only what is set": (
        EvoLinkTextToVideoOperator,
        {"prompt": "p"},
        {"model": "wan2.7-text-to-video", "prompt": "p"},
    ),
    "first frame": (
        EvoLinkImageToVideoOperator,
        {"generation_mode": "first_frame", "image_start": IMAGE, "duration": 2},
        {"model": "wan2.7-image-to-video", "generation_mode": "first_frame", "image_start": IMAGE, "duration": 2},
    ),
    "continuation": (
        EvoLinkImageToVideoOperator,
        {"generation_mode": "video_continuation", "video_urls": [CLIP], "prompt": "p", "duration": 7},
        {"model": "wan2.7-image-to-video", "generation_mode": "video_continuation", "video_urls": [CLIP]}
        | {"prompt": "p", "duration": 7},
    ),
    "reference": (
        EvoLinkReferenceVideoOperator,
        {"prompt": "Image 1", "image_urls": [IMAGE], "voice_bindings": {"image1": VOICE}, "aspect_ratio": "1:1"},
        {"model": "wan2.7-reference-video", "prompt": "Image 1", "image_urls": [IMAGE], "aspect_ratio": "1:1"}
        | {"model_params": {"voice_bindings": {"image1": VOICE}}},
    ),
    "edit": (
        EvoLinkVideoEditOperator,
        {"video_urls": [CLIP], "prompt": "p", "image_urls": [IMAGE], "keep_original_sound": False, "duration": 0},
        {"model": "wan2.7-video-edit", "video_urls": [CLIP], "prompt": "p", "image_urls": [IMAGE]}
        | {"keep_original_sound": False, "duration": 0},
    ),
    "generic": (
        EvoLinkGenerateOperator,
        {"model": "wan2.7-text-to-video", "parameters": {"prompt": "p", "duration": 2}}
        | {"callback_url": "https://example.com/hook"},
        {"model": "wan2.7-text-to-video", "prompt": "p", "duration": 2, "callback_url": "https://example.com/hook"},
    ),
}


@pytest.mark.parametrize(("kind", "given", "body"), BODIES.values(), ids=BODIES)
def test_the_arguments_become_the_body(
    stage: Any, make: Make, emulator: EmulatorServer, kind: type, given: dict[str, Any], body: dict[str, Any]
) -> None:
    result = stage.run(make(kind, **given))
    assert emulator.books()["jobs"][0]["body"] == body
    assert result["request"] == {name: value for name, value in body.items() if name != "callback_url"}


def test_a_model_that_nobody_knows_is_ordered_where_its_kind_is_made(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(polls=0)
    given = {"model": "brand-new-model", "parameters": {"prompt": PROMPT}}
    assert stage.run(make(**given, kind="image"))["kind"] == "image"
    stage.ti.run_id = "other"
    stage.store.rows.clear()
    assert stage.run(make(**given))["kind"] == "video"


# The example requests of EvoLink's own pages for Wan 2.7.
STORY = (
    "A tense detective chase story. Shot 1 [0-3s] wide angle: rainy night street, neon lights flickering. Shot 2 "
    "[3-6s] medium: detective enters an old building. Shot 3 [6-9s] close-up: detective's determined eyes, distant "
    "sirens. Shot 4 [9-12s] medium: cautious advance through dim corridor. Shot 5 [12-15s] close-up: discovers key "
    "clue, sudden realization."
)
KITTEN = "A small kitten running under the moonlight"
PAGES: dict[str, dict[str, Any]] = {
    "single shot": {"prompt": KITTEN, "aspect_ratio": "16:9", "duration": 5},
    "storyboard": {"prompt": STORY, "aspect_ratio": "16:9", "duration": 15},
    "audio": {
        "prompt": "A tiny cute cartoon kitten general in golden armor riding a war horse, reciting a classical poem",
        "audio_urls": ["https://example.com/recital.mp3"],
        "duration": 10,
    },
    "negative prompt": {"prompt": KITTEN, "negative_prompt": "flowers"},
}


@pytest.mark.parametrize("given", PAGES.values(), ids=PAGES)
def test_the_example_requests_of_evolinks_pages_run(
    stage: Any, make: Make, emulator: EmulatorServer, given: dict[str, Any]
) -> None:
    assert stage.run(make(EvoLinkTextToVideoOperator, **given))["status"] == "completed"
    assert emulator.books()["jobs"][0]["body"] == {"model": "wan2.7-text-to-video", **given}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before + 2


@pytest.mark.parametrize("kind", ["video", "image", "audio"])
def test_a_model_that_is_not_in_the_catalog_is_ordered_by_its_kind(
    stage: Any, emulator: EmulatorServer, evolink_conn: str, kind: str
) -> None:
    emulator.settings(polls=0)
    job = stage.run(
        lambda: EvoLinkGenerateOperator(task_id="task", model="brand-new", kind=kind, parameters={"prompt": "A boat"})
    )
    assert job["kind"] == kind


def test_new_retries_in_the_dag_file_are_no_clear(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    emulator.settings(polls=0)
    first = stage.run(make())
    again = stage.retry().run(make(retries=9))
    assert again["job_id"] == first["job_id"]
    assert emulator.books()["orders"] == 1
