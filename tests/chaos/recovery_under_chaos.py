"""Two DAGs: one orders a batch whose run is deleted, the other recovers what it paid for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkRecoverOperator

ROWS = json.loads(Path(__file__).with_suffix(".json").read_text())
FOLDER = f"{Path(os.environ['CHAOS_FOLDER']).as_uri()}/recovery"
COMMON = {"ledger_path": f"{FOLDER}/ledger", "evolink_conn_id": "evolink_recovered"}


def make_dag(name: str, *, orders: int = 0) -> DAG:
    """
    Return a DAG.

    :param orders: How many requests it orders; 0: it recovers.
    """
    with DAG(
        dag_id=name,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        is_paused_upon_creation=False,
    ) as dag:
        if orders:
            requests = [{"prompt": f"Clip {number} of row {name}"} for number in range(orders)]
            EvoLinkBatchOperator(task_id="generate", model="z-image-turbo", requests=requests, **COMMON)
        else:
            EvoLinkRecoverOperator(
                task_id="generate",
                source="{{ dag_run.conf['source'] }}",
                destination=f"{FOLDER}/staging",
                archive_path=FOLDER + "/{{ dag_run.conf['archive'] }}",
                **COMMON,
            )
    return dag


for row, given in ROWS.items():
    globals()[row] = make_dag(row, **given)
