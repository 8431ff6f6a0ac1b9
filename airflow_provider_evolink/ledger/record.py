"""
The record of a generation: *intent -> submitted -> delivered*. Pure; where it is kept is the ledger's affair.

Everybody with access to the DAG can read and edit it, so no prompt, link or key goes in, and what comes out is checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.jobs.job import JOB_ID
from airflow_provider_evolink.api.redaction import link_identity

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

VERSION = 2


class State(StrEnum):
    """How far a generation has come."""

    INTENT = "intent"  # about to be ordered: after a crash nobody knows whether it was
    UNKNOWN = "unknown"  # an intent that a later try found, or whose answer was lost
    REFUSED = "refused"  # provably not accepted
    SUBMITTED = "submitted"
    DELIVERED = "delivered"


_RANK = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True)
class Record:
    """
    One generation.

    :param state: How far it has come.
    :param key: Idempotency key of the order.
    :param order_number: How often this task instance has wanted a new generation.
    :param clear_count: Changes when the task is cleared, not when it is retried.
    :param fingerprint: Hash of the request body, links without their query.
    :param ordered_at: Epoch seconds of the order; the deadline counts from it.
    :param job_id: EvoLink's id, once known.
    :param attempt: Number of the try that wrote the intent, later of the one that delivered.
    :param revision: Grows with every write, so that of two copies the newer one is known.
    :param regenerations: How often a failed job was ordered anew since the task was cleared.
    :param extra_payments: How often it was ordered again although the outcome was unknown.
    :param newest_job_created: When, by EvoLink's clock, the newest known job was created: that of a later order is
        younger.
    """

    state: State
    key: str
    order_number: int
    clear_count: int
    fingerprint: str
    model: str
    ordered_at: float
    job_id: str | None = None
    attempt: int = 1
    revision: int = 0
    regenerations: int = 0
    extra_payments: int = 0
    newest_job_created: float = 0.0
    version: int = VERSION

    def moved(self, state: State, **changes: Any) -> Record:
        """
        Return the next record of the same order.

        :param state: Its new state.
        :param changes: What else changes.
        """
        return replace(self, state=state, revision=self.revision + 1, **changes)

    def counts(self, clear_count: int, *, regenerated: int = 0) -> dict[str, int]:
        """
        Return what is counted over all orders, for the next one: only a clear begins a count anew.

        :param clear_count: The one the next order belongs to.
        :param regenerated: How many failed jobs the next order replaces.
        """
        regenerations = self.regenerations + regenerated if self.clear_count == clear_count else 0
        return {"regenerations": regenerations, "extra_payments": self.extra_payments}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TaskIdentity:
    """
    Which generation a task instance means: the same for every retry, another for another run or map index.

    :param clear_count: The task's ``max_tries``: Airflow raises it when a task is cleared, and neither a retry nor a
        new ``retries`` in the DAG file changes it.
    :param attempt: Number of the try.
    :param is_backfill: Whether a backfill started this run, or runs it again.
    :param had_result: Whether an earlier result had reached XCom when this try began; ``None``: not known.
    :param part: Number of the request, from 0, where the task orders many.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    clear_count: int
    attempt: int = 1
    is_backfill: bool = False
    had_result: bool | None = None
    part: int | None = None

    @classmethod
    def of(cls, context: Context, part: int | None = None) -> TaskIdentity:
        """
        Read it from the context of ``execute``.

        :param context: Context of ``execute``.
        :param part: Number of the request, where the task orders many.
        """
        ti: Any = context["ti"]
        map_index = getattr(ti, "map_index", None)
        run_type = getattr(context.get("dag_run"), "run_type", None)
        # What Airflow 3 clears as a try begins. Not promised by Airflow, so its absence means nothing.
        keys = getattr(getattr(ti, "_ti_context_from_server", None), "xcom_keys_to_clear", None)
        return cls(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if map_index is None else map_index,
            clear_count=int(getattr(ti, "max_tries", 0) or 0),
            attempt=int(getattr(ti, "try_number", 1) or 1),
            is_backfill=str(getattr(run_type, "value", run_type)) == "backfill",
            had_result="return_value" in keys if isinstance(keys, list) else None,
            part=part,
        )

    @property
    def path(self) -> tuple[str | int, ...]:
        """What tells this generation from all others: it is in the key and in the name of the record's file."""
        part = () if self.part is None else (f"request {self.part}",)
        return self.dag_id, self.run_id, self.task_id, self.map_index, *part

    @property
    def suffix(self) -> str:
        """What tells the request from others of its task in names: nothing where there is only one."""
        return "" if self.part is None else f"_{self.part}"

    @property
    def record_name(self) -> str:
        """The name of the record in the task state store."""
        return f"evolink_generation{self.suffix}"

    def key(self, namespace: str, order_number: int, attempt: int | None = None) -> str:
        """
        Return the idempotency key: the same intent always gives the same key. The body is not in it, since
        templates may move between tries.

        :param namespace: Name of the deployment, so that two of them never share an order.
        :param order_number: How often a new generation was wanted.
        :param attempt: Number of the try, where every try is meant to order.
        """
        parts = [namespace, *self.path, order_number] + ([] if attempt is None else [attempt])
        digest = hashlib.sha256(json.dumps(parts).encode()).digest()
        return "af1-" + base64.b32encode(digest).decode().rstrip("=").lower()


def fingerprint(body: Mapping[str, Any]) -> str:
    """
    Return a short hash of a request body. The query of a link is not in it: signatures change with every try.

    :param body: The request body.
    :raises EvoLinkRequestError: it cannot be sent as JSON. Said here, before there is an intent to order.
    """
    try:
        text = json.dumps(_settled(body), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        rule = f"must be plain JSON: text, numbers, true, false, lists and objects ({type(error).__name__})"
        raise EvoLinkRequestError(str(body.get("model")), [Violation("parameters", rule)]) from None
    return hashlib.sha256(text).hexdigest()[:32]


def _settled(value: Any) -> Any:
    if isinstance(value, str):
        return link_identity(value)
    if isinstance(value, Mapping):
        return {name: _settled(item) for name, item in value.items()}
    return [_settled(item) for item in value] if isinstance(value, list | tuple) else value


def newest_of(records: Iterable[Record]) -> Record | None:
    """
    Return the newest of several copies of a record; of two as new as each other the one that knows more.

    :param records: What the stores hold.
    """
    return max(records, key=lambda record: (record.revision, _RANK[record.state]), default=None)


def merge_over(latest: Record | None, record: Record) -> Record | None:
    """
    Return what a try may write over what a store holds; ``None``: nothing, another try has written since.

    Airflow's store takes nothing from a try that was cleared away, a folder does. Every write of one try has a revision
    of its own: who holds the same is another try. If that one knows of no job for the same order, the job is news.

    :param latest: What the store holds.
    :param record: What the try would write.
    """
    if latest is None or latest == record or latest.revision < record.revision:
        return record
    if latest.job_id is None and latest.key == record.key and record.job_id is not None:
        return replace(record, revision=latest.revision + 1)
    return None


def read_record(value: Any) -> Record:
    """
    Check what a store holds: anybody with access to the DAG may have edited it.

    :param value: Plain JSON.
    :raises EvoLinkConfigError: it is no record of ours; nothing is ordered on such ground.
    """
    try:
        record = Record(
            state=State(value["state"]),
            key=str(value["key"])[:96],
            fingerprint=str(value["fingerprint"])[:64],
            model=str(value["model"])[:128],
            ordered_at=float(value["ordered_at"]),
            newest_job_created=float(value.get("newest_job_created", 0.0)),
            job_id=value.get("job_id"),
            attempt=int(value.get("attempt", 1)),
            version=int(value.get("version", 1)),
            **{name: int(value[name]) for name in ("order_number", "clear_count")},
            **{name: int(value.get(name, 0)) for name in ("revision", "regenerations", "extra_payments")},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        record = None
    if record is None or not 1 <= record.version <= VERSION or not _has_its_job(record):
        raise EvoLinkConfigError(
            "the record of this task's generation is not readable, so nothing is ordered. What to do: look at it in "
            "the Storage tab of the task instance (evolink_generation) or in the ledger folder; delete it to order anew"
        )
    return replace(record, version=VERSION)


def _has_its_job(record: Record) -> bool:
    if record.job_id is None:
        return record.state not in (State.SUBMITTED, State.DELIVERED)
    return isinstance(record.job_id, str) and JOB_ID.fullmatch(record.job_id) is not None
