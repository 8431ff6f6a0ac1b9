"""Rows of Airflow's database for the tests of the pages, written by Airflow's own models."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import insert, update

NOW = datetime.now(UTC)
Key = tuple[str, int]


class Run:
    """
    A run in the database.

    :param dag_id: Its DAG.
    :param run_id: Its ID.
    """

    def __init__(self, dag_id: str, run_id: str | None = None) -> None:
        self.dag_id = dag_id
        self.run_id = run_id or f"manual__{uuid.uuid4().hex[:8]}"
        with create_session() as session:
            row = DagRun(dag_id=dag_id, run_id=self.run_id, run_type="manual", run_after=NOW, state="running")
            session.add(row)
            session.flush()
            self.number = row.id

    def task(
        self, task_id: str, *, state: str = "success", map_index: int = -1, operator: str = "EvoLinkGenerateOperator"
    ) -> None:
        """Add a task instance."""
        self.tasks([{"task_id": task_id, "state": state, "map_index": map_index, "operator": operator}])

    def tasks(self, rows: list[dict[str, Any]]) -> None:
        """Add task instances."""
        common = {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "try_number": 1,
            "max_tries": 0,
            "pool": "default_pool",
            "pool_slots": 1,
            "start_date": NOW,
            "end_date": NOW,
            "executor_config": {},
        }
        with create_session() as session:
            session.execute(insert(TaskInstance), [{"id": uuid.uuid4(), **common, **row} for row in rows])

    def xcoms(self, rows: dict[Key, Any], key: str = "return_value") -> None:
        """Add what task instances have handed on."""
        common = {"dag_run_id": self.number, "dag_id": self.dag_id, "run_id": self.run_id, "key": key}
        values = [
            {**common, "task_id": task_id, "map_index": index, "value": value, "timestamp": NOW}
            for (task_id, index), value in rows.items()
        ]
        with create_session() as session:
            session.execute(insert(XComModel), values)

    def edit(self, task_id: str, value: Any, map_index: int = -1) -> None:
        """Change what a task instance has handed on, as a user with the right to may."""
        with create_session() as session:
            session.execute(
                update(XComModel)
                .where(XComModel.run_id == self.run_id, XComModel.task_id == task_id, XComModel.map_index == map_index)
                .values(value=value)
            )

    def hands(
        self, task_id: str, value: Any, *, map_index: int = -1, operator: str = "EvoLinkGenerateOperator"
    ) -> None:
        """Add a task instance that succeeded, and what it has handed on."""
        self.task(task_id, map_index=map_index, operator=operator)
        self.xcoms({(task_id, map_index): value})

    def record(self, task_id: str, record: dict[str, Any], map_index: int = -1) -> None:
        """Add the record of a generation."""
        from airflow.models.task_state_store import TaskStateStoreModel

        with create_session() as session:
            session.add(
                TaskStateStoreModel(
                    dag_run_id=self.number,
                    task_id=task_id,
                    map_index=map_index,
                    key="evolink_generation",
                    dag_id=self.dag_id,
                    run_id=self.run_id,
                    value=json.dumps(record),
                )
            )

    def renders(self, task_id: str, fields: dict[str, Any], map_index: int = -1) -> None:
        """Add the rendered fields of a task instance."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields

        names = {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": task_id, "map_index": map_index}
        with create_session() as session:
            session.execute(insert(RenderedTaskInstanceFields), [{**names, "rendered_fields": fields}])

    def address(self, view: str, task_id: str, *, map_index: object = -1, number: int | None = None) -> str:
        """Return the address of a page of a task instance."""
        middle = "" if number is None else f"/{number}"
        return f"/evolink/{view}/{self.dag_id}/{task_id}/{map_index}{middle}/{self.run_id}"
