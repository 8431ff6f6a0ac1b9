"""Two hundred mapped tasks at once, with jobs of two to six seconds."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chaos_rows import TASK, Row, Seen, World

from airflow_provider_evolink.emulator.server import EmulatorServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
COUNT = 200
ROWS = (
    Row(
        "mapped",
        f"{COUNT} mapped tasks, jobs of 2 to 6 s, retries=2",
        paid=(COUNT,),
        logical=COUNT,
        arguments={"mapped": COUNT, "retries": 2},
        tries=1,
    ),
)


@contextmanager
def jobs_of_two_to_six_seconds(server: EmulatorServer) -> Iterator[None]:
    """Change the length of the jobs all the time."""
    over = threading.Event()

    def change() -> None:
        for seconds in itertools.cycle((2, 4, 6, 3, 5)):
            if over.wait(0.7):
                return
            server.settings(seconds=seconds)

    thread = threading.Thread(target=change)
    thread.start()
    yield
    over.set()
    thread.join()


def all_tasks(world: World, row: Row, run_id: str) -> list[dict[str, Any]]:
    """Return all task instances of a run, page by page."""
    path = f"/api/v2/dags/{row.name}/dagRuns/{run_id}/taskInstances?limit=50&offset="
    pages = [world.airflow.get(f"{path}{offset}")["task_instances"] for offset in range(0, COUNT, 50)]
    return [task for page in pages for task in page]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_many_mapped_tasks_pay_once_each(
    row: Row, quiet: World, short_books: EmulatorServer, note: Callable[[Seen], Seen]
) -> None:
    """Each has one order of its own and returns it; none fails, on any try."""
    with jobs_of_two_to_six_seconds(short_books):
        run_id = quiet.begin(row.name)
        quiet.over(row.name, run_id, 600)
    tasks = all_tasks(quiet, row, run_id)
    ends = Counter((task["state"], task["try_number"]) for task in tasks)
    paid = short_books.books()["jobs"]
    (state, tries), _ = ends.most_common()[-1]
    note(Seen(state, tries, paid, None, ""))
    results = {task["map_index"]: quiet.airflow.xcom(row.name, run_id, TASK, task["map_index"]) for task in tasks}

    assert ends == {("success", 1): COUNT}
    assert len(paid) == COUNT
    ordered = {job["body"]["prompt"]: job["id"] for job in paid}
    assert {index: result["job_id"] for index, result in results.items()} == {
        index: ordered[f"Clip {index} of row {row.name}"] for index in range(COUNT)
    }
