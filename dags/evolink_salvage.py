"""
### Salvage a job: bring a paid result home by its id

For a job that no task waits for any more: its run was deleted, its task was marked failed, its worker died while it
ordered. Trigger this DAG with the id of the job, which is in the log of the task that ordered, in the record
`evolink_generation` of its task instance, or on the EvoLink dashboard. `wait` waits until the job is over, `download`
brings the result to the staging folder, `archive` files it. Nothing is ordered, so nothing is paid.

**Settings**: as for `evolink_daily_video`. **Parameter** `job_id`: EvoLink's id, `task-unified-...`. EvoLink keeps the
links of a result for 24 hours.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.sensors import EvoLinkJobSensor

with DAG(
    dag_id="evolink_salvage",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={"job_id": Param(type="string", minLength=1, maxLength=128, description="EvoLink's id of the job")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START salvage]
    wait = EvoLinkJobSensor(
        task_id="wait",
        job_id="{{ params.job_id }}",
        timeout=3600,
    )
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=wait.output,
        destination="{{ var.value.get('evolink_staging', 'file:///tmp/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///tmp/evolink/archive') }}",
    )
    # [END salvage]
    wait >> download >> archive
