"""One try of a generation: attach or submit, wait, deliver. Imported when a task runs."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkJobError,
    EvoLinkJobFailed,
    EvoLinkRerunRefused,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.credits import credits_text
from airflow_provider_evolink.api.jobs.failures import is_repeatable, job_error
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.execution.inputs.hidden_prompt import without_quotes
from airflow_provider_evolink.execution.job_tracker import (
    NEEDS_LONGER_TIMEOUT,
    NEXT_TRY_WAITS,
    NOT_RECORDED,
    JobTracker,
    JobWait,
    Reading,
)
from airflow_provider_evolink.execution.metrics import count_credits, count_decision, counts_unknown
from airflow_provider_evolink.execution.other_records import adopt_of_batch
from airflow_provider_evolink.execution.request import OrderRequest
from airflow_provider_evolink.execution.results import check_job
from airflow_provider_evolink.execution.reuse import Reuse
from airflow_provider_evolink.execution.submission import (
    OrderSubmitter,
    SubmittedOrder,
    inputs_changed,
    refuse_second_request,
)
from airflow_provider_evolink.execution.task_run import push_aside
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.decisions import (
    Act,
    decide,
    may_resubmit,
    resubmits_failed_job,
    unknown_submit_policy,
    why_not_resubmitted,
)
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity, never_sent
from airflow_provider_evolink.storage.media_file import JobInfo
from airflow_provider_evolink.storage.object_store import open_folder
from airflow_provider_evolink.storage.results import download_limits, fetch_media

if TYPE_CHECKING:
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import RequestSource
    from airflow_provider_evolink.execution.results import GenerationResult
    from airflow_provider_evolink.execution.task_run import TaskRun


class GenerationAttempt:
    """
    What one try does for one request. Close it, unless the client is shared.

    :param options: The arguments of the operator.
    :param source: Where the request comes from.
    :param run: The running try.
    :param item: Number of the request, where the task submits many.
    :param client: EvoLink, where many share it; they close it.
    :param reads: Whether to read the record now.
    """

    def __init__(
        self,
        options: GenerationOptions,
        source: RequestSource,
        run: TaskRun,
        *,
        item: int | None = None,
        client: EvoLinkClient | None = None,
        reads: bool = True,
    ) -> None:
        identity = TaskIdentity.of(run.context, item)
        shows_xcom = options.keeps_result and not run.is_resumed
        self.identity = identity if shows_xcom else replace(identity, had_result=None)
        self.options = options
        self.request = OrderRequest(options, source, run.context)
        self.ledger = Ledger.of(run.context, identity, durable=options.durable, path=options.ledger_path)
        self.record = self.ledger.read() if reads else None
        self._run = run
        client = client or EvoLinkHook(options.evolink_conn_id).get_conn()
        self._submitter = OrderSubmitter(options, run, self.request, self.identity, self.ledger, client)
        self.tracker = JobTracker(options, run, client, self.request)
        wants = options.reuse != "never"
        self.reuse = Reuse(options, run, self.request, self.identity, self.tracker) if wants else None
        self._submit = partial(self.reuse.order, self._submitter) if self.reuse else self._submitter.submit

    def close(self) -> None:
        """Close the connections."""
        self._submitter.client.close()

    @property
    def job_id(self) -> str | None:
        """EvoLink's id, where a job is recorded."""
        return self.record.job_id if self.record else None

    @property
    def will_submit(self) -> bool:
        """Whether :meth:`attach_or_submit` is to submit, as far as the job of an earlier order is known."""
        policies = self.options.policies
        act, _ = decide(self.record, self.identity, policies)
        if act is Act.RESOLVE and self.record is not None:
            return unknown_submit_policy(self.identity, policies) == "resubmit" and may_resubmit(self.record)
        return act is Act.SUBMIT or (act is Act.ATTACH and self._replaces_failed_job())

    @property
    def was_submitted_since_clear(self) -> bool:
        """Whether this request was submitted since the task was last cleared."""
        return (
            self.job_id is not None and self.record is not None and self.record.clear_count == self.identity.clear_count
        )

    def reload_own_record(self) -> None:
        """
        Read what is recorded of the order just submitted. What another try has written must stop this one.

        A request that failed before its intent is recorded as refused: a gap would hide the orders behind it.
        """
        with contextlib.suppress(EvoLinkError):
            latest = self.ledger.read()
            if latest is None and self.record is None:
                latest = never_sent(self.identity, self.options.model)
                self.ledger.write_best_effort(latest)
            if latest is not None and latest.job_id is None and latest.attempt == self.identity.attempt:
                self.record, self.tracker.reading = latest, None

    @counts_unknown
    def attach_or_submit(self) -> JobWait:
        """
        Attach to the job of an earlier try, or submit. **A submission costs credits.**

        :raises EvoLinkError: there is no job to wait for.
        """
        adopt_of_batch(self, self._run.context, self.identity, self.options)
        act, order_number = decide(self.record, self.identity, self.options.policies)
        if self.record and self.record.is_of(self.identity):
            refuse_second_request(self.record, self.request, self.identity)
        if act is Act.REFUSE:
            raise EvoLinkRerunRefused(
                'this is a backfill and on_backfill="fail": nothing is submitted. What to do: nothing if this was '
                'intended; to let it submit, and pay, choose "generate" or "reuse"'
            )
        if act is Act.RESOLVE and self.record is not None:
            count_decision(self.options.operator_name, "outcome_unknown")
            order = self._submitter.resolve_unknown(self.record)
            if self.reuse and order.record:
                self.reuse.name_job(order.record)
            return self._submitted(order)
        if act is Act.ATTACH and self.record is not None and self.record.job_id is not None:
            if self.reuse:
                self.reuse.name_job(self.record)
            self.poll(again=False)
            check_job(self.record, self.tracker.reading.job if self.tracker.reading else None)
            return self._replace_failed_job(self.record) if self._replaces_failed_job() else self._attach(self.record)
        count_decision(self.options.operator_name, "fresh_submit" if self.ledger.is_durable else "no_task_state_store")
        counts = self.record.counts(self.identity.clear_count) if self.record else {}
        return self._submitted(self._submit(order_number, self.record, counts))

    def poll(self, *, again: bool = True) -> None:
        """
        Poll the recorded job by itself; a transient failure is a reading without a job.

        :param again: Also if it was polled already.
        :raises EvoLinkError: it cannot be read.
        """
        if self.job_id is not None and (again or self.tracker.reading is None):
            self.tracker.reading = self.tracker.poll(self.job_id, self.job_wait(self.job_id).started)

    def resume(self, event: dict[str, Any]) -> JobWait:
        """
        Continue after a deferral; an event about another job is refused.

        :param event: What the trigger reported.
        """
        reported = event.get("job_id")
        known = self.record.job_id if self.record else reported
        if not isinstance(reported, str) or reported != known:
            raise EvoLinkConfigError(
                "the trigger's event is about another job than the one recorded, so its result is not returned; "
                "nothing is submitted. What to do: clear the task: it waits for the recorded job",
                job_id=known,
            )
        reading = self.tracker.reading = self.tracker.poll(
            reported, self.job_wait(reported).started, patience=self._run.patience
        )
        if event.get("status") == schedule.WaitEnd.TIMEOUT and not reading.is_over:
            raise self.job_wait(reported).timeout_error(reading.error) from reading.error
        on_worker = event.get("status") == schedule.WaitEnd.UNREADABLE
        if on_worker:
            self._run.log.warning("The triggerer cannot poll EvoLink job %s, this worker can: it waits here", reported)
        return self.job_wait(reported, on_worker=on_worker)

    def job_wait(self, job_id: str | None = None, *, on_worker: bool = False) -> JobWait:
        """
        Return the wait for a job.

        ``timeout`` counts from the order, over all tries; ``execution_timeout`` from the start of this try, since
        Airflow 3 does not enforce it while a task is deferred.

        :param job_id: EvoLink's id; by default the recorded one.
        :param on_worker: The triggerer cannot poll it.
        :raises EvoLinkConfigError: no job is recorded.
        """
        job_id = job_id or self.job_id
        if job_id is None:
            raise EvoLinkConfigError(
                "no job is recorded for this task, so there is nothing to wait for. What to do: take the job ID from "
                "the log of this task and fetch the job with EvoLinkJobSensor. Clearing it submits, and pays, again"
            )
        job = self.tracker.reading.job if self.tracker.reading else None
        began = self._run.began
        started = self.record.ordered_at if self.record else min(began, (job.created if job else None) or began)
        offset = self.tracker.clock_offset
        if offset and self.record and self.record.newest_job_created:  # another worker's clock wrote when it ordered
            started = self.record.newest_job_created - offset
        end = started + self.options.timeout
        todo = NEEDS_LONGER_TIMEOUT if end <= self._run.ends else NEXT_TRY_WAITS
        return JobWait(job_id, started, min(end, self._run.ends), on_worker, todo if self.record else NOT_RECORDED)

    def deliver(self, job: Job) -> GenerationResult:
        """
        Turn a job that has ended into the task's result, or raise why there is none.

        :param job: The job as just polled.
        """
        if job.status is JobStatus.COMPLETED and not job.has_output:
            job = self.tracker.wait(self.job_wait(job.job_id), patience=self._run.patience)
        result = self.result(job)
        self.mark_delivered(job)
        return result

    def result(self, job: Job) -> GenerationResult:
        """
        Return the result of a job that has ended, or raise why there is none.

        :param job: The job as just polled.
        """
        check_job(self.record, job)
        if failure := job_error(job, self.request.redactor()):
            raise self._failed(job, failure)
        summary = without_quotes(job.summary(self.tracker.reserved_by(self.record)), self.request.private_texts())
        result = {**summary, **self.tracker.origin(self.record, job, is_over=True)}
        if self.options.destination:
            result["files"] = fetch_media(
                self._submitter.client,
                job,
                open_folder(self.options.destination),
                JobInfo.of(result),
                limits=download_limits(**self.options.limits),
                on_missing=self.options.on_missing,
                patience=self._run.patience,
            )
        return cast("GenerationResult", result)

    def mark_delivered(self, job: Job) -> None:
        """
        Record that the result goes to the task: from now on only a clear submits again.

        :param job: The job as just polled.
        """
        is_joined = self.record is not None and self.record.is_joined
        if not is_joined and (self.record is None or self.record.state is not State.DELIVERED):
            count_credits(self.options.operator_name, "credits_charged", job)
        if self.record is not None:
            here: dict[str, Any] = {"clear_count": self.identity.clear_count, "attempt": self.identity.attempt}
            here["completed_at"] = self.tracker.completed_at(self.record)
            self.record = self.record.moved(State.DELIVERED, **here)
            self.ledger.write_best_effort(self.record)
        results = f"{len(job.results)} result{'' if len(job.results) == 1 else 's'}"
        spent = job.summary(self.tracker.reserved_by(self.record))["credits"]
        self._run.log.info("EvoLink job %s completed: %s, %s", job.job_id, results, credits_text(spent))

    def _submitted(self, order: SubmittedOrder) -> JobWait:
        self.record = order.record
        self.tracker.start_with(order.job)
        return self.job_wait(order.job.job_id)

    def _attach(self, record: Record) -> JobWait:
        """Wait for the job of an earlier try, or take its result once more."""
        reading = self.tracker.reading or Reading()
        if not reading.has_failed and self.request.same_body(record) is None:
            raise inputs_changed(record, self.identity)
        count_decision(
            self.options.operator_name,
            "already_succeeded" if reading.is_over and not reading.has_failed else "reconnect",
            reading.job,
        )
        self._run.log.info("EvoLink job %s from an earlier try: reattached, nothing submitted", record.job_id)
        if record.clear_count != self.identity.clear_count:
            # Only the next clear means a new generation.
            self.record = record.moved(record.state, clear_count=self.identity.clear_count)
            self.ledger.write_best_effort(self.record)
        return self.job_wait(str(record.job_id))

    def _replaces_failed_job(self) -> bool:
        """Tell whether the job of an earlier try has failed for good and a new order is wanted."""
        reading = self.tracker.reading
        if reading is None or not reading.has_failed or self.record is None:
            return False
        repeatable = is_repeatable(reading.ended_job)
        return resubmits_failed_job(self.record, self.identity, self.options.policies, repeatable=repeatable)

    def _replace_failed_job(self, record: Record) -> JobWait:
        self._run.log.warning("EvoLink job %s failed; submitting again", record.job_id)
        count_decision(
            self.options.operator_name, "terminal_resubmit", self.tracker.reading.job if self.tracker.reading else None
        )
        counts = record.counts(self.identity.clear_count, regenerated=1)
        return self._submitted(self._submit(record.order_number + 1, record, counts))

    def _failed(self, job: Job, failure: EvoLinkJobError) -> EvoLinkJobError:
        """Hand on what the failed job cost, and say whether a retry would submit again."""
        self.tracker.reading = Reading(job)
        count_credits(self.options.operator_name, "credits_charged", job)
        item, summary = self.identity.item, job.summary(self.tracker.reserved_by(self.record))
        push_aside(self._run, "failed_job" if item is None else f"failed_job_{item}", summary)
        if self.record is None or self._replaces_failed_job() or not isinstance(failure, EvoLinkJobFailed):
            return failure
        why = f" — but {why_not_resubmitted(self.identity, self.options.policies)}" if failure.repeatable else ""
        return failure.amended(message=failure.message + why, permanent=True)
