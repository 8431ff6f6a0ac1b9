"""
### Run whenever something is archived

`evolink_daily_video` names the asset alias `evolink_archive` among the outlets of its archive task, so that each
archived job raises an asset event. This DAG is scheduled on the alias and gets the metadata of the new files: URI,
checksum, size, duration, model and credits. Add the alias to the archive tasks of your other DAGs to have them here.

Needs Airflow 3. Nothing is submitted, so nothing is charged; you can clear it as often as you like.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, AssetAlias, task

ARCHIVED = AssetAlias("evolink_archive")

with DAG(
    dag_id="evolink_on_archive",
    dag_display_name="EvoLink: after each archived job",
    description="Runs whenever a task archives a job, with its metadata in hand",
    schedule=[ARCHIVED],
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START on_archive]
    @task
    def list_new(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return what has been archived since the last run: put your own processing here."""
        return [event.extra for event in triggering_asset_events[ARCHIVED]]

    # [END on_archive]
    list_new()
