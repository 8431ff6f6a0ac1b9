"""
### A cast with voices: reference video

Reference images and clips define who appears; the prompt names them as "Image 1" and "Video 1". `voice_bindings`
assigns each of them a voice. Here both come from other tasks: a job stands where a link could. The result is downloaded
in the same task (`destination=`), the shortest form: the download starts as soon as the job has finished.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import (
    EvoLinkAudioOperator,
    EvoLinkImageOperator,
    EvoLinkReferenceVideoOperator,
)

with DAG(
    dag_id="evolink_reference_cast",
    dag_display_name="EvoLink: a cast with voices",
    description="A picture and a voice become a speaking person",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START reference_cast]
    host = EvoLinkImageOperator(task_id="host", model="gpt-image-2", prompt="A librarian, friendly, facing the camera")
    voice = EvoLinkAudioOperator(
        task_id="voice",
        model="qwen-audio-3.1-tts-flash",
        prompt="Welcome to the quiet library.",
        parameters={"response_format": "wav"},
    )
    welcome = EvoLinkReferenceVideoOperator(
        task_id="welcome",
        prompt="Image 1 welcomes the viewer to a quiet library",
        image_urls=[host.output],
        voice_bindings={"image1": voice.output},
        aspect_ratio="16:9",
        duration=4,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    # [END reference_cast]
    [host, voice] >> welcome
