"""DAGs of ``make test-stack``. What a run orders is in its configuration; some rows need a DAG for each attempt."""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task
from traps import Trapped, before, deed

from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)

STAGING, ARCHIVE = os.environ["STACK_STAGING"], os.environ["STACK_ARCHIVE"]
ATTEMPTS = 4
TAG = "{{ dag_run.conf['tag'] }}"
DAG_ARGS: dict[str, Any] = {
    "schedule": None,
    "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
    "catchup": False,
    "is_paused_upon_creation": False,
    "default_args": {"retries": 3, "retry_delay": timedelta(seconds=2)},
}
WAIT: dict[str, Any] = {"defer_after": 0, "poll_interval": 5, "timeout": 7200}
CLIP: dict[str, Any] = {"duration": 2, **WAIT}


class Held(Trapped, EvoLinkTextToVideoOperator):
    """Stands once between the response to its order and the record of it, until the row lets it go on."""

    point = "s7"
    act = "hold"


class HeldBatch(EvoLinkBatchOperator):
    """Stands once when half of its requests are ordered and recorded, before the next one."""

    def execute(self, context: Any) -> Any:
        """Set the trap, then do the work."""
        count, half = itertools.count(), len(self.requests) // 2
        before(Ledger, "write_intent", deed("hold", self.dag_id), lambda *_: next(count) >= half)
        return super().execute(context)


@task
def prompts(**context: Any) -> list[str]:
    """Return one prompt for each order of the row."""
    conf = context["dag_run"].conf
    return [f"Clip {number} of row {conf['tag']}" for number in range(conf["count"])]


@task
def requests(**context: Any) -> list[dict[str, Any]]:
    """Return the requests of the batch of the row."""
    conf = context["dag_run"].conf
    return [{"prompt": f"Clip {number} of row {conf['tag']}", "duration": 2} for number in range(conf["count"])]


with DAG(dag_id="chain", **DAG_ARGS) as chain:
    made = EvoLinkTextToVideoOperator.partial(task_id="generate", **CLIP).expand(prompt=prompts())
    fetched = EvoLinkDownloadOperator.partial(task_id="download", destination=STAGING).expand(job=made.output)
    EvoLinkArchiveOperator.partial(task_id="archive", archive_path=f"{ARCHIVE}/{TAG}").expand(files=fetched.output)

with DAG(dag_id="clips", **DAG_ARGS) as clips:
    EvoLinkTextToVideoOperator.partial(task_id="generate", **CLIP).expand(prompt=prompts())

with DAG(dag_id="limited", max_active_tasks=64, **DAG_ARGS) as limited:
    EvoLinkTextToVideoOperator.partial(task_id="generate", evolink_conn_id="evolink_limited", **CLIP).expand(
        prompt=prompts()
    )

for attempt in range(1, ATTEMPTS + 1):
    days = {"schedule": "@daily", "end_date": pendulum.datetime(2025, 1, 31, tz="UTC")}
    with DAG(dag_id=f"days_{attempt}", **(DAG_ARGS | days)) as dag:
        EvoLinkTextToVideoOperator(task_id="generate", prompt=f"Clip of {{{{ ds }}}} of row days_{attempt}", **CLIP)
    globals()[f"days_{attempt}"] = dag
    with DAG(dag_id=f"held_{attempt}", **DAG_ARGS) as dag:
        Held(task_id="generate", prompt=f"Clip of row held_{attempt}", **CLIP)
    globals()[f"held_{attempt}"] = dag
    with DAG(dag_id=f"batch_{attempt}", **DAG_ARGS) as dag:
        HeldBatch(task_id="generate", model="wan2.7-text-to-video", requests=requests(), **WAIT)
    globals()[f"batch_{attempt}"] = dag
