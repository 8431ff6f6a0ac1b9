"""
### One clip a day: generate, download, archive

The whole pipeline in three tasks. `generate` submits a Wan 2.7 generation and waits in the triggerer, so no worker
slot is occupied. `download` brings the result to the staging path before its link expires (24 hours) and verifies it.
`archive` archives it under `<archive_path>/<model>/<yyyy>/<mm>/<dd>/<job id>/`, with a manifest.

You can retry or clear any task: only clearing `generate` after its result was delivered pays for another generation.
A backfill pays only for days that were never submitted (`on_backfill="reuse"`).

**Configuration**: the connection `evolink_default`; the variables `evolink_staging` and `evolink_archive` (paths,
e.g. `s3://bucket/archive`).
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, AssetAlias

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
)

with DAG(
    dag_id="evolink_daily_video",
    dag_display_name="EvoLink: one clip a day",
    description="Generates a clip every day, downloads and archives it",
    schedule="@daily",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START daily]
    generate = EvoLinkTextToVideoOperator(
        task_id="generate",
        prompt="A paper boat drifts down a rainy street at dawn, {{ ds }}, single shot",
        aspect_ratio="16:9",
        duration=5,
        seed=7,
        on_backfill="reuse",  # a backfill of a day that is there pays nothing
    )
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=generate.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
        outlets=[AssetAlias("evolink_archive")],  # evolink_on_archive runs after it
    )
    # [END daily]
    generate >> download >> archive
