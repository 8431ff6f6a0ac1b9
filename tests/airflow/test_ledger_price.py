"""What the records of orders cost: calls to S3 for a single order, and that saving them writes over nobody's record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_evolink.api.errors import EvoLinkLedgerError, EvoLinkOrderStopped
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution.submission import OrderSubmitter

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"
Make = Callable[..., Callable[[], Any]]


CALLS: list[tuple[bool, str, set[str], int]] = [
    (False, "may list", set(), 6),
    (True, "may list", set(), 6),
    (False, "may not list", set(), 7),
    (True, "may not list", set(), 7),
    (False, "may list", {"match"}, 9),
    (True, "may list", {"match"}, 11),
]


@pytest.fixture
def arguments(stage: Any, bucket: str, emulator: EmulatorServer) -> Callable[..., dict[str, str]]:
    """Return a function that returns the arguments of a task whose only store is a folder in S3."""
    stage.store = None
    emulator.settings(polls=0)

    def given(*, destination: bool) -> dict[str, str]:
        root = f"s3://narrow@{bucket}"
        more = {"destination": f"{root}/videos"} if destination else {}
        return {"ledger_path": f"{root}/ledger", **more}

    return given


def until_submitted(seen: list[tuple[str, str]]) -> list[str]:
    """Return the calls to the store until the record says submitted: with its second write."""
    writes = [at for at, (right, key) in enumerate(seen) if right == "put" and key.endswith(".json") and "/led" in key]
    return [right for right, _ in seen[: writes[1] + 1]]


@pytest.mark.parametrize(
    ("destination", "role", "ignored", "calls"),
    CALLS,
)
def test_an_order_costs_few_calls_until_its_record_says_submitted(
    stage: Any, make: Make, narrow: Any, arguments: Any, destination: bool, role: str, ignored: set[str], calls: int
) -> None:
    """One more for a role that may not list, after the first order in a folder."""
    narrow.denied = set() if role == "may list" else narrow.denied
    narrow.ignored = ignored
    if role == "may not list":
        stage.run(make(**arguments(destination=destination)))
    stage.ti.task_id = "another"
    narrow.seen.clear()
    stage.run(make(**arguments(destination=destination)))
    assert len(until_submitted(narrow.seen)) == calls, narrow.seen


@pytest.mark.parametrize(("destination", "ignored"), [(True, set()), (False, set()), (False, {"match"})])
def test_the_id_of_a_job_is_not_written_over_what_another_try_wrote_meanwhile(
    stage: Any,
    make: Make,
    narrow: Any,
    arguments: Any,
    s3: Any,
    bucket: str,
    destination: bool,
    ignored: set[str],
    logs: Any,
) -> None:
    narrow.denied, narrow.ignored = set(), ignored
    writes: list[str] = []

    def overtake(right: str, key: str) -> None:
        if not is_write_of_a_record(right, key):
            return
        writes.append(key)
        if len(writes) == 2 and not ignored:  # the condition of this very write is what stops it
            write_of_another_try(s3, bucket, key)

    def before_the_read(right: str, key: str) -> None:
        overtake(right, key)
        if len(writes) == 1 and right == "get" and ignored and narrow.seen[-2][0] == "get":
            write_of_another_try(s3, bucket, key)

    narrow.fails = before_the_read
    stage.run(make(**arguments(destination=destination)))
    assert recorded(s3, bucket, writes[0])["job_id"] == "task-of-another-try"
    assert "which has a newer record of another try" in logs.text


@pytest.mark.parametrize("before", ["delivered", "refused"])
def test_an_intent_replaces_only_the_record_that_was_read(
    stage: Any, make: Make, narrow: Any, arguments: Any, s3: Any, bucket: str, emulator: EmulatorServer, before: str
) -> None:
    narrow.denied = set()
    if before == "refused":
        emulator.fault("status", on="submit", status=402, code="insufficient_quota")
        with pytest.raises(Exception, match=r"quota|credits"):
            stage.run(make(**arguments(destination=False)))
    else:
        stage.run(make(**arguments(destination=False)))
    paid = emulator.books()["orders"]

    def overtake(right: str, key: str) -> None:
        if is_write_of_a_record(right, key):
            narrow.fails = lambda *_: None
            write_of_another_try(s3, bucket, key)

    narrow.fails = overtake
    with pytest.raises(EvoLinkLedgerError, match="another try has just written its record"):
        stage.clear().run(make(**arguments(destination=False)))
    assert emulator.books()["orders"] == paid


BOTH = {"match", "none-match"}
STORES: dict[str, tuple[set[str], set[str]]] = {
    "honors both": (set(), set()),
    "passes over one": ({"match"}, set()),
    "passes over both": (BOTH, set()),
    "refuses both": (set(), BOTH),
}


@pytest.mark.parametrize("before", ["no record", "delivered"])
@pytest.mark.parametrize(("ignored", "unknown"), STORES.values(), ids=list(STORES))
def test_two_tries_that_overlap_pay_once_whatever_the_store_honors(
    stage: Any,
    make: Make,
    narrow: Any,
    arguments: Any,
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    ignored: set[str],
    unknown: set[str],
    before: str,
) -> None:
    """The try that follows orders while the first one, which has read the record a moment ago, is about to."""
    narrow.denied, narrow.ignored, narrow.unknown = set(), ignored, unknown
    if before == "delivered":
        stage.run(make(**arguments(destination=False)))
        stage.clear()
    paid = emulator.books()["orders"]
    stalled, first = make(**arguments(destination=False)), stage.context()
    first["ti"] = first["task_instance"] = SimpleNamespace(**vars(stage.ti))
    post = OrderSubmitter._post
    emulator.settings(polls=2, estimated_time=60, idempotency=False)

    def overtaken(self: OrderSubmitter, plan: Any) -> Any:
        monkeypatch.setattr(OrderSubmitter, "_post", post)
        stage.retry()
        with pytest.raises(TaskDeferred):
            make(**arguments(destination=False))().execute(stage.context())
        return post(self, plan)

    monkeypatch.setattr(OrderSubmitter, "_post", overtaken)
    with pytest.raises((EvoLinkOrderStopped, EvoLinkLedgerError), match="another try has"):
        stalled().execute(first)
    assert emulator.books()["orders"] == paid + 1


def test_a_role_that_may_not_list_orders_nothing_in_a_store_that_knows_no_conditions(
    stage: Any, make: Make, narrow: Any, arguments: Any, emulator: EmulatorServer
) -> None:
    """It cannot tell a missing record from one that it may not read."""
    narrow.unknown = BOTH
    with pytest.raises(Exception, match=r"its store takes no create-only writes.*s3:ListBucket"):
        stage.run(make(**arguments(destination=False)))
    assert emulator.books()["orders"] == 0


def test_a_record_that_was_read_a_while_ago_is_read_again_before_the_order(
    stage: Any, make: Make, narrow: Any, arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.ledger.folder_store.FRESH_SECONDS", 0.0)
    narrow.denied = set()
    stage.run(make(**arguments(destination=False)))
    assert until_submitted(narrow.seen) == ["get", "get", "put", "get", "put", "get", "put"]


def is_write_of_a_record(right: str, key: str) -> bool:
    """Return whether a call writes a record of the ledger folder."""
    return right == "put" and "/ledger/" in key and key.endswith(".json")


def recorded(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    """Return the record in an object."""
    found: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=object_key(bucket, key))["Body"].read())
    return found["record"]


def write_of_another_try(s3: Any, bucket: str, key: str) -> None:
    """Replace a record by that of another try with a job of its own."""
    name = object_key(bucket, key)
    found = json.loads(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    found["record"] |= {"state": "submitted", "job_id": "task-of-another-try", "revision": 9, "key": "another"}
    s3.put_object(Bucket=bucket, Key=name, Body=json.dumps(found))


def object_key(bucket: str, path: str) -> str:
    """Return the key of an object."""
    return path.removeprefix(f"/{bucket}/")


def test_the_page_states_the_calls_that_are_counted_here() -> None:
    for destination, role, ignored, calls in CALLS:
        may, has = "yes" if role == "may list" else "no", "yes" if destination else "no"
        assert ignored or f"| {may} | {has} | {calls} |" in PAGE.read_text()
