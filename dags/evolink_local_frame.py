"""
### From your own image to a clip in the archive

`animate` animates an image that Airflow can read, on the worker or in object storage. The image is checked against
the limits of the model, uploaded to EvoLink just before the request is submitted, and kept there for 72 hours. A
retry or another generation from the same image reuses the upload.

**Configuration**: as for `evolink_daily_video`. The location of the image stands in this file; it may be
`s3://aws_default@my-bucket/bud.png` as well. A template, filled from a variable or a form, could name any picture that
the worker may read: it needs `[evolink] input_roots` in the configuration of the deployment.
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
    dag_id="evolink_local_frame",
    dag_display_name="EvoLink: a clip from your own picture",
    description="Uploads a picture of yours and archives the clip that begins with it",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START local_frame]
    animate = EvoLinkImageToVideoOperator(
        task_id="animate",
        image_start="file:///srv/evolink/bud.png",
        prompt="The bud opens into a flower",
        duration=2,
    )
    # [END local_frame]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=animate.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    animate >> download >> archive
