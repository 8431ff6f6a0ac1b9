"""The operator that submits many requests in one task, waits for all jobs and returns them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.compat import TRIGGER_FAILED
from airflow_provider_evolink.operators.generate import PADDING, EvoLinkGenerateOperator
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.choices import OnFailedJob
    from airflow_provider_evolink.arguments.templated import Entries, Templated
    from airflow_provider_evolink.execution.batch import BatchAttempt
    from airflow_provider_evolink.execution.batch_item import BatchResult


class EvoLinkBatchOperator(EvoLinkGenerateOperator):
    """
    Submit many requests in one task, wait for all jobs and return them in the order of the requests.

    **Every submission costs credits.** All requests are checked before the first is sent. Each has a record of its own:
    a retry waits for the jobs that run, and submits only what was never submitted and what EvoLink failed for a
    transient reason. One trigger waits for all jobs, so a batch of 500 is one task for Airflow instead of 500 mapped
    ones. Give the requests in the same order on every try.

    This needs Airflow 3.3 or later, or ``ledger_path``: without a record nothing is submitted.

    All other arguments are those of :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`, for
    each request: ``timeout`` counts from its own submission, and ``max_regenerations`` and the policies apply to each.
    ``max_credits`` limits the sum of what is about to be submitted. ``on_unknown_submit="reconcile"`` is refused: it
    could take the job of one request for the lost order of another.

    :param requests: The fields of each request, as EvoLink names them; ``model`` may be among them. (templated)
    :param model: EvoLink's name of the model, for requests that do not name one. (templated)
    :param parameters: Fields that all requests share; those of a request take precedence. (templated)
    :param max_active: Maximum number of jobs that run at a time. Further requests are submitted as jobs end. EvoLink
        does not publish its own limit, which depends on model and account.
    :param on_failed_job: What to do about a request without a result. ``fail_fast`` fails the task at once; the other
        jobs keep running, are named in the error, and the next try waits for them. ``collect`` continues with the
        others: retries submit again what may succeed, and what is left has ``status``, ``error`` and ``error_code``
        instead of its result.
    :return: For each request its
        :class:`~airflow_provider_evolink.execution.results.GenerationResult`, or its
        :class:`~airflow_provider_evolink.execution.batch_item.FailedRequest` if ``on_failed_job="collect"``.
    :raises AirflowFailException: as there; for a single request only if ``on_failed_job="fail_fast"``.
    :raises EvoLinkError: any transient failure; Airflow's retries apply.
    """

    argument_rules = table.BATCH
    template_fields: Sequence[str] = (*EvoLinkGenerateOperator.template_fields, "requests")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "requests": "json"}

    def __init__(
        self,
        *,
        requests: Templated[Sequence[Templated[Entries]]],
        model: Templated[str] = "",
        parameters: Templated[Entries | None] = None,
        max_active: int = 100,
        on_failed_job: OnFailedJob = "fail_fast",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, parameters=parameters, **kwargs)
        self.requests = requests
        self.max_active = max_active
        self.on_failed_job = on_failed_job
        self.check_literals()

    def execute(self, context: Context) -> BatchResult:
        """Attach to the jobs of an earlier try, submit what is missing; then wait."""
        with airflow_failures(self), closing(self._batch(context)) as batch:
            batch.begin()
            return self._continue(batch)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> BatchResult:
        """
        Continue after the trigger: submit further requests, or poll the jobs again, and this reading decides.

        :param context: Airflow's context.
        :param event: Which jobs still run and which have no result, as the trigger reported them.
        """
        with airflow_failures(self), closing(self._batch(context, is_resumed=True)) as batch:
            batch.resume(event or {})
            return self._continue(batch)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue on the worker if Airflow ended the trigger: jobs that finished late are a success."""
        if next_method != TRIGGER_FAILED:
            return super().resume_execution(next_method, next_kwargs, context)
        self.log.warning("Airflow ended the wait in the triggerer; waiting on the worker")
        with airflow_failures(self), closing(self._batch(context, is_resumed=True)) as batch:
            batch.waits_on_worker = True
            batch.begin()
            return self._continue(batch)

    def _batch(self, context: Context, *, is_resumed: bool = False) -> BatchAttempt:
        from airflow_provider_evolink.execution.batch import BatchAttempt
        from airflow_provider_evolink.execution.options import BatchOptions
        from airflow_provider_evolink.execution.task_run import TaskRun

        run = TaskRun(context, self.log, lambda: self.is_stopping, is_resumed, self.execution_timeout)
        return BatchAttempt(BatchOptions.of(self, context), run)

    def _continue(self, batch: BatchAttempt) -> BatchResult:
        while not batch.is_ready():
            batch.submit_more()
            if batch.is_waiting:
                batch.poll_early()
            if not batch.is_waiting:
                continue
            if self.deferrable and not batch.waits_on_worker and time.time() < batch.deadline:
                self._defer_all(batch)
            batch.wait_here()
        results = self.delivered = batch.deliver()
        return results

    def _defer_all(self, batch: BatchAttempt) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkBatchTrigger

        arguments = batch.trigger_arguments()
        left = max(0.0, batch.deadline - time.time())
        self.log.info("%d EvoLink jobs: deferring, timeout in %.0f s", len(arguments["jobs"]), left)
        self.defer(
            trigger=EvoLinkBatchTrigger(evolink_conn_id=str(self.evolink_conn_id), **arguments),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + PADDING,
        )
