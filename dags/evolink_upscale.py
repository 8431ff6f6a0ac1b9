"""
### Upscale: the result of one model is the input of another

`generate` makes a short clip, and `upscale` passes its link to an upscaling model. Links expire after 24 hours, so
the second task follows right after the first. Only the upscaled clip is downloaded and archived.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkTextToVideoOperator,
    EvoLinkVideoOperator,
)

with DAG(
    dag_id="evolink_upscale",
    dag_display_name="EvoLink: upscale a clip",
    description="Generates a small clip and upscales it with another model, archived",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START upscale]
    generate = EvoLinkTextToVideoOperator(
        task_id="generate",
        prompt="A paper boat drifts down a rainy street at dawn",
        duration=2,
    )
    upscale = EvoLinkVideoOperator(
        task_id="upscale",
        model="topaz-video-upscale",
        parameters={
            "video_urls": [generate.output],
            "model_params": {"upscale_factor": "2"},
        },
    )
    # [END upscale]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=upscale.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    generate >> upscale >> download >> archive
