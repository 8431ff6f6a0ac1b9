"""
An index that repeats the records of a large batch, so that a worker reads it in place of hundreds of entries.

It is a hint, written at best effort: it is enough to wait for a job, and nothing is ever ordered because of it. Before
an order the record itself is read, whatever the index holds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_evolink.compat import never_expire
from airflow_provider_evolink.ledger.folder_store import file_of
from airflow_provider_evolink.ledger.record import Record, read_record

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.ledger.record import TaskIdentity

MAX_INDEX_BYTES = 16 * 1024 * 1024
PAGE = 64  # records in an entry of the task state store, which warns of more than 64 KB
KEY = "evolink_batch_index"
NOTE = "Repeats the records of a batch, to save calls. It may be deleted."

log = logging.getLogger(__name__)


class BatchIndex(Protocol):
    """The index of one batch."""

    def read(self) -> dict[int, Record]:
        """Return records by the numbers of their requests; whatever cannot be read is not among them."""

    def write(self, records: Mapping[int, Record]) -> None:
        """Write records by the numbers of their requests. A failure is only logged."""


class StateIndex:
    """
    The index in Airflow's task state store, in pages.

    :param accessor: ``context["task_state_store"]``.
    :param count: How many requests there are.
    """

    def __init__(self, accessor: Any, count: int) -> None:
        self._accessor, self._count = accessor, count
        self._pages: dict[int, Any] = {}

    def read(self) -> dict[int, Record]:
        """Return records by the numbers of their requests; whatever cannot be read is not among them."""
        try:
            for page in range(-(-self._count // PAGE)):
                self._pages[page] = self._accessor.get(f"{KEY}_{page}")
            return {
                int(number): read_record(value)
                for content in self._pages.values()
                if content
                for number, value in content["records"].items()
            }
        except Exception as error:  # noqa: BLE001 - a person may have edited it, and the records are what counts
            log.debug("No index of the batch (%s)", type(error).__name__)
            return {}

    def write(self, records: Mapping[int, Record]) -> None:
        """
        Write the pages that have changed. A failure is only logged.

        :param records: By the numbers of their requests.
        """
        pages: dict[int, dict[str, Any]] = {}
        for number, record in records.items():
            pages.setdefault(number // PAGE, {})[str(number)] = record.to_json()
        try:
            for page, values in pages.items():
                content = {"note": NOTE, "records": values}
                if self._pages.get(page) != content:
                    self._accessor.set(f"{KEY}_{page}", content, retention=never_expire())
                    self._pages[page] = content
        except Exception as error:  # noqa: BLE001 - the next worker reads the records
            _warn(error)


class FolderIndex:
    """
    The index beside the records in the ledger folder, in one file.

    :param root: URI of the folder.
    :param identity: The task instance.
    """

    def __init__(self, root: str, identity: TaskIdentity) -> None:
        self._root = root
        self._owner = [identity.dag_id, identity.run_id, identity.task_id, identity.map_index]

    def read(self) -> dict[int, Record]:
        """Return records by the numbers of their requests; whatever cannot be read is not among them."""
        from airflow_provider_evolink.storage.object_store import parse_json, read_bytes

        try:
            path = self._path()
            found = parse_json(read_bytes(path, MAX_INDEX_BYTES), path.name)
            if found["of"] != self._owner:
                return {}
            return {int(number): read_record(value) for number, value in found["records"].items()}
        except Exception as error:  # noqa: BLE001 - every store has its own errors, and the records are what counts
            log.debug("No index of the batch (%s)", type(error).__name__)
            return {}

    def write(self, records: Mapping[int, Record]) -> None:
        """
        Write it. A failure is only logged.

        :param records: By the numbers of their requests.
        """
        from airflow_provider_evolink.storage.object_store import JSON_TYPE, json_bytes, publish_bytes

        values: dict[str, Any] = {str(number): record.to_json() for number, record in records.items()}
        document = {"note": NOTE, "of": self._owner, "records": values}
        try:
            publish_bytes(json_bytes(document, None), self._path(), content_type=JSON_TYPE)
        except Exception as error:  # noqa: BLE001 - the next worker reads the records
            _warn(error)

    def _path(self) -> ObjectStoragePath:
        return file_of(self._root, self._owner, ".batch.json")


def _warn(error: Exception) -> None:
    log.warning("The index of the batch was not written (%s); the records are", type(error).__name__)
