"""
The ledger stores the record of a generation where the next try finds it.

It uses Airflow's task state store (3.3 and later) and, if ``ledger_path`` is set, a folder in object storage. With
both, a record that is lost in one is found in the other.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import tenacity
from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.arguments.rules import is_absolute, is_template
from airflow_provider_evolink.compat import never_expire
from airflow_provider_evolink.ledger.folder_store import FolderStore
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity, merge_over, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from airflow.providers.common.compat.sdk import Context

SUBMITTED_RETRY_SECONDS = 600.0  # for the ID of a paid job: longer than a restart of the API server
SECOND_COPY_RETRY_SECONDS = 10.0  # once one store has it
_STATES = tuple(State)
_STATE_STORE = threading.RLock()  # Airflow answers one call at a time, and `dag.test()` fails a second one
_LOGIN = re.compile(r"(://)[^/@]*@")

log = logging.getLogger(__name__)


class Store(Protocol):
    """A place that holds the record of one generation."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def get(self) -> Any | None:
        """Return what is stored, or ``None`` if nothing is; raise if that is not certain."""

    def set(self, value: dict[str, Any]) -> None:
        """Store it without expiry."""


@runtime_checkable
class ConditionalStore(Protocol):
    """A store that can write on the condition that nobody else has, and so needs fewer reads."""

    def last_read(self) -> tuple[Any | None] | None:
        """Return what the last read found, if nobody needs another before an intent."""

    def prove(self, proof: Callable[[str], str], proven: AbstractSet[str]) -> None:
        """Find out whether it honors conditions."""

    def replace_last_read(self, record: Record) -> bool:
        """Write over what was last read, and return whether that was possible."""


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
        with _STATE_STORE:
            return self.accessor.get(self.key)

    def set(self, value: dict[str, Any]) -> None:
        """Store it without expiry."""
        with _STATE_STORE:
            self.accessor.set(self.key, value, retention=never_expire())


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
        return _newest([self._value(store) for store in self.stores])

    def read_one_copy(self) -> Record | None:
        """
        Return the copy in the folder, if there is one, which many threads can read at once, else in the other store.

        It may be missing or old: it is enough to wait for a job, and never to submit.

        :raises EvoLinkError: as :meth:`read`.
        """
        return _newest([self._value(store) for store in self.stores[-1:]])

    def read_again(self) -> Record | None:
        """
        Return the newest copy as of now. What was read a moment ago is read once more where writes may be blind.

        :raises EvoLinkError: as :meth:`read`.
        """
        known = [store.last_read() if isinstance(store, ConditionalStore) else None for store in self.stores]
        return _newest(
            [last[0] if last else self._value(store) for store, last in zip(self.stores, known, strict=True)]
        )

    def prove(self, proof: Callable[[str], str], proven: AbstractSet[str]) -> None:
        """
        Find out which stores honor the conditions of writes: they are read once before an order, the others twice.

        :param proof: Proves that a folder takes files; returns its endpoint if that is an S3 that honors conditions.
        :param proven: The endpoints of which that is known in this run.
        """
        for store in self.stores:
            if isinstance(store, ConditionalStore):
                store.prove(proof, proven)

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

    def _value(self, store: Store) -> Any | None:
        found = _attempt(store, "read", store.get)
        if self.on_step:
            self.on_step(f"reading the {store.name}")
        return found

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


def _newest(found: Iterable[Any | None]) -> Record | None:
    copies = [read_record(value) for value in found if value is not None]
    return max(copies, key=lambda record: (record.revision, _STATES.index(record.state)), default=None)


def _write_over_unreadable(store: Store, record: Record) -> bool:
    """Write, and return whether the store is settled: it has the record, or a newer one of another try."""
    with contextlib.suppress(Exception):  # what failed is tried again, after a read
        if isinstance(store, ConditionalStore) and store.replace_last_read(record):
            return True
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
