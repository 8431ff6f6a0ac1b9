"""DAGs that re-use what is archived: one fills the archive, daily ones are backfilled, mapped ones order at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageOperator,
)

ROWS = json.loads(Path(__file__).with_suffix(".json").read_text())
FOLDER = Path(os.environ["CHAOS_FOLDER"]).as_uri()
START = pendulum.datetime(2025, 1, 1, tz="UTC")
ORDER: dict[str, Any] = {"model": "z-image-turbo", "evolink_conn_id": "evolink_mapped", "reuse": "same_request"}


def prompt_of(day: str, row: str) -> dict[str, Any]:
    """Return the request of a day."""
    return {"prompt": f"Sky of {day} for row {row}", "seed": 7}


@task
def files_of(results: Any) -> list[Any]:
    """Return the files of all results."""
    return [file for result in results for file in result["files"]]


def make_dag(name: str, *, row: str, archive: str, fill: int = 0, days: int = 0, mapped: int = 0) -> DAG:
    """
    Return a DAG.

    :param row: Whose requests it orders.
    :param archive: Root of the archive.
    :param fill: It orders those of so many days in one run.
    :param days: It has so many days, each of which orders its own.
    :param mapped: It orders one request in so many mapped tasks.
    """
    when: dict[str, Any] = {"schedule": "@daily", "end_date": START.add(days=days)} if days else {"schedule": None}
    archive = archive.replace("FOLDER", FOLDER)
    given = {**ORDER, "archive_path": archive}
    with DAG(dag_id=name, start_date=START, catchup=False, is_paused_upon_creation=False, **when) as dag:
        if mapped:
            same = [prompt_of("all", row)] * mapped
            EvoLinkImageOperator.partial(task_id="generate", **given).expand(parameters=same)
            return dag
        if fill:
            requests = [prompt_of(START.add(days=day).to_date_string(), row) for day in range(fill)]
            order = EvoLinkBatchOperator(task_id="generate", requests=requests, destination=f"{FOLDER}/{name}", **given)
            files: Any = files_of(order.output)
        else:
            one = EvoLinkImageOperator(task_id="generate", parameters=prompt_of("{{ ds }}", row), **given)
            files = EvoLinkDownloadOperator(
                task_id="download", job=one.output, destination=f"{FOLDER}/{name}", evolink_conn_id="evolink_mapped"
            ).output
        EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=archive, posters=False)
    return dag


for name, arguments in ROWS.items():
    globals()[name] = make_dag(name, **arguments)
