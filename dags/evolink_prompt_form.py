"""
### A clip from a form

*Trigger* opens a form: prompt, model, aspect ratio, seconds and a budget. Somebody without access to the DAG file can
order with it. A request that may cost more than the budget is refused before anything is sent.

Prices are those of the catalog as of 2026-10-08, in credits.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator, EvoLinkVideoOperator

with DAG(
    dag_id="evolink_prompt_form",
    dag_display_name="EvoLink: a clip from a form",
    description="A form with prompt, model, aspect ratio, seconds and budget; one archived clip",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        # [START form]
        "prompt": Param(
            "A paper boat drifts down a rainy street at dawn, single shot",
            type="string",
            format="multiline",
            minLength=1,
            maxLength=5000,
            title="Prompt",
            description="What the clip shows: subject, movement, light, camera.",
        ),
        "model": Param(
            "wan2.7-text-to-video",
            type="string",
            enum=["wan2.7-text-to-video", "kling-v3-text-to-video"],
            values_display={
                "wan2.7-text-to-video": "Wan 2.7: 5.44 credits a second, at least 10.88",
                "kling-v3-text-to-video": "Kling v3: price not known, so refused under a budget",
            },
            title="Model",
        ),
        "aspect_ratio": Param(
            "16:9",
            type="string",
            enum=["16:9", "9:16", "1:1"],
            values_display={
                "16:9": "16:9 landscape, same price",
                "9:16": "9:16 portrait, same price",
                "1:1": "1:1 square, same price",
            },
            title="Aspect ratio",
        ),
        "seconds": Param(
            5,
            type="integer",
            minimum=3,
            maximum=15,
            title="Seconds",
            description="5 seconds of Wan 2.7 cost 27.2 credits.",
        ),
        "budget": Param(
            30,
            type="number",
            minimum=0,
            maximum=200,
            title="Budget (credits)",
            description="A clip that may cost more is refused, and costs nothing.",
        ),
        # [END form]
    },
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    generate = EvoLinkVideoOperator(
        task_id="generate",
        model="{{ params.model }}",
        prompt="{{ params.prompt }}",
        aspect_ratio="{{ params.aspect_ratio }}",
        duration="{{ params.seconds }}",
        max_credits="{{ params.budget }}",
    )
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
