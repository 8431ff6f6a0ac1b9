"""
### From a picture to a scene: each step takes what the step before made

`frame` makes a picture, `first` a clip that begins with it, and `extend` continues that clip. A job stands where a link
could: its fresh link is read when the next request is sent, as long as EvoLink keeps the result (24 hours). What must
last longer goes through a download: `image_start=download.output` uploads the file. The `duration` of a continuation is
its **total** length, and all of it is charged.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
)

with DAG(
    dag_id="evolink_image_to_video",
    dag_display_name="EvoLink: from a picture to a scene",
    description="A picture, a clip that begins with it, and its continuation, archived",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "subject": Param(
            "A flower bud on a stem, morning light",
            type="string",
            minLength=1,
            title="Picture",
            description="What the first picture shows.",
        ),
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START image_to_video]
    frame = EvoLinkImageOperator(task_id="frame", model="gpt-image-2", prompt="{{ params.subject }}")
    first = EvoLinkImageToVideoOperator(
        task_id="first",
        generation_mode="first_frame",
        image_start=frame.output,
        prompt="The bud opens into a flower",
        duration=2,
    )
    extend = EvoLinkImageToVideoOperator(
        task_id="extend",
        generation_mode="video_continuation",
        video_urls=[first.output],
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
    frame >> first >> extend >> download >> archive
