"""
The ledger stores the record of a generation where the next try finds it.

It uses Airflow's task state store (3.3 and later) and, if ``ledger_path`` is set, a folder in object storage. With
both, a record that is lost in one is found in the other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import tenacity
from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.arguments.rules import is_absolute, is_template
from airflow_provider_evolink.compat import never_expire
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity, merge_over, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

SUBMITTED_RETRY_SECONDS = 600.0  # for the ID of a paid job: longer than a restart of the API server
SECOND_COPY_RETRY_SECONDS = 10.0  # once one store has it
MAX_RECORD_BYTES = 64 * 1024
_STATES = tuple(State)
_LOGIN = re.compile(r"(://)[^/@]*@")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

log = logging.getLogger(__name__)


class LastRead(Enum):
    """What the last read of a folder found."""

    FOUND = "found"
    MISSING = "missing"
    FORBIDDEN = "forbidden"  # 403: S3's word for a missing object, too, where the role may not list


class Store(Protocol):
    """A place that holds the record of one generation."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def get(self) -> Any | None:
        """Return what is stored, or ``None`` if nothing is; raise if that is not certain."""

    def set(self, value: dict[str, Any]) -> None:
        """Store it without expiry."""


@dataclass(frozen=True)
class StateStore:
    """
    Airflow's task state store. It rejects writes of a try that was cleared meanwhile.

    :param accessor: ``context["task_state_store"]``.
    :param key: Name of the record.
    """

    accessor: Any
    key: str
    name: str = "task state store"

    def get(self) -> Any | None:
        """Return the record as JSON, or ``None``."""
        return self.accessor.get(self.key)

    def set(self, value: dict[str, Any]) -> None:
        """Store it without expiry."""
        self.accessor.set(self.key, value, retention=never_expire())


class FolderStore:
    """
    A folder in object storage with one file per generation. Unlike the task state store, it accepts any write.

    But where the last read found no record, an intent only creates its file, and replaces none. So a role that may not
    list, to which S3 reports a missing record and one that may not be read alike, pays once only.

    :param root: URI of the folder; it may name a connection, as in ``s3://conn_id@bucket/ledger``.
    :param identity: Whose record it is.
    """

    name = "ledger folder"

    def __init__(self, root: str, identity: TaskIdentity) -> None:
        self._root = root
        self._owner = list(identity.path)
        self._last_read = LastRead.FOUND

    def get(self) -> Any | None:
        """Return the record as JSON, or ``None`` if the file does not exist, as far as this role can tell."""
        from airflow_provider_evolink.storage.object_store import parse_json, read_bytes

        path = self._path()
        self._last_read = LastRead.FOUND
        try:
            content = read_bytes(path, MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            self._last_read = LastRead.MISSING
            return None
        except PermissionError:
            if path.protocol not in ("s3", "s3a"):
                raise
            self._last_read = LastRead.FORBIDDEN
            return None
        try:
            found = parse_json(content, f"{path.name} in the ledger folder")
            if found["of"] == self._owner:
                return found["record"]
        except (ValueError, KeyError, TypeError):
            pass
        raise EvoLinkConfigError(
            f"{path.name} in the ledger folder is not the record of this task, so nothing was submitted. What to do: "
            "check the file; delete it to submit, and pay, again"
        )

    def set(self, value: dict[str, Any]) -> None:
        """Store it; this package never deletes it."""
        from airflow_provider_evolink.storage.writable import not_writable

        try:
            self._write(value)
        except FileExistsError:
            self._accept_only(value)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise not_writable(error, self._root, "ledger_path") from error

    def _write(self, value: dict[str, Any]) -> None:
        from airflow_provider_evolink.storage.object_store import create_json, publish_json

        document, path = {"of": self._owner, "record": value}, self._path()
        if self._last_read is LastRead.FOUND or value.get("job_id"):
            publish_json(document, path)
            return
        if self._last_read is LastRead.FORBIDDEN:
            self._check_creates_only()
        create_json(document, path)

    def _accept_only(self, value: dict[str, Any]) -> None:
        """There is a file that the last read did not find: it may be this very record, if a response was lost."""
        if self.get() == value:
            return
        if self._last_read is LastRead.FORBIDDEN:
            raise EvoLinkConfigError(
                "the ledger folder has a record of this task that this role may not read (403), so nothing was "
                "submitted. What to do: grant the right to get objects below ledger_path, and clear the task"
            )
        text = (
            "another try has just written its record to the ledger folder, so nothing was submitted. What to do: see "
        )
        raise EvoLinkLedgerError(f"{text}the latest try of this task")

    def _check_creates_only(self) -> None:
        from airflow_provider_evolink.storage.object_store import open_folder
        from airflow_provider_evolink.storage.s3 import can_create_only

        if not can_create_only(open_folder(self._root, what="ledger_path")):
            raise EvoLinkConfigError(
                "the ledger folder answers 403 where no record may be, and its store takes no create-only writes, so a "
                "missing record cannot be told from one that may not be read; nothing was submitted. What to do: grant "
                "the right to list (s3:ListBucket) on ledger_path, and clear the task"
            )

    def _path(self) -> ObjectStoragePath:
        from airflow_provider_evolink.storage.object_store import below, open_folder

        dag_id, run_id, task_id, map_index, *item = self._owner
        digest = hashlib.sha256(json.dumps([dag_id, run_id, task_id, map_index, *item]).encode()).hexdigest()[:40]
        folder = open_folder(self._root, what="ledger_path")
        names = (_UNSAFE.sub("_", str(part))[:80] for part in (dag_id, task_id))
        return below(folder, *names, f"{digest}.json")


def ledger_root(path: Any = None) -> str:
    """
    Return the ledger folder, which must be the same place for every try, or a retry would not find the paid job.

    :param path: What the operator has; ``None``: ``[evolink] ledger_path``.
    :return: Its URI; empty if there is none.
    :raises EvoLinkConfigError: it is empty, an unrendered template, or relative to a worker's directory.
    """
    root = str(conf.get("evolink", "ledger_path", fallback="") if path is None else path).strip()
    if path is None and not root:
        return ""
    shown = sanitize(_LOGIN.sub(r"\1", root), 80)
    if not root or is_template(root) or not is_absolute(root):
        raise EvoLinkConfigError(
            f"ledger_path must be an absolute path or URI, such as s3://bucket/ledger, and is {shown!r}; nothing "
            "is submitted: a retry on another worker would not find the record and pay again. What to do: correct "
            "it"
        )
    return root


@dataclass(frozen=True)
class Ledger:
    """
    Reads and writes the record of one generation. Without a store nothing is remembered.

    Each write has a guarantee of its own: an intent is strict, a submitted job is patient, the rest is best effort.

    :param stores: Where the record is stored.
    :param on_step: Called with what was done after each call to a store on the way to an order.
    """

    stores: tuple[Store, ...] = ()
    on_step: Callable[[str], None] | None = None

    @classmethod
    def of(cls, context: Context, identity: TaskIdentity, *, durable: bool, path: str | None = None) -> Ledger:
        """
        Open the ledger of the running task instance, or of one request of a batch.

        :param context: Context of ``execute`` or of the resume method (never of a trigger).
        :param identity: Whose ledger it is.
        :param durable: False: nothing is remembered, and a retry submits and pays again.
        :param path: Folder for a copy. Default: ``[evolink] ledger_path``.
        """
        if not durable:
            return cls()
        accessor = context.get("task_state_store")  # Airflow 3.3 and later
        root = ledger_root(path)
        stores: list[Store] = [] if accessor is None else [StateStore(accessor, identity.record_name)]
        return cls((*stores, *([FolderStore(root, identity)] if root else [])))

    @property
    def is_durable(self) -> bool:
        """Whether anything is remembered."""
        return bool(self.stores)

    @property
    def is_fenced(self) -> bool:
        """Whether a store rejects the writes of a try that another one has followed. A folder does not."""
        return any(isinstance(store, StateStore) for store in self.stores)

    def read(self) -> Record | None:
        """
        Return the newest copy of the record, of two with the same revision the one further along; ``None``: no record.

        :raises EvoLinkConfigError: what is stored is not a record of ours; nothing may be submitted.
        :raises EvoLinkLedgerError: a store does not respond; nothing may be submitted either.
        """
        found = []
        for store in self.stores:
            found.append(_attempt(store, "read", store.get))
            if self.on_step:
                self.on_step(f"reading the {store.name}")
        copies = [read_record(value) for value in found if value is not None]
        return max(copies, key=lambda record: (record.revision, _STATES.index(record.state)), default=None)

    def write_intent(self, record: Record) -> None:
        """
        Write the intent to submit to every store and read it back. If this fails, nothing may be submitted.

        :param record: The record, without a job ID.
        :raises EvoLinkLedgerError: a store did not take it, or does not return what was written.
        """
        value = record.to_json()
        for store in self.stores:
            _attempt(store, "written", functools.partial(store.set, value))
            if self.on_step:
                self.on_step(f"writing to the {store.name}")
            if _attempt(store, "read back", store.get) != value:
                raise EvoLinkLedgerError(
                    f"the {store.name} does not return what was written, so nothing was submitted. What to do: check it"
                )
            if self.on_step:
                self.on_step(f"reading back from the {store.name}")

    def write_submitted(self, record: Record) -> None:
        """
        Write the ID of a paid job. Without it a retry would not find the job, so this is tried for ten minutes.

        A record that cannot be read is overwritten. A newer one of another try stays.

        :param record: The record, with its job ID.
        :raises EvoLinkLedgerError: no store took it in time, or this try was cleared meanwhile.
        """
        missing = list(self.stores)

        def write_missing() -> bool:
            missing[:] = [store for store in missing if not _write_over_unreadable(store, record)]
            return not missing

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            has_copy = len(missing) < len(self.stores)
            limit = SECOND_COPY_RETRY_SECONDS if has_copy else SUBMITTED_RETRY_SECONDS
            return (state.seconds_since_start or 0.0) > limit

        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda done: not done),
            stop=is_too_late,
            wait=tenacity.wait_exponential(multiplier=0.5, max=30),
            retry_error_callback=lambda _: False,
        )(write_missing)
        if self.stores and len(missing) == len(self.stores):
            raise EvoLinkLedgerError(
                "the job was submitted, but its ID could not be recorded, so a retry would not find it. What to do: "
                "wait for it with EvoLinkJobSensor and this job ID",
                job_id=record.job_id,
            )

    def write_best_effort(self, record: Record, *, replacing: Record | None = None) -> None:
        """
        Write a record that no payment depends on, once. A failure is only logged.

        A newer record of another try stays, and so does one that cannot be read.

        :param record: The record.
        :param replacing: Write only over this one, where an intent may not have reached every store.
        """
        for store in self.stores:
            _write_once(store, record, replacing)


def reason_of(error: Exception) -> str:
    """
    Return why a store failed, without its own words, which may hold a login.

    :param error: What it raised.
    """
    cause = error.__cause__ or error if isinstance(error, EvoLinkConfigError) else error
    why = f": {os.strerror(cause.errno)}" if isinstance(cause, OSError) and cause.errno else ""
    return f"{type(cause).__name__}{why}"


def _write_over_unreadable(store: Store, record: Record) -> bool:
    """Write, and return whether the store is settled: it has the record, or a newer one of another try."""
    try:
        latest = _stored(store)
    except Exception:  # noqa: BLE001 - a paid job is worth more than what cannot be read
        latest = None
    try:
        _write_merged(store, latest, record)
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        _log_failure(store, record, error)
        return False
    return True


def _write_once(store: Store, record: Record, replacing: Record | None) -> None:
    try:
        latest = _stored(store)
        if replacing is not None and (latest is None or latest.revision < replacing.revision):
            return  # it was never written here
        if replacing in (None, latest):
            _write_merged(store, latest, record)
        else:
            _log_conflict(store, record)
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        _log_failure(store, record, error)


def _stored(store: Store) -> Record | None:
    found = store.get()
    return None if found is None else read_record(found)


def _write_merged(store: Store, latest: Record | None, record: Record) -> None:
    merged = merge_over(latest, record)
    if merged is None:
        _log_conflict(store, record)
    else:
        store.set(merged.to_json())


def _log_conflict(store: Store, record: Record) -> None:
    log.warning("%s: not recorded in the %s, which has a newer record of another try", record.label, store.name)


def _log_failure(store: Store, record: Record, error: Exception) -> None:
    log.warning("%s: not recorded in the %s (%s)", record.label, store.name, reason_of(error))


def _attempt(store: Store, what: str, call: Callable[[], Any]) -> Any:
    """Call a store; whatever it raises means that nothing may be submitted."""
    try:
        return call()
    except (EvoLinkConfigError, EvoLinkLedgerError):
        raise
    except Exception as error:
        raise EvoLinkLedgerError(
            f"the {store.name} could not be {what} ({reason_of(error)}), so nothing was submitted. A retry tries again"
        ) from error
