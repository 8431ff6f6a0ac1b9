"""DAGs that start once, when they are unpaused; on the first try their worker is killed or their trigger given up."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)
from airflow_provider_evolink.sensors import EvoLinkJobSensor


def die(dag_id: str) -> None:
    """Die as a worker does that loses its machine, and leave a mark, so that no test passes without a kill."""
    (Path(os.environ["AIRFLOW_HOME"]) / f"{dag_id}.killed").touch()
    if version("apache-airflow").startswith("3.0."):
        # 3.0 retries a task whose supervisor is lost, but not one whose own process was killed.
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class DiesBeforeDeferring(EvoLinkTextToVideoOperator):
    """Is killed on its first try when the job is ordered and recorded, before it waits."""

    def execute(self, context: Any) -> Any:
        """Remember the try."""
        self.first_try = context["ti"].try_number == 1
        return super().execute(context)

    def _wait_and_deliver(self, attempt: Any, wait: Any) -> Any:
        if getattr(self, "first_try", False):
            die(self.dag_id)
        return super()._wait_and_deliver(attempt, wait)


class DiesBeforeRecording(EvoLinkTextToVideoOperator):
    """Is killed on its first try between EvoLink's answer and the record of the job id."""

    def execute(self, context: Any) -> Any:
        """Kill at the write of the job id."""
        keep = Ledger.write_submitted

        def deadly(self: Ledger, record: Record) -> None:
            if record.state is State.SUBMITTED:
                die(context["ti"].dag_id)
            keep(self, record)

        if context["ti"].try_number == 1:
            Ledger.write_submitted = deadly  # type: ignore[method-assign]
        return super().execute(context)


class DiesOnResume(EvoLinkTextToVideoOperator):
    """Is killed on its first try after the trigger, before it delivers."""

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Kill instead of resuming."""
        if context["ti"].try_number == 1:
            die(self.dag_id)
        return super().execute_complete(context, event)


class IsGivenUp(EvoLinkTextToVideoOperator):
    """
    Has a wait that Airflow itself gives up long before the trigger polls, however late a busy scheduler is.

    Not sooner, though: up to some 6 s after it deferred, Airflow 3 may fail a task that is queued again.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, poll_interval=45)

    def defer(self, **kwargs: Any) -> Any:
        """Shorten Airflow's own timeout, which is only a net under the trigger's."""
        super().defer(**{**kwargs, "timeout": timedelta(seconds=9)})


DAG_ARGS: dict[str, Any] = {
    "schedule": "@once",
    "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
    "is_paused_upon_creation": True,
    "default_args": {"retries": 1, "retry_delay": timedelta(seconds=1), "duration": 2},
}

for name, operator in (
    ("killed_before_deferring", DiesBeforeDeferring),
    ("killed_before_recording", DiesBeforeRecording),
    ("killed_on_resume", DiesOnResume),
    ("given_up", IsGivenUp),
):
    with DAG(dag_id=name, **DAG_ARGS) as dag:
        operator(task_id="generate", prompt=f"A clip whose worker is {name}")
    globals()[name] = dag

with DAG(dag_id="archived_on_s3", **DAG_ARGS) as archived_on_s3:
    generated = EvoLinkTextToVideoOperator(task_id="generate", prompt="A clip that is archived_on_s3")
    staged = EvoLinkDownloadOperator(task_id="download", job=generated.output, destination="s3://store@clips/staging")
    EvoLinkArchiveOperator(task_id="archive", files=staged.output, archive_path="s3://store@clips/archive")

with DAG(dag_id="batched", **DAG_ARGS) as batched:
    EvoLinkBatchOperator(
        task_id="generate",
        model="wan2.7-text-to-video",
        parameters={"duration": 2},
        requests=[{"prompt": f"Clip {number} that is batched"} for number in range(10)],
        max_active=5,
    )

with DAG(dag_id="sensed", **DAG_ARGS) as sensed:
    made = EvoLinkTextToVideoOperator(task_id="generate", prompt="A clip that is sensed")
    EvoLinkJobSensor(task_id="wait", job_id=made.output)

# Airflow 2 hands the default arguments of a DAG to a mapped decorator, also those that it does not take.
with DAG(dag_id="decorated", **{**DAG_ARGS, "default_args": {"retries": 1}}) as decorated:

    @task.evolink(model="wan2.7-text-to-video")
    def generate(subject: str) -> dict[str, Any]:
        """Return the request of one clip."""
        return {"prompt": f"{subject} that is decorated"}

    generate.expand(subject=["A boat", "A cat", "A tree"])

with DAG(dag_id="sheet_of_thirty", **DAG_ARGS) as sheet_of_thirty:
    EvoLinkTextToVideoOperator.partial(
        task_id="generate", evolink_conn_id="evolink_quick", deferrable=False, destination="s3://store@clips/sheet"
    ).expand(prompt=[f"Clip {number} on the sheet_of_thirty" for number in range(30)])
