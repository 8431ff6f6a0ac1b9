"""
### A cast with voices: reference video

Who appears comes from reference pictures and clips, named in the prompt as "Image 1" and "Video 1". `voice_bindings`
gives each its voice. With any reference clip the video is at most 10 seconds long. The result is downloaded in the same
task (`destination=`), the shortest form: nothing waits between the job's end and the download.

**Settings**: as for `evolink_daily_video`. **Parameters** `host`, `guest`, `host_voice`: HTTPS links that open without
login.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkReferenceVideoOperator

with DAG(
    dag_id="evolink_reference_cast",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "host": "https://example.com/host.png",
        "guest": "https://example.com/guest.mp4",
        "host_voice": "https://example.com/host.mp3",
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START reference_cast]
    interview = EvoLinkReferenceVideoOperator(
        task_id="interview",
        prompt="Image 1 interviews Video 1 in a quiet library",
        image_urls=["{{ params.host }}"],
        video_urls=["{{ params.guest }}"],
        voice_bindings={"image1": "{{ params.host_voice }}"},
        aspect_ratio="16:9",
        duration=4,
        destination="{{ var.value.get('evolink_staging', 'file:///tmp/evolink/staging') }}",
    )
    # [END reference_cast]
