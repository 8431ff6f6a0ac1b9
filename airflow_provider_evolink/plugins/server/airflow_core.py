"""Airflow's own names that only the API server has. None of them is promised, so they are imported here alone."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag, requires_authenticated
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session

__all__ = [
    "DagAccessEntity",
    "GetUserDep",
    "RenderedTaskInstanceFields",
    "TaskInstance",
    "TaskStateStoreModel",
    "XComModel",
    "create_session",
    "requires_access_dag",
    "requires_authenticated",
    "stored_value",
]

TaskStateStoreModel: Any
try:
    from airflow.models.task_state_store import TaskStateStoreModel
except ImportError:  # before Airflow 3.3
    TaskStateStoreModel = None


class _Row:
    """
    What a backend of XCom reads of a row.

    :param value: What the database holds.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


def stored_value(value: Any) -> Any:
    """
    Return what the XCom backend has stored elsewhere, as a task would read it.

    :param value: What the database holds of it.
    """
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.deserialize_value(_Row(value))
