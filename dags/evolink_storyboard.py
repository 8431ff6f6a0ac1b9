"""
### A storyboard: a mapped task group

A group of three tasks is mapped over a list of shots. Each shot is a generation with its own record: a retry of shot 3
waits for the job of shot 3 and affects no other. **Map the group, not each operator**: a mapped download waits for
*all* mapped generations, so that one failed shot would leave the paid clips of the others behind until their links
expire.
All shots wait in the triggerer at once; `max_active_tis_per_dag` limits how many run at a time.

**Configuration**: as for `evolink_daily_video`. **Parameter** `shots`: what to show, one text per shot.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task, task_group

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)

with DAG(
    dag_id="evolink_storyboard",
    dag_display_name="EvoLink: a storyboard",
    description="One clip per shot, each archived on its own, so that one failed shot loses nothing",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "shots": Param(
            [
                "Wide angle: a rainy night street, neon lights flicker",
                "Medium: a detective enters an old building",
                "Close-up: the detective finds the key clue",
            ],
            type="array",
            items={"type": "string"},
            minItems=1,
            title="Shots",
            description="One clip for each line, all in one style.",
        ),
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:

    @task
    def storyboard(params: dict[str, Any] | None = None) -> list[str]:
        """Return the prompt of each shot, all in one style."""
        return [f"{shot}, film noir, single shot" for shot in (params or {})["shots"]]

    # [START storyboard]
    @task_group
    def shot(prompt: str) -> None:
        """Make, fetch and archive one shot, whatever becomes of the others."""
        generate = EvoLinkTextToVideoOperator(
            task_id="generate",
            prompt=prompt,
            duration=2,
            aspect_ratio="16:9",
            seed=11,
            max_active_tis_per_dag=4,
        )
        download = EvoLinkDownloadOperator(
            task_id="download",
            job=generate.output,
            destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
        )
        EvoLinkArchiveOperator(
            task_id="archive",
            files=download.output,
            archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
        )

    shot.expand(prompt=storyboard())
    # [END storyboard]
