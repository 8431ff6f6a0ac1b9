"""Staged files for tests of the archive, without a download."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_evolink.storage.archive.archiving import Archiving

RUN = {"dag_id": "dag", "run_id": "run", "task_id": "archive", "map_index": -1, "try_number": 1, "owner": "films"}
PLAIN = Archiving(posters=False)
DAY = datetime(2026, 11, 3, 12, tzinfo=UTC)


def staged(folder: Path, job_id: str = "task-1", index: int = 0, **about: Any) -> dict[str, Any]:
    """Stage a file, and return what the download of it would."""
    content = f"{job_id} {index}".encode()
    path = folder / f"{job_id.replace(':', '_')}-{index}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    job = {"created": DAY.isoformat(), "credits": 2.5, "request": {"prompt": "a boat", "seed": 7}}
    return {
        "uri": f"file://{path}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "content_type": "video/mp4",
        "index": index,
        "job_id": job_id,
        "model": "wan2.7-text-to-video",
        "job": {**job, "fingerprint": hashlib.sha256(job_id.encode()).hexdigest()[:32], **about},
    }


def root_of(path: Path | str) -> ObjectStoragePath:
    """Return an archive."""
    return ObjectStoragePath(f"file://{path}" if isinstance(path, Path) else path)


def files_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below a folder, with its time of change and its bytes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}
