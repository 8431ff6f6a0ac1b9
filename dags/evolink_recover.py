"""
### Recover a paid job by its ID

For a job that no task waits for anymore: its run was deleted, its task was marked failed, or its worker died while it
was submitting. Trigger this DAG with the job ID. You find it in the log of the task that submitted the job, in the
record `evolink_generation` of its task instance, or on the EvoLink dashboard. `wait` waits until the job has
finished, `download` brings the result to the staging path, and `archive` archives it. Nothing is submitted, so
nothing is charged.

**Configuration**: as for `evolink_daily_video`. **Parameter** `job_id`: EvoLink's ID, `task-unified-...`. EvoLink
keeps result links for 24 hours.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.sensors import EvoLinkJobSensor

with DAG(
    dag_id="evolink_recover",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={"job_id": Param(type="string", minLength=1, maxLength=128, description="EvoLink's job ID")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START recover]
    wait = EvoLinkJobSensor(
        task_id="wait",
        job_id="{{ params.job_id }}",
        timeout=3600,
    )
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=wait.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    # [END recover]
    wait >> download >> archive
