"""One try of a generation: the steps between the ledger, EvoLink and the result. Imported when a task runs."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkJobError,
    EvoLinkJobFailed,
    EvoLinkNotFoundError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
    EvoLinkRerunRefused,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.failures import failure_code, job_error
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.polling.progress import Progress
from airflow_provider_evolink.execution.metrics import count_credits, tell_decision
from airflow_provider_evolink.execution.options import check_waits
from airflow_provider_evolink.execution.request import Inputs
from airflow_provider_evolink.execution.submission import OrderSubmitter, SubmittedOrder, changed
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.decisions import Act, Policies, decide, orders_again, why_not_again
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity
from airflow_provider_evolink.storage.object_store import open_folder
from airflow_provider_evolink.storage.results import fetch_media

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator


class GenerationAttempt:
    """
    What one try of a generate operator does. A context manager: it owns the HTTP client.

    :param operator: The operator, its templates rendered.
    :param context: Airflow's context.
    :param part: Number of the request, where the task orders many.
    :param client: EvoLink, where many share it; they close it.
    """

    def __init__(
        self,
        operator: EvoLinkGenerateOperator,
        context: Context,
        *,
        part: int | None = None,
        client: EvoLinkClient | None = None,
    ) -> None:
        self._operator, self._log = operator, operator.log
        self._ti: Any = context["ti"]
        self._began = time.time()
        self._policies = Policies.of(operator)
        check_waits(operator)
        self._identity = TaskIdentity.of(context, part)
        if not operator.do_xcom_push:
            self._identity = replace(self._identity, had_result=None)
        self._inputs = Inputs(operator, context)
        self._ledger = Ledger.of(context, durable=operator.durable, path=operator.ledger_path, part=part)
        self._record = self._ledger.read()
        self._client = client or EvoLinkHook(operator.evolink_conn_id).get_conn()
        self._buyer = OrderSubmitter(
            operator,
            identity=self._identity,
            ledger=self._ledger,
            client=self._client,
            policies=self._policies,
            inputs=self._inputs,
        )
        self._last: Job | None = None
        self._estimated_time: float | None = None  # told with the order, and not again
        self._unread: EvoLinkError | None = None
        self.stays = False

    def __enter__(self) -> GenerationAttempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    @property
    def started(self) -> float:
        """Epoch seconds of the order, as well as we know it."""
        if self._record is not None:
            return self._record.ordered_at
        return min(self._began, (self._last and self._last.created) or self._began)

    @property
    def deadline(self) -> float:
        """
        Epoch seconds when the wait of this try ends.

        ``timeout`` counts from the order, over all tries; ``execution_timeout`` from the start of this one, since
        Airflow 3 does not keep it while a task is deferred.
        """
        timeout = self._operator.timeout
        end = self.started + (timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout))
        allowed, start = self._operator.execution_timeout, getattr(self._ti, "start_date", None)
        return end if allowed is None or start is None else min(end, (start + allowed).timestamp())

    def start(self) -> str:
        """Return the id of the job this try waits for: the one of an earlier try, or of a new order."""
        act, order_number = decide(self._record, self._identity, self._policies)
        if act is Act.REFUSE:
            raise EvoLinkRerunRefused('this is a backfill and on_backfill="fail": nothing is ordered')
        if act is Act.RESOLVE and self._record is not None:
            tell_decision(self._operator, "outcome_unknown")
            return self._placed(self._buyer.settle(self._record))
        if act is Act.ATTACH and self._record is not None and self._record.job_id is not None:
            self._last = self._last or (None if self._unread else self._look(self._record.job_id))
            if self._last is None or not self._orders_again(self._last):
                return self._attach(self._record, self._record.job_id)
            return self._order_again(self._record, self._last)
        tell_decision(self._operator, "fresh_submit" if self._ledger.is_durable else "no_task_state_store")
        counts = self._record.counts(self._identity.clear_count) if self._record else {}
        return self._placed(self._buyer.order(order_number, self._record, **counts))

    def resume(self, event: dict[str, Any]) -> str:
        """
        Return the id of the job after a deferral; an event about another job is refused.

        :param event: What the trigger told.
        """
        told = event.get("job_id")
        known = self._record.job_id if self._record else told
        if not isinstance(told, str) or told != known:
            raise EvoLinkConfigError("the trigger's event is about another job than the one recorded", job_id=known)
        self._last = self._look(told)
        if event.get("status") == schedule.WaitEnd.TIMEOUT and not (self._last and self._last.status.is_over):
            schedule.result_or_raise(told, schedule.WaitEnd.TIMEOUT, None, None if self._last else self._unread)
        self.stays = event.get("status") == schedule.WaitEnd.UNREADABLE
        if self.stays:
            self._log.warning("The triggerer cannot read EvoLink job %s, this worker can: it waits here", told)
        return told

    def early_look(self, job_id: str) -> Job | None:
        """
        Look at a job for some seconds on the worker and return it if it is over: cheaper than to defer.

        :param job_id: EvoLink's id.
        """
        job = self._last or self._look(job_id)
        for pause in (
            schedule.worker_poll_delays(job, self.started, time.time(), self._operator.defer_after) if job else ()
        ):
            if job is None or job.status.is_over:
                break
            time.sleep(pause)
            job = self._look(job_id)
        return job if job and job.status.is_over else None

    def known(self) -> dict[str, Any]:
        """Return what the trigger's first look would tell, so that it can look later."""
        known = JobHints(estimated_time=self._estimated_time).and_now(self._last) if self._last else None
        return {name: getattr(known, name) for name in ("model", "kind", "estimated_time")} if known else {}

    def wait(self, job_id: str) -> Job:
        """
        Wait on the worker until the job is over.

        :param job_id: EvoLink's id.
        """
        progress = Progress(self.started, self._estimated_time)

        def tell(job: Job) -> None:
            self._last = job
            if line := progress.line(job, time.time()):
                self._log.info(line)
            if self._operator.is_stopping and not job.status.is_over:
                raise EvoLinkOrderStopped("this worker was told to end; the job goes on", job_id=job_id)

        try:
            return self._client.wait(
                job_id,
                timeout=max(0.0, self.deadline - time.time()),
                poll_interval=self._operator.poll_interval,
                started=self.started,
                estimated_time=self._estimated_time,
                on_poll=tell,
                redactor=self._inputs.redactor(),
            )
        except EvoLinkJobFailed:
            if self._last is None:
                raise
            return self._last

    def wait_here(self) -> Job:
        """Go on waiting for the recorded job on the worker; at the deadline say that it goes on."""
        if self._record is None or self._record.job_id is None:
            raise EvoLinkConfigError("no job is recorded for this task, so there is nothing to wait for")
        return self.wait(self._record.job_id)

    def deliver(self, job: Job) -> dict[str, Any]:
        """
        Turn a job that is over into the task's result, or raise why there is none.

        :param job: The job as just read.
        """
        if job.status is JobStatus.COMPLETED and not job.has_output:
            job = self.wait(job.job_id)
        result = self._result(job)
        self._delivered(job)
        return result

    def _result(self, job: Job) -> dict[str, Any]:
        """Return what is handed on of a job that is over, or raise why there is nothing."""
        if failure := job_error(job, self._inputs.redactor()):
            raise self._failed(job, failure)
        result = {**job.summary(), "request": self._inputs.shown(self._record)}
        if self._operator.destination:
            folder = open_folder(self._operator.destination)
            result["files"] = fetch_media(self._client, job, folder, result["request"])
        return result

    def _delivered(self, job: Job) -> None:
        """Take note that the result goes to the task: from now on only a clear orders anew."""
        if self._record is None or self._record.state is not State.DELIVERED:
            count_credits(self._operator, "credits_charged", job)
        if self._record is not None:
            here = {"clear_count": self._identity.clear_count, "attempt": self._identity.attempt}
            self._record = self._record.moved(State.DELIVERED, **here)
            self._ledger.write_best_effort(self._record)
        credits_ = job.summary()["credits"]
        self._log.info("EvoLink job %s is done: %d result(s), %s credits", job.job_id, len(job.results), credits_)

    def _placed(self, placed: SubmittedOrder) -> str:
        self._record = placed.record
        self._last = None if placed.job.status.is_over else placed.job  # what is over is read once more
        self._estimated_time = placed.job.estimated_time
        return placed.job.job_id

    def _attach(self, record: Record, job_id: str) -> str:
        """Wait for the job of an earlier try, or take its result once more."""
        if record.state is not State.DELIVERED and not self._is_lost() and self._inputs.same_body(record) is None:
            raise changed(record, self._identity)
        done = self._last is not None and self._last.status is JobStatus.COMPLETED
        tell_decision(self._operator, "already_succeeded" if done else "reconnect", self._last)
        self._log.info("EvoLink job %s of an earlier try: attached to it, nothing ordered", job_id)
        if record.clear_count != self._identity.clear_count:
            # Only the next clear means a new generation.
            self._record = record.moved(record.state, clear_count=self._identity.clear_count)
            self._ledger.write_best_effort(self._record)
        return job_id

    def _order_again(self, record: Record, lost: Job) -> str:
        self._log.warning("EvoLink job %s failed; ordering anew", lost.job_id)
        tell_decision(self._operator, "terminal_resubmit", lost)
        counts = record.counts(self._identity.clear_count, regenerated=1)
        return self._placed(self._buyer.order(record.order_number + 1, record, **counts))

    def _is_lost(self) -> bool:
        return self._last is not None and self._last.status in (JobStatus.FAILED, JobStatus.CANCELLED)

    def _orders_again(self, job: Job) -> bool:
        """Tell whether the job of an earlier try is lost for good and a new order is wanted."""
        if not self._is_lost() or self._record is None:
            return False
        row = failure_code(job.error.code if job.error else None)
        return orders_again(self._record, self._identity, self._policies, repeatable=row.repeatable)

    def _failed(self, job: Job, failure: EvoLinkJobError) -> EvoLinkJobError:
        """Hand on what the failed job cost, and say whether a retry would order anew."""
        self._last = job
        count_credits(self._operator, "credits_charged", job)
        if push := getattr(self._ti, "xcom_push", None):
            push(key=f"failed_job{self._identity.suffix}", value=job.summary())
        if self._record is not None and not self._orders_again(job) and isinstance(failure, EvoLinkJobFailed):
            if failure.repeatable:
                failure.message += f" — but {why_not_again(self._identity, self._policies)}"
            failure.permanent = True
        return failure

    def _look(self, job_id: str) -> Job | None:
        """
        Read a job; a failed one twice, since money hangs on it. ``None``: it cannot be read for a passing reason,
        which must not fail a try that waits.
        """
        try:
            job = self._client.get_job(job_id)
            if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
                return job
            time.sleep(schedule.CONFIRM_AFTER)
            return self._client.get_job(job_id)
        except (EvoLinkRateLimited, EvoLinkUnavailable, EvoLinkNotFoundError) as error:
            if isinstance(error, EvoLinkNotFoundError) and time.time() - self.started > schedule.EARLY_404:
                raise
            self._log.warning("EvoLink job %s cannot be read right now, waiting on: %s", job_id, error)
            self._unread = error
            return None
