"""
Orders that the other operator of the same task has recorded: a single order, or the requests of a batch.

Somebody may replace one operator with the other between a try and its retry. Each has records of its own, and an order
that is still open must not be paid again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRerunRefused
from airflow_provider_evolink.ledger.decisions import Act, decide
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import OrderRequest

MAX_LISTED = 20

log = logging.getLogger(__name__)


class Submitting(Protocol):
    """An attempt that may be about to submit, as far as its records matter."""

    request: OrderRequest
    ledger: Ledger
    record: Record | None

    @property
    def job_id(self) -> str | None:
        """EvoLink's id, where a job is recorded."""

    @property
    def will_submit(self) -> bool:
        """Whether it is to submit."""


def adopt(
    attempts: Sequence[Submitting], context: Context, others: Iterable[TaskIdentity], options: GenerationOptions
) -> None:
    """
    Record an open order of the other operator with the attempt that has the same request.

    :param attempts: All attempts of this try. Those that are about to submit can take the order.
    :param context: Airflow's context.
    :param others: What the other operator records its orders under.
    :param options: The arguments of the operator.
    :raises EvoLinkRerunRefused: there are open orders, and none of them is one of these requests.
    """
    known = {attempt.job_id for attempt in attempts if attempt.job_id}
    held: list[tuple[Ledger, Record]] = []
    keys: set[str] = set()
    for identity in others:
        ledger = Ledger.of(context, identity, durable=options.durable, path=options.ledger_path)
        record = ledger.read()
        if record is None or record.key in keys:  # the end, or a store that does not tell records apart
            break
        keys.add(record.key)
        is_open = decide(record, identity, options.policies)[0] in (Act.ATTACH, Act.RESOLVE)
        if is_open and record.job_id not in known:
            held.append((ledger, record))
    if held:
        _adopt_one_of(held, [attempt for attempt in attempts if attempt.will_submit])


def adopt_of_batch(attempt: Submitting, context: Context, identity: TaskIdentity, options: GenerationOptions) -> None:
    """
    Record an open order of a batch with the one attempt of an operator that has replaced it, if that is to submit.

    :param attempt: The attempt.
    :param context: Airflow's context.
    :param identity: Which task instance.
    :param options: The arguments of the operator.
    :raises EvoLinkRerunRefused: there are open orders, and none of them is this request.
    """
    if identity.item is None and decide(attempt.record, identity, options.policies)[0] is Act.SUBMIT:
        adopt([attempt], context, (replace(identity, item=number) for number in itertools.count()), options)


def _adopt_one_of(held: Sequence[tuple[Ledger, Record]], attempts: Sequence[Submitting]) -> None:
    for ledger, record in held:
        attempt = next((one for one in attempts if _has_request_of(one, record) and _is_to_submit(one)), None)
        if attempt is not None:
            _move(ledger, record, attempt)
            _warn_of([other for _, other in held if other is not record])
            return
    raise _refused([record for _, record in held])


def _move(ledger: Ledger, record: Record, attempt: Submitting) -> None:
    own = record
    if last := attempt.record:  # an order number belongs to one idempotency key, so none is used again
        number, revision = max(last.order_number, record.order_number), last.revision + 1
        newest = record.newest_job_created if record.job_id else max(last.newest_job_created, record.newest_job_created)
        own = replace(record, order_number=number, revision=revision, newest_job_created=newest)
    attempt.ledger.write_intent(own)
    attempt.record = own
    # From now on that record only repeats this one.
    ledger.write_best_effort(record.moved(State.DELIVERED if record.job_id else State.REFUSED))


def _is_to_submit(attempt: Submitting) -> bool:
    """Tell whether it is to submit by all copies of its record, which is about to be written."""
    attempt.record = attempt.ledger.read()
    return attempt.will_submit


def _has_request_of(attempt: Submitting, record: Record) -> bool:
    try:
        return record.matches(attempt.request.body(known=True))
    except EvoLinkError:  # it is refused where it is submitted
        return False


def _listed(records: Sequence[Record]) -> str:
    jobs = [record.job_id or f"an order of unknown outcome (idempotency key {record.key})" for record in records]
    return ", ".join(jobs[:MAX_LISTED]) + (f" and {len(jobs) - MAX_LISTED} more" if len(jobs) > MAX_LISTED else "")


def _warn_of(records: Sequence[Record]) -> None:
    if records:
        log.warning(
            "This task has further open orders of a batch, which nobody waits for any more: %s. They are billed; "
            "EvoLinkJobSensor and EvoLinkDownloadOperator fetch their results by id",
            _listed(records),
        )


def _refused(records: Sequence[Record]) -> EvoLinkRerunRefused:
    return EvoLinkRerunRefused(
        "this task has open orders of another operator (a batch or a single request), with other inputs, so nothing is "
        f"submitted: {_listed(records)}. What to do: restore that operator and its inputs and clear "
        "the task; or fetch the jobs with EvoLinkJobSensor and their ids; or delete the records evolink_generation... "
        "in the Storage tab of this task instance (and their files in the ledger folder) and clear the task to submit "
        "with the new inputs",
        job_id=next((record.job_id for record in records if record.job_id), None),
    )
