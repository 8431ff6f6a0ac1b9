"""
### From a still to a scene: first frame, then go on

`first` brings a picture to life. `go_on` continues the clip that `first` made, by its result link: the link is good for
24 hours, so the two belong in one run. `duration` of a continuation is the **total** length, and all of it is paid.

**Settings**: as for `evolink_daily_video`. **Parameter** `first_frame`: HTTPS link to a picture that opens without
login.
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
    go_on = EvoLinkImageToVideoOperator(
        task_id="go_on",
        generation_mode="video_continuation",
        video_urls=["{{ ti.xcom_pull(task_ids='first')['results'][0] }}"],
        prompt="A bee lands on the flower",
        duration=4,
    )
    # [END image_to_video]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=go_on.output,
        destination="{{ var.value.get('evolink_staging', 'file:///tmp/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///tmp/evolink/archive') }}",
    )
    first >> go_on >> download >> archive
