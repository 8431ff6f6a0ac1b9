"""Many orders in one task: each is paid once, whatever happens to the task, and the results keep their order."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from evolink_support import MAPPED
from pydantic import ConfigDict, create_model

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import (
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
)
from airflow_provider_evolink.api.http.retries import MAX_ATTEMPTS
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.polling.batch_wait import AwaitedJob, BatchWait
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.execution.batch_item import FailedRequest
from airflow_provider_evolink.execution.results import GenerationResult
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import State, TaskIdentity
from airflow_provider_evolink.operators import EvoLinkBatchOperator

Make = Callable[..., Callable[[], EvoLinkBatchOperator]]


class Killed(BaseException):
    """What ends a worker in a test."""


def requests(count: int) -> list[dict[str, Any]]:
    """Return requests that tell themselves apart."""
    return [{"prompt": f"clip {number}", "duration": 2} for number in range(count)]


@pytest.fixture
def batch(make: Make) -> Make:
    """Return a maker of makers of batches of six."""
    common = {"model": "wan2.7-text-to-video", "requests": requests(6), "parameters": None}
    return lambda **given: make(EvoLinkBatchOperator, **{**common, **given})


@pytest.fixture
def long(emulator: EmulatorServer) -> EmulatorServer:
    """Serve jobs that take a minute by their own estimate, so that they are deferred; no order is recognised again."""
    emulator.settings(polls=3, estimated_time=60, idempotency=False)
    return emulator


def paid(emulator: EmulatorServer) -> Counter[str]:
    """Return how often each prompt was ordered."""
    return Counter(job["body"]["prompt"] for job in emulator.books()["jobs"])


def once(count: int) -> Counter[str]:
    """Return what is paid if all is well."""
    return Counter({f"clip {number}": 1 for number in range(count)})


def prompts(results: list[dict[str, Any]]) -> list[str]:
    """Return what was ordered, by the results."""
    return [result["request"]["prompt"] for result in results]


def states(stage: Any) -> list[str]:
    """Return how far the requests have come, by their records."""
    rows = sorted((int(name.rsplit("_", 1)[1]), json.loads(row)["state"]) for name, row in stage.store.rows.items())
    return [state for _, state in rows]


def fired(trigger: Any) -> dict[str, Any]:
    """Return the event of a trigger."""

    async def first() -> dict[str, Any]:
        (event,) = [event async for event in trigger.run()]
        payload: dict[str, Any] = event.payload
        return payload

    return asyncio.run(asyncio.wait_for(first(), 30))


def killed_at_order(monkeypatch: pytest.MonkeyPatch, number: int) -> Any:
    """Kill the worker when it is about to write its n-th intent, once."""
    seen: list[int] = []
    write = Ledger.write_intent

    def deadly(self: Ledger, record: Any) -> None:
        seen.append(1)
        if len(seen) == number:
            raise Killed
        write(self, record)

    monkeypatch.setattr(Ledger, "write_intent", deadly)


# --- results


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("polls", [1, 3])
def test_the_results_come_in_the_order_of_the_requests(
    stage: Any, batch: Make, long: EmulatorServer, deferrable: bool, polls: int
) -> None:
    long.settings(polls=polls)
    results = stage.run(batch(deferrable=deferrable))
    assert prompts(results) == [f"clip {number}" for number in range(6)]
    by_prompt = {job["body"]["prompt"]: job["id"] for job in long.books()["jobs"]}
    assert [result["job_id"] for result in results] == [by_prompt[prompt] for prompt in prompts(results)]
    assert all(result["status"] == "completed" and result["results"] for result in results)
    assert paid(long) == once(6)
    assert len(stage.deferrals) == deferrable
    assert states(stage) == ["delivered"] * 6


def test_a_result_is_what_the_single_operator_returns(
    stage: Any, make: Make, batch: Make, long: EmulatorServer
) -> None:
    one = type(stage)().run(make(parameters=requests(1)[0]))
    many = stage.run(batch(requests=requests(1)))
    changing = {"job_id", "results", "created", "expires_at", "submitted", "completed", "request_id"}
    assert [{name: row[name] for name in row if name not in changing} for row in (one, many[0])] == [
        {name: one[name] for name in one if name not in changing}
    ] * 2


def test_short_jobs_are_finished_on_the_worker(stage: Any, batch: Make, emulator: EmulatorServer) -> None:
    assert len(batch()().execute(stage.context())) == 6
    assert paid(emulator) == once(6)


def test_an_empty_batch_orders_nothing(stage: Any, batch: Make, emulator: EmulatorServer) -> None:
    assert stage.run(batch(requests=[])) == []
    assert emulator.books()["requests"] == {}


def test_a_request_names_its_own_model_and_wins_over_what_all_share(
    stage: Any, batch: Make, emulator: EmulatorServer
) -> None:
    wanted = [
        {"prompt": "a"},
        {"prompt": "b", "duration": 3},
        {"prompt": "c", "model": "gpt-image-2", "duration": None},
    ]
    results = stage.run(batch(requests=wanted, parameters={"duration": 2}))
    assert [job["body"].get("duration") for job in emulator.books()["jobs"]] == [2, 3, None]
    assert [result["model"] for result in results] == ["wan2.7-text-to-video"] * 2 + ["gpt-image-2"]


def test_the_results_of_all_are_downloaded_where_a_destination_is_named(
    stage: Any, batch: Make, emulator: EmulatorServer, tmp_path: Any
) -> None:
    results = stage.run(batch(requests=requests(2), destination=tmp_path.as_uri()))
    assert [len(result["files"]) for result in results] == [1, 1]
    assert len(list(tmp_path.glob("*.mp4"))) == 2


# --- one trigger


def test_one_trigger_waits_for_all_and_holds_nothing_of_what_was_submitted(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        batch()().execute(stage.context())
    text = json.dumps(deferred.value.trigger.serialize())
    assert "clip" not in text
    assert "http" not in text
    assert [job[0] for job in deferred.value.trigger.jobs] == [job["id"] for job in long.books()["jobs"]]
    trigger = deferred.value.trigger
    assert (trigger.model, trigger.kind, trigger.estimated_time) == ("wan2.7-text-to-video", "video", 60)
    results = stage.resume(batch(), deferred.value)
    assert len(results) == 6
    assert stage.events == [
        {"ended": 6, "running": [], "without_result": {}, "state": {"count": 6, "waiting": [], "failed": {}}}
    ]


def test_the_jobs_of_a_batch_are_read_together(stage: Any, batch: Make, long: EmulatorServer) -> None:
    stage.run(batch(requests=requests(60)))
    counts = long.books()["requests"]
    assert paid(long) == once(60)
    assert counts.get("read", 0) == 0
    assert counts["batch"] <= 20


def test_no_event_leaves_before_airflow_has_put_the_task_away(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.triggers.evolink.HOLD_EVENT", 1.5)
    long.settings(polls=0)
    began = time.monotonic()
    stage.run(batch())
    assert len(stage.deferrals) == 1
    assert time.monotonic() - began > 1.5


def test_a_job_that_two_requests_share_is_waited_for_once(stage: Any, batch: Make, long: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        batch()().execute(stage.context())
    trigger = deferred.value.trigger
    trigger.jobs, trigger.min_ended = [trigger.jobs[0], trigger.jobs[0]], 2
    long.job(trigger.jobs[0][0], state="completed")
    assert fired(trigger)["ended"] == 1


def test_an_event_about_other_jobs_is_refused(stage: Any, batch: Make, long: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred):
        batch()().execute(stage.context())
    for event in ({}, {"running": ["task-unified-1-else"]}, {"running": [], "without_result": {"task-x": "failed"}}):
        with pytest.raises(AirflowFailException, match="about other jobs"):
            batch()().execute_complete(stage.context(), event)
    assert paid(long) == once(6)


# --- never pay twice


@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_batch_that_is_killed_while_it_orders_pays_each_request_once(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch, number: int, deferrable: bool
) -> None:
    with monkeypatch.context() as patch:
        killed_at_order(patch, number)
        with pytest.raises(Killed):
            stage.run(batch(deferrable=deferrable))
    assert sum(paid(long).values()) == number - 1
    results = stage.retry().run(batch(deferrable=deferrable))
    assert paid(long) == once(6)
    assert prompts(results) == [f"clip {number}" for number in range(6)]


def test_a_batch_that_is_killed_between_two_deferrals_pays_each_request_once(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = batch(max_active=2)
    with monkeypatch.context() as patch:
        killed_at_order(patch, 4)
        with pytest.raises(Killed):
            stage.run(operator)
    assert len(stage.deferrals) == 1
    assert len(stage.retry().run(operator)) == 6
    assert paid(long) == once(6)


@pytest.mark.parametrize("policy", ["collect", "fail_fast"])
def test_a_lost_response_concerns_one_request_and_no_retry_submits_it_again(
    stage: Any, batch: Make, long: EmulatorServer, policy: str
) -> None:
    long.fault("lost_answer", on="submit", after=2)
    operator = batch(on_failed_job=policy)
    if policy == "collect":
        results = stage.run(operator)
        assert [result["status"] for result in results] == ["completed"] * 2 + ["unknown"] + ["completed"] * 3
        assert (results[2]["error"], results[2]["job_id"]) == ("EvoLinkSubmissionUnknown", None)
        assert prompts(results) == [f"clip {number}" for number in range(6)]
        assert [row["status"] for row in stage.retry().run(operator)] == [row["status"] for row in results]
        assert paid(long) == once(6)
    else:
        for again in (lambda: stage, stage.retry, stage.clear):
            with pytest.raises(AirflowFailException, match=r"(?s)request 2 of 6.*2 other jobs"):
                again().run(operator)
        assert paid(long) == once(3)
        assert states(stage) == ["submitted"] * 2 + ["unknown"]


def test_a_broken_line_does_not_make_every_order_unknown(stage: Any, batch: Make, long: EmulatorServer) -> None:
    long.fault("lost_answer", on="submit", after=1, times=-1)
    with pytest.raises(AirflowFailException, match="request 3 of 6"):
        stage.run(batch(on_failed_job="collect"))
    assert sum(paid(long).values()) == 4


def test_a_batch_never_takes_the_job_of_one_request_for_the_lost_order_of_another(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    long.fault("cut_before", on="submit", after=1)
    operator = batch(requests=requests(2), on_unknown_submit="reconcile", **MAPPED)
    with pytest.raises(
        AirflowFailException,
        match=r"on_unknown_submit must be one of fail, replay, resubmit \(not reconcile: .* ordered nothing",
    ):
        stage.run(operator)
    assert "submit" not in long.books()["requests"]


def test_a_clear_after_success_orders_all_anew_and_a_retry_nothing(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    operator = batch(max_active=4)
    first = stage.run(operator)
    again = stage.retry().run(operator)
    assert [row["job_id"] for row in again] == [row["job_id"] for row in first]
    # Airflow names what a try empties in XCom as it begins, and nothing when the try goes on after a deferral.
    stage.ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=["return_value"])
    context = stage.context

    def once_only() -> dict[str, Any]:
        found = context()
        if stage.deferrals[2:]:
            stage.ti._ti_context_from_server.xcom_keys_to_clear = []
        return found

    stage.deferrals.clear()
    stage.context = once_only
    stage.clear()
    try:
        result = operator().execute(stage.context())
    except TaskDeferred as deferred:
        stage.ti._ti_context_from_server.xcom_keys_to_clear = []
        result = stage.resume(operator, deferred)
    assert len({row["job_id"] for row in [*first, *result]}) == 12
    assert sum(paid(long).values()) == 12


def test_a_clear_before_the_delivery_attaches_to_all(stage: Any, batch: Make, long: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred):
        batch()().execute(stage.context())
    assert len(stage.clear().run(batch())) == 6
    assert paid(long) == once(6)


def test_fewer_or_other_requests_than_an_earlier_try_ordered_are_refused(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    with pytest.raises(TaskDeferred):
        batch()().execute(stage.context())
    with pytest.raises(AirflowFailException, match="more than the 5 requests"):
        stage.retry().run(batch(requests=requests(5)))
    with pytest.raises(AirflowFailException, match=r"request 0 of 6: the inputs .* evolink_generation_0 "):
        stage.retry().run(batch(requests=requests(6)[::-1]))
    assert paid(long) == once(6)
    assert len(stage.retry().run(batch(requests=requests(7)))) == 7, "more may follow"
    assert paid(long) == once(7)


def test_without_a_memory_nothing_is_ordered(stage: Any, batch: Make, emulator: EmulatorServer, tmp_path: Any) -> None:
    with pytest.raises(AirflowFailException, match="durable record"):
        stage.run(batch(durable=False))
    stage.store = None
    with pytest.raises(AirflowFailException, match="durable record"):
        stage.run(batch())
    assert "submit" not in emulator.books()["requests"]
    assert len(stage.run(batch(ledger_path=tmp_path.as_uri()))) == 6
    assert len(list(tmp_path.rglob("*.json"))) == 6, "a file for each request"
    assert len(stage.retry().run(batch(ledger_path=tmp_path.as_uri()))) == 6
    assert paid(emulator) == once(6)


def test_the_keys_of_a_single_order_are_what_they_were_and_those_of_a_batch_are_others() -> None:
    one = TaskIdentity("dag", "run", "task", -1, 0)
    assert one.key("https://api.evolink.ai", 0) == "af1-ipqyewvfgohxvw2mxm5ls4c3e7wpmvmf2den2ll67n7gnd6565ra"
    assert one.record_name == "evolink_generation"
    parts = [TaskIdentity("dag", "run", "task", -1, 0, item=number) for number in range(3)]
    keys = {part.key("https://api.evolink.ai", epoch) for part in parts for epoch in range(3)}
    keys |= {one.key("https://api.evolink.ai", epoch, attempt) for epoch in range(3) for attempt in (None, 0, 1, 2)}
    assert len(keys) == 9 + 12
    assert [part.record_name for part in parts] == [f"evolink_generation_{number}" for number in range(3)]


# --- failures


def is_typed(row: dict[str, Any], typed: type) -> bool:
    """Tell whether a result has the keys and types of a typed dictionary; some keys only a single result has."""
    always = get_type_hints(FailedRequest)
    hints = {**get_type_hints(typed), "files": list}  # pydantic reads no nested typed dictionary of Python 3.11
    keys = {name: (hint, ... if name in always else None) for name, hint in hints.items()}
    model = create_model("Row", __config__=ConfigDict(strict=True, extra="forbid"), **keys)  # type: ignore[call-overload]
    return bool(model.model_validate_json(json.dumps(row)))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_job_that_fails_for_good_is_collected(
    stage: Any, batch: Make, long: EmulatorServer, deferrable: bool
) -> None:
    long.fault("job_fails", code="content_policy_violation", after=2)
    operator = batch(on_failed_job="collect", deferrable=deferrable)
    results = stage.run(operator)
    assert [result["status"] for result in results] == ["completed"] * 2 + ["failed"] + ["completed"] * 3
    assert (results[2]["error"], results[2]["error_code"]) == ("EvoLinkJobFailed", "content_policy_violation")
    assert results[2]["job_id"] == long.books()["jobs"][2]["id"]
    assert states(stage) == ["delivered"] * 2 + ["submitted"] + ["delivered"] * 3
    assert stage.ti.try_number == 1, "what no retry can mend uses none"
    assert all(is_typed(row, FailedRequest if row["status"] == "failed" else GenerationResult) for row in results)
    stage.clear().run(operator)
    assert sum(paid(long).values()) == 12


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_job_that_fails_for_good_ends_the_task_at_once_and_the_others_go_on(
    stage: Any, batch: Make, long: EmulatorServer, deferrable: bool
) -> None:
    long.fault("job_fails", code="content_policy_violation", after=2)
    with pytest.raises(TaskDeferred) as deferred:
        batch()().execute(stage.context())
    jobs = [job["id"] for job in long.books()["jobs"]]
    for number in (0, 1, 3, 4, 5):
        long.job(jobs[number], state="processing")
    began = time.monotonic()
    go_on = (lambda: stage.resume(batch(), deferred.value)) if deferrable else stage.retry().run
    with pytest.raises(AirflowFailException, match=r"request 2 of 6.*content_policy_violation") as told:
        go_on(*([] if deferrable else [batch(deferrable=False)]))
    assert time.monotonic() - began < 20
    assert all((job in str(told.value)) for job in jobs)
    assert "5 other jobs of this batch keep running" in str(told.value)
    for number in (0, 1, 3, 4, 5):
        long.job(jobs[number], state="completed")
    assert [row["status"] for row in stage.clear().run(batch())] == ["completed"] * 6
    assert paid(long) == once(6) + Counter(["clip 2"]), "a clear is a wish to order the failed one anew"


@pytest.mark.parametrize("policy", ["collect", "fail_fast"])
def test_a_retry_submits_only_what_failed_for_a_transient_reason(
    stage: Any, batch: Make, long: EmulatorServer, policy: str
) -> None:
    long.fault("job_fails", code="service_error", after=1)
    if policy == "collect":
        long.fault("job_fails", code="content_policy_violation", after=3)
    operator = batch(on_failed_job=policy)
    with pytest.raises(EvoLinkJobFailed, match="request 1 of 6"):
        stage.run(operator)
    assert "delivered" not in states(stage)
    results = stage.retry().run(operator)
    wanted = ["completed"] * 6
    if policy == "collect":
        wanted[next(n for n, row in enumerate(results) if row["status"] == "failed")] = "failed"
    assert [row["status"] for row in results] == wanted
    assert results[1]["status"] == "completed"
    assert paid(long) == once(6) + Counter(["clip 1"])


def test_the_last_try_collects_what_might_have_passed(stage: Any, batch: Make, long: EmulatorServer) -> None:
    long.fault("job_fails", code="service_error", after=1, times=-1)
    operator = batch(on_failed_job="collect")
    with pytest.raises(EvoLinkJobFailed):
        stage.run(operator)
    results = stage.retry().run(operator)
    assert [row["status"] for row in results] == ["completed"] + ["failed"] * 5
    assert {row["error_code"] for row in results[1:]} == {"service_error"}
    assert sum(paid(long).values()) == 11


def test_a_collected_request_whose_job_still_runs_says_what_it_is_and_since_when(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    long.settings(polls=1000)
    results = stage.retry().run(batch(on_failed_job="collect", timeout=1, deferrable=False))
    assert {row["error"] for row in results} == {"EvoLinkJobTimeout"}
    assert {row["kind"] for row in results} == {"video"}
    assert all(row["created"] < row["expires_at"] for row in results)
    assert all(is_typed(row, FailedRequest) for row in results)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("fault", "entry"),
    [
        ({"kind": "status", "status": 400, "code": "content_policy_violation"}, ("refused", "EvoLinkContentError")),
        ({"kind": "cut_before"}, ("unknown", "EvoLinkSubmissionUnknown")),
    ],
)
def test_a_failed_job_whose_new_order_comes_to_nothing_costs_the_others_no_result(
    stage: Any, batch: Make, long: EmulatorServer, fault: dict[str, Any], entry: tuple[str, str], deferrable: bool
) -> None:
    long.fault("job_fails", code="service_error", after=1, times=2)
    operator = batch(on_failed_job="collect", deferrable=deferrable)
    with pytest.raises(EvoLinkJobFailed, match="request 1 of 6"):
        stage.run(operator)
    long.fault(on="submit", **fault)
    results = stage.retry().run(operator)
    assert [row["status"] for row in results] == ["completed", entry[0], *["completed"] * 4]
    assert (results[1]["error"], results[1]["job_id"]) == (entry[1], None)
    assert is_typed(results[1], FailedRequest)
    assert results[1]["error_code"] == fault.get("code")
    assert paid(long) == once(6) + Counter(["clip 2"])
    assert len(stage.deferrals) == 2 * deferrable, "one for each try"


def test_a_request_without_a_job_is_not_waited_for(stage: Any, batch: Make, long: EmulatorServer) -> None:
    long.fault("status", on="submit", status=400, code="content_policy_violation")
    operator = batch(on_failed_job="collect")
    with pytest.raises(TaskDeferred) as deferred:
        operator().execute(stage.context())
    event = {**fired(deferred.value.trigger), "state": {}}
    with pytest.raises(EvoLinkJobTimeout, match="request 0 of 6"):
        operator().resume_execution("execute_complete", {"event": event}, stage.context())
    assert [row["status"] for row in stage.retry().run(operator)] == ["completed"] * 6
    assert paid(long) == once(6)


@pytest.mark.parametrize("max_active", [2, 100])
def test_an_order_that_review_refuses_is_the_affair_of_one_request(
    stage: Any, batch: Make, long: EmulatorServer, max_active: int
) -> None:
    long.fault("status", on="submit", status=400, code="content_policy_violation", after=1)
    results = stage.run(batch(on_failed_job="collect", max_active=max_active))
    assert [row["status"] for row in results] == ["completed", "refused", *["completed"] * 4]
    assert (results[1]["error"], results[1]["error_code"]) == ("EvoLinkContentError", "content_policy_violation")
    assert paid(long) == once(6) - Counter(["clip 1"])


def test_what_would_meet_every_request_ends_the_try_and_the_next_one_goes_on(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    long.fault("status", on="submit", status=402, code="insufficient_quota", after=3)
    with pytest.raises(AirflowFailException, match=r"request 3 of 6.*3 other jobs of this batch keep running"):
        stage.run(batch(on_failed_job="collect"))
    assert len(stage.clear().run(batch(on_failed_job="collect"))) == 6
    assert paid(long) == once(6)


# --- how many at a time


@pytest.mark.parametrize("deferrable", [True, False])
def test_no_more_jobs_run_at_a_time_than_allowed(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    active: list[int] = []
    keep = Ledger.write_submitted

    def counted(self: Ledger, record: Any) -> None:
        keep(self, record)
        active.append(sum(job["status"] in ("pending", "processing") for job in long.books()["jobs"]))

    monkeypatch.setattr(Ledger, "write_submitted", counted)
    results = stage.run(batch(requests=requests(11), max_active=4, deferrable=deferrable))
    assert prompts(results) == [f"clip {number}" for number in range(11)]
    assert paid(long) == once(11)
    assert max(active) == 4
    assert bool(stage.deferrals) is deferrable
    if deferrable:
        assert len(stage.deferrals) >= 3


@pytest.mark.parametrize("deferrable", [True, False])
def test_evolinks_own_limit_makes_a_batch_wait_for_its_jobs(
    stage: Any, batch: Make, long: EmulatorServer, deferrable: bool
) -> None:
    long.fault("status", on="submit", status=429, code="rate_limit_exceeded", after=3, times=MAX_ATTEMPTS)
    results = stage.run(batch(deferrable=deferrable))
    assert len(results) == 6
    assert paid(long) == once(6)
    assert (len(stage.deferrals) >= 2) is deferrable


def test_an_order_that_waits_for_room_leaves_the_order_of_a_later_try_alone(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    long.fault("status", on="submit", status=429, code="rate_limit_exceeded", after=3, times=MAX_ATTEMPTS)
    note = Ledger.write_best_effort

    def overtaken(self: Ledger, record: Any, **given: Any) -> None:
        note(self, record, **given)
        if record.state == "refused":
            note(self, record.moved(State.INTENT, attempt=2))

    monkeypatch.setattr(Ledger, "write_best_effort", overtaken)
    with pytest.raises(EvoLinkOrderStopped, match=r"request 3 of 6.*another try has taken over"):
        stage.run(batch(deferrable=False))
    assert states(stage)[3:] == ["intent"]
    assert sum(paid(long).values()) == 3


def test_a_limit_before_the_first_order_is_left_to_airflows_retries(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    long.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "60"}, times=-1)
    with pytest.raises(EvoLinkRateLimited, match="request 0 of 6"):
        stage.run(batch())
    assert long.books()["orders"] == 0


@pytest.mark.parametrize("wrong", [{"max_active": 0}, {"max_active": 1001}, {"on_failed_job": "ignore"}])
def test_a_choice_that_does_not_exist_orders_nothing(
    stage: Any, batch: Make, emulator: EmulatorServer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match=next(iter(wrong))):
        stage.run(batch(**wrong, **MAPPED))
    assert "submit" not in emulator.books()["requests"]


# --- checked before the first is sent


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"requests": [*requests(3), {"prompt": "p", "duration": 99}, *requests(2)]}, r"request 3 of 6.*duration"),
        ({"requests": [*requests(3), {"duration": 2}, {"prompt": "p", "duration": 99}]}, "so are 1 more: 4"),
        ({"requests": [*requests(2), "text"]}, "requests must be a list of dicts of fields, and entry 2 is a str"),
        ({"requests": "text"}, "must be a list"),
        ({"requests": {"prompt": "p"}}, "must be a list"),
        ({"model": ""}, "request 0 names no model"),
        ({"max_credits": 65.27}, "6 requests may cost 65.28 credits"),
    ],
)
def test_a_wrong_batch_orders_nothing_and_names_the_request(
    stage: Any, batch: Make, emulator: EmulatorServer, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"(?s){says}"):
        stage.run(batch(**given, **MAPPED))
    assert "submit" not in emulator.books()["requests"]
    assert stage.store.writes == []


def test_a_batch_within_its_budget_is_ordered(stage: Any, batch: Make, emulator: EmulatorServer) -> None:
    assert len(stage.run(batch(max_credits=65.28))) == 6


def test_an_order_that_may_be_paid_twice_counts_in_the_budget(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, seen = EvoLinkClient.submit, []

    def deadly(self: EvoLinkClient, *args: Any, **facts: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            raise Killed
        return send(self, *args, **facts)

    monkeypatch.setattr(EvoLinkClient, "submit", deadly)
    with pytest.raises(Killed):
        batch()().execute(stage.context())
    again = {"on_unknown_submit": "resubmit", "max_credits": 3.5 * 10.88}
    with pytest.raises(AirflowFailException, match="4 requests may cost"):
        stage.retry().run(batch(**again))
    assert long.books()["orders"] == 2
    assert len(stage.retry().run(batch(**{**again, "max_credits": 4 * 10.88}))) == 6


def test_an_unusable_destination_orders_nothing(stage: Any, batch: Make, emulator: EmulatorServer) -> None:
    with pytest.raises(AirflowFailException, match="request 0 of 6"):
        stage.run(batch(destination="nowhere://bucket/x"))
    assert "submit" not in emulator.books()["requests"]


# --- endings


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_deadline_ends_the_wait_and_a_retry_goes_on(
    stage: Any, batch: Make, long: EmulatorServer, deferrable: bool
) -> None:
    long.settings(polls=10_000)
    with pytest.raises(EvoLinkJobTimeout, match=r"request \d of 6"):
        stage.run(batch(timeout=2, deferrable=deferrable))
    for job in long.books()["jobs"]:
        long.job(job["id"], state="completed")
    assert len(stage.retry().run(batch(timeout=60, deferrable=deferrable))) == 6
    assert paid(long) == once(6)


@pytest.mark.parametrize("on_failed_job", ["fail_fast", "collect"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_transient_failure_at_the_delivery_costs_no_result(
    stage: Any, batch: Make, long: EmulatorServer, on_failed_job: str, status: int
) -> None:
    stage.ti.max_tries = 0
    operator = batch(on_failed_job=on_failed_job)
    with pytest.raises(TaskDeferred) as deferred:
        operator().execute(stage.context())
    event = fired(deferred.value.trigger)
    assert event["ended"] == 6
    long.fault("status", on="batch", status=status, headers={"Retry-After": "1"}, times=MAX_ATTEMPTS + 1)
    long.fault("status", on="read", status=status, headers={"Retry-After": "1"}, times=12)
    results = operator().resume_execution("execute_complete", {"event": event}, stage.context())
    assert [result["status"] for result in results] == ["completed"] * 6
    assert long.books()["requests"].get("read", 0) <= (6 if status == 503 else 0), "no flood of single reads"
    assert states(stage) == ["delivered"] * 6


def test_a_failure_that_cannot_be_read_twice_orders_nothing(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    long.settings(polls=10_000)
    with pytest.raises(TaskDeferred):
        batch()().execute(stage.context())
    job_id = next(job["id"] for job in long.books()["jobs"] if job["body"]["prompt"] == "clip 2")
    # Once EvoLink says that it failed; then it says nothing for a while; in truth the job runs.
    wrong = {"status": "failed", "error": {"code": "service_error", "message": "no"}}
    long.fault("patch_json", on="read", path=job_id, fields=wrong, times=1)
    long.fault("status", on="read", path=job_id, status=503, times=MAX_ATTEMPTS)
    long.fault("status", on="batch", status=404, body="not found", times=-1)
    with pytest.raises(TaskDeferred) as deferred:
        batch()().execute(stage.retry().context())
    assert job_id in [job[0] for job in deferred.value.trigger.jobs]
    assert paid(long) == once(6)


def test_execution_timeout_bounds_the_wait(stage: Any, batch: Make, long: EmulatorServer) -> None:
    stage.ti.start_date = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as deferred:
        batch(execution_timeout=timedelta(seconds=77))().execute(stage.context())
    latest = stage.ti.start_date.timestamp() + 77
    assert [job[2] for job in deferred.value.trigger.jobs] == [pytest.approx(latest, abs=0.2)] * 6
    assert deferred.value.timeout.total_seconds() == pytest.approx(77 + 120, abs=20)


def test_when_airflow_gives_up_the_wait_the_worker_goes_on_with_all(
    stage: Any, batch: Make, long: EmulatorServer
) -> None:
    operator = batch(max_active=3)
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    results = operator().resume_execution("__fail__", {"error": "Trigger timeout"}, stage.context())
    assert len(results) == 6
    assert paid(long) == once(6)


def test_a_key_that_is_refused_ends_all_with_one_clear_error(stage: Any, batch: Make, long: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        batch()().execute(stage.context())
    long.fault("status", on="read", status=401, code="unauthorized", times=-1)
    long.fault("status", on="batch", status=401, code="unauthorized", times=-1)
    with pytest.raises(AirflowFailException, match="EvoLinkAuthError"):
        stage.resume(batch(), deferred.value)
    long.clear_faults()
    assert len(stage.retry().run(batch())) == 6
    assert paid(long) == once(6)


def test_a_terminated_worker_submits_no_more_and_stops_waiting(
    stage: Any, batch: Make, long: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    long.settings(polls=10_000)
    operator = batch(deferrable=False)()
    keep = Ledger.write_submitted

    def told(self: Ledger, record: Any) -> None:
        keep(self, record)
        if len(stage.store.rows) == 3:
            operator.on_kill()

    monkeypatch.setattr(Ledger, "write_submitted", told)
    with pytest.raises(Exception, match="being terminated"):
        operator.execute(stage.context())
    assert sum(paid(long).values()) == 3
    waiting = batch(deferrable=False)()
    on_reading = schedule.PollSchedule.on_reading

    def noted(self: Any, *given: Any) -> Any:
        waiting.on_kill()
        return on_reading(self, *given)

    monkeypatch.setattr(Ledger, "write_submitted", keep)
    monkeypatch.setattr(schedule.PollSchedule, "on_reading", noted)
    with pytest.raises(Exception, match="being terminated; 6 other"):
        waiting.execute(stage.retry().context())
    assert paid(long) == once(6)


def test_nothing_private_is_stored_or_logged(stage: Any, batch: Make, long: EmulatorServer, logs: Any) -> None:
    prompt = "a paper boat with the secret word xylophonist"
    secret = {"prompt": prompt, "duration": 2}
    long.fault("job_fails", code="content_policy_violation", message=f"not {prompt}", after=1)
    with pytest.raises(AirflowFailException) as told:
        stage.run(batch(requests=[secret] * 3))
    told_all = json.dumps([trigger.trigger.serialize() for trigger in stage.deferrals]) + json.dumps(stage.events)
    for text in (str(told.value), logs.text, json.dumps(stage.store.rows), told_all):
        assert "xylophonist" not in text
        assert "test-key" not in text


def test_five_hundred_requests_in_one_task(stage: Any, batch: Make, long: EmulatorServer) -> None:
    long.settings(balance=100_000, polls=2)
    began = time.monotonic()
    results = stage.run(batch(requests=requests(500), max_active=500))
    took = time.monotonic() - began
    counts = long.books()["requests"]
    assert prompts(results) == [f"clip {number}" for number in range(500)]
    assert paid(long) == once(500)
    assert len(json.dumps(stage.deferrals[0].trigger.serialize())) < 60_000
    assert counts.get("read", 0) + counts["batch"] <= 60
    assert took < 120


@pytest.mark.parametrize("interval", ["soon", timedelta(seconds=-5)])
def test_a_wait_that_is_no_number_of_seconds_orders_nothing(
    stage: Any, batch: Make, long: EmulatorServer, interval: Any
) -> None:
    with pytest.raises(AirflowFailException, match="poll_interval must be a number of seconds"):
        stage.run(batch(poll_interval=interval, **MAPPED))
    assert long.books()["requests"] == {}


async def test_a_batch_trigger_that_cannot_make_sense_of_its_pace_ends_its_wait(evolink_conn: str) -> None:
    job = {"job_id": "task-unified-1-x", "deadline": time.time() + 60, "started": time.time()}
    wait = BatchWait([AwaitedJob(**job)], min_ended=1, fail_fast=False, poll_interval="5", log=lambda _: None)
    told = await asyncio.wait_for(
        wait.run("evolink_default", partial(EvoLinkHook.aget_settings, "evolink_default")), 20
    )
    assert told["without_result"] == {"task-unified-1-x": "unreadable"}
