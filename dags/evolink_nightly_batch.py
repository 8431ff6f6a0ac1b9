"""
### Every night, within a budget

One task submits a clip per product, as long as all of them together cost at most 100 credits; else it submits nothing.
A request that fails does not hold up the others. What was made is archived. A backfill pays only for nights that were
never submitted, and a clear of `clips` waits for open jobs and pays for no clip that is still on its way.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkBatchOperator

with DAG(
    dag_id="evolink_nightly_batch",
    dag_display_name="EvoLink: every night, within a budget",
    description="A clip per product every night, refused as a whole if it may cost more than the budget",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START nightly]
    clips = EvoLinkBatchOperator(
        task_id="clips",
        model="wan2.7-text-to-video",
        requests=[
            {"prompt": "A red teapot turns on a table, {{ ds }}"},
            {"prompt": "A brass compass turns on a table, {{ ds }}"},
            {"prompt": "A wooden whistle turns on a table, {{ ds }}"},
        ],
        parameters={"duration": 2},
        max_credits=100,
        on_failed_job="collect",
        on_backfill="reuse",
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )

    @task
    def made(jobs: Any) -> list[dict[str, Any]]:
        """Return the files; raise if no clip was made at all."""
        files = [file for job in jobs if job["status"] == "completed" for file in job["files"]]
        if not files:
            raise ValueError(f"no clip was made: {[job['error_code'] for job in jobs]}")
        return files

    EvoLinkArchiveOperator(
        task_id="archive",
        files=made(clips.output),
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    # [END nightly]
