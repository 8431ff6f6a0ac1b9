"""
### Speech: a request built in Python

`@task.evolink` submits what its function returns. The function runs inside the task, so it can read upstream results,
and nothing that it returns is rendered as a template: braces in a text are spoken as they are. It is called once per
submission; neither the resumption after the wait nor a retry that finds the job running calls it again.

**Configuration**: as for `evolink_daily_video`. **Parameter** `text`: the text to speak.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator

with DAG(
    dag_id="evolink_speech",
    dag_display_name="EvoLink: speech",
    description="Builds the request in Python, and archives the spoken text",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "text": Param(
            "The boat left at {{ dawn }}.",
            type="string",
            format="multiline",
            minLength=1,
            title="Text",
            description="What is spoken, braces included: nothing in it is rendered.",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START speech]
    @task.evolink(model="qwen-audio-3.1-tts-flash", kind="audio")
    def speak(params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"prompt": (params or {})["text"], "response_format": "wav", "speech_rate": 0.9}

    spoken = speak()
    # [END speech]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=spoken,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    spoken >> download >> archive
