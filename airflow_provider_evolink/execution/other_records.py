"""
Orders that the other operator of the same task has recorded: a single order, or the requests of a batch.

Somebody may replace one operator with the other between a try and its retry. Each has records of its own, and an order
that is still open must not be paid again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRerunRefused
from airflow_provider_evolink.ledger.decisions import Act, decide
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.execution.generation import GenerationAttempt
    from airflow_provider_evolink.execution.options import GenerationOptions

MAX_LISTED = 20

log = logging.getLogger(__name__)


class OtherRecords:
    """
    The open orders of the other operator.

    :param context: Airflow's context.
    :param identity: The running try.
    :param options: The arguments of the operator.
    """

    def __init__(self, context: Context, identity: TaskIdentity, options: GenerationOptions) -> None:
        self._context = context
        self._options = options
        self._identity = identity
        of_batch = (replace(identity, item=number) for number in itertools.count())
        self._open = list(self._read([replace(identity, item=None)] if identity.item is not None else of_batch))

    def _read(self, identities: Iterable[TaskIdentity]) -> Iterator[tuple[TaskIdentity, Record]]:
        """Yield records whose orders are still open, up to the first request of a batch that has none."""
        for identity in identities:
            record = self._ledger(identity).read()
            if record is None:
                return
            if decide(record, identity, self._options.policies)[0] in (Act.ATTACH, Act.RESOLVE):
                yield identity, record

    def _ledger(self, identity: TaskIdentity) -> Ledger:
        return Ledger.of(self._context, identity, durable=self._options.durable, path=self._options.ledger_path)

    def adopt(self, attempts: Sequence[GenerationAttempt]) -> GenerationAttempt | None:
        """
        Record an open order with the attempt that has the same request, and return that attempt.

        :param attempts: All attempts of this try. Those that are about to submit can take the order.
        :raises EvoLinkRerunRefused: there are open orders, and none of them is one of these requests.
        """
        known = {attempt.job_id for attempt in attempts if attempt.job_id}
        held = [(identity, record) for identity, record in self._open if record.job_id not in known]
        if not held:
            return None
        free = [attempt for attempt in attempts if attempt.will_submit]
        for identity, record in held:
            attempt = next((one for one in free if _has_request_of(one, record)), None)
            if attempt is not None:
                self._move(identity, record, attempt)
                _warn_of([other for _, other in held if other is not record])
                return attempt
        raise _refused([record for _, record in held])

    def _move(self, identity: TaskIdentity, record: Record, attempt: GenerationAttempt) -> None:
        own = record
        if last := attempt.record:  # an order number belongs to one idempotency key, so none is used again
            number, revision = max(last.order_number, record.order_number), last.revision + 1
            newest = max(last.newest_job_created, record.newest_job_created)
            own = replace(record, order_number=number, revision=revision, newest_job_created=newest)
        attempt.ledger.write_intent(own)
        attempt.record = own
        # From now on that record only repeats this one.
        self._ledger(identity).write_best_effort(record.moved(State.DELIVERED if record.job_id else State.REFUSED))


def _has_request_of(attempt: GenerationAttempt, record: Record) -> bool:
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
