"""
### A batch: many generations in one task

One operator submits a clip for each product and waits for all of them with one trigger. Each request has its own
record: a retry waits for the jobs that are running, and submits only what was never submitted and what failed with a
transient EvoLink error. A clip that cannot be made becomes an entry with `status` and `error_code`; the others are
still delivered.

**Configuration**: as for `evolink_daily_video`. **Parameter** `products`: what to show, one text per clip.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_evolink.operators import EvoLinkBatchOperator

with DAG(
    dag_id="evolink_batch",
    dag_display_name="EvoLink: many clips in one task",
    description="One task submits a clip per product; one trigger waits for all of them",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "products": Param(
            ["a red teapot", "a brass compass", "a wooden whistle"],
            type="array",
            items={"type": "string"},
            minItems=1,
            title="Products",
            description="One clip of 5 seconds for each line: 27.2 credits each.",
        ),
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:

    @task
    def build_requests(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return one request per product."""
        return [{"prompt": f"{product} turns on a table, soft light"} for product in (params or {})["products"]]

    # [START batch]
    clips = EvoLinkBatchOperator(
        task_id="clips",
        model="wan2.7-text-to-video",
        requests=build_requests(),
        parameters={"duration": 2, "aspect_ratio": "16:9"},
        max_active=20,
        max_credits=100,
        on_failed_job="collect",
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    # [END batch]

    @task
    def report(jobs: Any) -> list[str]:
        """Return where the clips are; raise if there is none at all."""
        files = [file["uri"] for job in jobs if job["status"] == "completed" for file in job["files"]]
        if not files:
            raise ValueError(f"no clip was made: {[job['error_code'] for job in jobs]}")
        return files

    report(clips.output)
