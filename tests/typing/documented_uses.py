"""What the pages say one may write: every line type-checks, strictly, in mypy and in pyright."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, task

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkAudioOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkTextToVideoOperator,
    EvoLinkUploadOperator,
    EvoLinkVideoEditOperator,
    EvoLinkVideoOperator,
)
from airflow_provider_evolink.retry_policies import EvoLinkRetryPolicy
from airflow_provider_evolink.sensors import EvoLinkJobSensor

with DAG("documented_uses", schedule=None) as dag:

    @task
    def requests() -> list[dict[str, object]]:
        """Return the requests of a batch."""
        return [{"prompt": "a boat"}]

    @task.evolink(model="wan2.7-text-to-video")
    def shot(scene: str) -> dict[str, object]:
        """Return a request."""
        return {"prompt": scene}

    @task.evolink
    async def later(scene: str) -> dict[str, object]:
        """Return a request, once it is known."""
        return {"model": "wan2.7-text-to-video", "prompt": scene}

    draft = EvoLinkTextToVideoOperator(
        task_id="draft",
        prompt="{{ params.scene }}",
        duration="{{ params.seconds }}",
        seed=7,
        prompt_extend="{{ params.extend }}",
        audio_urls=["{{ params.music }}"],
        timeout=timedelta(hours=1),
        poll_interval=9,
        max_credits=30,
        destination=ObjectStoragePath("file:///srv/evolink"),
        ledger_path=Path("/srv/evolink/ledger"),
        retry_policy=EvoLinkRetryPolicy(),
    )
    EvoLinkTextToVideoOperator(
        task_id="all_from_others",
        model=draft.output,
        prompt=draft.output,
        negative_prompt=draft.output,
        audio_urls=draft.output,
        quality=draft.output,
        aspect_ratio=draft.output,
        duration=draft.output,
        seed=draft.output,
        prompt_extend=draft.output,
        parameters=draft.output,
        evolink_conn_id=draft.output,
        idempotency_namespace=draft.output,
        destination=draft.output,
        callback_url=draft.output,
        ledger_path=draft.output,
    )
    EvoLinkImageToVideoOperator(task_id="extend", video_urls=[draft.output], image_start=Path("/data/bud.png"))
    EvoLinkImageToVideoOperator(task_id="animate", image_start=draft.output, image_end="s3://bucket/last.png")
    EvoLinkImageToVideoOperator(task_id="of_upload", image_start=ObjectStoragePath("s3://bucket/first.png"))
    EvoLinkReferenceVideoOperator(
        task_id="cast",
        prompt="Image 1 speaks",
        image_urls=["https://example.com/a.png", Path("/data/a.png"), draft.output],
        voice_bindings={"image1": draft.output, "video1": "https://example.com/a.mp3"},
    )
    EvoLinkVideoEditOperator(task_id="edit", video_urls=draft.output, keep_original_sound=draft.output)
    EvoLinkGenerateOperator(
        task_id="generic", model="{{ params.model }}", parameters={"source_task_id": draft.output}, kind="video"
    )
    EvoLinkImageOperator(task_id="image", model="gpt-image-2", prompt=draft.output, size="{{ params.size }}")
    EvoLinkVideoOperator(task_id="video", model="m", prompt="p", duration="auto", image_urls=draft.output)
    EvoLinkAudioOperator(task_id="audio", model="suno-v5-beta", prompt=draft.output)
    clips = EvoLinkBatchOperator(
        task_id="clips", model="wan2.7-text-to-video", requests=requests(), parameters={"duration": 2}
    )
    EvoLinkBatchOperator(task_id="more", requests=({"prompt": "a boat", "model": "m"},), on_failed_job="collect")
    files = EvoLinkDownloadOperator(
        task_id="download", job=draft.output, destination="{{ var.value.staging }}", total_timeout=timedelta(hours=1)
    )
    EvoLinkDownloadOperator(task_id="by_id", job="task-unified-1-x", destination=Path("/srv/x"), max_bytes=10**9)
    EvoLinkDownloadOperator(task_id="of_shot", job=shot("a boat"), destination=files.output)
    EvoLinkDownloadOperator(task_id="of_later", job=later(scene="a boat"), destination="file:///srv/x")
    EvoLinkArchiveOperator(task_id="archive", files=files.output, archive_path=ObjectStoragePath("s3://bucket/archive"))
    EvoLinkArchiveOperator(task_id="one", files=[files.output], archive_path="{{ var.value.archive }}")
    EvoLinkUploadOperator(task_id="upload", path=files.output, path_conn_id="{{ params.conn }}")
    EvoLinkUploadOperator(task_id="upload_path", path=Path("/data/bud.png"))
    EvoLinkJobSensor(task_id="wait", job_id=draft.output, poll_interval=timedelta(seconds=30))
    EvoLinkJobSensor(task_id="wait_id", job_id=draft.output, evolink_conn_id="{{ params.conn }}")
    many = EvoLinkTextToVideoOperator.partial(task_id="many", duration=5).expand(prompt=["a", "b"])
    EvoLinkDownloadOperator.partial(task_id="many_files", destination="file:///srv/x").expand(job=many.output)
