"""Parts of Airflow that die, freeze or go away for a while; each row has the Airflow for itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from airflow_processes import API, TRIGGERERS
from chaos_rows import COMPLETED, KEEPS_RUNNING, TASK, Row, Seen, World, patience

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
FROZEN_FOR = 33.0
AWAY_FOR = 30.0


def kill_triggerer(world: World, row: Row) -> str:
    """Kill the only triggerer while the task waits in it, and start another."""
    run_id = world.begin(row.name)
    before = world.reached(row.name, run_id, "deferred")["triggerer_job"]["id"]
    world.airflow.kill(TRIGGERERS[0])
    world.airflow.start(TRIGGERERS[0])
    moved(world, row, run_id, before)
    world.over(row.name, run_id)
    return run_id


def freeze_triggerer(world: World, row: Row) -> str:
    """Freeze the triggerer the task waits in until another has it; then wake it while the job still runs."""
    world.airflow.start(TRIGGERERS[1])
    alive = world.airflow.wait_triggerers(2)
    run_id = world.begin(row.name)
    before = world.reached(row.name, run_id, "deferred")["triggerer_job"]["id"]
    job = world.paid(row.name)[0]["id"]
    world.books.job(job, state="processing")
    part = TRIGGERERS[alive.index(before)]

    frozen = time.monotonic()
    world.airflow.signal(part, signal.SIGSTOP)
    moved(world, row, run_id, before)
    time.sleep(max(0.0, frozen + FROZEN_FOR - time.monotonic()))
    world.airflow.signal(part, signal.SIGCONT)
    for _ in patience(30, "on_kill of the trigger was not called"):
        if KEEPS_RUNNING in world.airflow.log_files(row.name, run_id, TASK):
            break
    reads = world.books.job(job)["reads"]
    for _ in patience(30, "nobody polls the job any more"):
        if world.books.job(job)["reads"] > reads:
            break
    assert world.task(row.name, run_id)["state"] == "deferred"
    world.books.job(job, release=True)
    world.over(row.name, run_id)
    world.airflow.kill(TRIGGERERS[1])
    return run_id


def moved(world: World, row: Row, run_id: str, before: int) -> None:
    """Wait until the task waits in another triggerer."""
    for _ in patience(90, "no other triggerer took the task over"):
        now = world.task(row.name, run_id)["triggerer_job"]
        if now and now["id"] != before:
            return


def lose_api_server(world: World, row: Row) -> str:
    """Kill the API server when EvoLink has answered and nothing is recorded; bring it back after a while."""
    run_id = world.begin(row.name)
    world.word(row.name, "held")
    world.airflow.kill(API)
    world.go(row.name)
    time.sleep(AWAY_FOR)
    world.airflow.start(API)
    world.airflow.wait_answers()
    world.over(row.name, run_id)
    return run_id


ROWS = (
    Row("triggerer_killed", "SIGKILL of the only triggerer while deferred, restart", act=kill_triggerer, tries=1),
    Row(
        "triggerer_frozen",
        "SIGSTOP of one of two triggerers for 33 s while deferred, SIGCONT",
        act=freeze_triggerer,
        tries=1,
    ),
    Row(
        "api_server_away",
        "API server killed right after the order, back after 30 s",
        state="success or unknown",
        arguments={"point": "s6", "act": "hold", "retries": 20},  # Airflow itself burns some on the outage
        act=lose_api_server,
    ),
    Row(
        "api_server_away_ledger",
        "the same, with a second record in ledger_path",
        arguments={"point": "s6", "act": "hold", "retries": 20, "ledger": True},
        act=lose_api_server,
        late=True,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_outage_costs_one_job(row: Row, quiet: World, note: Callable[[Seen], Seen]) -> None:
    """The task waits on for the same job, is resumed once, and nothing is cancelled or ordered twice."""
    seen = note(quiet.seen(row.name, row.act(quiet, row)))
    row.check(seen)
    assert seen.log.count(COMPLETED) == (seen.state == "success")
    assert all(job["id"] in seen.log for job in seen.paid)
