"""What a row of ``make test-stack`` can do and see: a stack whose parts fail, and EvoLink's books of one tag."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import httpx
from distributed_airflow import PARTS, STORE, DistributedAirflow, backend

OVER = ("success", "failed")
ENDLESS = 100_000  # seconds of a job that ends when the row completes it
UNKNOWN = ("outcome is unknown", "interrupted while it submitted")


@dataclass
class Scene:
    """
    One attempt of a row.

    :param airflow: The stack.
    :param tag: What the prompts of this attempt end with.
    :param attempt: From 1.
    :param bare: Interpreter of an environment without the provider.
    :param limited_port: Where the connection ``evolink_limited`` leads.
    :param notes: For the table.
    :param repeated: How many of its orders have the prompt of another one, as they should.
    """

    airflow: DistributedAirflow
    tag: str
    attempt: int
    bare: Path
    limited_port: int
    notes: list[str] = field(default_factory=list)
    repeated: int = 0

    def begin(self, dag_id: str, count: int = 1) -> str:
        """Start a run that orders so many clips, and return its id."""
        return self.airflow.trigger(dag_id, {"tag": self.tag, "count": count})

    def paid(self, tag: str | None = None) -> list[dict[str, Any]]:
        """Return the orders of this attempt, as EvoLink's books have them."""
        end = f"row {tag or self.tag}"
        return [job for job in self.airflow.books.books()["jobs"] if str(job["body"].get("prompt")).endswith(end)]

    def complete(self, tag: str | None = None) -> None:
        """Let all jobs of this attempt end at once."""
        for job in self.paid(tag):
            self.airflow.books.job(job["id"], state="completed")

    def tasks(self, dag_id: str, run_id: str, task_id: str = "generate") -> list[dict[str, Any]]:
        """Return all instances of a task, page by page."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances?task_id={task_id}&limit=100&offset="
        found: list[dict[str, Any]] = []
        while page := self.airflow.get(f"{path}{len(found)}")["task_instances"]:
            found += page
        return [one for one in found if one["task_id"] == task_id]

    def until(self, seconds: float, complaint: str, every: float = 1.0) -> Iterator[None]:
        """Yield again and again; whatever of Airflow does not answer meanwhile is asked again."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(every)
        raise TimeoutError(complaint)

    def reached(self, met: Callable[[], Any], complaint: str, seconds: float = 240.0, every: float = 1.0) -> Any:
        """Wait until something holds, through outages of the API server, and return it."""
        for _ in self.until(seconds, f"{self.tag}: {complaint}", every):
            try:
                if found := met():
                    return found
            except httpx.HTTPError:
                continue
        raise AssertionError

    def waits(self, dag_id: str, run_id: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many tasks wait in triggerers, and return them."""

        def waiting() -> list[dict[str, Any]]:
            assert self.airflow.run_state(dag_id, run_id) not in OVER, self.errors(dag_id, run_id)
            found = self.tasks(dag_id, run_id)
            return [one for one in found if one["state"] == "deferred" and one["triggerer_job"]]

        return self.reached(
            lambda: (found := waiting()) and len(found) >= count and found,
            f"not {count} waits",
            max(900, 6 * count),
            2.0,
        )

    def held(self, dag_id: str) -> None:
        """Wait until the task of a DAG stands at its point."""
        word = self.airflow.home / "words" / f"{dag_id}.held"
        self.reached(word.exists, "the task did not come to its point", every=0.2)

    def go(self, dag_id: str) -> None:
        """Let the task of a DAG go on from its point."""
        (self.airflow.home / "words" / f"{dag_id}.go").touch()

    def over(self, dag_id: str, run_id: str, seconds: float = 600.0) -> str:
        """Wait until a run is over, and return its state."""
        state = self.reached(
            lambda: (state := self.airflow.run_state(dag_id, run_id)) in OVER and state, "not over", seconds, 2.0
        )
        return str(state)

    def ends(self, dag_id: str, run_id: str, task_id: str = "generate") -> Counter[tuple[str, int]]:
        """Return how many instances of a task have ended how, on which try."""
        return Counter((one["state"], one["try_number"]) for one in self.tasks(dag_id, run_id, task_id))

    def succeeded(self, dag_id: str, run_id: str, count: int, task_id: str = "generate", tries: int = 4) -> None:
        """Compare the ends of a task with what they must be, and note tries beyond the first."""
        ends = self.ends(dag_id, run_id, task_id)
        more = {f"try {number}": times for (_, number), times in sorted(ends.items()) if number > 1}
        if more:
            self.notes.append(f"{task_id}: " + ", ".join(f"{times} on {name}" for name, times in more.items()))
        assert {state for state, _ in ends} == {"success"}, (ends, self.errors(dag_id, run_id))
        assert sum(ends.values()) == count, ends
        assert max(number for _, number in ends) <= tries, (ends, self.errors(dag_id, run_id))

    def errors(self, dag_id: str, run_id: str) -> list[str]:
        """Return the errors in the logs of a run, read from the files."""
        found = []
        for file in sorted((self.airflow.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}").rglob("attempt=*")):
            for line in file.read_text(errors="replace").splitlines():
                entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("level") in ("error", "critical"):
                    details = [part["exc_value"] for part in entry.get("error_detail") or ()]
                    found.append(f"{file.parent.name}/{file.name} {entry['event']} {details or ''}"[:500])
        return found[:40]

    def holder(self, tasks: list[dict[str, Any]]) -> str:
        """Return the triggerer that holds most of some waits."""
        ((name, count),) = Counter(one["triggerer_job"]["hostname"] for one in tasks).most_common(1)
        self.notes.append(f"{name} held {count} of {len(tasks)} waits")
        return str(name)

    def days(self, dag_id: str, count: int, tries: int) -> list[str]:
        """Wait until all days of a DAG have succeeded, with so many tries in all, and return their runs."""

        def done() -> list[str]:
            runs = sorted(self.airflow.get(f"/api/v2/dags/{dag_id}/dagRuns?limit=50")["dag_runs"], key=_day)
            names = [str(run["dag_run_id"]) for run in runs if run["state"] == "success"]
            made = sum(self.tasks(dag_id, name)[0]["try_number"] for name in names)
            return names if len(names) == count and made >= tries else []

        found: list[str] = self.reached(done, f"not all {count} days were done", 600, 2.0)
        return found

    def backfill_again(self, dag_id: str, first: str, last: str) -> bool:
        """Begin a backfill that reprocesses what is completed; the end of the one before has to be noticed first."""
        self.airflow.backfill(dag_id, f"{first}T00:00:00Z", f"{last}T00:00:00Z")
        return True

    def no_connections(self) -> dict[str, str]:
        """Return the environment of a part whose secrets backend has only the object store."""
        folder = self.airflow.home / "secrets"
        known = json.loads((folder / "connections.json").read_text())
        (folder / "few.json").write_text(json.dumps({STORE: known[STORE]}))
        return {"AIRFLOW__SECRETS__BACKEND_KWARGS": backend(folder / "few.json", folder / "variables.json")}

    def lose(self, part: str, back_after: float = 5.0) -> None:
        """Kill a part; some seconds later it is started again, as a restart policy does."""
        self.airflow.kill(part)
        time.sleep(back_after)
        self.airflow.start(part)

    def result(self, dag_id: str, run_id: str) -> Any:
        """Return what the task returned, from the object store: Airflow's API has only its address there."""
        bucket, _, key = self.airflow.xcom(dag_id, run_id, "generate").partition(f"{STORE}@")[2].partition("/")
        return json.load(self._objects.get_object(Bucket=bucket, Key=key)["Body"])

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the names of the objects below a prefix."""
        pages = self._objects.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    @property
    def _objects(self) -> Any:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.airflow.store.address, **keys)


def _day(run: dict[str, Any]) -> str:
    return str(run["logical_date"])


def restore(airflow: DistributedAirflow) -> list[str]:
    """Bring everything up again that a row has left down or changed; return the parts that had ended by themselves."""
    for service in (airflow.postgres, airflow.redis):
        if not service.runs():
            service.start()
            service.wait()
    airflow.books.clear_faults()
    airflow.books.settings(seconds=ENDLESS)
    fallen = airflow.ended()
    for part in PARTS:
        if part in fallen or not airflow.runs(part) or airflow.other[part] != (airflow.python, {}):
            if airflow.runs(part):
                airflow.kill(part)
            airflow.start(part)
    airflow.wait_answers(120)
    airflow.wait_triggerers(2, 120)
    airflow.wait_workers(120)
    return fallen
