"""
### From a still to a scene: first frame, then continuation

`first` animates an image. `extend` continues the clip that `first` made, using its result link. The link is valid for
24 hours, so keep both in one DAG run. The `duration` of a continuation is its **total** length, and all of it is
charged.

**Configuration**: as for `evolink_daily_video`. **Parameter** `first_frame`: HTTPS link to an image that opens
without login.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
)

with DAG(
    dag_id="evolink_image_to_video",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={"first_frame": "https://example.com/bud.png"},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START image_to_video]
    first = EvoLinkImageToVideoOperator(
        task_id="first",
        generation_mode="first_frame",
        image_start="{{ params.first_frame }}",
        prompt="The bud opens into a flower",
        duration=2,
    )
    extend = EvoLinkImageToVideoOperator(
        task_id="extend",
        generation_mode="video_continuation",
        video_urls=["{{ ti.xcom_pull(task_ids='first')['results'][0] }}"],
        prompt="A bee lands on the flower",
        duration=4,
    )
    # [END image_to_video]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=extend.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    first >> extend >> download >> archive
