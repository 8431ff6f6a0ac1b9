"""What people do in the UI while a job is under way: clear, mark, backfill."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import httpx
import pytest
from chaos_rows import TASK, Row, Seen, World, patience, until_over

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
DAY = "2025-01-03T00:00:00Z"


def clear_while_held(world: World, row: Row) -> str:
    """Clear the task while its first try stands at a point, and let that try go on at once."""
    run_id = world.begin(row.name)
    world.word(row.name, "held")
    world.airflow.clear(row.name, run_id)
    world.go(row.name)
    world.over(row.name, run_id)
    return run_id


def clear_while_deferred(world: World, row: Row) -> str:
    """Clear the task while it waits in the triggerer."""
    run_id = world.begin(row.name)
    world.reached(row.name, run_id, "deferred")
    time.sleep(4)  # sooner, Airflow may take the end of the first try for that of the second and fail it
    world.airflow.clear(row.name, run_id)
    world.over(row.name, run_id)
    return run_id


def clear_after_success(world: World, row: Row, *, whole_run: bool = False) -> str:
    """Clear what has succeeded."""
    run_id = until_over(world, row)
    clear = world.airflow.clear_run if whole_run else world.airflow.clear
    clear(row.name, run_id)
    world.over(row.name, run_id)
    return run_id


def mark_while_deferred(world: World, row: Row, *, state: str) -> str:
    """Mark the task while it waits in the triggerer; the job goes on."""
    run_id = world.begin(row.name)
    world.reached(row.name, run_id, "deferred")
    world.airflow.mark(row.name, run_id, TASK, state)
    world.over(row.name, run_id)
    job = world.paid(row.name)[0]["id"]
    for _ in patience(60, "the job did not go on", every=2.0):
        if world.books.job(job)["status"] == "completed":
            return run_id
    raise AssertionError


def backfill_after_success(world: World, row: Row) -> str:
    """Run a day, then backfill it with ``reprocess_behavior=completed``."""
    world.known(row.name)
    run_id = world.airflow.trigger_at(row.name, DAY)
    world.over(row.name, run_id)
    for _ in patience(60, "the backfill cannot be begun", every=3.0):
        try:
            world.airflow.backfill(row.name, DAY)
        except httpx.HTTPStatusError:  # SQLite is locked; what was begun has to be cleaned up first
            continue
        break
    for _ in patience(60, "the backfill did not touch the run"):
        if world.task(row.name, run_id)["try_number"] > 1:
            break
    world.over(row.name, run_id)
    return run_id


def held(point: str, **rest: object) -> dict[str, object]:
    """Return the arguments of a task that is held at a point."""
    return {"point": point, "act": "hold", **rest}


ROWS = (
    Row(
        "clear_before_post",
        "clear while running: intent written, nothing sent",
        state="success or unknown",
        paid=(0, 1),
        arguments=held("s3"),
        act=clear_while_held,
    ),
    Row(
        "clear_in_post",
        "clear while running: answer read, job id not recorded",
        state="unknown",
        arguments=held("s6"),
        act=clear_while_held,
    ),
    Row(
        "clear_after_post",
        "clear while running: job id recorded, worker waits",
        arguments=held("s8", deferrable=False),
        act=clear_while_held,
    ),
    Row("clear_deferred", "clear while deferred", act=clear_while_deferred),
    Row("clear_success", "clear after success: orders anew", paid=(2,), act=clear_after_success, logical=2),
    Row(
        "clear_run",
        "run cleared after success: orders anew",
        paid=(2,),
        logical=2,
        act=partial(clear_after_success, whole_run=True),
    ),
    Row(
        "mark_failed",
        "mark failed while deferred: the job goes on",
        state="failed",
        act=partial(mark_while_deferred, state="failed"),
        tries=1,
    ),
    Row(
        "mark_success",
        "mark success while deferred: the job goes on",
        state="marked",
        act=partial(mark_while_deferred, state="success"),
        tries=1,
    ),
    Row(
        "backfill",
        "backfill, reprocess completed: orders anew",
        paid=(2,),
        logical=2,
        arguments={"daily": True},
        act=backfill_after_success,
    ),
    Row(
        "backfill_reuse",
        'backfill, reprocess completed, on_backfill="reuse"',
        arguments={"daily": True, "on_backfill": "reuse"},
        act=backfill_after_success,
        late=True,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_people_do_pays_only_for_what_they_want(
    row: Row, world: World, together: dict[str, Future[str]], note: Callable[[Seen], Seen]
) -> None:
    """A clear before the result is delivered attaches; after it, it orders anew; a mark touches no job."""
    row.check(note(world.seen(row.name, together[row.name].result())))
