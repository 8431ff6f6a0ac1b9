"""
The index of an archive of 10,000 jobs on local disk: DuckDB over folded days, ``find``, and the look-up of a request.

    .venv/bin/python -m benchmarks.archive [JOBS]
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_evolink.storage.archive import EvoLinkArchive
from airflow_provider_evolink.storage.archive.fold import fold, parquet_of
from airflow_provider_evolink.storage.archive.index import Row, lookup_of, lookup_path, row_of, write_index
from airflow_provider_evolink.storage.archive.manifest import Manifest
from airflow_provider_evolink.storage.archive.reader import day_path

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 90
SOME = 1000  # jobs that are archived one by one


def manifest(number: int) -> Manifest:
    """Return the manifest of a job as a real one is."""
    created = START + timedelta(days=number % DAYS, seconds=number)
    name = f"task-unified-{number:08}-abcdefgh"
    file = {"name": f"{name}-0.mp4", "index": 0, "sha256": f"{number:064x}", "size": 5_000_000 + number}
    file |= {
        "content_type": "video/mp4",
        "width": 1280,
        "height": 720,
        "duration": 5.0,
        "poster": f"{name}-0.poster.jpg",
    }
    about = {"created": created, "submitted": created, "completed": created, "archived": created, "credits": 10.88}
    run = {
        "dag_id": f"dag-{number % 7}",
        "run_id": f"scheduled__{created:%Y-%m-%d}",
        "task_id": "archive",
        "map_index": number,
    }
    request = {"prompt": f"A paper boat drifts down street {number} at dawn, single shot", "duration": 5}
    return Manifest.model_validate(
        {"job_id": name, "model": f"model-{number % 5}", "kind": "video", "fingerprint": f"{number:032x}"}
        | about
        | {"airflow": run, "request": request, "files": [file]}
    )


def rows_of(jobs: int) -> list[Row]:
    """Return the rows of so many jobs."""
    made = (manifest(number) for number in range(jobs))
    return [row_of(one, f"{one.model}/{one.job_id}") for one in made]


def fill(root: ObjectStoragePath, rows: list[Row]) -> None:
    """Write a folded index at once, as the archiving and folding of these jobs leave it."""
    for day, group in itertools.groupby(sorted(rows, key=lambda row: row.day), key=lambda row: row.day):
        write(day_path(root, day), parquet_of(list(group)))
    for lookup in filter(None, map(lookup_of, rows)):
        write(lookup_path(root, lookup.fingerprint), lookup.model_dump_json().encode())


def write(path: ObjectStoragePath, content: bytes) -> None:
    """Write a file on disk."""
    Path(path.parent.path).mkdir(parents=True, exist_ok=True)
    Path(path.path).write_bytes(content)


def timed(name: str, act: Callable[[], Any], rounds: int = 3) -> Any:
    """Print the best of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        result = act()
        times.append(time.perf_counter() - began)
    print(f"{name:44} {min(times):8.3f} s")
    return result


def main(jobs: int) -> None:
    """Fill an archive and measure."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        root, archive = ObjectStoragePath(f"file://{folder}"), EvoLinkArchive(f"file://{folder}")

        rows = timed(f"make the rows of {jobs} jobs", lambda: rows_of(jobs), 1)
        some = rows[:: max(1, jobs // SOME)]
        timed(f"write row and look-up of {len(some)} jobs", lambda: [write_index(root, row) for row in some], 1)
        timed("find, nothing folded", lambda: sum(1 for _ in archive.find()), 1)
        sizes = sum(path.stat().st_size for path in Path(folder).rglob("*.json"))
        timed("fold", lambda: fold(root), 1)
        fill(root, rows)
        folded = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        count = timed("find, folded", lambda: sum(1 for _ in archive.find()))
        timed(
            "find of one model and week, folded",
            lambda: list(archive.find(model="model-1", since="2026-02-01", until="2026-02-08")),
        )
        timed("look-up of a request", lambda: archive.request(f"{7:032x}"))
        query = (
            f"SELECT model, count(DISTINCT job_id), sum(credits) FROM '{folder}/_evolink/days/*.parquet' GROUP BY model"
        )
        timed("DuckDB over folded days", lambda: duckdb.sql(query).fetchall())
        print(json.dumps({"jobs": count, "JSON per job": sizes // len(some), "Parquet per job": folded // jobs}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
