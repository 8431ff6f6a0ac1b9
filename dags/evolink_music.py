"""
### Music: one generation, several songs

A music model returns several songs per generation. `outputs` of the result describes each of them: its title, tags,
duration and `result_id`, by which later requests can refer to it. `download` downloads all of them.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkAudioOperator, EvoLinkDownloadOperator

with DAG(
    dag_id="evolink_music",
    dag_display_name="EvoLink: music",
    description="One request, several songs, archived",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START music]
    generate = EvoLinkAudioOperator(
        task_id="generate",
        model="suno-v5-beta",
        prompt="A slow waltz for a paper boat, accordion and rain",
        parameters={"instrumental": True},
    )
    # [END music]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=generate.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    generate >> download >> archive
