"""Submission: intent, POST, record; and what to do where nobody knows whether an order was accepted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pendulum

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkLedgerError,
    EvoLinkOrderStopped,
    EvoLinkRerunRefused,
    EvoLinkSubmissionUnknown,
)
from airflow_provider_evolink.api.http.retries import SubmitOutcome, submit_outcome
from airflow_provider_evolink.api.jobs.credits import credits_text
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.execution.budget import check_budget
from airflow_provider_evolink.execution.metrics import count_credits
from airflow_provider_evolink.execution.unknown_outcome import STALE_WORKER_SECONDS, explained, interrupted
from airflow_provider_evolink.ledger.decisions import (
    candidates,
    may_replay,
    may_resubmit,
    misfit,
    unknown_submit_policy,
)
from airflow_provider_evolink.ledger.lease import Lease, uninterrupted
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity, fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import OrderRequest
    from airflow_provider_evolink.execution.task_run import TaskRun
    from airflow_provider_evolink.ledger.ledger import Ledger

MAX_LATE_ORDERS = 3  # in one try, where a step on the way to the first byte takes too long


@dataclass(frozen=True)
class OrderPlan:
    """
    An order that is ready to be sent.

    :param record: Its intent.
    :param body: The body as it is sent.
    :param path: Endpoint of the model.
    :param is_replay: It is sent once more with the key it had.
    """

    record: Record
    body: dict[str, Any]
    path: str
    is_replay: bool = False


@dataclass(frozen=True)
class SubmittedOrder:
    """
    An order that EvoLink accepted.

    :param job: The job.
    :param record: Its record; ``None`` where nothing is remembered.
    """

    job: Job
    record: Record | None


@dataclass(frozen=True)
class RefusedOrder:
    """
    An order that was certainly not accepted.

    :param error: Why.
    :param record: Its record, withdrawn.
    :param is_late: It was not sent, because a step before that took too long.
    """

    error: EvoLinkError
    record: Record
    is_late: bool = False


@dataclass(frozen=True)
class UnknownOrder:
    """
    An order that may have been accepted.

    :param record: Its intent.
    :param error: How its response was lost.
    """

    record: Record
    error: EvoLinkError


Submission: TypeAlias = SubmittedOrder | RefusedOrder | UnknownOrder


@dataclass(frozen=True)
class OrderSubmitter:
    """
    Submits for one try, and never twice without being told to.

    :param options: The arguments of the operator.
    :param run: The running try.
    :param request: What to submit.
    :param identity: Which task instance.
    :param ledger: Its ledger.
    :param client: EvoLink.
    :param on_planned: Called when the files are uploaded, before anything is recorded.
    """

    options: GenerationOptions
    run: TaskRun
    request: OrderRequest
    identity: TaskIdentity
    ledger: Ledger
    client: EvoLinkClient
    on_planned: Callable[[], object] = lambda: None

    def submit(self, order_number: int, before: Record | None, counts: dict[str, int]) -> SubmittedOrder:
        """
        Check the request, write the intent, send it, record the job. **This costs credits.**

        :param order_number: How often a new generation was wanted.
        :param before: The record so far.
        :param counts: How often it was submitted again, as :meth:`Record.counts` returns it.
        :raises EvoLinkSubmissionUnknown: nobody knows whether it was accepted, and no policy resolves that.
        """
        plan = self._plan(order_number, before, counts)
        outcome = self._post(plan)
        for _ in range(MAX_LATE_ORDERS - 1):
            # In a folder alone, the write that was late may have hidden the order of another try.
            if not isinstance(outcome, RefusedOrder) or not outcome.is_late or not self.ledger.is_fenced:
                break
            plan = self._again(plan, outcome)
            outcome = self._post(plan)
        if not isinstance(outcome, UnknownOrder):
            return _order_or_raise(outcome)
        self.run.log.error("%s", outcome.error)
        if not self.ledger.is_durable:
            return self._give_up(outcome)
        try:
            return self.resolve_unknown(outcome.record, outcome.error)
        except EvoLinkLedgerError as unrecorded:
            if unrecorded.job_id is not None:
                raise
            # With another policy a retry resolves it.
            is_final = self.options.policies.on_unknown_submit == "fail"
            raise outcome.error.amended(permanent=is_final) from unrecorded

    def resolve_unknown(self, record: Record, lost: EvoLinkError | None = None) -> SubmittedOrder:
        """
        Continue where an order may or may not have been accepted, as ``on_unknown_submit`` says.

        :param record: The record of that order.
        :param lost: How its response was lost, in the try that lost it.
        """
        latest = self.ledger.read() or record
        if latest.job_id is not None:  # the try that submitted has recorded it just now
            return self._unless_changed(self.client.get_job(latest.job_id, redactor=self.request.redactor()), latest)
        if latest.state is State.INTENT and latest.key == record.key:
            record = latest.moved(State.UNKNOWN)
            self.ledger.write_best_effort(record)
        # A clear that finds this order is used up by it: only the next one means a new generation.
        record = record.moved(record.state, clear_count=self.identity.clear_count)
        policy = unknown_submit_policy(self.identity, self.options.policies)
        key_exists = lost is not None and submit_outcome(lost) is SubmitOutcome.EXISTS
        if policy == "reconcile":
            return self._reconcile(record)
        if policy == "replay" and not key_exists:
            plan = self._replay_plan(record)
        elif policy == "resubmit" and may_resubmit(record):
            plan = self._resubmit_plan(record)
        else:
            as_chosen = policy == self.options.policies.on_unknown_submit
            raise lost or self._unknown(record, "" if as_chosen else 'not in a backfill under on_backfill="fail"')
        outcome = self._post(plan)
        return self._give_up(outcome) if isinstance(outcome, UnknownOrder) else _order_or_raise(outcome)

    def _plan(self, order_number: int, before: Record | None, counts: dict[str, int]) -> OrderPlan:
        """Check the request and upload its files. Nothing is recorded yet: if this fails, nothing was submitted."""
        options, body = self.options, self.request.body()
        if options.destination:
            self.run.prove_writable(options.destination)
        self.ledger.prove(self.run.prove_ledger, set(self.run.proven.values()))
        model = body["model"]
        if options.max_credits is not None:
            check_budget([(model, body)], options.max_credits, options.policies.unknown_price)
        if not self.ledger.is_durable:
            self.run.log.warning(
                "This submission is not durable: a retry will submit again (durable=False, or no ledger_path before "
                "Airflow 3.3)"
            )
        reuses_uploads = before is None or before.state is State.DELIVERED
        sent = self.request.sent_body(body, reuses_uploads=reuses_uploads)
        only_this_try = None if options.durable else self.identity.attempt
        record = Record(
            state=State.INTENT,
            key=self.identity.key(self._namespace(), order_number, only_this_try),
            order_number=order_number,
            clear_count=self.identity.clear_count,
            model=model,
            ordered_at=time.time(),
            attempt=self.identity.attempt,
            revision=before.revision + 1 if before else 1,
            newest_job_created=before.newest_job_created if before else 0.0,
            regenerations=counts.get("regenerations", 0),
            extra_payments=counts.get("extra_payments", 0),
            **fingerprints(body, options.namespace, has_files=bool(self.request.files)),  # type: ignore[arg-type]
        )
        self.on_planned()
        return OrderPlan(record, sent, catalog.endpoint(model, options.kind))

    def _replay_plan(self, record: Record) -> OrderPlan:
        if not may_replay(record, honored=self.client.settings.honors_idempotency_key, now=time.time()):
            raise self._unknown(
                record,
                "it is not replayed: that needs honors_idempotency_key in the connection, and at most 20 hours since",
            )
        body = self.request.same_body(record)
        if body is None:
            raise inputs_changed(record, self.identity)
        self.run.log.warning("Submitting once more with idempotency key %s: its outcome is unknown", record.key)
        sent = self.request.sent_body(body, is_replay=True)
        path = catalog.endpoint(body["model"], self.options.kind)
        return OrderPlan(record.moved(State.INTENT), sent, path, is_replay=True)

    def _resubmit_plan(self, record: Record) -> OrderPlan:
        self.run.log.error(
            "Submitting again although the outcome of idempotency key %s is unknown, by on_unknown_submit: it may be "
            "paid twice",
            record.key,
        )
        counts = {"regenerations": record.regenerations, "extra_payments": record.extra_payments + 1}
        return self._plan(record.order_number + 1, record, counts)

    def _post(self, plan: OrderPlan) -> Submission:
        """Write the intent, send, record the job. Decides nothing about an unknown outcome."""
        record = plan.record
        with uninterrupted() as is_terminating:
            # The lease begins before the intent is written: whoever stalls during the write is late as well.
            lease = Lease(lambda: is_terminating() or self.run.is_stopping(), lambda: self._is_current(record))
            try:
                ledger = replace(self.ledger, on_step=lease.check)
                latest = ledger.read_again()  # a folder, unlike Airflow's store, lets a stale try write
                if latest is not None and latest.revision >= record.revision:
                    raise EvoLinkOrderStopped(
                        "not submitted: another try has taken over. What to do: see the latest try of this task"
                    )
                ledger.write_intent(record)
                job = self.client.submit(plan.body, idempotency_key=record.key, path=plan.path, permit=lease)
            except EvoLinkError as error:
                return self._not_accepted(plan, error, is_late=lease.is_late)
            line = "Submitted EvoLink job %s (%s), %s reserved, idempotency key %s"
            model, amount = sanitize(job.model or record.model, 80), credits_text(job.credits_reserved)
            self.run.log.info(line, job.job_id, model, amount, record.key)
            accepted = submitted(record, job)
            self.ledger.write_submitted(accepted)
        count_credits(self.options.operator_name, "credits_reserved", job)
        return SubmittedOrder(job, accepted if self.ledger.is_durable else None)

    def _not_accepted(self, plan: OrderPlan, error: EvoLinkError, *, is_late: bool) -> RefusedOrder | UnknownOrder:
        if submit_outcome(error) in (SubmitOutcome.UNKNOWN, SubmitOutcome.EXISTS):
            return UnknownOrder(plan.record, explained(error, plan.record, self.request))
        # A replay that is refused says nothing about the order before it.
        state = State.UNKNOWN if plan.is_replay else State.REFUSED
        withdrawn = plan.record.moved(state)
        self.ledger.write_best_effort(withdrawn, replacing=plan.record)
        return RefusedOrder(error, withdrawn, is_late and not plan.is_replay)

    def _again(self, plan: OrderPlan, late: RefusedOrder) -> OrderPlan:
        """Plan an order that was late, and certainly not sent, once more, unless another try has taken over."""
        latest = self.ledger.read()
        if latest not in (None, plan.record, late.record):
            raise late.error
        self.run.log.warning("%s; once more in this try", late.error)
        revision = latest.revision + 1 if latest else plan.record.revision
        return replace(plan, record=replace(plan.record, revision=revision, ordered_at=time.time()))

    def _give_up(self, outcome: UnknownOrder) -> SubmittedOrder:
        self.ledger.write_best_effort(outcome.record.moved(State.UNKNOWN))
        raise outcome.error

    def _is_current(self, record: Record) -> bool:
        return not self.ledger.is_durable or self.ledger.read() == record

    def _reconcile(self, record: Record) -> SubmittedOrder:
        left = record.ordered_at + STALE_WORKER_SECONDS - time.time()
        if left > 0:
            self.run.log.info("Waiting %.0f s, until no stalled worker can still submit", left)
            time.sleep(left)
        near = candidates(record, self.client.list_jobs(record.model))
        if len(near) != 1:
            listed = ", ".join(job.job_id for job in near[:5]) or "none"
            found = f"of the account's newest jobs {len(near)} could be it: {listed}"
            raise self._unknown(record, found)
        job = self.client.get_job(near[0].job_id, redactor=self.request.redactor())
        if why := misfit(replace(record, newest_job_created=0.0), job):
            raise self._unknown(record, f"the only job that could be it, {job.job_id}, is not: {why}")
        self.run.log.warning("EvoLink job %s is the only one that can be this order: attached to it", job.job_id)
        adopted = submitted(record, job)
        self.ledger.write_submitted(adopted)
        return self._unless_changed(job, adopted)

    def _unless_changed(self, job: Job, record: Record) -> SubmittedOrder:
        """Return the job of an earlier order, unless that had other inputs."""
        if self.request.same_body(record) is None:
            raise inputs_changed(record, self.identity)
        return SubmittedOrder(job, record)

    def _namespace(self) -> str:
        if chosen := self.options.namespace:
            return chosen
        if not self.client.settings.is_local and not self.identity.item:  # once for all requests of a task
            self.run.log.warning(
                "[evolink] idempotency_namespace is not set: if two deployments share an EvoLink account and the "
                "names of their DAGs and runs, EvoLink may give them one job for two orders"
            )
        return self.client.settings.base_url

    def _unknown(self, record: Record, why: str = "") -> EvoLinkSubmissionUnknown:
        return interrupted(record, self.identity.record_name, self.request, why)


def _order_or_raise(outcome: SubmittedOrder | RefusedOrder) -> SubmittedOrder:
    if isinstance(outcome, RefusedOrder):
        raise outcome.error
    return outcome


def submitted(record: Record, job: Job) -> Record:
    """
    Return the record of an order once its job is known.

    :param record: The record of the order.
    :param job: Its job.
    """
    return record.moved(
        State.SUBMITTED,
        job_id=job.job_id,
        model=job.model or record.model,  # as EvoLink calls it: later reads are compared with it
        newest_job_created=max(record.newest_job_created, job.created or 0.0),
        credits_reserved=job.credits_reserved,
        request_id=job.request_id,
        estimated_time=job.estimated_time,
    )


def refuse_second_request(record: Record, request: OrderRequest, identity: TaskIdentity) -> None:
    """
    Refuse another request in the same try: it is no retry, and a task records one order.

    :param record: What this try has recorded.
    :param request: The request that is about to be submitted.
    :param identity: The running try.
    :raises EvoLinkRerunRefused: this try has submitted another request.
    """
    if record.state is not State.REFUSED and request.same_body(record) is None:
        raise inputs_changed(record, identity)


def inputs_changed(record: Record, identity: TaskIdentity) -> EvoLinkRerunRefused:
    """
    Return the error of a try whose inputs are no longer those of the order it finds.

    :param record: The record of that order.
    :param identity: The running try.
    """
    when = pendulum.from_timestamp(record.ordered_at).to_iso8601_string()
    which = f"number {record.order_number}, {sanitize(record.model, 80)}, {when}"
    order = (
        "its last order, whose result was delivered"
        if record.state is State.DELIVERED
        else "an order that is still open"
    )
    if record.is_of(identity):
        return EvoLinkRerunRefused(
            f"this try has already submitted another request ({which}), and a task records one order, so "
            "nothing is submitted. What to do: submit many requests with EvoLinkBatchOperator, or one per task",
            job_id=record.job_id,
        )
    return EvoLinkRerunRefused(
        f"the inputs of this task have changed since {order} ({which}), so its result is not returned for "
        "them, and nothing is submitted. What to do: restore the inputs and clear the task; or fetch the job "
        f"with EvoLinkJobSensor and its id; or delete the record {identity.record_name} in the Storage tab of this "
        "task instance (and its file in the ledger folder) and clear the task to submit with the new inputs",
        job_id=record.job_id,
    )
