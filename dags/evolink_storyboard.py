"""
### A storyboard: dynamic task mapping

One operator is mapped over a list of shots. Each shot is a generation with its own record: a retry of shot 3 waits
for the job of shot 3 and affects no other. All of them wait in the triggerer at once; `max_active_tis_per_dag` limits
how many run at a time.

**Configuration**: as for `evolink_daily_video`. **Parameter** `shots`: what to show, one text per shot.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)

with DAG(
    dag_id="evolink_storyboard",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "shots": [
            "Wide angle: a rainy night street, neon lights flicker",
            "Medium: a detective enters an old building",
            "Close-up: the detective finds the key clue",
        ]
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:

    @task
    def storyboard(params: dict | None = None) -> list[str]:
        """Return the prompt of each shot, all in one style."""
        return [f"{shot}, film noir, single shot" for shot in (params or {})["shots"]]

    # [START storyboard]
    shots = EvoLinkTextToVideoOperator.partial(
        task_id="shot",
        duration=2,
        aspect_ratio="16:9",
        seed=11,
        max_active_tis_per_dag=4,
    ).expand(prompt=storyboard())
    files = EvoLinkDownloadOperator.partial(
        task_id="download",
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    ).expand(job=shots.output)
    EvoLinkArchiveOperator.partial(
        task_id="archive",
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    ).expand(files=files.output)
    # [END storyboard]
