"""What is archived costs nothing again: backfills of thirty days, and twenty equal requests at once."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from airflow_processes import SCHEDULER
from chaos_rows import TASK, Row, Seen, World, patience

from airflow_provider_evolink.emulator.server import EmulatorServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
DAYS, MAPPED = 30, 20
BUCKET = "reused"
FIRST, LAST, MISSING = "2025-01-01T00:00:00Z", "2025-01-30T00:00:00Z", "2025-01-17"
BACKFILL = Row(
    "reuse_fill",
    f"{DAYS} archived days backfilled: 0 orders; again with one day gone from the archive: 1",
    paid=(DAYS + 1,),
    logical=DAYS + 1,
    arguments={"row": "reuse", "archive": "FOLDER/reused", "fill": DAYS},
    tries=1,
    source="reuse",
    beside={
        "reuse_days": {"row": "reuse", "archive": "FOLDER/reused", "days": DAYS},
        "reuse_missing": {"row": "reuse", "archive": "FOLDER/reused_missing", "days": DAYS},
    },
)
AT_ONCE = [
    Row(
        f"reuse_{store}",
        f"{MAPPED} equal mapped requests at once, archive on {store}",
        arguments={"row": f"reuse_{store}", "archive": archive, "mapped": MAPPED},
        tries=1,
        source="reuse",
    )
    for store, archive in (("file", "FOLDER/at_once"), ("s3", f"s3://store@{BUCKET}/archive"))
]


def paid(books: EmulatorServer, row: str) -> list[dict[str, Any]]:
    """Return the orders of a row."""
    return [job for job in books.books()["jobs"] if job["body"]["prompt"].endswith(f"for row {row}")]


def backfill(world: World, dag_id: str) -> list[dict[str, Any]]:
    """Backfill all days, and return the runs once they have ended."""
    world.known(dag_id)
    for _ in patience(60, "the backfill cannot be begun", every=3.0):
        world.airflow.signal(SCHEDULER, signal.SIGSTOP)  # on SQLite it takes runs that are not all made yet, and ends
        try:
            world.airflow.backfill(dag_id, FIRST, LAST, reprocess="none")
        except httpx.HTTPError:  # SQLite is locked
            continue
        finally:
            world.airflow.signal(SCHEDULER, signal.SIGCONT)
        break
    for _ in patience(1200, f"the backfill of {dag_id} did not end", every=3.0):
        runs: list[dict[str, Any]] = world.airflow.get(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
        if len(runs) == DAYS and {run["state"] for run in runs} <= {"success", "failed"}:
            return runs
    raise AssertionError


def never_ordered(folder: Path, job_id: str) -> None:
    """Make a second archive, which knows nothing of one job: neither its files nor who has ordered it."""
    shutil.copytree(folder / "reused", folder / "reused_missing")
    shutil.rmtree(next((folder / "reused_missing").rglob(job_id)))
    for path in (folder / "reused_missing" / "_evolink").rglob("*.json"):
        if job_id in path.read_text():
            path.unlink()


def results(world: World, dag_id: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was returned for each day."""
    days = {run["logical_date"][:10]: run["dag_run_id"] for run in runs}
    return {day: world.airflow.xcom(dag_id, run_id, TASK) for day, run_id in days.items()}


@pytest.mark.parametrize("row", [BACKFILL], ids=lambda row: row.name)
def test_a_backfill_orders_what_is_not_archived_and_nothing_else(
    row: Row, quiet: World, short_books: EmulatorServer, note: Callable[[Seen], Seen]
) -> None:
    """Every run ends green; a day whose files are gone is paid once more."""
    run_id = quiet.begin(row.name)
    quiet.over(row.name, run_id, 600)
    assert quiet.airflow.run_state(row.name, run_id) == "success"
    first = paid(short_books, "reuse")
    assert len(first) == DAYS

    runs = backfill(quiet, "reuse_days")
    assert Counter(run["state"] for run in runs) == {"success": DAYS}
    assert paid(short_books, "reuse") == first, "a backfill of what is archived orders nothing"
    again = results(quiet, "reuse_days", runs)
    assert {result["job_id"] for result in again.values()} == {job["id"] for job in first}
    assert all(result["reused"] for result in again.values())

    never_ordered(quiet.folder, again[MISSING]["job_id"])
    runs = backfill(quiet, "reuse_missing")
    orders = paid(short_books, "reuse")
    note(Seen("success", 1, orders, None, ""))
    assert Counter(run["state"] for run in runs) == {"success": DAYS}
    known = {job["id"] for job in first}
    assert [MISSING in job["body"]["prompt"] for job in orders if job["id"] not in known] == [True]
    found = results(quiet, "reuse_missing", runs)
    assert sorted(day for day, result in found.items() if not result.get("reused")) == [MISSING]
    manifests = list((quiet.folder / "reused_missing").rglob("manifest.json"))
    assert len(manifests) == DAYS


@pytest.mark.parametrize("row", AT_ONCE, ids=lambda row: row.name)
def test_equal_requests_at_once_are_ordered_once(
    row: Row, quiet: World, short_books: EmulatorServer, note: Callable[[Seen], Seen], s3_address: str
) -> None:
    """All tasks are green and return the one job."""
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key"}
    s3 = boto3.client("s3", endpoint_url=s3_address, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=BUCKET)
    run_id = quiet.begin(row.name)
    quiet.over(row.name, run_id, 900)
    path = f"/api/v2/dags/{row.name}/dagRuns/{run_id}/taskInstances?limit=50"
    tasks = quiet.airflow.get(path)["task_instances"]
    orders = paid(short_books, row.name)
    note(Seen("success", 1, orders, None, ""))
    assert Counter((task["state"], task["try_number"]) for task in tasks) == {("success", 1): MAPPED}
    assert len(orders) == 1
    jobs = {quiet.airflow.xcom(row.name, run_id, TASK, task["map_index"])["job_id"] for task in tasks}
    assert jobs == {orders[0]["id"]}
