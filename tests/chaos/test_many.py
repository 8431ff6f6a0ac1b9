"""Five hundred jobs that wait at once, as mapped tasks and as one batch; the triggerer dies while they wait."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from airflow_processes import TRIGGERERS
from chaos_rows import TASK, Row, Seen, World, patience

from airflow_provider_evolink.emulator.server import EmulatorServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(5400)]
COUNT = 500
TICK = 10.0  # seconds between polls
TICKS = 6
A_FEW = 4  # calls of a tick beyond those that are full
MANY = {"evolink_conn_id": "evolink_many", "poll_interval": TICK, "timeout": 7200, "retries": 2, "defer_after": 0}
ROWS = (
    Row(
        "mapped_500",
        f"{COUNT} mapped tasks wait, SIGKILL of the only triggerer",
        paid=(COUNT,),
        logical=COUNT,
        arguments={"mapped": COUNT, **MANY},
        tries=1,
    ),
    Row(
        "batch_500",
        f"one batch of {COUNT} waits, SIGKILL of the only triggerer",
        paid=(COUNT,),
        logical=COUNT,
        arguments={"batch": COUNT, **MANY},
        tries=1,
    ),
)


def all_tasks(world: World, row: Row, run_id: str) -> list[dict[str, Any]]:
    """Return all task instances of a run, page by page."""
    path = f"/api/v2/dags/{row.name}/dagRuns/{run_id}/taskInstances?limit=50&offset="
    pages = [world.airflow.get(f"{path}{offset}")["task_instances"] for offset in range(0, COUNT, 50)]
    return [task for page in pages for task in page]


def in_a_triggerer(world: World, row: Row, run_id: str, tasks: int, but: set[int]) -> set[int]:
    """Wait until so many tasks wait in a triggerer that is none of some; return which."""
    for _ in patience(3000, f"the tasks of {row.name} do not all wait", every=10.0):
        jobs = [
            task["triggerer_job"]["id"]
            for task in all_tasks(world, row, run_id)
            if task["state"] == "deferred" and task["triggerer_job"]
        ]
        if len(jobs) == tasks and not but & set(jobs):
            return set(jobs)
    raise AssertionError


def polls(books: EmulatorServer) -> int:
    """Return how many calls have read jobs so far."""
    counts = books.books()["requests"]
    return int(counts.get("read", 0) + counts.get("batch", 0))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_five_hundred_wait_at_the_price_of_a_few(
    row: Row, quiet: World, endless_books: EmulatorServer, note: Callable[[Seen], Seen]
) -> None:
    """All are ordered once, read together, outlive the triggerer, and succeed on the first try."""
    endless_books.reset()
    tasks = COUNT if "mapped" in row.arguments else 1
    run_id = quiet.begin(row.name)
    before = in_a_triggerer(quiet, row, run_id, tasks, set())
    time.sleep(2 * TICK)  # those that came last have joined the others

    first = polls(endless_books)
    time.sleep(TICKS * TICK)
    per_tick = (polls(endless_books) - first) / TICKS
    quiet.airflow.kill(TRIGGERERS[0])
    quiet.airflow.start(TRIGGERERS[0])
    in_a_triggerer(quiet, row, run_id, tasks, before)
    for job in endless_books.books()["jobs"]:
        endless_books.job(job["id"], state="completed")
    quiet.over(row.name, run_id, 3000)

    found = all_tasks(quiet, row, run_id)
    ends = Counter((task["state"], task["try_number"]) for task in found)
    paid = endless_books.books()["jobs"]
    (state, tries), _ = ends.most_common()[-1]
    note(Seen(f"{state}, {per_tick:.1f} calls a tick", tries, paid, None, ""))
    assert ends == {("success", 1): tasks}
    assert len(paid) == COUNT
    assert per_tick <= COUNT / 50 + A_FEW
    ordered = {job["body"]["prompt"]: job["id"] for job in paid}
    wanted = [ordered[f"Clip {number} of row {row.name}"] for number in range(COUNT)]
    if tasks == 1:
        results = quiet.airflow.xcom(row.name, run_id, TASK)
    else:
        results = [quiet.airflow.xcom(row.name, run_id, TASK, number) for number in range(COUNT)]
    assert [result["job_id"] for result in results] == wanted
