"""Who may see what: Airflow's own checks, per DAG and kind of thing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from airflow_provider_evolink.plugins.server.airflow_core import (
    DagAccessEntity,
    GetUserDep,
    requires_access_dag,
    requires_authenticated,
)

# Prompts, links and files are in XComs; the right to them is the right to read the DAG's XComs.
OF_XCOMS = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))
OF_TASKS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
OF_USERS = Depends(requires_authenticated())


class Reader:
    """
    The user of a request.

    :param request: The request.
    :param user: Airflow's user.
    """

    def __init__(self, request: Request, user: GetUserDep) -> None:
        self._request = request
        self._user = user

    def may_read(self, dag_id: str) -> bool:
        """
        Return whether the user may read the XComs of a DAG.

        :param dag_id: The DAG.
        """
        return self._may(dag_id, DagAccessEntity.XCOM)

    def may_list(self, dag_id: str) -> bool:
        """
        Return whether the user may read the XComs and the task instances of a DAG: lists over DAGs need both.

        :param dag_id: The DAG.
        """
        return self._may(dag_id, DagAccessEntity.XCOM) and self._may(dag_id, DagAccessEntity.TASK_INSTANCE)

    def _may(self, dag_id: str, entity: DagAccessEntity) -> bool:
        check: Any = requires_access_dag("GET", entity, dag_id)
        try:
            check(self._request, self._user)
        except HTTPException:
            return False
        return True


def reader_of(request: Request, user: GetUserDep) -> Reader:
    """
    Return the user of a request. A function: FastAPI before 0.118 finds no names in the annotations of classes.

    :param request: The request.
    :param user: Airflow's user.
    """
    return Reader(request, user)


User = Annotated[Reader, Depends(reader_of)]
