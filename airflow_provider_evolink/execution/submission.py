"""Ordering: intent, order, record, and what to do where the outcome of an order is unknown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkLedgerError,
    EvoLinkOrderStopped,
    EvoLinkRerunRefused,
    EvoLinkSubmissionUnknown,
)
from airflow_provider_evolink.api.http.retries import SubmitOutcome, submit_outcome
from airflow_provider_evolink.execution.budget import check_budget
from airflow_provider_evolink.execution.metrics import count_credits
from airflow_provider_evolink.ledger.decisions import may_replay, may_resubmit, unknown_submit_policy
from airflow_provider_evolink.ledger.lease import Lease, uninterrupted
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity, fingerprint, uri_fingerprint
from airflow_provider_evolink.storage.object_store import open_folder

if TYPE_CHECKING:
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.execution.request import Inputs
    from airflow_provider_evolink.ledger.ledger import Ledger
    from airflow_provider_evolink.ledger.policies import Policies
    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

STALE_WORKER_SECONDS = (
    330.0  # Airflow's heartbeat time-out and our own for an order: by then no stopped worker may send any more
)
CLOCK_SKEW = 900.0  # how far EvoLink's clock and ours may be apart


@dataclass(frozen=True)
class SubmittedOrder:
    """
    An order that EvoLink has.

    :param job: The job.
    :param record: Its record; ``None`` where nothing is remembered.
    """

    job: Job
    record: Record | None


class OrderSubmitter:
    """
    Orders for one try.

    :param operator: The operator, its templates rendered.
    :param identity: Which task instance.
    :param ledger: Its ledger.
    :param client: EvoLink.
    :param policies: What the DAG author chose.
    :param inputs: What to order.
    """

    def __init__(
        self,
        operator: EvoLinkGenerateOperator,
        *,
        identity: TaskIdentity,
        ledger: Ledger,
        client: EvoLinkClient,
        policies: Policies,
        inputs: Inputs,
    ) -> None:
        self._operator = operator
        self._identity = identity
        self._ledger = ledger
        self._client = client
        self._policies = policies
        self._inputs = inputs
        self._log = operator.log

    def order(
        self, order_number: int, before: Record | None, *, regenerations: int = 0, extra_payments: int = 0
    ) -> SubmittedOrder:
        """
        Check, write the intent, order, record the job.

        :param order_number: How often a new generation was wanted.
        :param before: The record so far.
        :param regenerations: How often a failed job was ordered anew since the task was cleared.
        :param extra_payments: How often it was ordered although the outcome of an order was unknown.
        """
        operator = self._operator
        body = self._inputs.body()
        if operator.destination:
            open_folder(operator.destination)
        self._check_budget(body)
        if not self._ledger.is_durable:
            self._log.warning(
                "Nothing remembers this order across tries (durable=False, or no ledger_path before Airflow 3.3)"
            )
        # Files go up before there is an intent: whatever fails here, nothing was ordered.
        sent = self._inputs.sent(body, trusts=before is None or before.state is State.DELIVERED)
        record = Record(
            state=State.INTENT,
            key=self._identity.key(
                self._namespace(), order_number, None if operator.durable else self._identity.attempt
            ),
            order_number=order_number,
            clear_count=self._identity.clear_count,
            fingerprint=fingerprint(body),
            uri_fingerprint=uri_fingerprint(body),
            model=operator.model,
            ordered_at=time.time(),
            attempt=self._identity.attempt,
            revision=before.revision + 1 if before else 1,
            regenerations=regenerations,
            extra_payments=extra_payments,
            newest_job_created=before.newest_job_created if before else 0.0,
        )
        return self._place(record, sent, may_settle=True)

    def settle(self, record: Record, error: EvoLinkError | None = None) -> SubmittedOrder:
        """
        Go on where an order may or may not have been accepted, as ``on_unknown_submit`` says.

        :param record: The record of that order.
        :param error: The lost answer, in the try that lost it.
        """
        latest = self._ledger.read() or record
        if latest.job_id is not None:  # the try that ordered has recorded it just now
            return self._found(self._client.get_job(latest.job_id), latest)
        if latest.state is State.INTENT and latest.key == record.key:
            record = latest.moved(State.UNKNOWN)
            self._ledger.write_best_effort(record)
        # A clear that finds this order is used up by it: only the next one means a new generation.
        record = record.moved(record.state, clear_count=self._identity.clear_count)
        policy = unknown_submit_policy(self._identity, self._policies)
        exists = error is not None and submit_outcome(error) is SubmitOutcome.EXISTS
        if policy == "replay" and not exists:
            return self._replay(record)
        if policy == "reconcile":
            return self._reconcile(record)
        if policy == "resubmit" and may_resubmit(record):
            self._log.error(
                "An order of unknown outcome (key %s) is ordered again, by on_unknown_submit: it may be paid twice",
                record.key,
            )
            extra = record.extra_payments + 1
            return self.order(record.order_number + 1, record, regenerations=record.regenerations, extra_payments=extra)
        as_chosen = policy == self._policies.on_unknown_submit
        raise error or self._unknown(record, "" if as_chosen else 'not in a backfill under on_backfill="fail"')

    def _place(self, record: Record, body: dict[str, Any], *, may_settle: bool) -> SubmittedOrder:
        path = catalog.endpoint(self._operator.model, self._operator.kind)
        lost: EvoLinkError | None = None
        with uninterrupted() as told_to_end:
            # The lease begins before the intent is written: whoever stands still during the write is late as well.
            lease = Lease(lambda: told_to_end() or self._operator.is_stopping, lambda: self._is_ours(record))
            self._stop_if_overtaken(record)
            lease.check()
            try:
                self._ledger.write_intent(record)
                job = self._client.submit(body, idempotency_key=record.key, path=path, permit=lease)
            except EvoLinkError as error:
                if submit_outcome(error) not in (SubmitOutcome.UNKNOWN, SubmitOutcome.EXISTS):
                    # A replay that is refused says nothing about the order before it.
                    self._ledger.write_best_effort(
                        record.moved(State.REFUSED if may_settle else State.UNKNOWN), replacing=record
                    )
                    raise
                lost = error
            else:
                self._log.info(
                    "EvoLink job %s ordered: %s, %s credits reserved (key %s)",
                    job.job_id,
                    job.model,
                    job.credits_reserved,
                    record.key,
                )
                kept = submitted(record, job)
                self._ledger.write_submitted(kept)
        if lost is not None:
            return self._lost(record, lost, may_settle=may_settle)
        count_credits(self._operator, "credits_reserved", job)
        return SubmittedOrder(job, kept if self._ledger.is_durable else None)

    def _lost(self, record: Record, error: EvoLinkError, *, may_settle: bool) -> SubmittedOrder:
        self._log.error("%s", error)
        if may_settle and self._ledger.is_durable:
            try:
                return self.settle(record, error)
            except EvoLinkLedgerError as unrecorded:
                if unrecorded.job_id is not None:
                    raise
                error.permanent = self._policies.on_unknown_submit == "fail"  # else a retry settles it
                raise error from unrecorded
        self._ledger.write_best_effort(record.moved(State.UNKNOWN))
        raise error

    def _stop_if_overtaken(self, record: Record) -> None:
        """Look once more before the intent is written: a folder, unlike Airflow's store, lets a stale try write."""
        latest = self._ledger.read()
        if latest is not None and latest.revision >= record.revision:
            raise EvoLinkOrderStopped("the order was not sent: another try has taken over meanwhile")

    def _is_ours(self, record: Record) -> bool:
        return not self._ledger.is_durable or self._ledger.read() == record

    def _replay(self, record: Record) -> SubmittedOrder:
        if not may_replay(record, honored=self._client.settings.honors_idempotency_key, now=time.time()):
            raise self._unknown(
                record, "it is not replayed: the connection must say honors_idempotency_key, and 20 hours are the most"
            )
        body = self._inputs.same_body(record)
        if body is None:
            raise changed(record, self._identity)
        self._log.warning("An order of unknown outcome is sent once more with its key %s", record.key)
        sent = self._inputs.sent(body, replays=True)
        return self._place(record.moved(State.INTENT), sent, may_settle=False)

    def _reconcile(self, record: Record) -> SubmittedOrder:
        left = record.ordered_at + STALE_WORKER_SECONDS - time.time()
        if left > 0:
            self._log.info("Waiting %.0f s, until no stopped worker can send the order any more", left)
            time.sleep(left)
        listed = self._client.list_jobs(record.model)
        younger = [(job_id, created) for job_id, created in listed if created > record.newest_job_created]
        near = [job_id for job_id, created in younger if abs(created - record.ordered_at) <= CLOCK_SKEW]
        if len(near) != 1:
            found = f"of the account's newest jobs {len(near)} could be it: {', '.join(near[:5]) or 'none'}"
            raise self._unknown(record, found)
        job = self._client.get_job(near[0])
        self._log.warning("EvoLink job %s is the only one that can be this order: attached to it", job.job_id)
        adopted = submitted(record, job)
        self._ledger.write_submitted(adopted)
        return self._found(job, adopted)

    def _found(self, job: Job, record: Record) -> SubmittedOrder:
        """Hand on the job of an earlier order, unless that was of other inputs."""
        if self._inputs.same_body(record) is None:
            raise changed(record, self._identity)
        return SubmittedOrder(job, record)

    def _check_budget(self, body: dict[str, Any]) -> None:
        check_budget([(self._operator.model, body)], self._operator.max_credits, self._policies.unknown_price)

    def _namespace(self) -> str:
        chosen = self._operator.idempotency_namespace or conf.get("evolink", "idempotency_namespace", fallback="")
        if chosen:
            return str(chosen)
        if not self._client.settings.is_local and not self._identity.item:  # once for all requests of a task
            self._log.warning(
                "[evolink] idempotency_namespace is not set: where two deployments share an EvoLink account and the "
                "names of their DAGs and runs, EvoLink may give them one job for two orders"
            )
        return self._client.settings.base_url

    def _unknown(self, record: Record, why: str = "") -> EvoLinkSubmissionUnknown:
        return EvoLinkSubmissionUnknown(
            "an earlier try was cut off while it ordered, so a job may be running and cost credits; nothing is sent. "
            + (f"By on_unknown_submit={self._policies.on_unknown_submit!r}: {why}. " if why else "")
            + "What to do: look for it on the EvoLink dashboard (by time and model). If it is there, fetch it with "
            f"EvoLinkJobSensor and its id. If there is none, delete the record {self._identity.record_name} in the "
            "Storage tab of this task instance (and its file in the ledger folder) and clear the task; its idempotency "
            f"key is {record.key}",
            idempotency_key=record.key,
        )


def submitted(record: Record, job: Job) -> Record:
    """
    Return the record of an order once its job is known.

    :param record: The record of the order.
    :param job: Its job.
    """
    return record.moved(
        State.SUBMITTED, job_id=job.job_id, newest_job_created=max(record.newest_job_created, job.created or 0.0)
    )


def changed(record: Record, identity: TaskIdentity) -> EvoLinkRerunRefused:
    """
    Return the error of a try whose inputs are no longer those of the order it finds.

    :param record: The record of that order.
    :param identity: Which generation.
    """
    return EvoLinkRerunRefused(
        "the inputs of this task have changed since an order that is still open, so its result is not passed off as "
        "theirs, and nothing is ordered. What to do: put the inputs back and clear the task; or fetch the job "
        f"with EvoLinkJobSensor and its id; or delete the record {identity.record_name} in the Storage tab of this "
        "task instance (and its file in the ledger folder) and clear the task to order with the new inputs",
        job_id=record.job_id,
    )
