"""The tables and warnings of docs/what-happens-when.md: real kills at every point, and what the page warns of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from evolink_support import FileStore, Scene, die, killed

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.polling import poller
from airflow_provider_evolink.ledger.ledger import FolderStore, Ledger
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

PAGE = Path(__file__).parents[2] / "docs" / "what-happens-when.md"
set_ = FolderStore.set
HEADER = ["killed", "record", "paid", "the next try", "with `replay` and a verified key"]


def in_the_folder(store: Any, value: dict[str, Any]) -> None:
    """Die where the second copy of the id would be written."""
    if value["job_id"]:
        die()
    set_(store, value)


def once_noted(ledger: Any, record: Any) -> None:
    """Die when the delivery is written."""
    for store in ledger.stores:
        store.set(record.to_json())
    die()


def while_waiting(scene: Scene, **given: Any) -> TaskDeferred:
    """Kill the triggerer."""
    scene.stage.store = FileStore(scene.folder / "store.json")
    deferred = scene.defers(**given)
    with scene.patch.context() as patch:
        patch.setattr(poller.Poller, "wait", die)
        killed(lambda: asyncio.run(anext(deferred.trigger.run())))
    return deferred


def back_on_the_worker(scene: Scene, **given: Any) -> None:
    """Let the task defer and resume first."""
    scene.emulator.settings(polls=4, estimated_time=60)
    scene.dies(EvoLinkGenerateOperator, "execute_complete", **given)


Kill = Callable[..., Any]
KILLS: dict[str, Kill] = {
    "before the intent is written": lambda scene, **given: scene.dies(Ledger, "write_intent", **given),
    "after the intent, before the request is sent": lambda scene, **given: scene.dies(EvoLinkClient, "submit", **given),
    "after EvoLink accepted the request, before the job ID is recorded": lambda scene, **given: scene.dies(
        Ledger, "write_submitted", **given
    ),
    "when the job ID is in one of two places": lambda scene, **given: scene.dies(
        FolderStore, "set", how=in_the_folder, **given, ledger_path=scene.ledger
    ),
    "after the job ID is recorded, before the task defers": lambda scene, **given: scene.dies(
        EvoLinkGenerateOperator, "_wait_and_deliver", **given
    ),
    "while the triggerer waits (the triggerer dies)": while_waiting,
    "back on the worker, before the result is delivered": back_on_the_worker,
    "after the delivery is recorded, before Airflow knows of it": lambda scene, **given: scene.dies(
        Ledger, "write_best_effort", how=once_noted, **given
    ),
}


def rows() -> dict[str, list[str]]:
    """Return the kill table of the page."""
    lines = PAGE.read_text(encoding="utf-8").split("| " + " | ".join(HEADER) + " |\n", 1)[1].split("\n\n", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()[1:]]
    return {row[0]: row[1:] for row in cells}


def test_every_row_has_a_kill_and_every_kill_a_row() -> None:
    assert list(rows()) == list(KILLS)


@pytest.mark.parametrize("policy", ["fail", "replay"])
@pytest.mark.parametrize("point", KILLS)
def test_a_killed_try_leaves_what_the_table_says(point: str, policy: str, scene: Scene) -> None:
    record, paid, plain, proven = rows()[point]
    if policy == "replay":
        scene.says_the_key_is_honoured()
    KILLS[point](scene, on_unknown_submit=policy)
    found = scene.stage.store.get("evolink_generation")
    assert (found["state"] if found else "none") == record.strip("`")
    assert scene.orders == int(paid)
    for job in scene.emulator.books()["jobs"]:
        if job["status"] != "completed":
            scene.emulator.job(job["id"], state="completed")
    next_try(scene, plain if policy == "fail" else proven, policy, int(paid))


def next_try(scene: Scene, does: str, policy: str, paid: int) -> None:
    """Run the next try and hold it to the words of the table."""
    scene.stage.retry()
    if does == "stops: outcome unknown":
        assert "EvoLinkSubmissionUnknown" in scene.fails(on_unknown_submit=policy)
        assert scene.orders == paid
        return
    assert scene.stage.run(scene.make(on_unknown_submit=policy))["status"] == "completed"
    assert scene.orders == 1
    assert (
        does
        == {
            (True, False): "reattaches",
            (False, True): "sends the same key: paid once",
            (False, False): "submits",
        }["nothing submitted" in scene.logs.text, "once more with idempotency key" in scene.logs.text]
    )


def test_after_a_killed_triggerer_the_same_try_goes_on(scene: Scene) -> None:
    deferred = while_waiting(scene)
    job_id = scene.completes()
    assert scene.stage.resume(scene.make(), deferred)["job_id"] == job_id
    assert scene.orders == 1


# --- what the page warns of


def xcom(scene: Scene, *keys: str) -> None:
    """Say which results Airflow had when this try began."""
    scene.stage.ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=list(keys))


def test_a_clear_whose_first_try_failed_before_it_ordered_still_orders(scene: Scene) -> None:
    first = scene.stage.run(scene.make())["job_id"]
    xcom(scene, "return_value")
    scene.stage.clear()
    assert "EvoLinkBudgetError" in scene.fails(max_credits=5)
    xcom(scene)
    assert scene.stage.clear().run(scene.make())["job_id"] != first
    assert scene.orders == 2


def test_a_task_that_pushes_no_xcom_is_ordered_anew_by_a_clear(scene: Scene) -> None:
    first = scene.stage.run(scene.make(do_xcom_push=False))["job_id"]
    xcom(scene)
    assert scene.stage.clear().run(scene.make(do_xcom_push=False))["job_id"] != first
    assert scene.orders == 2


def test_a_clear_with_retries_lowered_by_the_tries_made_returns_the_old_job(scene: Scene) -> None:
    scene.stage.ti.max_tries = scene.stage.retries = 3
    first = scene.stage.run(scene.make())["job_id"]
    scene.stage.retries = 2
    assert scene.stage.clear().run(scene.make())["job_id"] == first
    assert scene.stage.clear().run(scene.make())["job_id"] != first
    assert scene.orders == 2


def test_reconcile_takes_a_job_of_somebody_else_where_the_lost_order_never_arrived(scene: Scene) -> None:
    mine = scene.stage
    scene.stage = type(mine)()
    scene.stage.ti.task_id = "other"
    other = scene.stage.run(scene.make(task_id="other", parameters={"prompt": "another prompt", "duration": 2}))
    scene.stage = mine
    scene.after("html", on="submit")
    assert mine.run(scene.make(on_unknown_submit="reconcile"))["job_id"] == other["job_id"]
    assert scene.orders == 1


@pytest.mark.parametrize(("copies", "orders"), [("one", 1), ("none", 2)])
def test_a_lost_record_is_paid_twice_unless_there_is_a_copy(scene: Scene, copies: str, orders: int) -> None:
    scene.emulator.settings(idempotency=False)
    given = {"ledger_path": scene.ledger} if copies == "one" else {}
    scene.stage.run(scene.make(**given))
    scene.stage.store.rows.clear()
    scene.stage.retry().run(scene.make(**given))
    assert scene.orders == orders


def test_after_a_deletion_another_namespace_orders_anew(scene: Scene) -> None:
    first = scene.stage.run(scene.make())["job_id"]
    scene.stage.store.rows.clear()
    assert scene.stage.clear().run(scene.make())["job_id"] == first, "the same key"
    scene.stage.store.rows.clear()
    assert scene.stage.clear().run(scene.make(idempotency_namespace="production-2"))["job_id"] != first
    assert scene.orders == 2


@pytest.mark.parametrize("given", [{}, {"durable": False}])
def test_without_a_store_every_try_orders_unless_there_is_a_folder(scene: Scene, given: dict[str, Any]) -> None:
    scene.emulator.settings(idempotency=False)
    scene.stage.store = None
    scene.stage.run(scene.make(**given))
    scene.stage.retry().run(scene.make(**given))
    assert scene.orders == 2
    if not given:
        scene.stage.run(scene.make(ledger_path=scene.ledger))
        scene.stage.retry().run(scene.make(ledger_path=scene.ledger))
        assert scene.orders == 3


def test_an_abandoned_job_is_found_in_the_ledger_folder(scene: Scene) -> None:
    asyncio.run(scene.defers(ledger_path=scene.ledger).trigger.on_kill())
    found = [file for file in scene.folder.rglob("ledger/**/*.json") if '"state": "submitted"' in file.read_text()]
    assert len(found) == 1
    assert scene.completes() in found[0].read_text()
