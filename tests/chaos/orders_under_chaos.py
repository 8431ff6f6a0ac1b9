"""
DAGs whose file, records or store change between the tries of a task.

What a DAG asks for stands in the file beside this one, which is written anew while a try is under way.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, BaseOperator, get_current_context, task
from airflow.sdk.execution_time.context import TaskStateStoreAccessor
from traps import FOLDER, Trapped

from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkTextToVideoOperator
from airflow_provider_evolink.sensors import EvoLinkJobSensor
from airflow_provider_evolink.triggers import EvoLinkBatchTrigger, EvoLinkJobTrigger

ROWS = json.loads(Path(__file__).with_suffix(".json").read_text())
MODEL = "wan2.7-text-to-video"


class Single(Trapped, EvoLinkTextToVideoOperator):
    """One order."""


class Batch(Trapped, EvoLinkBatchOperator):
    """Several orders."""


class Elsewhere(Single):
    """One order; each try runs in another folder, as it does on another machine."""

    def execute(self, context: Any) -> Any:
        """Go somewhere else, then do the work."""
        os.chdir(tempfile.mkdtemp(dir=FOLDER))
        return super().execute(context)


class SlowStore(Batch):
    """Several orders, with a store of records that takes its time for every call."""

    def execute(self, context: Any) -> Any:
        """Slow the store down, then do the work."""
        for name in ("get", "set"):
            slow_down(name)
        return super().execute(context)


class Twice(Single):
    """Two orders in one task: what the batch operator is for."""

    orders: list[str]

    def execute(self, context: Any) -> Any:
        """Order, then order something else."""
        self._arm()
        results = []
        for prompt in self.orders:
            self.prompt = prompt
            results.append(EvoLinkTextToVideoOperator.execute(self, context))
        return results


class HostileWait(BaseOperator):
    """Defers with a trigger that no operator of the package would make."""

    def __init__(self, *, arguments: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments

    def execute(self, context: Any) -> None:
        """Defer."""
        kind = EvoLinkBatchTrigger if "jobs" in self.arguments else EvoLinkJobTrigger
        now = {"started": time.time(), "deadline": time.time() + 600} if kind is EvoLinkJobTrigger else {}
        trigger = kind(evolink_conn_id="evolink_default", hold=0.0, **{**now, "poll_interval": 1.0, **self.arguments})
        self.defer(trigger=trigger, method_name="resumed", timeout=timedelta(minutes=5))

    def resumed(self, context: Any, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Hand on what the trigger has sent."""
        return event


def slow_down(name: str, seconds: float = 6.0) -> None:
    """Let each call of Airflow's store of records take some seconds, fewer than the lease of an order."""
    real = getattr(TaskStateStoreAccessor, name)

    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return real(*args, **kwargs)

    setattr(TaskStateStoreAccessor, name, slowly)


def request(prompt: str) -> dict[str, Any]:
    """Return a request of a batch."""
    return {"prompt": prompt, "duration": 2}


def single(prompts: list[str], operator: type[Single] = Single, **arguments: Any) -> Single:
    """Return the task of one order."""
    return operator(task_id="generate", prompt=prompts[0], duration=2, **arguments)


def batch(prompts: list[str], operator: type[Batch] = Batch, **arguments: Any) -> Batch:
    """Return the task of several orders."""
    requests = [request(prompt) for prompt in prompts]
    return operator(task_id="generate", model=MODEL, requests=requests, defer_after=0, **arguments)


def twice(prompts: list[str], **arguments: Any) -> Twice:
    """Return a task that calls what it inherits for each order."""
    made = single(prompts, Twice, deferrable=False, **arguments)
    assert isinstance(made, Twice)
    made.orders = prompts
    return made


def in_a_task(prompts: list[str]) -> None:
    """Add a task that executes an operator for each order inside it."""

    @task(task_id="generate")
    def generate() -> list[Any]:
        context = get_current_context()
        operators = [
            EvoLinkTextToVideoOperator(task_id=f"shot_{number}", prompt=prompt, duration=2, deferrable=False)
            for number, prompt in enumerate(prompts)
        ]
        return [operator.execute(context) for operator in operators]

    generate()


def mapped(prompts: list[str], **arguments: Any) -> None:
    """Add a task for each order of a list that another task makes."""

    @task(task_id="shots")
    def shots() -> list[str]:
        return prompts

    Single.partial(task_id="generate", duration=2, **arguments).expand(prompt=shots())


def crowd(prompts: list[str], **arguments: Any) -> None:
    """Add tasks that wait beside others."""
    EvoLinkTextToVideoOperator.partial(
        task_id="generate", duration=2, defer_after=0, poll_interval=1.0, **arguments
    ).expand(prompt=prompts)


def hostile(waits: list[dict[str, Any]], sensors: list[Any]) -> None:
    """Add waits that must not disturb others; the last sensor is given a whole job by the form of the run."""
    for number, wait in enumerate(waits):
        HostileWait(task_id=f"wait_{number}", arguments=wait)
    for number, job in enumerate(sensors):  # by a template: a wrong literal would be an import error
        wrong = {"job_id": "{{ params.given }}", "params": {"given": job}}
        EvoLinkJobSensor(task_id=f"sensor_{number}", **wrong, poll_interval=1.0, timeout=600)
    EvoLinkJobSensor(task_id="sensor_whole", job_id="{{ dag_run.conf['job'] }}", poll_interval=1.0, timeout=600)


FORMS: dict[str, Callable[..., Any]] = {
    "single": single,
    "batch": batch,
    "elsewhere": lambda prompts, **arguments: single(prompts, Elsewhere, **arguments),
    "slow_store": lambda prompts, **arguments: batch(prompts, SlowStore, **arguments),
    "twice": twice,
    "in_a_task": in_a_task,
    "mapped": mapped,
    "crowd": crowd,
    "hostile": hostile,
}


def make_dag(
    name: str, *, form: str, daily: bool = False, point: str | None = None, act: str = "kill", **arguments: Any
) -> DAG:
    """
    Return a DAG.

    :param form: What its task is.
    :param daily: It has days to backfill.
    :param point: Where its task meets something.
    :param act: What it meets there.
    """
    days = {"schedule": "@daily", "end_date": pendulum.datetime(2025, 1, 9, tz="UTC")} if daily else {"schedule": None}
    with DAG(
        dag_id=name,
        **days,
        catchup=False,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        is_paused_upon_creation=False,
        render_template_as_native_obj=form == "hostile",
        default_args={"retries": 0 if form == "hostile" else 2, "retry_delay": timedelta(seconds=1)},
    ) as dag:
        made = FORMS[form](**arguments)
        if isinstance(made, Trapped):
            made.point, made.act = point, act
    return dag


for row, given in ROWS.items():
    globals()[row] = make_dag(row, **given)
