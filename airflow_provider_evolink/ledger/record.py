"""
The record of a generation: *intent -> submitted -> delivered*. Pure; the ledger stores it.

Everyone with access to the DAG can read and edit it. So it holds no prompt, link or key, and what is read is validated.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.jobs.job_id import JOB_ID
from airflow_provider_evolink.api.redaction import link_identity, sanitize

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

VERSION = 2
MAX_MOMENT = 2.0**33  # epoch seconds, in the year 2242
MAX_COUNT = 10**6
# The first thing that a person reads in the store.
NOTE = "Deleting this record lets the task order, and pay, again."
_CHECKSUM = re.compile(r"#sha256=[0-9a-f]{64}\Z")


class State(StrEnum):
    """The state of a generation."""

    INTENT = "intent"  # about to be submitted: after a crash it is unknown whether it was
    UNKNOWN = "unknown"  # an intent that a later try found, or whose response was lost
    REFUSED = "refused"  # known not to be accepted
    SUBMITTED = "submitted"
    DELIVERED = "delivered"


@dataclass(frozen=True)
class Record:
    """
    The record of one generation.

    :param state: Its state.
    :param key: Idempotency key of the order.
    :param order_number: Number of the order in this task instance, from 0. A clear or a resubmission gets the next.
    :param clear_count: The task's ``max_tries``; it changes when the task is cleared, not when it is retried.
    :param fingerprint: Hash of the request body: links without their query, files by URI and content.
    :param model: EvoLink's name of the model.
    :param ordered_at: When the order was submitted, in epoch seconds; the deadline counts from it.
    :param job_id: EvoLink's ID, once known.
    :param attempt: Number of the try that wrote the intent, later of the one that delivered.
    :param revision: Grows with every write, so that the newer of two copies is known.
    :param regenerations: How many failed jobs were resubmitted since the task was cleared.
    :param extra_payments: How often it was submitted again although the outcome was unknown.
    :param newest_job_created: When the newest known job was created, by EvoLink's clock. The job of a later order is
        newer.
    :param uri_fingerprint: The same with files by URI alone, for a retry that cannot read them any more; ``None``: the
        request has no files, or an older version wrote the record.
    :param credits_reserved: What the order reserved: EvoLink states it in the response to the order alone.
    :param request_fingerprint: What :func:`request_fingerprint` gives for the request; ``None``: an older version.
    :param request_id: EvoLink's ID of the call that ordered.
    :param estimated_time: How many seconds the job takes, by EvoLink's estimate in the response to the order.
    :param completed_at: When a worker first took the finished job, in epoch seconds.
    :param is_joined: Whether another task has submitted the job and pays for it, under ``reuse``.
    :param version: Version of this format.
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
    uri_fingerprint: str | None = None
    credits_reserved: float | None = None
    request_fingerprint: str | None = None
    request_id: str | None = None
    estimated_time: float | None = None
    completed_at: float | None = None
    is_joined: bool = False
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Return what stores hold: a sentence for whoever is about to delete it, and the record."""
        return {"note": NOTE, **asdict(self)}

    @property
    def label(self) -> str:
        """What messages call it: its job, or the order by its key."""
        return f"EvoLink job {self.job_id}" if self.job_id else f"Order without a job (idempotency key {self.key})"

    def matches(self, body: Mapping[str, Any]) -> bool:
        """
        Return whether a request is the one that was submitted.

        :param body: The request body, with its files named by :func:`file_name`.
        """
        return fingerprint(body) in (self.fingerprint, self.uri_fingerprint)

    def is_of(self, identity: TaskIdentity) -> bool:
        """
        Return whether a try itself has written this, so that another request in it is no retry.

        :param identity: The running try.
        """
        return (self.attempt, self.clear_count) == (identity.attempt, identity.clear_count)

    def moved(self, state: State, **changes: Any) -> Record:
        """
        Return the next record of the same order.

        :param state: The new state.
        :param changes: Other fields that change.
        """
        return replace(self, state=state, revision=self.revision + 1, **changes)

    def counts(self, clear_count: int, *, regenerated: int = 0) -> dict[str, int]:
        """
        Return the counters that the next order takes over. A clear resets ``regenerations``.

        :param clear_count: The clear count of the next order.
        :param regenerated: How many failed jobs the next order replaces.
        """
        regenerations = self.regenerations + regenerated if self.clear_count == clear_count else 0
        return {"regenerations": regenerations, "extra_payments": self.extra_payments}


@dataclass(frozen=True)
class TaskIdentity:
    """
    The task instance, or the request of its batch, that a generation belongs to: the same for every retry.

    :param clear_count: The task's ``max_tries``: Airflow raises it when a task is cleared, and neither a retry nor a
        new ``retries`` in the DAG file changes it.
    :param attempt: Number of the try.
    :param is_backfill: Whether a backfill started this run, or runs it again.
    :param had_result: Whether XCom held a result when this try began; ``None``: not known.
    :param item: Number of the request in a batch, from 0.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    clear_count: int
    attempt: int = 1
    is_backfill: bool = False
    had_result: bool | None = None
    item: int | None = None

    @classmethod
    def of(cls, context: Context, item: int | None = None) -> TaskIdentity:
        """
        Read it from Airflow's context.

        :param context: Context of ``execute`` or of the resume method.
        :param item: Number of the request in a batch.
        """
        ti: Any = context["ti"]
        map_index = getattr(ti, "map_index", None)
        run_type = getattr(context.get("dag_run"), "run_type", None)
        # The XCom keys that Airflow 3 clears as a try begins. Not a public interface, so its absence means nothing.
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
            item=item,
        )

    @property
    def path(self) -> tuple[str | int, ...]:
        """What identifies the generation, in the idempotency key and in the name of the record's file."""
        item = () if self.item is None else (f"request {self.item}",)
        return self.dag_id, self.run_id, self.task_id, self.map_index, *item

    @property
    def record_name(self) -> str:
        """The name of the record in the task state store."""
        return "evolink_generation" if self.item is None else f"evolink_generation_{self.item}"

    def key(self, namespace: str, order_number: int, attempt: int | None = None) -> str:
        """
        Return the idempotency key: the same intent always gives the same key. The request body is not part of it,
        since templates may render differently in each try.

        :param namespace: Name of the deployment, so that two deployments never share an order.
        :param order_number: Number of the order.
        :param attempt: Number of the try, if every try is to submit an order of its own.
        """
        parts = [namespace, *self.path, order_number] + ([] if attempt is None else [attempt])
        digest = hashlib.sha256(json.dumps(parts).encode()).digest()
        return "af1-" + base64.b32encode(digest).decode().rstrip("=").lower()


def never_sent(identity: TaskIdentity, model: str | None) -> Record:
    """
    Return the record of a request that failed before there was an order, such as at an upload.

    :param identity: Whose request it is.
    :param model: Its model as the DAG names it.
    """
    return Record(
        state=State.REFUSED,
        key=identity.key("", 0),
        order_number=0,
        clear_count=identity.clear_count,
        fingerprint=fingerprint({}),
        model=str(model),
        ordered_at=time.time(),
        attempt=identity.attempt,
        revision=1,
    )


def file_name(uri: str, sha256: str | None) -> str:
    """
    Return how a file is named in the request that a fingerprint is made of.

    :param uri: Its URI.
    :param sha256: Checksum of its content; ``None``: it cannot be read any more.
    """
    return uri if sha256 is None else f"{uri}#sha256={sha256}"


def fingerprint(body: Mapping[str, Any]) -> str:
    """
    Return a short hash of a request body, links without their query, since signatures change with every try.

    :param body: The request body.
    :raises EvoLinkRequestError: it cannot be sent as JSON. Raised before there is an intent to submit it.
    """
    try:
        stable = _map_strings(body, link_identity)
        text = json.dumps(stable, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        rule = f"must be plain JSON: strings, numbers, booleans, lists and objects ({type(error).__name__})"
        raise EvoLinkRequestError(str(body.get("model")), [Violation("parameters", rule)]) from None
    return hashlib.sha256(text).hexdigest()[:32]


def request_fingerprint(body: Mapping[str, Any], namespace: str = "") -> str:
    """
    Return a hash that is the same for every request that asks for the same thing, in whichever task.

    Files count by their content alone, links by their address without query; who is called back does not count.
    Without files, callback and namespace it is the :func:`fingerprint` of the request.

    :param body: The request body, with its files named by :func:`file_name`.
    :param namespace: The name that was chosen for the deployment: those of different names share no results.
    """
    asked = {name: value for name, value in body.items() if name != "callback_url"}
    request = _map_strings(asked, _content)
    return fingerprint({"idempotency_namespace": namespace, "request": request} if namespace else request)


def fingerprints(body: Mapping[str, Any], namespace: str, *, has_files: bool) -> dict[str, str | None]:
    """
    Return what a record holds of a request.

    :param body: The request body.
    :param namespace: The name that was chosen for the deployment.
    :param has_files: Whether local files are named in it.
    """
    return {
        "fingerprint": fingerprint(body),
        "uri_fingerprint": uri_fingerprint(body) if has_files else None,
        "request_fingerprint": request_fingerprint(body, namespace),
    }


def _content(text: str) -> str:
    found = _CHECKSUM.search(text)
    return found[0] if found else text


def uri_fingerprint(body: Mapping[str, Any]) -> str | None:
    """
    Return the fingerprint of a request body with its files by URI alone; ``None`` if it has no files.

    :param body: The request body, with its files named by :func:`file_name`.
    """
    by_uri = fingerprint(_map_strings(body, lambda text: _CHECKSUM.sub("", text)))
    return None if by_uri == fingerprint(body) else by_uri


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _map_strings(item, change) for name, item in value.items()}
    return [_map_strings(item, change) for item in value] if isinstance(value, list | tuple) else value


def merge_over(latest: Record | None, record: Record) -> Record | None:
    """
    Return what a try may write over the record in a store; ``None``: nothing, another try has written since.

    Airflow's store rejects writes of a try that was cleared, a folder does not. Every write of one try has a revision
    of its own, so the same revision means another try. If that try has no job for the same order, the job is added.

    :param latest: The record in the store.
    :param record: The record that the try would write.
    """
    if latest is None or latest == record or latest.revision < record.revision:
        return record
    if latest.job_id is None and latest.key == record.key and record.job_id is not None:
        return replace(record, revision=latest.revision + 1)
    return None


def read_record(value: Any) -> Record:
    """
    Validate the content of a store: anyone with access to the DAG may have edited it.

    :param value: Plain JSON.
    :raises EvoLinkConfigError: it is not a record of ours; nothing may be submitted.
    """
    try:
        record = Record(
            state=State(value["state"]),
            key=str(value["key"])[:96],
            fingerprint=str(value["fingerprint"])[:64],
            uri_fingerprint=str(value.get("uri_fingerprint") or "")[:64] or None,
            model=str(value["model"])[:128],
            ordered_at=float(value["ordered_at"]),
            newest_job_created=float(value.get("newest_job_created", 0.0)),
            job_id=value.get("job_id"),
            credits_reserved=_amount(value.get("credits_reserved")),
            is_joined=value.get("is_joined") is True,
            request_fingerprint=str(value.get("request_fingerprint") or "")[:64] or None,
            request_id=sanitize(value.get("request_id") or "", 128) or None,
            estimated_time=_amount(value.get("estimated_time")),
            completed_at=_amount(value.get("completed_at")),
            attempt=int(value.get("attempt", 1)),
            version=int(value.get("version", 1)),
            **{name: int(value[name]) for name in ("order_number", "clear_count")},
            **{name: int(value.get(name, 0)) for name in ("revision", "regenerations", "extra_payments")},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        record = None
    if record is None or not 1 <= record.version <= VERSION or not (_has_valid_job(record) and _is_in_range(record)):
        raise EvoLinkConfigError(
            "the record of this task's generation is not readable, so nothing was submitted. What to do: check it in "
            "the Storage tab of the task instance (evolink_generation) or in the ledger folder; delete it to submit, "
            "and pay, again"
        )
    return replace(record, version=VERSION)


def _amount(value: Any) -> float | None:
    """Return credits or a moment; anything else is not known, which is no reason to refuse a record."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_MOMENT else None


def _is_in_range(record: Record) -> bool:
    moments = (record.ordered_at, record.newest_job_created)
    counts = (record.order_number, record.clear_count, record.revision, record.regenerations, record.extra_payments)
    return (
        all(0 <= moment < MAX_MOMENT for moment in moments)  # also false for NaN
        and all(0 <= count < MAX_COUNT for count in (*counts, record.attempt))
    )


def _has_valid_job(record: Record) -> bool:
    if record.job_id is None:
        return record.state not in (State.SUBMITTED, State.DELIVERED)
    return isinstance(record.job_id, str) and JOB_ID.fullmatch(record.job_id) is not None
