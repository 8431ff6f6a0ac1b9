"""
The ledger keeps the record of a generation where the next try finds it.

In Airflow's task state store (3.3 and later), and in a folder of object storage where one is named; with both, a
record that is lost in one is found in the other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from typing import TYPE_CHECKING, Any, Protocol

import tenacity
from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError
from airflow_provider_evolink.compat import never_expire, task_state_store
from airflow_provider_evolink.ledger.record import Record, TaskIdentity, merge_over, newest_of, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

PATIENCE = 600.0  # for the id of a paid job: longer than a restart of the API server
SHORT_PATIENCE = 10.0  # for the second copy of it
MAX_RECORD = 64 * 1024
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

log = logging.getLogger(__name__)


class Store(Protocol):
    """One place for the record of one generation."""

    name: str

    def get(self) -> Any | None:
        """Return what is there, or ``None``; raise if that cannot be told."""

    def set(self, value: dict[str, Any]) -> None:
        """Keep it for ever."""


class StateStore:
    """
    Airflow's task state store. A try that was cleared away cannot write to it any more: its id is gone.

    :param accessor: ``context["task_state_store"]``.
    :param key: Name of the record.
    """

    name = "task state store"

    def __init__(self, accessor: Any, key: str) -> None:
        self._accessor = accessor
        self._key = key

    def get(self) -> Any | None:
        """Return the record as JSON, or ``None``."""
        return self._accessor.get(self._key)

    def set(self, value: dict[str, Any]) -> None:
        """Keep it for ever."""
        self._accessor.set(self._key, value, retention=never_expire())


class FolderStore:
    """
    A folder in object storage, with one file per generation.

    :param root: The folder; a connection may stand in it, as in ``s3://conn_id@bucket/ledger``.
    :param identity: Which generation.
    """

    name = "ledger folder"

    def __init__(self, root: str, identity: TaskIdentity) -> None:
        self._root = root
        self._place = list(identity.path)

    def get(self) -> Any | None:
        """Return the record as JSON, or ``None`` if there is no file."""
        path = self._path()
        try:
            with path.open("rb") as file:  # type: ignore[no-untyped-call]
                content = file.read(MAX_RECORD + 1)
        except FileNotFoundError:
            return None
        try:
            found = json.loads(content)
            if found["of"] == self._place:
                return found["record"]
        except (ValueError, KeyError, TypeError):
            pass
        raise EvoLinkConfigError(
            f"{path.name} in the ledger folder is not the record of this task, so nothing is ordered. What to do: look "
            "at it; delete it to order anew"
        )

    def set(self, value: dict[str, Any]) -> None:
        """Keep it for ever: nothing of ours deletes it."""
        from airflow_provider_evolink.storage.object_store import publish_json

        publish_json({"of": self._place, "record": value}, self._path())

    def _path(self) -> ObjectStoragePath:
        from airflow_provider_evolink.storage.object_store import open_folder

        dag_id, run_id, task_id, map_index, *part = self._place
        digest = hashlib.sha256(json.dumps([dag_id, run_id, task_id, map_index, *part]).encode()).hexdigest()[:40]
        folder = open_folder(self._root, what="ledger_path")
        return folder / _UNSAFE.sub("_", str(dag_id))[:80] / _UNSAFE.sub("_", str(task_id))[:80] / f"{digest}.json"


class Ledger:
    """
    Reads and writes the record of one generation. Without a store it remembers nothing.

    :param stores: Where it is kept.
    """

    def __init__(self, *stores: Store) -> None:
        self._stores = stores

    @classmethod
    def of(cls, context: Context, *, durable: bool, path: str | None = None, part: int | None = None) -> Ledger:
        """
        Open the ledger of the running task instance, or of one of its requests.

        :param context: Context of ``execute`` or of the resume method (never of a trigger).
        :param durable: False remembers nothing: a retry orders again.
        :param path: Folder for a copy. Default: ``[evolink] ledger_path``.
        :param part: Number of the request, where the task orders many.
        """
        if not durable:
            return cls()
        accessor = task_state_store(context)
        root = path or str(conf.get("evolink", "ledger_path", fallback="") or "")
        identity = TaskIdentity.of(context, part)
        stores: list[Store] = [] if accessor is None else [StateStore(accessor, identity.record_name)]
        return cls(*stores, *([FolderStore(root, identity)] if root else []))

    @property
    def is_durable(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._stores)

    def read(self) -> Record | None:
        """
        Return the record, or ``None`` if there is none.

        :raises EvoLinkConfigError: what is stored is not a record of ours; nothing is ordered on such ground.
        :raises EvoLinkLedgerError: a store does not answer; nothing is ordered on such ground either.
        """
        found = [_asked(store.name, "read", store.get) for store in self._stores]
        return newest_of(read_record(value) for value in found if value is not None)

    def write_intent(self, record: Record) -> None:
        """
        Store a record in all places and read it back. After a failure nothing may be ordered.

        :param record: The record.
        :raises EvoLinkLedgerError: a store does not keep it.
        """
        value = record.to_json()
        for store in self._stores:
            _asked(store.name, "written", functools.partial(store.set, value))
            if _asked(store.name, "read back", store.get) != value:
                raise EvoLinkLedgerError(f"the {store.name} does not keep what is written to it, so nothing is ordered")

    def write_best_effort(self, record: Record, *, over: Record | None = None) -> None:
        """
        Store a record where that is possible; a failure is only logged, since nothing paid depends on it.

        :param record: The record.
        :param over: Write over this one only: an intent that a place refused may not be taken back over another's.
        """
        for store in self._stores:
            _kept(store, record, over=over)

    def write_submitted(self, record: Record) -> None:
        """
        Store the record of a job that is paid, with patience.

        :param record: The record, with its job id.
        :raises EvoLinkLedgerError: no store takes it for ten minutes, or this try was cleared away meanwhile.
        """
        missing = list(self._stores)

        def attempt() -> bool:
            missing[:] = [store for store in missing if not _kept(store, record, at_any_rate=True)]
            return not missing

        def enough(state: tenacity.RetryCallState) -> bool:
            some = len(missing) < len(self._stores)
            return (state.seconds_since_start or 0.0) > (SHORT_PATIENCE if some else PATIENCE)

        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda done: not done),
            stop=enough,
            wait=tenacity.wait_exponential(multiplier=0.5, max=30),
            retry_error_callback=lambda _: False,
        )(attempt)
        if self._stores and len(missing) == len(self._stores):
            raise EvoLinkLedgerError(
                "the job is ordered, but its id could not be recorded, so a retry would not find it. What to do: wait "
                "for it with EvoLinkJobSensor and this job id",
                job_id=record.job_id,
            )


def _kept(store: Store, record: Record, *, over: Record | None = None, at_any_rate: bool = False) -> bool:
    try:
        latest = _stored(store, at_any_rate=at_any_rate)
        value = merge_over(latest, record) if over in (None, latest) else None
        if value is None:
            log.warning("EvoLink job %s: the %s holds another record, which stays", record.job_id, store.name)
        else:
            store.set(value.to_json())
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        log.warning("EvoLink job %s: the %s was not written (%s)", record.job_id, store.name, type(error).__name__)
        return False
    return True


def _stored(store: Store, *, at_any_rate: bool) -> Record | None:
    """Return what a store holds; at any rate: ``None`` also for what cannot be read, which is written over."""
    try:
        found = store.get()
        return None if found is None else read_record(found)
    except Exception:
        if at_any_rate:
            return None
        raise


def _asked(name: str, what: str, ask: Callable[[], Any]) -> Any:
    """Ask a store for something; whatever it raises means that nothing may be ordered."""
    try:
        return ask()
    except EvoLinkConfigError:
        raise
    except Exception as error:
        raise EvoLinkLedgerError(
            f"the {name} could not be {what} ({type(error).__name__}), so nothing is ordered. A retry asks again"
        ) from error
