"""
### From draft to final: chaining jobs

`draft` generates an inexpensive draft, `final` the same clip in full quality. `final` is given the draft's job (its
ID would also do). Put a review between them, and only approved drafts cost the full price. EvoLink keeps a draft
until `draft_expires_at`, which is in `made` of the result. Other models extend a job in the same way, under other
names: a Midjourney upscale takes `{"model_params": {"task_id": ..., "image_number": 0}}`.

**Configuration**: as for `evolink_daily_video`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator, EvoLinkVideoOperator

with DAG(
    dag_id="evolink_draft_to_final",
    dag_display_name="EvoLink: from draft to final",
    description="A cheap draft, then the final clip from it, archived",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START draft_to_final]
    draft = EvoLinkVideoOperator(
        task_id="draft",
        model="seedance-2.5-text-to-video",
        prompt="A paper boat drifts down a rainy street at dawn",
        duration=4,
        aspect_ratio="16:9",
        parameters={"draft": True},
    )
    final = EvoLinkVideoOperator(
        task_id="final",
        model="seedance-2.5-draft-to-video",
        parameters={"source_task_id": draft.output},
    )
    # [END draft_to_final]
    download = EvoLinkDownloadOperator(
        task_id="download",
        job=final.output,
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
    )
    archive = EvoLinkArchiveOperator(
        task_id="archive",
        files=download.output,
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    draft >> final >> download >> archive
