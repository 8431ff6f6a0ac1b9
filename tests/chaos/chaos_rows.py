"""A row of the chaos table: what is done to a task, what must come of it, and how to find out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from airflow_processes import AirflowProcesses

from airflow_provider_evolink.emulator.server import EmulatorServer

TASK = "generate"
UNKNOWN = ("outcome is unknown", "interrupted while it submitted")
COMPLETED = " completed: "
KEEPS_RUNNING = "keeps running and is still billed"
ONCE = (1,)
END = {"success": "success", "marked": "success", "failed": "failed", "unknown": "failed"}


@dataclass
class World:
    """
    What a row happens in.

    :param folder: Where tasks and rows leave word for each other.
    """

    airflow: AirflowProcesses
    books: EmulatorServer
    folder: Path
    one_writer: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, dag_id: str, seconds: float = 90.0, conf: dict[str, Any] | None = None) -> str:
        """Start a run as soon as its DAG is known, and return its id."""
        self.known(dag_id, seconds)
        return self.airflow.trigger(dag_id, conf)

    def rewrite(self, dag_id: str, **changes: Any) -> None:
        """Change the file of a DAG: what its next try is."""
        with self.one_writer:
            file = self.folder / "dags" / "chaos_orders.json"
            rows = json.loads(file.read_text())
            rows[dag_id] |= changes
            part = file.with_suffix(".part")
            part.write_text(json.dumps(rows))
            part.replace(file)

    def known(self, dag_id: str, seconds: float = 90.0) -> None:
        """Wait until Airflow knows a DAG."""
        for _ in patience(seconds, f"Airflow does not know {dag_id}: an import error?"):
            try:
                self.airflow.get(f"/api/v2/dags/{dag_id}")
            except httpx.HTTPStatusError:
                continue
            return

    def task(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the run's one task instance."""
        return self.airflow.tasks(dag_id, run_id)[0]

    def reached(self, dag_id: str, run_id: str, state: str, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until the task is in a state, and return it."""
        for _ in patience(seconds, f"{dag_id} did not become {state}"):
            task = self.task(dag_id, run_id)
            if task["state"] == state and (state != "deferred" or task["triggerer_job"]):
                return task
        raise AssertionError

    def word(self, row: str, kind: str, seconds: float = 120.0) -> str:
        """Wait until a task has left word, and return it."""
        file = self.folder / f"{row}.{kind}"
        for _ in patience(seconds, f"{row} left no word of being {kind}", every=0.1):
            if file.exists() and (kind == "held" or file.read_text().count(" ")):
                return file.read_text()
        raise AssertionError

    def go(self, row: str) -> None:
        """Let a task go on that was held."""
        (self.folder / f"{row}.go").touch()

    def over(self, dag_id: str, run_id: str, seconds: float = 300.0) -> None:
        """Wait until a run is over."""
        for _ in patience(seconds, f"run {run_id} of {dag_id} did not end", every=2.0):
            if self.airflow.run_state(dag_id, run_id) in ("success", "failed"):
                return

    def paid(self, row: str) -> list[dict[str, Any]]:
        """Return the orders of a row, as EvoLink's books have them."""
        return [job for job in self.books.books()["jobs"] if str(job["body"].get("prompt")).endswith(f"row {row}")]

    def seen(self, dag_id: str, run_id: str) -> Seen:
        """Look at what has come of a row."""
        task = self.task(dag_id, run_id)
        try:
            result = self.airflow.xcom(dag_id, run_id, TASK)["job_id"]
        except httpx.HTTPStatusError:
            result = None
        log = self.airflow.log_files(dag_id, run_id, TASK)
        done = (self.folder / f"{dag_id}.done").exists()
        return Seen(task["state"], task["try_number"], self.paid(dag_id), result, log, done)


@dataclass
class Seen:
    """
    What has come of a row.

    :param result: Job id in what the task returned.
    :param done: Whether the task came to its point and met what it had to.
    """

    state: str
    tries: int
    paid: list[dict[str, Any]]
    result: str | None
    log: str
    done: bool = False

    def errors(self) -> str:
        """Return the errors in its log, for the report of a failure."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        found = [line for line in lines if line.get("level") in ("warning", "error", "critical")]
        details = [(line["event"], [part["exc_value"] for part in line.get("error_detail") or ()]) for line in found]
        return "\n".join(f"{event} {texts or ''}"[:400] for event, texts in details)


def until_over(world: World, row: Row) -> str:
    """Just let it run."""
    run_id = world.begin(row.name)
    world.over(row.name, run_id)
    return run_id


@dataclass(frozen=True)
class Row:
    """
    One row.

    :param name: Its DAG.
    :param done: What is done, for the table.
    :param state: How the task must end. ``unknown``: failed, saying that the outcome of the order is unknown;
        ``marked``: as a user has marked it, without a result.
    :param paid: How many orders there may be in the end.
    :param arguments: Of its operator.
    :param act: Does it, and returns the run's id when all is over.
    :param tries: On which try the task must end, at the earliest; 1: on the first and no other.
    :param late: Its DAG may not load with every version of the operator, so it gets a file of its own.
    :param logical: How many orders its tasks are asked for, whatever happens to them; a clear asks anew.
    :param source: The module of its DAG.
    :param beside: Further DAGs of the row, and their arguments.
    """

    name: str
    done: str
    state: str = "success"
    paid: tuple[int, ...] = ONCE
    arguments: dict[str, Any] = field(default_factory=dict)
    act: Callable[[World, Row], str] = until_over
    tries: int = 2
    late: bool = False
    logical: int = 1
    source: str = "dags"
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """What must come of it, for the table."""
        return f"{self.state}, {' or '.join(str(count) for count in self.paid)} paid"

    def check(self, seen: Seen) -> None:
        """Compare what has come of it with what must."""
        assert seen.done == ("point" in self.arguments), seen.errors()
        assert len(seen.paid) in self.paid, seen.errors()
        assert seen.state in [END[state] for state in self.state.split(" or ")], seen.errors()
        # Airflow may add a retry of its own where there is one anyway, never where nothing has happened to the task.
        assert (seen.tries == 1) if self.tries == 1 else (seen.tries >= self.tries), seen.errors()
        if seen.state == "failed" and "unknown" in self.state:
            assert any(text in seen.log for text in UNKNOWN)
        if seen.state == "success" and "success" in self.state:
            assert seen.result == seen.paid[-1]["id"]
        else:
            assert seen.result is None


def patience(seconds: float, complaint: str, every: float = 0.5) -> Iterator[None]:
    """Yield again and again, and complain in the end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(every)
    raise TimeoutError(complaint)
