"""
docs/what-happens-when.md is true: every message it quotes is made to happen, and the orders are counted.

After a change of a message, ``EVOLINK_WRITE_ERRORS=1 pytest tests/airflow/test_messages_page.py`` writes the messages
into the page.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from evolink_support import Scene, quotes, steady, write_quote

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import EvoLinkDownloadOperator, EvoLinkRecoverOperator

PAGE = Path(__file__).parents[2] / "docs" / "what-happens-when.md"
PAID = {"nothing": {0}, "one order": {1}, "two orders": {2}, "unknown": {0, 1}, "one or two orders": {1, 2}}
OTHER = {"prompt": "another prompt", "duration": 2}
FAIL = ("__fail__", {"error": "Trigger timeout"})


UNPRICED = {"model": "gpt-image-2", "kind": "image", "parameters": {"prompt": "p"}}
CASES: dict[str, Callable[[Scene], str]] = {
    "over-budget": lambda scene: scene.fails(max_credits=5),
    "price-unknown": lambda scene: scene.fails(max_credits=5, **UNPRICED),
    "ledger-path-wrong": lambda scene: scene.fails(ledger_path="nowhere://bucket/ledger"),
    "answer-lost": lambda scene: scene.after("lost_answer").fails(),
    "replay-refused": lambda scene: scene.after("lost_answer").fails(on_unknown_submit="replay"),
    "reconcile-unclear": lambda scene: scene.after("html", on="submit").fails(on_unknown_submit="reconcile"),
    "failed-for-good": lambda scene: scene.after("job_fails", code="service_error").fails(max_regenerations=0),
    "store-read": lambda scene: scene.store_fails("get").fails(),
    "store-write": lambda scene: scene.store_fails("set").fails(),
}


def case(name: str) -> Callable[[Callable[[Scene], str]], Callable[[Scene], str]]:
    return lambda function: CASES.setdefault(name, function)


@case("cut-off")
def _(scene: Scene) -> str:
    scene.dies(Ledger, "write_submitted")
    scene.stage.retry()
    with_an_order = scene.fails()
    assert scene.orders == 1
    scene.emulator.reset()
    (scene.folder / "store.json").unlink()
    scene.dies(EvoLinkClient, "submit")
    assert steady(scene.fails()) == steady(with_an_order), "nobody can tell the two apart"
    return with_an_order


@case("ordered")
def _(scene: Scene) -> str:
    scene.defers()
    return scene.said("Submitted EvoLink job")


@case("attached")
def _(scene: Scene) -> str:
    scene.defers()
    job_id = scene.completes()
    assert scene.stage.retry().run(scene.make())["job_id"] == job_id
    return scene.said("nothing submitted")


@case("told-to-end")
def _(scene: Scene) -> str:
    scene.defers()
    scene.make()().on_kill()
    return scene.said("no cancel call")


@case("stopped")
def _(scene: Scene) -> str:
    operator = scene.make()()
    operator.on_kill()
    with pytest.raises(Exception, match="being terminated") as told:
        operator.execute(scene.stage.context())
    return str(told.value)


@case("stood-still")
def _(scene: Scene) -> str:
    check = submission.Lease.check
    scene.patch.setattr("airflow_provider_evolink.ledger.lease.time", clock := SimpleNamespace(**vars(time)))
    stalls: list[str] = []

    def later(lease: Any, step: str = "") -> None:
        stalls.append(step)
        clock.monotonic = lambda: time.monotonic() + 11.0 * len(stalls)
        check(lease, *([step] if step else []))

    scene.patch.setattr(submission.Lease, "check", later)
    return scene.fails()


@case("taken-over")
def _(scene: Scene) -> str:
    scene.emulator.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "0.1"})
    renew = submission.Lease.renew

    def meanwhile(lease: Any) -> None:
        if scene.emulator.books()["requests"].get("submit"):
            scene.stage.store.set("evolink_generation", scene.stage.store.record | {"revision": 9, "state": "unknown"})
        renew(lease)

    scene.patch.setattr(submission.Lease, "renew", meanwhile)
    return scene.fails()


@case("not-written")
def _(scene: Scene) -> str:
    CASES["cleared-while-ordering"](scene)
    return scene.said("not recorded in")


@case("cleared-while-ordering")
def _(scene: Scene) -> str:
    scene.store_fails("set", lambda value: value["job_id"] is not None)
    return scene.fails()


@case("trigger-killed")
def _(scene: Scene) -> str:
    asyncio.run(scene.defers().trigger.on_kill())
    assert scene.stage.store.record["state"] == "submitted"
    return scene.said("keeps running and is still billed; its result")


@case("backfill")
def _(scene: Scene) -> str:
    plain = scene.stage.context
    run = SimpleNamespace(run_type=SimpleNamespace(value="backfill"))
    scene.stage.context = lambda: plain() | {"dag_run": run}
    return scene.fails(on_backfill="fail")


@case("replayed")
def _(scene: Scene) -> str:
    scene.says_the_key_is_honoured()
    scene.after("lost_answer")
    scene.stage.run(scene.make(on_unknown_submit="replay"))
    return scene.said("once more with idempotency key")


@case("reconcile-waits")
def _(scene: Scene) -> str:
    CASES["reconcile-found"](scene)
    return scene.said("until no stalled worker")


@case("reconcile-found")
def _(scene: Scene) -> str:
    scene.after("lost_answer")
    scene.stage.run(scene.make(on_unknown_submit="reconcile"))
    return scene.said("the only one that can be this order")


@case("resubmitted")
def _(scene: Scene) -> str:
    scene.emulator.settings(idempotency=False)
    scene.after("lost_answer")
    scene.stage.run(scene.make(on_unknown_submit="resubmit"))
    return scene.said("may be paid twice")


@case("inputs-changed")
def _(scene: Scene) -> str:
    scene.defers()
    scene.stage.retry()
    return scene.fails(parameters=OTHER)


@case("inputs-changed-waiting")
def _(scene: Scene) -> str:
    method = scene.defers().method_name
    event = {"event": {"job_id": scene.completes(), "status": "completed"}}
    result = scene.make(parameters=OTHER)().resume_execution(method, event, scene.stage.context())
    assert result["request"] is None
    return scene.said("have changed since the order;")


@case("ordered-anew")
def _(scene: Scene) -> str:
    scene.after("job_fails", code="service_error").fails()
    scene.stage.retry().run(scene.make())
    return scene.said("submitting again")


@case("triggerer-gave-up")
def _(scene: Scene) -> str:
    scene.defers()
    scene.completes()
    assert scene.make()().resume_execution(*FAIL, scene.stage.context())["status"] == "completed"
    return scene.said("Airflow ended the wait")


@case("triggerer-blind")
def _(scene: Scene) -> str:
    method = scene.defers().method_name
    event = {"event": {"job_id": scene.completes(), "status": "unreadable"}}
    assert scene.make()().resume_execution(method, event, scene.stage.context())["status"] == "completed"
    return scene.said("triggerer cannot poll")


@case("link-dead")
def _(scene: Scene) -> str:
    job_id = scene.stage.run(scene.make())["job_id"]
    scene.emulator.fault("link_expired", times=-1)
    download = EvoLinkDownloadOperator(task_id="download", job=job_id, destination=scene.folder.as_uri())
    with pytest.raises(Exception, match="expired") as told:
        download.execute(scene.stage.context())
    return str(told.value)


@case("record-unreadable")
def _(scene: Scene) -> str:
    scene.defers()
    scene.stage.store.set("evolink_generation", {"state": "delivered"})
    scene.stage.retry()
    return scene.fails()


@case("file-unreadable")
def _(scene: Scene) -> str:
    scene.defers(ledger_path=scene.ledger)
    record = next(scene.folder.rglob("ledger/**/*.json"))
    record.write_text("{}")
    scene.stage.retry()
    return scene.fails(ledger_path=scene.ledger).replace(record.stem, "…")


@case("key-used")
def _(scene: Scene) -> str:
    scene.defers()
    scene.stage.store.rows.clear()
    scene.stage.clear()
    return scene.fails(parameters=OTHER)


@case("not-remembered")
def _(scene: Scene) -> str:
    scene.stage.store = None
    scene.stage.run(scene.make())
    return scene.said("not durable")


@case("not-recovered")
def _(scene: Scene) -> str:
    scene.emulator.settings(polls=0)
    scene.stage.run(scene.make(ledger_path=scene.ledger))
    scene.emulator.fault("link_expired", times=-1)
    places = {name: scene.folder.joinpath(name).as_uri() for name in ("destination", "archive_path")}
    recover = EvoLinkRecoverOperator(task_id="recover", ledger_path=scene.ledger, **places)
    with pytest.raises(EvoLinkMediaError) as told:
        recover.execute(scene.stage.context())
    return str(told.value)


def paid(name: str) -> set[int]:
    """Return how many orders the page says were accepted, at the first word about it after a message."""
    rest = PAGE.read_text(encoding="utf-8").split(f"<!-- said: {name} -->\n", 1)[1]
    found = re.search(r"\*\*Paid:\*\* ([a-z ]+)\n", rest)
    assert found, name
    return PAID[found.group(1)]


def test_every_quote_has_a_case_and_every_case_a_quote() -> None:
    assert sorted(quotes(PAGE)) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_page_has_what_is_printed_and_paid(name: str, scene: Scene) -> None:
    said = steady(CASES[name](scene))
    assert scene.orders in paid(name)
    assert "xylophonist" not in scene.logs.text
    printed = [*scene.logs.told, said]
    assert not [line for line in printed if re.search(r"\bNone\b", line)], "a person reads this"
    if os.environ.get("EVOLINK_WRITE_ERRORS"):
        write_quote(PAGE, name, said)
    assert quotes(PAGE)[name] == said
