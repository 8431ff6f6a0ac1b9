"""Reads for the page of all DAGs: one query for each kind of thing in the window, of DAGs that the user may read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Text, and_, cast, func, or_, select

from airflow_provider_evolink.ledger.record import State
from airflow_provider_evolink.plugins.server import reads
from airflow_provider_evolink.plugins.server.airflow_core import (
    TaskInstance,
    TaskStateStoreModel,
    XComModel,
    create_session,
)
from airflow_provider_evolink.plugins.server.ledger_folder import folder_records
from airflow_provider_evolink.plugins.views.rows import AllRows, Place, RunAt, Seat
from airflow_provider_evolink.plugins.views.values import Handed, read_handed
from airflow_provider_evolink.task_failures import FAILURE

MAX_ROWS = 50_000  # of one kind, the latest
_OPEN = (State.INTENT, State.UNKNOWN)  # wait for a person, however old they are

MayList = Callable[[str], bool]


def read_all(since: datetime, may_list: MayList) -> AllRows:
    """
    Return what has happened since some moment, and all orders of unknown outcome.

    :param since: The moment, UTC.
    :param may_list: Whether the user may read the XComs and task instances of a DAG. Of others, no row is read.
    """
    handed: list[tuple[Seat, datetime, Handed]] = []
    failures: list[tuple[Seat, datetime, dict[str, Any]]] = []
    unread = 0
    dags, rows = _xcoms(since, may_list)
    for seat, key, value, moment in rows:
        if key == FAILURE:
            failures.append((seat, moment, value if isinstance(value, dict) else {}))
        elif reads.is_elsewhere(value):
            unread += 1
        elif not (found := read_handed(value)).is_empty:
            handed.append((seat, moment, found))
    known, records = _records(since, may_list)
    is_cut = max(len(rows), len(records)) >= MAX_ROWS
    return AllRows(tuple(handed), tuple(failures), tuple(records), tuple(sorted(dags | known)), unread, is_cut)


def _xcoms(since: datetime, may_list: MayList) -> tuple[set[str], list[tuple[Seat, str, Any, datetime]]]:
    model, of_task = XComModel, _of_the_task(XComModel)
    names_us = func.lower(TaskInstance.operator).contains("evolink", autoescape=True)
    which = and_(
        model.key.in_((reads.RETURNED, FAILURE)),
        model.timestamp >= since,
        or_(model.key == FAILURE, names_us, cast(model.value, Text).contains("job_id", autoescape=True)),
    )
    columns = (model.dag_id, model.run_id, model.task_id, model.map_index, TaskInstance.state)
    values = (model.key, model.value, model.timestamp)
    with create_session() as session:
        listed = session.scalars(select(model.dag_id).outerjoin(TaskInstance, of_task).where(which).distinct())
        dags = {dag_id for dag_id in listed if may_list(dag_id)}
        found = select(*columns, *values).outerjoin(TaskInstance, of_task).where(which, model.dag_id.in_(dags))
        rows = session.execute(found.order_by(model.timestamp.desc()).limit(MAX_ROWS)).all() if dags else []
    return dags, [(_seat(row), row[5], reads.parsed(row[6]), _utc(row[7])) for row in rows]


def _records(since: datetime, may_list: MayList) -> tuple[set[str], list[tuple[Seat, Any]]]:
    model = TaskStateStoreModel
    if model is None:  # before Airflow 3.3
        return _from_folder(since, may_list)
    is_open = or_(*(model.value.contains(f'"{state}"', autoescape=True) for state in _OPEN))
    which = and_(model.key.startswith(reads.RECORD, autoescape=True), or_(model.updated_at >= since, is_open))
    columns = (model.dag_id, model.run_id, model.task_id, model.map_index, TaskInstance.state, model.value)
    with create_session() as session:
        dags = {dag_id for dag_id in session.scalars(select(model.dag_id).where(which).distinct()) if may_list(dag_id)}
        found = select(*columns).outerjoin(TaskInstance, _of_the_task(model)).where(which, model.dag_id.in_(dags))
        rows = session.execute(found.order_by(model.updated_at.desc()).limit(MAX_ROWS)).all() if dags else []
    return dags, [(_seat(row), record) for row in rows if (record := reads.read_stored(row[5]))]


def _from_folder(since: datetime, may_list: MayList) -> tuple[set[str], list[tuple[Seat, Any]]]:
    """Return records of the ledger folder, with the state of their task instances."""
    found = folder_records(since)
    dags = {dag_id for dag_id in {run.dag_id for run, _, _ in found} if may_list(dag_id)}
    kept = [(run, place, record) for run, place, record in found if run.dag_id in dags]
    states = _states({run for run, _, _ in kept})
    return dags, [(Seat(run, place, states.get((run, place))), record) for run, place, record in kept]


def _states(runs: Iterable[RunAt]) -> dict[tuple[RunAt, Place], str | None]:
    model = TaskInstance
    columns = (model.dag_id, model.run_id, model.task_id, model.map_index, model.state)
    names = sorted({run.run_id for run in runs})
    found: dict[tuple[RunAt, Place], str | None] = {}
    with create_session() as session:
        for start in range(0, len(names), 500):
            rows = session.execute(select(*columns).where(model.run_id.in_(names[start : start + 500])))
            found |= {(RunAt(row[0], row[1]), Place(row[2], row[3])): row[4] for row in rows}
    return found


def _of_the_task(model: Any) -> Any:
    """Return the condition that a row is of a task instance."""
    names = ("dag_id", "run_id", "task_id", "map_index")
    return and_(*(getattr(model, name) == getattr(TaskInstance, name) for name in names))


def _seat(row: Any) -> Seat:
    return Seat(RunAt(row[0], row[1]), Place(row[2], row[3]), row[4])


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
