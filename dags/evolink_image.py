"""
### Two images from one prompt: generate, download, archive

`EvoLinkImageOperator` runs any image model. Its arguments are the fields that image models share; all others, such as
the number of images, go into `parameters` under EvoLink's names. `download` derives the extension of each image from
its content, whatever format was requested.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator, EvoLinkImageOperator

with DAG(
    dag_id="evolink_image",
    dag_display_name="EvoLink: two pictures from one prompt",
    description="One request with two pictures, archived",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START image]
    generate = EvoLinkImageOperator(
        task_id="generate",
        model="gpt-image-2",
        prompt="A paper boat on a rainy street at dawn",
        size="1024x1024",
        parameters={"n": 2, "output_format": "webp"},
    )
    # [END image]
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
