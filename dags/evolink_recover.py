"""
### Recover paid jobs

The safety net of "never lose what was paid for": every six hours it archives each job of the last 24 hours whose
record is in the ledger folder and that no manifest knows: its run was deleted, its task was marked failed, or nobody
cleared it. It waits up to an hour for jobs that still run, and returns a report. Nothing is submitted, so nothing is
charged.

To recover certain jobs, trigger this DAG with their IDs. You find them in the log of the task that submitted the job,
in the record `evolink_generation` of its task instance, or on the EvoLink dashboard.

**Configuration**: as for `evolink_daily_video`, and a ledger folder: `[evolink] ledger_path`, or the variable
`evolink_ledger`. Without one, pause this DAG and trigger it with IDs only. **Parameters**: `job_id`: one of EvoLink's
IDs, `task-unified-...`, or several; empty: the ledger folder. `ledger_path`: another ledger folder. EvoLink keeps
result links for 24 hours.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_evolink.operators import EvoLinkRecoverOperator

with DAG(
    dag_id="evolink_recover",
    dag_display_name="EvoLink: recover paid jobs",
    description="Archives paid jobs that no task waits for any more",
    schedule="0 */6 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "job_id": Param(None, type=["null", "string"], title="Job IDs", description="Empty: the ledger folder"),
        "ledger_path": Param(None, type=["null", "string"], title="Ledger folder", description="Empty: the usual one"),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["evolink", "example"],
) as dag:
    # [START recover]
    recover = EvoLinkRecoverOperator(
        task_id="recover",
        job_ids="{{ params.job_id or '' }}",
        ledger_path="{{ params.ledger_path or var.value.get('evolink_ledger', '') }}",
        destination="{{ var.value.get('evolink_staging', 'file:///srv/evolink/staging') }}",
        archive_path="{{ var.value.get('evolink_archive', 'file:///srv/evolink/archive') }}",
    )
    # [END recover]
