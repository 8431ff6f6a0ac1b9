"""
### A cast with voices: reference video

Reference images and clips define who appears; the prompt names them as "Image 1" and "Video 1". `voice_bindings`
assigns each of them a voice. With a reference clip, the video is at most 10 seconds long. The result is downloaded in
the same task (`destination=`), the shortest form: the download starts as soon as the job has finished.

**Configuration**: as for `evolink_daily_video`. **Parameters** `host`, `guest`, `host_voice`: HTTPS links that open
without login.
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
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    # [END reference_cast]
