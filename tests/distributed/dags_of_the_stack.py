"""DAGs of ``make test-stack``. What a run orders is in its configuration; some rows need a DAG for each attempt."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task
from traps import Trapped

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
CLIP: dict[str, Any] = {"duration": 2, "defer_after": 0, "timeout": 7200}


class Held(Trapped, EvoLinkTextToVideoOperator):
    """Stands once between the response to its order and the record of it, until the row lets it go on."""

    point = "s7"
    act = "hold"


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

with DAG(dag_id="batch", **DAG_ARGS) as batch:
    EvoLinkBatchOperator(
        task_id="generate", model="wan2.7-text-to-video", requests=requests(), timeout=7200, defer_after=0
    )

for attempt in range(1, ATTEMPTS + 1):
    days = {"schedule": "@daily", "end_date": pendulum.datetime(2025, 1, 31, tz="UTC")}
    with DAG(dag_id=f"days_{attempt}", **(DAG_ARGS | days)) as dag:
        EvoLinkTextToVideoOperator(task_id="generate", prompt=f"Clip of {{{{ ds }}}} of row days_{attempt}", **CLIP)
    globals()[f"days_{attempt}"] = dag
    with DAG(dag_id=f"held_{attempt}", **DAG_ARGS) as dag:
        Held(task_id="generate", prompt=f"Clip of row held_{attempt}", **CLIP)
    globals()[f"held_{attempt}"] = dag
