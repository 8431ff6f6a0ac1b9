"""A real Airflow (scheduler, triggerer, DAG processor, API server) in its own folder, for the demo and the tests."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OVER = ("success", "failed")


# Below the ports that systems give to whoever asks for any: between choice and use nobody else is given one of these.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port nobody listens on, for a server that takes seconds to start."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class LocalAirflow:
    """
    ``airflow standalone`` on free ports, without a login. A context manager: it stops all it started.

    :param home: Folder of its database, settings and logs.
    :param dags: Folder of the DAGs.
    :param env: Further environment: connections, variables, settings.
    :param python: Interpreter of the environment Airflow is installed in; by default ours.
    """

    def __init__(
        self, home: Path, dags: Path, env: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self.home = home
        self._python = python
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Parts and tasks that are killed clean up nothing; a short path, since it holds sockets.
        self._temporary = tempfile.TemporaryDirectory(prefix="evolink-airflow-", ignore_cleanup_errors=True)
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            "TMPDIR": self._temporary.name,
            "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "standalone.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "airflow", "standalone"],
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._stop(self._process)
        self._temporary.cleanup()

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        for number, patience in ((signal.SIGTERM, 4), (signal.SIGKILL, 5)):
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def wait_ready(self, dag_id: str, seconds: float = 300.0) -> None:
        """
        Wait until scheduler, triggerer and DAG processor are up and a DAG is known.

        :param dag_id: The DAG.
        :param seconds: Patience.
        """
        for _ in self._until(seconds, f"Airflow did not come up; see the logs in {self.home}"):
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"Airflow ended; see {self.home}/standalone.log")
            try:
                health = self.get("/api/v2/monitor/health")
                parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
                if all(health[part]["status"] == "healthy" for part in parts) and self.get(f"/api/v2/dags/{dag_id}"):
                    return
            except (httpx.HTTPError, KeyError):
                continue

    def unpause(self, dag_id: str) -> None:
        """
        Turn a DAG on.

        :param dag_id: The DAG.
        """
        self._ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """
        Start a run and return its id.

        :param dag_id: The DAG.
        :param conf: Parameters.
        """
        run_id = f"manual__{uuid.uuid4().hex}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        return run_id

    def runs(self, dag_id: str) -> list[str]:
        """
        Return the ids of a DAG's runs.

        :param dag_id: The DAG.
        """
        return [run["dag_run_id"] for run in self.get(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]]

    def run_state(self, dag_id: str, run_id: str) -> str:
        """
        Return the state of a run.

        :param dag_id: The DAG.
        :param run_id: The run.
        """
        return str(self.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """
        Return the task instances of a run.

        :param dag_id: The DAG.
        :param run_id: The run.
        """
        found: list[dict[str, Any]] = self.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances")[
            "task_instances"
        ]
        return found

    def watch(self, dag_id: str, run_id: str, seconds: float = 240.0) -> Iterator[dict[str, str]]:
        """
        Yield the states of a run's tasks whenever they change, until the run is over.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param seconds: Patience.
        """
        before: dict[str, str] = {}
        for _ in self._until(seconds, f"run {run_id} of {dag_id} did not end", every=0.25):
            over = self.run_state(dag_id, run_id) in OVER
            states = {task_name(task): task["state"] or "none" for task in self.tasks(dag_id, run_id)}
            if states != before:
                yield states
            before = states
            if over:
                return

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """
        Return what a task returned.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param map_index: Which of a mapped task.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.get(f"{path}?map_index={map_index}&deserialize=true")["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """
        Return the log of a task as text.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param try_number: Which try.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        return "\n".join(str(line.get("event", line)) for line in self.get(path)["content"])

    def get(self, path: str) -> Any:
        """
        Ask the API.

        :param path: Path and query.
        """
        return self._ask("GET", path)

    def patch(self, path: str, body: Any) -> Any:
        """
        Change something through the REST API.

        :param path: Path of the resource.
        :param body: The change, as plain JSON.
        """
        return self._ask("PATCH", path, body)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask; SQLite lets one writer in at a time, so a server error is worth some more tries."""
        for patience in (0.5, 1.0, 2.0, 4.0, 0.0):
            answer = httpx.request(method, self.url + path, json=body, timeout=30, trust_env=False)
            if answer.status_code < 500 or not patience:
                break
            time.sleep(patience)
        answer.raise_for_status()
        return answer.json()

    @staticmethod
    def _until(seconds: float, complaint: str, every: float = 0.5) -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(every)
        raise TimeoutError(complaint)


def task_name(task: Mapping[str, Any]) -> str:
    """
    Return a task instance's name for display, with its map index.

    :param task: As the API shows it.
    """
    return str(task["task_id"]) + ("" if task["map_index"] < 0 else f"[{task['map_index']}]")
