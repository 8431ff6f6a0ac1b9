"""A real Airflow whose parts are processes of their own, so that each can be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx
import psutil
from local_airflow import LocalAirflow, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

API, SCHEDULER, PROCESSOR = "api-server", "scheduler", "dag-processor"
TRIGGERERS = ("triggerer-1", "triggerer-2")
TRIGGERER_LOST_AFTER = 12
HEARTBEAT_TIMEOUT = 20
# Seconds a part waits for SQLite's lock before it gives up. Requests can hold up each other in the API server, where
# only giving up helps and whoever asked asks again; the other parts would end.
LOCK_PATIENCE = {API: 3, SCHEDULER: 25, PROCESSOR: 25} | dict.fromkeys(TRIGGERERS, 25)
# Airflow's patience, shortened: a lost worker is noticed after 20 s instead of 300 s, a lost triggerer after 12 s.
QUICK = {
    "AIRFLOW__API__LOG_LEVEL": "warning",
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "16",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "3",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_LOST_AFTER),
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
}


class AirflowProcesses(LocalAirflow):
    """
    Scheduler, DAG processor, API server and two triggerers. A context manager: it stops all it started.

    :param home: Folder of its database, settings and logs.
    :param dags: Folder of the DAGs.
    :param env: Further environment: connections, variables, settings.
    :param python: Interpreter of the environment Airflow is installed in; by default ours.
    """

    def __init__(
        self, home: Path, dags: Path, env: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        super().__init__(home, dags, {**QUICK, **(env or {})}, python)
        self._parts: dict[str, psutil.Popen] = {}
        self._one_writer = threading.Lock()

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "migrate.log").open("wb") as log:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(command, env=self._env, stdout=log, stderr=subprocess.STDOUT, check=True)
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")  # readers and a writer do not wait for each other
        for part in (API, SCHEDULER, PROCESSOR, TRIGGERERS[0]):
            self.start(part)
        return self

    def __exit__(self, *_: object) -> None:
        for part in list(self._parts):
            self.kill(part)
        self._temporary.cleanup()

    def start(self, part: str) -> None:
        """
        Start a part, or start it again.

        :param part: ``api-server``, ``scheduler``, ``dag-processor``, ``triggerer-1`` or ``triggerer-2``.
        """
        with (self.home / f"{part}.log").open("ab") as log:
            self._parts[part] = psutil.Popen(
                self._command(part),
                env=self._environment(part),
                cwd=self.home,  # `-m` puts the working directory on the path: not that of a source tree
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _command(self, part: str) -> list[str]:
        return [self._python, "-m", "airflow", "triggerer" if part in TRIGGERERS else part]

    def _environment(self, part: str) -> dict[str, str]:
        return {
            **self._env,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout={LOCK_PATIENCE[part]}",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        }

    def kill(self, part: str) -> None:
        """
        Kill a part and all its children at once, as a lost machine does.

        :param part: Its name.
        """
        self.signal(part, signal.SIGKILL)
        self._parts.pop(part).wait(timeout=20)

    def signal(self, part: str, number: signal.Signals) -> None:
        """
        Send a signal to a part and all it has started, orphans too: they share its session.

        :param part: Its name.
        :param number: The signal.
        """
        leader = self._parts[part].pid
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == leader:
                    process.send_signal(number)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask, with one writer at a time; say at once if a part of Airflow is no more."""
        if ended := self.ended():
            raise RuntimeError(f"{', '.join(ended)} ended by itself; see the logs in {self.home}")
        with nullcontext() if method == "GET" else self._one_writer:
            return super()._ask(method, path, body)

    def ended(self) -> list[str]:
        """Return the parts that have ended by themselves."""
        return [part for part, process in list(self._parts.items()) if process.poll() is not None]

    def triggerers(self) -> list[int]:
        """Return the ids of the triggerers that are alive, the oldest first."""
        jobs = self.get("/api/v2/jobs?job_type=TriggererJob&is_alive=true&limit=50")["jobs"]
        return sorted(int(job["id"]) for job in jobs)

    def wait_triggerers(self, count: int, seconds: float = 60.0) -> list[int]:
        """
        Wait until so many triggerers are alive, and return their ids.

        :param count: How many.
        :param seconds: Patience.
        """
        for _ in self._until(seconds, f"there are not {count} triggerers; see {self.home}"):
            found = self.triggerers()
            if len(found) == count:
                return found
        raise AssertionError

    def clear(self, dag_id: str, run_id: str) -> None:
        """
        Clear all tasks of a run, as a user does who marks them and presses "Clear".

        :param dag_id: The DAG.
        :param run_id: The run.
        """
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        self._ask("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)

    def clear_run(self, dag_id: str, run_id: str) -> None:
        """
        Clear a run.

        :param dag_id: The DAG.
        :param run_id: The run.
        """
        body = {"dry_run": False, "only_failed": False}
        self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/clear", body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """
        Mark a task as a user does.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param state: ``success`` or ``failed``.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}"
        self._ask("PATCH", path, {"new_state": state})

    def trigger_at(self, dag_id: str, logical_date: str) -> str:
        """
        Start the run of a date and return its id.

        :param dag_id: The DAG.
        :param logical_date: ISO 8601.
        """
        run = self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": {}})
        return str(run["dag_run_id"])

    def backfill(self, dag_id: str, day: str, last: str | None = None, reprocess: str = "completed") -> None:
        """
        Run days again, although they have been completed.

        :param dag_id: The DAG.
        :param day: Midnight of the first day, ISO 8601.
        :param last: Midnight of the last one; by default the first.
        :param reprocess: What becomes of runs that are there: ``none``, ``failed`` or ``completed``.
        """
        body = {"dag_id": dag_id, "from_date": day, "to_date": last or day, "reprocess_behavior": reprocess}
        answer = httpx.post(f"{self.url}/api/v2/backfills", json=body, timeout=60, trust_env=False)
        answer.raise_for_status()

    def record(self, dag_id: str, run_id: str, task_id: str, key: str) -> dict[str, Any]:
        """
        Return what a task has kept in Airflow's store.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param key: Its name there.
        """
        value: dict[str, Any] = self.get(_record_path(dag_id, run_id, task_id, key))["value"]
        return value

    def edit_record(self, dag_id: str, run_id: str, task_id: str, key: str, value: dict[str, Any] | None) -> None:
        """
        Change what a task has kept in Airflow's store, as a user does in the UI.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param key: Its name there.
        :param value: What to keep; ``None`` deletes it.
        """
        path = _record_path(dag_id, run_id, task_id, key)
        body = None if value is None else {"value": value}
        with self._one_writer:
            answer = httpx.request(
                "PATCH" if body else "DELETE", f"{self.url}{path}", json=body, timeout=60, trust_env=False
            )
        answer.raise_for_status()

    def log_files(self, dag_id: str, run_id: str, task_id: str) -> str:
        """
        Return all a task and its triggers have logged, read from the files: this needs no API server.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        """
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "\n".join(file.read_text(errors="replace") for file in sorted(folder.rglob("attempt=*")))

    def wait_answers(self, seconds: float = 90.0) -> None:
        """
        Wait until the API server answers.

        :param seconds: Patience.
        """
        for _ in self._until(seconds, f"the API server does not answer; see {self.home}/{API}.log"):
            try:
                self.get("/api/v2/version")
            except httpx.HTTPError:
                continue
            return


def _record_path(dag_id: str, run_id: str, task_id: str, key: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/state-store/{key}"


def wake(*processes: int) -> None:
    """
    Let frozen processes go on.

    :param processes: Their ids.
    """
    for process in processes:
        os.kill(process, signal.SIGCONT)
        time.sleep(0.05)
