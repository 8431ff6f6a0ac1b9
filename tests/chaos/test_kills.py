"""Workers that are killed or frozen at every step of an order: never two payments, and one result where that can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psutil
import pytest
from airflow_processes import wake
from chaos_rows import Row, Seen, World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def freeze_and_wake(world: World, row: Row) -> str:
    """Let the retry run while the first try is frozen; then the first try wakes and may do as it likes."""
    run_id = world.begin(row.name)
    task, supervisor = (int(pid) for pid in world.word(row.name, "frozen").split())
    world.over(row.name, run_id)
    wake(task, supervisor)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(task) and time.monotonic() < deadline:
        time.sleep(0.5)
    return run_id


def killed(point: str, done: str, **rest: Any) -> Row:
    """Return the row of a task that is killed at a point."""
    arguments = {"point": point, **rest.pop("arguments", {})}
    return Row(f"{point}_{rest.pop('name', 'killed')}", f"SIGKILL of the task: {done}", arguments=arguments, **rest)


STORE = {"store": True}
ROWS = (
    killed("s0", "record read"),
    killed("s1", "request checked"),
    killed("s2", "intent written", state="unknown", paid=(0,)),
    killed("s3", "about to order", state="unknown", paid=(0,)),
    killed("s4", "headers of the order sent", state="unknown", paid=(0, 1)),
    killed("s5", "accepted, answer not read", state="unknown"),
    killed("s6", "answer read", state="unknown"),
    killed("s7", "job id not yet recorded", state="unknown"),
    killed("s8", "job id recorded"),
    killed("s9", "about to defer"),
    killed("s10", "resumed after the event"),
    killed("s11", "download begun", arguments=STORE),
    killed("s12", "file published", arguments=STORE),
    killed("s13", "recorded as delivered", arguments=STORE),
    Row(
        "host_lost",
        "SIGKILL of supervisor and task: job id recorded, worker waits",
        arguments={"point": "s8", "act": "kill_host", "deferrable": False},
    ),
    Row(
        "frozen_after_intent",
        "SIGSTOP of supervisor and task after the intent, retry, SIGCONT",
        state="unknown",
        paid=(0,),
        arguments={"point": "s2", "act": "freeze"},
        act=freeze_and_wake,
    ),
    Row(
        "frozen_before_post",
        "SIGSTOP of supervisor and task as it turns to ordering, retry, SIGCONT: too late to send",
        state="unknown",
        paid=(0,),
        arguments={"point": "s3", "act": "freeze"},
        act=freeze_and_wake,
    ),
    Row(
        "frozen_in_the_gap",
        "SIGSTOP of supervisor and task just before the first byte, retry, SIGCONT",
        state="unknown",
        paid=(0, 1),
        arguments={"point": "sending", "act": "freeze"},
        act=freeze_and_wake,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_killed_worker_pays_once_at_most(
    row: Row, world: World, together: dict[str, Future[str]], note: Callable[[Seen], Seen]
) -> None:
    """At every point the retry attaches, orders for the first time, or stops and says why."""
    row.check(note(world.seen(row.name, together[row.name].result())))
