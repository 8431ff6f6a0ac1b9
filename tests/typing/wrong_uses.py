"""What cannot be: a type checker refuses every line that says so."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkTextToVideoOperator,
)
from airflow_provider_evolink.sensors import EvoLinkJobSensor

EvoLinkTextToVideoOperator(task_id="task", prompt=7)  # refused
EvoLinkGenerateOperator(task_id="task", model="m", on_clear="pay")  # refused
EvoLinkGenerateOperator(task_id="task", model="m", kind="movie")  # refused
EvoLinkGenerateOperator(task_id="task", model="m", durable="no")  # refused
EvoLinkGenerateOperator(task_id="task", model="m", max_credits=timedelta(1))  # refused
EvoLinkGenerateOperator(task_id="task", model="m", destination=7)  # refused
EvoLinkBatchOperator(task_id="task", requests={"prompt": "p"})  # refused
EvoLinkBatchOperator(task_id="task", requests=[{"prompt": "p"}], on_failed_job="ignore")  # refused
EvoLinkDownloadOperator(task_id="task", job=7, destination="file:///srv/x")  # refused
EvoLinkJobSensor(task_id="task", job_id="task-unified-1-x", poll_interval="soon")  # refused
