"""An archive of ten thousand jobs on local disk: how long the index takes, and what a look-up reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_provider_evolink.storage.archive import EvoLinkArchive, index
from airflow_provider_evolink.storage.archive.fold import fold
from airflow_provider_evolink.storage.archive.index import Row, find_request
from benchmarks.archive import fill, rows_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
JOBS = 10_000
QUERY = "SELECT model, count(DISTINCT job_id), sum(credits) FROM '{}/_evolink/days/*.parquet' GROUP BY model"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Return the rows of ten thousand jobs, of ninety days."""
    return rows_of(JOBS)


@pytest.fixture(scope="module")
def archive(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> EvoLinkArchive:
    """Fill a folded index, each day at once."""
    folder = tmp_path_factory.mktemp("archive")
    root = ObjectStoragePath(f"file://{folder}")
    fill(root, rows)
    return EvoLinkArchive(f"file://{folder}")


def best(act: Callable[[], Any]) -> float:
    """Return the seconds of the best of three rounds."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return min(times)


def test_duckdb_reads_the_folded_index_within_a_second(archive: EvoLinkArchive) -> None:
    """Each job counts once."""
    query = QUERY.format(archive.root.path)
    assert sum(row[1] for row in duckdb.sql(query).fetchall()) == JOBS
    assert best(lambda: duckdb.sql(query).fetchall()) < 1


def test_find_takes_less_than_two_seconds(archive: EvoLinkArchive) -> None:
    """Whether for all jobs or for some."""
    assert sum(1 for _ in archive.find()) == JOBS
    assert best(lambda: sum(1 for _ in archive.find())) < 2
    week = {"model": "model-1", "since": "2026-02-01", "until": "2026-02-08"}
    assert 0 < len(list(archive.find(**week))) < JOBS
    assert best(lambda: list(archive.find(**week))) < 2


@pytest.mark.parametrize("number", [0, JOBS - 1, JOBS])
def test_a_look_up_is_one_read(archive: EvoLinkArchive, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Of a request that is there, and of one that is not."""
    reads: list[Any] = []
    read = index.read_json
    monkeypatch.setattr(index, "read_json", lambda path: (reads.append(path), read(path))[1])
    found = find_request(archive.root, f"{number:032x}")
    assert (found is not None) == (number < JOBS)
    assert len(reads) == 1


def test_a_job_takes_little_room(archive: EvoLinkArchive, rows: list[Row]) -> None:
    """What docs/archive.md says of growth: a look-up object of 0.3 kB, a row of 1 kB, and 0.2 to 0.4 kB once folded."""
    folder = Path(archive.root.path) / "_evolink"
    folded = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / JOBS
    lookups = sum(path.stat().st_size for path in folder.rglob("requests/*/*.json")) / JOBS
    single = sum(len(row.model_dump_json()) for row in rows) / JOBS
    assert 100 < folded < 450
    assert 200 < lookups < 400
    assert 700 < single < 1300


def test_a_fold_of_what_came_later_loses_and_doubles_nothing(archive: EvoLinkArchive, rows: list[Row]) -> None:
    """Rows of folded days that are written again, and new ones of the same days."""
    late = [row.model_copy(update={"job_id": f"late-{row.job_id}"}) for row in rows[:50]]
    for row in [*rows[:50], *late]:
        index.write_index(archive.root, row)
    assert sum(1 for _ in archive.find()) == JOBS + 50
    assert sum(fold(archive.root).values()) == 100
    ids = [row["job_id"] for row in archive.find()]
    assert len(ids) == len(set(ids)) == JOBS + 50
