"""DAGs whose workers are killed, frozen or held up once, at named points."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from traps import FOLDER, Trapped

from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkTextToVideoOperator

ROWS = json.loads(Path(__file__).with_suffix(".json").read_text())


class Disturbed(Trapped, EvoLinkTextToVideoOperator):
    """Meets something at a point of its work, once."""

    def __init__(self, *, point: str | None = None, act: str = "kill", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.point = point
        self.act = act


def settings(*, daily: bool) -> dict[str, Any]:
    """Return the settings of a DAG that runs when told; a daily one has a schedule whose days are over."""
    days = {"schedule": "@daily", "end_date": pendulum.datetime(2025, 1, 9, tz="UTC")} if daily else {"schedule": None}
    return {
        **days,
        "catchup": False,
        "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
        "is_paused_upon_creation": False,
        "default_args": {"retries": 2, "retry_delay": timedelta(seconds=1), "duration": 2},
    }


def make_dag(
    row: str,
    *,
    daily: bool = False,
    store: bool = False,
    ledger: bool = False,
    mapped: int = 0,
    batch: int = 0,
    **arguments: Any,
) -> DAG:
    """
    Return a DAG of one task, whose prompt names its row.

    :param daily: It has days to backfill.
    :param store: It downloads its result.
    :param ledger: It keeps a second record in a folder.
    :param mapped: It is mapped, so often.
    :param batch: It is a batch of so many orders.
    """
    if store:
        arguments["destination"] = f"file://{FOLDER}/{row}"
    if ledger:
        arguments["ledger_path"] = f"file://{FOLDER}/ledger"
    with DAG(dag_id=row, **settings(daily=daily)) as dag:
        if mapped:
            prompts = [f"Clip {number} of row {row}" for number in range(mapped)]
            arguments.setdefault("evolink_conn_id", "evolink_mapped")
            Disturbed.partial(task_id="generate", **arguments).expand(prompt=prompts)
        elif batch:
            wanted = [{"prompt": f"Clip {number} of row {row}", "duration": 2} for number in range(batch)]
            EvoLinkBatchOperator(
                task_id="generate", model="wan2.7-text-to-video", requests=wanted, max_active=batch, **arguments
            )
        else:
            Disturbed(task_id="generate", prompt=f"Clip of row {row}", **arguments)
    return dag


for name, given in ROWS.items():
    globals()[name] = make_dag(name, **given)
