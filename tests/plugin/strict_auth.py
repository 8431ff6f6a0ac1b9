"""An auth manager with what the simple one lacks: users whose rights on a DAG, or on its XComs, are refused."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

PRIVATE = "private_"  # what the DAGs begin with that the user "outsider" may not read


class StrictAuthManager(SimpleAuthManager):
    """Refuses by the name of the user: ``outsider`` private DAGs, ``no_xcoms`` all XComs, ``no_tasks`` all tasks."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        """Return whether a user may."""
        name, dag_id = user.get_name(), (details.id if details else None) or ""
        if name == "outsider" and dag_id.startswith(PRIVATE):
            return False
        if name == "no_xcoms" and access_entity == DagAccessEntity.XCOM:
            return False
        if name == "no_tasks" and access_entity == DagAccessEntity.TASK_INSTANCE:
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
