"""Reads of Airflow's database: one query for each kind of thing, and nothing is ever written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from airflow.providers.common.compat.sdk import conf
from sqlalchemy import and_, select

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.ledger.record import Record, read_record
from airflow_provider_evolink.plugins.server.airflow_core import (
    RenderedTaskInstanceFields,
    TaskInstance,
    TaskStateStoreModel,
    XComModel,
    create_session,
    stored_value,
)
from airflow_provider_evolink.plugins.server.ledger_folder import folder_record, has_folder
from airflow_provider_evolink.plugins.views.rows import Place, RunAt, RunRows, TaskRow
from airflow_provider_evolink.plugins.views.values import Handed, read_handed
from airflow_provider_evolink.task_failures import FAILURE

RETURNED = "return_value"
REVIEWED = "evolink_review"  # what a review shows; it stays what its page shows when some of it is chosen
MAX_STORED = 20  # values that are read from a store of XComs for one page
RECORD = "evolink_generation"
MAX_TEXTS = 4  # of JSON in JSON
_JSON_BEGINS = ("[", "{", '"')


def read_tasks(dag_id: str, run_id: str, place: Place | None = None) -> dict[Place, TaskRow]:
    """
    Return the task instances of a run.

    :param dag_id: The DAG.
    :param run_id: The run.
    :param place: Only this one.
    """
    model = TaskInstance
    columns = (model.task_id, model.map_index, model.state, model.operator, model.start_date, model.end_date)
    found = select(*columns).where(model.dag_id == dag_id, model.run_id == run_id)
    if place:
        found = found.where(model.task_id == place.task_id, model.map_index == place.map_index)
    with create_session() as session:
        rows = session.execute(found).all()
    return {Place(row[0], row[1]): TaskRow(Place(row[0], row[1]), *row[2:]) for row in rows}


def read_handed_by(dag_id: str, run_id: str, place: Place) -> Handed:
    """
    Return what one task instance has handed on.

    :param dag_id: The DAG.
    :param run_id: The run.
    :param place: The task instance.
    """
    for _, key, value in _xcoms(dag_id, run_id, place):
        if key == RETURNED:
            return read_handed(_fetched(value) if is_elsewhere(value) else value)
    return Handed()


def read_run(dag_id: str, run_id: str, first: Place | None = None) -> RunRows:
    """
    Return what a page needs of a run.

    Values that an XCom backend keeps in a store are read for the first few task instances only.

    :param dag_id: The DAG.
    :param run_id: The run.
    :param first: The task instance whose value is read before others.
    """
    tasks = read_tasks(dag_id, run_id)
    handed: dict[Place, Handed] = {}
    failures: dict[Place, dict[str, Any]] = {}
    stored: list[tuple[Place, Any]] = []
    for place, key, value in _xcoms(dag_id, run_id):
        if key == FAILURE:
            failures[place] = value if isinstance(value, dict) else {}
        elif is_elsewhere(value):
            stored.append((place, value))
        elif not (found := read_handed(value)).is_empty:
            handed[place] = found
    stored.sort(key=lambda one: one[0] != first)
    unread = _read_stored(stored, tasks, handed)
    records = _records(dag_id, run_id)
    if first in tasks and first not in records and tasks[first].names_us:
        kept = folder_record(RunAt(dag_id, run_id), first)
        records |= {first: (kept,)} if kept else {}
    return RunRows(tasks, handed, failures, records, unread)


def read_orders(run: RunAt, place: Place) -> tuple[Record, ...]:
    """
    Return the records of one task instance.

    :param run: The run.
    :param place: The task instance.
    """
    if TaskStateStoreModel is None:
        kept = folder_record(run, place)
        return (kept,) if kept else ()
    model = TaskStateStoreModel
    which = (model.run_id == run.run_id, model.task_id == place.task_id, model.map_index == place.map_index)
    return tuple(record for _, record in _stored_records(run.dag_id, and_(*which)))


def read_connection(run: RunAt, place: Place) -> str | None:
    """
    Return the connection of a task instance, as Airflow has rendered it; ``None``: it has kept none.

    :param run: The run.
    :param place: The task instance.
    """
    model = RenderedTaskInstanceFields
    found = select(model.rendered_fields).where(
        *(model.dag_id == run.dag_id, model.run_id == run.run_id),
        *(model.task_id == place.task_id, model.map_index == place.map_index),
    )
    with create_session() as session:
        fields = parsed(session.execute(found).scalar())
    conn_id = fields.get("evolink_conn_id") if isinstance(fields, dict) else None
    return conn_id if isinstance(conn_id, str) and conn_id else None


def _xcoms(dag_id: str, run_id: str, place: Place | None = None) -> Iterable[tuple[Place, str, Any]]:
    model = XComModel
    found = select(model.task_id, model.map_index, model.key, model.value).where(
        model.dag_id == dag_id, model.run_id == run_id, model.key.in_((RETURNED, REVIEWED, FAILURE))
    )
    if place:
        found = found.where(model.task_id == place.task_id, model.map_index == place.map_index)
    with create_session() as session:
        rows = session.execute(found).all()
    return _shown([(Place(row[0], row[1]), row[2], parsed(row[3])) for row in rows])


def _shown(rows: list[tuple[Place, str, Any]]) -> list[tuple[Place, str, Any]]:
    """Let what a review shows stand for what it returns, which is some of it."""
    reviews = {place for place, key, _ in rows if key == REVIEWED}
    kept = [row for row in rows if row[1] != RETURNED or row[0] not in reviews]
    return [(place, RETURNED if key == REVIEWED else key, value) for place, key, value in kept]


def parsed(value: Any) -> Any:
    """
    Return a value as JSON: some releases of Airflow keep its text, and 3.1 the text of a text once it was edited.

    :param value: What the database holds.
    """
    for _ in range(MAX_TEXTS):
        if not isinstance(value, str) or value[:1] not in _JSON_BEGINS:
            break
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value


def is_elsewhere(value: Any) -> bool:
    """
    Return whether the database holds a reference to a value, not the value.

    :param value: What the database holds.
    """
    if not isinstance(value, str) or "://" not in value:
        return False
    backend = str(conf.get("core", "xcom_backend", fallback="") or "")
    return not backend.endswith(".BaseXCom")


def _fetched(reference: str) -> Any:
    """
    Return the value that a reference stands for.

    :raises LookupError: the backend does not take it for one of its own, or a step in it may lead elsewhere.
    """
    value = None if ".." in unquote(reference) else stored_value(reference)
    if value is None or value == reference:
        raise LookupError
    return value


def _read_stored(
    stored: list[tuple[Place, Any]], tasks: dict[Place, TaskRow], handed: dict[Place, Handed]
) -> dict[Place, str]:
    unread = {}
    ours = [(place, value) for place, value in stored if place in tasks and tasks[place].names_us]
    for number, (place, value) in enumerate(ours):
        if number >= MAX_STORED:
            unread[place] = "its XCom is in an object store, and is read on its own tab only"
            continue
        try:
            found = read_handed(_fetched(value))
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            unread[place] = f"its XCom is in an object store that cannot be read here ({type(error).__name__})"
            continue
        if not found.is_empty:
            handed[place] = found
    return unread


def _records(dag_id: str, run_id: str) -> dict[Place, tuple[Record, ...]]:
    found: dict[Place, tuple[Record, ...]] = {}
    for place, record in _stored_records(dag_id, TaskStateStoreModel.run_id == run_id if TaskStateStoreModel else None):
        found[place] = (*found.get(place, ()), record)
    return found


def has_ordered(run: RunAt, job_id: str) -> bool:
    """
    Return whether a record of the DAG names a job. XComs can be edited, so they prove nothing here.

    Records are in Airflow's task state store; before 3.3 in the ledger folder, where those of this run are read.

    :param run: The run.
    :param job_id: The job.
    """
    return _is_in_store(run.dag_id, job_id) or (has_folder() and _is_in_folder(run, job_id))


def can_see_orders() -> bool:
    """Return whether records of orders can be read here at all."""
    return TaskStateStoreModel is not None or has_folder()


def _is_in_folder(run: RunAt, job_id: str) -> bool:
    for place, key, value in _xcoms(run.dag_id, run.run_id):
        jobs = read_handed(value).jobs if key == RETURNED else ()
        for number, job in enumerate(jobs):
            item = number if isinstance(value, list) else None  # of a batch
            if job.job_id == job_id and (found := folder_record(run, place, item)) and found.job_id == job_id:
                return True
    return False


def _is_in_store(dag_id: str, job_id: str) -> bool:
    if TaskStateStoreModel is None:
        return False
    names_it = TaskStateStoreModel.value.contains(job_id, autoescape=True)
    return any(record.job_id == job_id for _, record in _stored_records(dag_id, names_it))


def _stored_records(dag_id: str, which: Any) -> list[tuple[Place, Record]]:
    if TaskStateStoreModel is None:  # before Airflow 3.3
        return []
    model = TaskStateStoreModel
    found = select(model.task_id, model.map_index, model.value).where(
        model.dag_id == dag_id, model.key.startswith(RECORD, autoescape=True), which
    )
    with create_session() as session:
        rows = session.execute(found.order_by(model.id)).all()
    return [(Place(row[0], row[1]), record) for row in rows if (record := read_stored(row[2]))]


def read_stored(text: Any) -> Record | None:
    """
    Return a record; ``None``: it is none of ours.

    :param text: What the task state store holds.
    """
    try:
        return read_record(json.loads(text) if isinstance(text, str) else text)
    except (ValueError, EvoLinkConfigError):
        return None
