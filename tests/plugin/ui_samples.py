"""Files of jobs as a download leaves them, with the receipt beside them, and what the task hands on of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_evolink.storage.archive.archiving import Archiving, archive_files
from airflow_provider_evolink.storage.media_file import JobInfo, MediaFile, Receipt
from airflow_provider_evolink.storage.object_store import publish_json

DAY = datetime(2026, 11, 3, 12, tzinfo=UTC)
CONTENT = bytes(range(256)) * 40
PROMPT = "a paper boat on a quiet lake"


def job(job_id: str = "task-1", **about: Any) -> dict[str, Any]:
    """Return what a generate task hands on of a finished job."""
    now = datetime.now(UTC)
    return {
        "job_id": job_id,
        "model": "wan2.7-text-to-video",
        "kind": "video",
        "status": "completed",
        "results": [f"https://results.example.com/{job_id}.mp4?signature=abc"],
        "outputs": [{"kind": "video"}],
        "made": {},
        "credits": 27.2,
        "credits_reserved": 27.2,
        "credits_charged": None,
        "created": now.isoformat(),
        "expires_at": (now + timedelta(hours=24)).isoformat(),
        "request": {"model": "wan2.7-text-to-video", "prompt": PROMPT, "duration": 5},
        "fingerprint": hashlib.sha256(job_id.encode()).hexdigest()[:32],
        "submitted": now.isoformat(),
        "completed": now.isoformat(),
        "request_id": None,
        **about,
    }


def record(job_id: str = "task-1", **about: Any) -> dict[str, Any]:
    """Return the record of a job."""
    return {
        "state": "delivered",
        "key": "af1-abc",
        "order_number": 0,
        "clear_count": 0,
        "fingerprint": "f" * 32,
        "model": "wan2.7-text-to-video",
        "ordered_at": datetime.now(UTC).timestamp() - 65,
        "job_id": job_id,
        "credits_reserved": 27.2,
        **about,
    }


def staged(
    folder: str | Path,
    job_id: str = "task-1",
    *,
    content: bytes = CONTENT,
    content_type: str = "video/mp4",
    name: str = "",
    **about: Any,
) -> dict[str, Any]:
    """Stage the file of a job with its receipt; return what the download of it hands on."""
    root = ObjectStoragePath(f"file://{folder}" if isinstance(folder, Path) else folder)
    path = root / (name or f"{job_id}-0.mp4")
    with path.open("wb") as file:
        file.write(content)
    known = JobInfo(created=DAY, credits=27.2, request={"prompt": PROMPT, "seed": 7})
    media = MediaFile(
        uri=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        content_type=content_type,
        index=0,
        job_id=job_id,
        model="wan2.7-text-to-video",
        width=1280,
        height=720,
        duration=5.0,
    )
    publish_json(Receipt(job_id=job_id, job=known, files=[media]).to_json(), root / f"{job_id}.json")
    return dict(media.downloaded(known.model_copy(update=about)))


def archived(folder: str | Path, dag_id: str, job_id: str = "task-1", **given: Any) -> dict[str, Any]:
    """Stage and archive the file of a job; return what the archive task hands on."""
    text = f"file://{folder}" if isinstance(folder, Path) else folder
    run = {"dag_id": dag_id, "run_id": "r", "task_id": "archive", "map_index": -1, "try_number": 1, "owner": "films"}
    (file,) = archive_files(
        [staged(folder, job_id, **given)], ObjectStoragePath(f"{text}/films"), run, Archiving(posters=False)
    )
    return dict(file)
