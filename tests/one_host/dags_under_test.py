"""DAGs for the tests on a real Airflow: their workers are killed at named points of their first try."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)

DAG_ARGS: dict[str, Any] = {
    "schedule": None,
    "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
    "is_paused_upon_creation": False,
    "default_args": {"retries": 1, "retry_delay": timedelta(seconds=1), "duration": 2},
}


def die(dag_id: str) -> None:
    """Die as a worker does that loses its machine, and leave a mark that it happened."""
    Path(os.environ["KILL_MARKS"], f"{os.getpid()}-{dag_id}").touch()
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
        keep, dag_id = Ledger.write_submitted, self.dag_id

        def deadly(self: Ledger, record: Record) -> None:
            if record.state is State.SUBMITTED:
                die(dag_id)
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


class DiesWhileOrdering(EvoLinkBatchOperator):
    """Is killed on its first try when half of its orders are recorded."""

    def execute(self, context: Any) -> Any:
        """Kill after the tenth job id."""
        keep, dag_id = Ledger.write_submitted, self.dag_id
        ids: list[str] = []

        def deadly(self: Ledger, record: Record) -> None:
            keep(self, record)
            ids.append(str(record.job_id))
            if len(ids) == 10:
                die(dag_id)

        if context["ti"].try_number == 1:
            Ledger.write_submitted = deadly  # type: ignore[method-assign]
        return super().execute(context)


with DAG(dag_id="killed_while_ordering", **DAG_ARGS) as killed_while_ordering:
    DiesWhileOrdering(
        task_id="generate",
        model="wan2.7-text-to-video",
        parameters={"duration": 2},
        requests=[{"prompt": f"Clip {number} whose worker is killed_while_ordering"} for number in range(20)],
        max_active=16,
    )

for name, operator, arguments in (
    ("killed_before_deferring", DiesBeforeDeferring, {}),
    ("killed_while_blocking", DiesBeforeDeferring, {"deferrable": False}),
    ("killed_before_recording", DiesBeforeRecording, {}),
    ("killed_on_resume", DiesOnResume, {}),
):
    with DAG(dag_id=name, **DAG_ARGS) as dag:
        operator(task_id="generate", prompt=f"A clip whose worker is {name}", **arguments)
    globals()[name] = dag

with DAG(dag_id="archived_on_s3", **DAG_ARGS) as archived_on_s3:
    generated = EvoLinkTextToVideoOperator(task_id="generate", prompt="A clip that is archived_on_s3")
    staged = EvoLinkDownloadOperator(task_id="download", job=generated.output, destination="s3://store@clips/staging")
    EvoLinkArchiveOperator(task_id="archive", files=staged.output, archive_path="s3://store@clips/archive")

with DAG(dag_id="sheet_of_thirty", **DAG_ARGS) as sheet_of_thirty:
    EvoLinkTextToVideoOperator.partial(
        task_id="generate", evolink_conn_id="evolink_quick", deferrable=False, destination="s3://store@clips/sheet"
    ).expand(prompt=[f"Clip {number} on the sheet_of_thirty" for number in range(30)])
