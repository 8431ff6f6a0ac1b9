"""Records in the ledger folder: what is known of orders where Airflow has no task state store (before 3.3)."""

from __future__ import annotations

import logging
from datetime import datetime

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath

from airflow_provider_evolink.compat import store_connection
from airflow_provider_evolink.ledger.folder_store import FolderStore
from airflow_provider_evolink.ledger.ledger import ledger_root
from airflow_provider_evolink.ledger.record import Record, TaskIdentity, read_record
from airflow_provider_evolink.ledger.stored_records import read_folder
from airflow_provider_evolink.plugins.views.rows import Place, RunAt

log = logging.getLogger(__name__)


def has_folder() -> bool:
    """Return whether ``[evolink] ledger_path`` is set for the API server."""
    try:
        return bool(ledger_root())
    except Exception:  # noqa: BLE001 - a wrong setting is for the tasks to complain about
        return False


def folder_record(run: RunAt, place: Place, item: int | None = None) -> Record | None:
    """
    Return the record of a generation in ``[evolink] ledger_path``; ``None``: there is none that can be read here.

    :param run: The run.
    :param place: The task instance.
    :param item: Number of the request in a batch.
    """
    identity = TaskIdentity(run.dag_id, run.run_id, place.task_id, place.map_index, clear_count=0, item=item)
    try:
        root = ledger_root()
        if not root:
            return None
        if conn_id := store_connection(ObjectStoragePath(root)):
            BaseHook.get_connection(conn_id)
        found = FolderStore(root, identity).get()
        return None if found is None else read_record(found)
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        log.info("A record of the ledger folder cannot be read here (%s)", type(error).__name__)
        return None


def folder_records(since: datetime) -> list[tuple[RunAt, Place, Record]]:
    """
    Return the records in ``[evolink] ledger_path`` that were written since some moment; none where it cannot be read.

    :param since: The moment.
    """
    try:
        root = ledger_root()
        if not root:
            return []
        if conn_id := store_connection(ObjectStoragePath(root)):
            BaseHook.get_connection(conn_id)
        records, _ = read_folder(None, since.timestamp())
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        log.info("The ledger folder cannot be read here (%s)", type(error).__name__)
        return []
    return [
        (RunAt(str(dag_id), str(run_id)), Place(str(task_id), int(map_index)), one.record)
        for one in records
        for dag_id, run_id, task_id, map_index in [one.owner[:4]]
    ]
