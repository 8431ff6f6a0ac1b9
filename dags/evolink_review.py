"""
### Approve before the expensive step

Five cheap pictures are made and downloaded. `review` shows them under *Required Actions*: somebody picks the good ones,
and only these become clips. Without a response in three days, all are rejected and nothing more is ordered. The
pictures are files, so it works however long the response takes; no worker slot is used meanwhile.

Needs Airflow 3.1. For the pictures to be shown, `[evolink] ui_roots` names the folder of staging.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkReviewOperator,
)

STAGING = "{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}"

with DAG(
    dag_id="evolink_review",
    dag_display_name="EvoLink: approve before the expensive step",
    description="Five cheap pictures, of which a person picks those that become clips",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "subject": Param(
            "A paper boat on a rainy street",
            type="string",
            minLength=1,
            title="Subject",
            description="What all five pictures show.",
        ),
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START review]
    frame = EvoLinkImageOperator.partial(task_id="frame", model="gpt-image-2").expand(
        prompt=[
            f"{{{{ params.subject }}}}, {light}" for light in ("at dawn", "at noon", "at dusk", "at night", "in fog")
        ]
    )
    fetch = EvoLinkDownloadOperator.partial(task_id="fetch", destination=STAGING).expand(job=frame.output)
    review = EvoLinkReviewOperator(
        task_id="review",
        subject="Which pictures become clips?",
        results=fetch.output,
        next_credits=10.88,
        response_timeout=timedelta(days=3),
    )
    clip = EvoLinkImageToVideoOperator.partial(task_id="clip", prompt="It begins to move", duration=2).expand(
        image_start=review.output
    )
    # [END review]
    download = EvoLinkDownloadOperator.partial(task_id="download", destination=STAGING).expand(job=clip.output)
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    frame >> fetch >> review >> clip >> download >> archive
