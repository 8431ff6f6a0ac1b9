"""
The ledger: our durable record of a generation, *intent -> submitted -> delivered*.

It lives in Airflow's task state store (3.3 and later), where everybody with access to the DAG can read and edit
it: no prompt, link or key goes in, and what comes out is checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.compat import never_expire, task_state_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

STORE_KEY = "evolink_generation"
VERSION = 1


class State(StrEnum):
    """How far a generation has come."""

    INTENT = "intent"
    REFUSED = "refused"
    SUBMITTED = "submitted"
    DELIVERED = "delivered"


@dataclass(frozen=True)
class Record:
    """
    One generation.

    :param state: How far it has come.
    :param key: Idempotency key of the order.
    :param epoch: How often this task instance has wanted a new generation.
    :param generation: Changes when the task is cleared, not when it is retried.
    :param fingerprint: Hash of the request body.
    :param ordered_at: Epoch seconds of the order; the deadline counts from it.
    :param job_id: EvoLink's id, once known.
    """

    state: State
    key: str
    epoch: int
    generation: int
    fingerprint: str
    model: str
    ordered_at: float
    job_id: str | None = None
    version: int = VERSION


@dataclass(frozen=True)
class Identity:
    """
    Which generation a task instance means: the same for every retry, another for another run or map index.

    :param generation: The task's ``max_tries``: Airflow raises it when a task is cleared, and neither a retry nor a
        new ``retries`` in the DAG file changes it.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    generation: int

    @classmethod
    def of(cls, context: Context) -> Identity:
        """
        Read it from the context of ``execute``.

        :param context: Context of ``execute``.
        """
        ti: Any = context["ti"]
        map_index = getattr(ti, "map_index", None)
        return cls(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if map_index is None else map_index,
            generation=int(getattr(ti, "max_tries", 0) or 0),
        )

    def key(self, namespace: str, epoch: int, attempt: int | None = None) -> str:
        """
        Return the idempotency key: the same intent always gives the same key. The body is not in it, since
        templates may move between tries.

        :param namespace: Name of the deployment, so that two of them never share an order.
        :param epoch: How often a new generation was wanted since the record began.
        :param attempt: Number of the try, where every try is meant to order.
        """
        parts = [namespace, self.dag_id, self.run_id, self.task_id, self.map_index, self.generation, epoch]
        parts += [] if attempt is None else [attempt]
        digest = hashlib.sha256(json.dumps(parts).encode()).digest()
        return "af1-" + base64.b32encode(digest).decode().rstrip("=").lower()


class Act(StrEnum):
    """What a try does with what it finds."""

    ORDER = "order"
    ATTACH = "attach"
    ASK = "ask"


def decide(record: Record | None, identity: Identity) -> tuple[Act, int]:
    """
    Return what to do, and the epoch of the order.

    A generation is used until its result was delivered; after that a retry still gets it, a clear wants a new one.

    :param record: What the ledger holds.
    :param identity: Which generation is meant now.
    """
    if record is None:
        return Act.ORDER, 0
    if record.state is State.INTENT:
        return Act.ASK, record.epoch
    if record.state is State.REFUSED:
        return Act.ORDER, record.epoch
    if record.state is State.DELIVERED and record.generation != identity.generation:
        return Act.ORDER, record.epoch + 1
    return Act.ATTACH, record.epoch


def fingerprint(body: Mapping[str, Any]) -> str:
    """
    Return a short hash of a request body.

    :param body: The request body.
    :raises EvoLinkRequestError: it cannot be sent as JSON. Said here, before there is an intent to order.
    """
    try:
        text = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation

        rule = f"must be plain JSON: text, numbers, true, false, lists and objects ({type(error).__name__})"
        raise EvoLinkRequestError(str(body.get("model")), [Violation("parameters", rule)]) from None
    return hashlib.sha256(text).hexdigest()[:32]


class Ledger:
    """
    Reads and writes the record of one task instance. Without a store it remembers nothing.

    :param store: Airflow's task state store, or ``None``.
    """

    def __init__(self, store: Any | None) -> None:
        self._store = store

    @classmethod
    def of(cls, context: Context, *, durable: bool) -> Ledger:
        """
        Open the ledger of the running task instance.

        :param context: Context of ``execute`` or of the resume method (never of a trigger).
        :param durable: False remembers nothing: a retry orders again.
        """
        return cls(task_state_store(context) if durable else None)

    @property
    def is_durable(self) -> bool:
        """Whether anything is remembered."""
        return self._store is not None

    def read(self) -> Record | None:
        """
        Return the record, or ``None`` if there is none.

        :raises EvoLinkConfigError: what is stored is not a record of ours; nothing is ordered on such ground.
        """
        if self._store is None:
            return None
        value = self._store.get(STORE_KEY)
        return None if value is None else _record(value)

    def write(self, record: Record) -> None:
        """
        Store the record for ever. A failure raises: after one, nothing may be ordered.

        :param record: The record.
        """
        if self._store is not None:
            self._store.set(STORE_KEY, asdict(record), retention=never_expire())

    def advance(self, record: Record, state: State, job_id: str | None = None) -> Record:
        """
        Store the next state of a record and return it.

        :param record: The record so far.
        :param state: Its new state.
        :param job_id: EvoLink's id, once known.
        """
        moved = replace(record, state=state, job_id=job_id or record.job_id)
        self.write(moved)
        return moved

    def adopt(self, record: Record, identity: Identity) -> Record:
        """
        Note that a cleared task has attached to an order of before the clear, so that only the next clear means a
        new one.

        :param record: The record so far.
        :param identity: Which generation is meant now.
        """
        if record.generation == identity.generation:
            return record
        adopted = replace(record, generation=identity.generation)
        self.write(adopted)
        return adopted


def _record(value: Any) -> Record:
    """Check what the store holds: anybody with access to the DAG may have edited it."""
    from airflow_provider_evolink.api.errors import EvoLinkConfigError
    from airflow_provider_evolink.api.models import JOB_ID

    try:
        record = Record(
            state=State(value["state"]),
            key=str(value["key"])[:96],
            epoch=int(value["epoch"]),
            generation=int(value["generation"]),
            fingerprint=str(value["fingerprint"])[:64],
            model=str(value["model"])[:128],
            ordered_at=float(value["ordered_at"]),
            job_id=value.get("job_id"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        record = None
    known = record is not None and (record.job_id is None or JOB_ID.fullmatch(str(record.job_id)) is not None)
    if record is None or not known or (record.job_id is None and record.state in (State.SUBMITTED, State.DELIVERED)):
        raise EvoLinkConfigError(
            f"the record of this task's generation (task state store, key {STORE_KEY}) is not readable, so nothing is "
            "ordered. What to do: look at it in the Storage tab of the task instance; delete it to order anew"
        )
    return record
