"""A real Airflow of any version, in an environment of its own; see ``matrix.py``."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from local_airflow import OVER, LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path


PATIENCE = 600.0  # seconds: Airflow 2.11 does one task at a time on SQLite, and the machine may be busy


class OldAirflow(LocalAirflow):
    """An Airflow of any version. What it does is read from its database: the API differs, the tables hardly do."""

    def __init__(self, home: Path, env: dict[str, str], python: str) -> None:
        old = {
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "3",
            "AIRFLOW__EVOLINK__LEDGER_PATH": f"file://{home}/ledger",
            "AIRFLOW_VAR_EVOLINK_STAGING": f"file://{home}/staging",
            "AIRFLOW_VAR_EVOLINK_ARCHIVE": f"file://{home}/archive",
        }
        super().__init__(home / "airflow", home / "dags", {**old, **env}, python)
        web = {"WEB_SERVER_PORT": str(self.port), "WEB_SERVER_HOST": "127.0.0.1", "WORKERS": "1"}
        self._env |= {f"AIRFLOW__WEBSERVER__{name}": value for name, value in web.items()}
        self.dag_folder = home / "dags"
        self.archive = home / "archive"
        self.seen: dict[tuple[str, str], set[str]] = {}

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read from Airflow's database."""
        database = sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=30)
        try:
            return database.execute(query, values).fetchall()
        finally:
            database.close()

    def wait_until(self, seconds: float, complaint: str, met: Callable[[], Any]) -> None:
        """Wait until a condition holds; a database that is not there yet is no failure."""
        for _ in self._until(seconds, f"{complaint}; see {self.home}"):
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"Airflow ended; see {self.home}/standalone.log")
            try:
                if met():
                    return
            except sqlite3.OperationalError:
                continue

    def wait_up(self, dag_ids: Collection[str]) -> None:
        """Wait until DAGs are read and all parts run: a task that starts before the API server fails its first try."""

        def up() -> bool:
            known = {dag for (dag,) in self.rows("SELECT dag_id FROM dag")}
            jobs = {job for (job,) in self.rows("SELECT job_type FROM job WHERE state = 'running'")}
            if not (set(dag_ids) <= known and {"SchedulerJob", "TriggererJob"} <= jobs):
                return False
            try:
                return httpx.get(self.url, timeout=30, trust_env=False).status_code < 500
            except httpx.TransportError:
                return False

        self.wait_until(PATIENCE, "Airflow did not come up", up)

    def start(self, dag_ids: Collection[str]) -> None:
        """Unpause DAGs, and from before on note all states that their tasks have."""
        threading.Thread(target=self._note_states, daemon=True).start()
        self.command("dags", "unpause", "--yes", "--treat-dag-id-as-regex", f"^({'|'.join(dag_ids)})$")

    def _note_states(self) -> None:
        while self._process is None or self._process.poll() is None:
            with contextlib.suppress(sqlite3.OperationalError):  # locked for a moment
                for dag, task, state in self.rows("SELECT dag_id, task_id, state FROM task_instance"):
                    self.seen.setdefault((dag, task), set()).add(state)
            time.sleep(0.5)

    def command(self, *words: str) -> None:
        """Run a command of this Airflow."""
        command = [self._python, "-m", "airflow", *words]
        subprocess.run(command, env=self._env, check=True, capture_output=True, timeout=120)

    def finish(self, dag_id: str, seconds: float = PATIENCE) -> dict[str, tuple[str, int]]:
        """Wait for the run of a DAG and return the state and try of its tasks."""

        def over() -> bool:
            return any(state in OVER for (state,) in self.rows("SELECT state FROM dag_run WHERE dag_id = ?", dag_id))

        self.wait_until(seconds, f"the run of {dag_id} did not end", over)
        query = "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = ?"
        return {task: (state, tries) for task, state, tries in self.rows(query, dag_id)}

    def was_killed(self, dag_id: str) -> bool:
        """Tell whether the worker of a DAG under test was killed at the named point."""
        return (self.home / f"{dag_id}.killed").exists()

    def returned(self, dag_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        query = "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = 'return_value'"
        return plain(self.rows(query, dag_id, task_id)[0][0])

    def all_returned(self, dag_id: str) -> list[Any]:
        """Return what all mapped tasks of a DAG returned."""
        query = "SELECT map_index, value FROM xcom WHERE dag_id = ? AND key = 'return_value' AND map_index >= 0"
        return [plain(value) for _, value in sorted(self.rows(query, dag_id), key=lambda row: int(row[0]))]

    def hand_on_instead(self, dag_id: str, task_id: str, value: Any) -> None:
        """Edit what a task returned (3.0 and later)."""
        ((run_id,),) = self.rows("SELECT run_id FROM dag_run WHERE dag_id = ?", dag_id)
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        self._with_token("PATCH", path, json={"value": value}).raise_for_status()

    def form(self, connection_type: str) -> dict[str, Any]:
        """Return what the UI gets of a connection's form (3.0 and later)."""
        forms = self._with_token("GET", "/ui/connections/hook_meta").raise_for_status().json()
        return next(form for form in forms if form["connection_type"] == connection_type)

    def _with_token(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request to the API, which wants a token before 3.2."""
        token = httpx.get(f"{self.url}/auth/token", timeout=30, trust_env=False).raise_for_status().json()
        header = {"Authorization": f"Bearer {token['access_token']}"}
        return httpx.request(method, f"{self.url}{path}", headers=header, timeout=60, trust_env=False, **given)

    def logs(self, dag_id: str) -> str:
        """Return all task logs of a DAG."""
        folder = self.home / "logs"
        return "\n".join(file.read_text() for file in folder.glob(f"dag_id={dag_id}/**/*.log"))


def plain(value: Any) -> Any:
    """Return a stored XCom: JSON in every version, in JSON once more from 3.0 on."""
    while isinstance(value, str | bytes):
        value = json.loads(value)
    return value
