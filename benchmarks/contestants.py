"""Who is measured: how each trigger is built for a job, and by which connection it finds the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fake_jobs import ESTIMATE, FakeJob

INTERVAL = 5.0  # of those with a fixed interval: p95 of the delay 4.75 s
WAIT = 86400.0
Built = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """
    One row of the table.

    :param name: As shown.
    :param build: Returns class path and arguments of the trigger for a job, its number and the server's port.
    :param interval: Seconds between polls; None: the trigger's own schedule.
    :param batch: Whether the server has the batch call.
    :param settle: Seconds before the window. Longer where a poll depends on the one before: the first polls
        of triggers that start in the middle of a job come together.
    :param response: Seconds after which the server responds.
    """

    name: str
    build: Callable[[FakeJob, int, int], Built]
    interval: float | None = INTERVAL
    batch: bool = True
    settle: float = 15.0
    response: float = 0.0


def _ours(interval: float | None) -> Callable[[FakeJob, int, int], Built]:
    def build(job: FakeJob, number: int, port: int) -> Built:
        from airflow_provider_evolink.triggers import EvoLinkJobTrigger

        return EvoLinkJobTrigger(
            evolink_conn_id="evolink_bench",
            job_id=f"task-{number}",
            deadline=job.created + WAIT,
            started=job.created,
            poll_interval=interval,
            model="wan2.7-text-to-video",  # as the operator knows them from the answer to its order
            kind="video",
            estimated_time=float(ESTIMATE),
        ).serialize()

    return build


def _idle(job: FakeJob, number: int, port: int) -> Built:
    return "own_triggers.IdleTrigger", {"ends": job.ends}


def _naive(job: FakeJob, number: int, port: int) -> Built:
    url = f"https://localhost:{port}/v1/tasks/task-{number}"
    return "own_triggers.NaiveTrigger", {"url": url, "poll_interval": INTERVAL}


def _databricks(job: FakeJob, number: int, port: int) -> Built:
    return "airflow.providers.databricks.triggers.databricks.DatabricksExecutionTrigger", {
        "run_id": number,
        "databricks_conn_id": "databricks_bench",
        "polling_period_seconds": INTERVAL,
    }


def _openai(job: FakeJob, number: int, port: int) -> Built:
    return "airflow.providers.openai.triggers.openai.OpenAIBatchTrigger", {
        "conn_id": "openai_bench",
        "batch_id": f"batch-{number}",
        "poll_interval": INTERVAL,
        "timeout": WAIT,
    }


def _http(job: FakeJob, number: int, port: int) -> Built:
    return "airflow.providers.http.triggers.http.HttpSensorTrigger", {
        "endpoint": f"sensor/{number}",
        "http_conn_id": "http_bench",
        "poke_interval": INTERVAL,
    }


CONTESTANTS = {
    "idle": Contestant("Airflow alone (sleeping triggers)", _idle, None),
    "ours": Contestant("**EvoLink**, batch reads", _ours(None), None, settle=180.0),
    "databricks": Contestant("Databricks, every 5 s", _databricks),
    "ours_single": Contestant("**EvoLink**, single reads", _ours(None), None, batch=False, settle=180.0),
    "http": Contestant("HttpSensor, every 5 s", _http),
    "openai": Contestant("OpenAI, every 5 s", _openai),
    "naive": Contestant("an httpx client each, every 5 s", _naive),
    "ours_5s": Contestant("**EvoLink**, `poll_interval=5`", _ours(INTERVAL)),
    "ours_60s": Contestant("**EvoLink**, `poll_interval=60`", _ours(60.0), 60.0, settle=65.0),
}

SINGLE_READS = {
    "quick_5s": Contestant("single reads every 5 s", _ours(INTERVAL), batch=False, settle=30.0, response=0.02),
    "slow_5s": Contestant("single reads every 5 s", _ours(INTERVAL), batch=False, settle=30.0, response=0.2),
    "slow": Contestant("single reads by the schedule", _ours(None), None, batch=False, settle=180.0, response=0.2),
}
ALL = CONTESTANTS | SINGLE_READS


def connections(port: int) -> dict[str, str]:
    """
    Return the environment in which all of them find the server: Airflow asks it before it asks the supervisor.

    :param port: Of the server.
    """
    url = f"https://localhost:{port}"
    found = {
        "evolink_bench": {"conn_type": "evolink", "host": url, "password": "a-key-for-the-bench-0123456789"},
        "databricks_bench": {"conn_type": "databricks", "host": "localhost", "port": port, "password": "a-token"},
        "openai_bench": {"conn_type": "openai", "host": f"{url}/v1", "password": "a-key"},
        "http_bench": {"conn_type": "http", "host": "localhost", "schema": "https", "port": port},
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(each) for name, each in found.items()}
