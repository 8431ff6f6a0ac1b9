"""The operator that orders many generations in one task, waits for all and hands on their jobs."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.compat import TRIGGER_FAILED
from airflow_provider_evolink.operators.generate import PADDING, EvoLinkGenerateOperator
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.execution.batch import BatchAttempt
    from airflow_provider_evolink.execution.batch_decisions import OnFailedJob


class EvoLinkBatchOperator(EvoLinkGenerateOperator):
    """
    Order many generations in one task, wait for all of them and return their jobs in the order of the requests.

    **Every order costs credits.** All requests are checked before the first is sent. Each order has a record of its
    own: a retry waits for the jobs that run, and orders only what was never ordered and what EvoLink failed for a
    passing reason. One trigger waits for all jobs, so a batch of 500 is one task for Airflow, where 500 mapped tasks
    are 500. Give the requests in the same order on every try.

    This needs Airflow 3.3 or later, or ``ledger_path``: without a record nothing is ordered.

    What is not said here is as with :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`,
    for each request: ``timeout`` counts from its own order, ``max_regenerations`` and the policies hold for each.
    ``max_credits`` holds for the sum of what is about to be ordered. ``on_unknown_submit="reconcile"`` is refused: it
    would take the job of one request for the lost order of another.

    :param requests: The fields of each request, as EvoLink names them; ``model`` may be among them. (templated)
    :param model: EvoLink's name of the model, for requests that do not name one. (templated)
    :param parameters: Fields that all requests share; those of a request win. (templated)
    :param max_active: How many jobs may run at EvoLink at a time. Further requests are ordered as jobs end; EvoLink
        publishes no limit, it depends on model and account.
    :param on_failed_job: What a request without a result means. ``fail_fast`` fails the task at once; the other
        jobs go on, are named in the error, and are waited for by the next try. ``collect`` goes on with the others:
        retries order anew what may succeed, and what is left has ``status``, ``error`` and ``error_code`` in the
        place of its result.
    :return: One job for each request, as
        :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator` returns it.
    :raises AirflowFailException: as there; also where it concerns one request and ``on_failed_job="fail_fast"``.
    :raises EvoLinkError: anything that may pass; Airflow's retries apply.
    """

    template_fields: Sequence[str] = (*EvoLinkGenerateOperator.template_fields, "requests")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "requests": "json"}

    def __init__(
        self,
        *,
        requests: Sequence[dict[str, Any]],
        model: str = "",
        parameters: dict[str, Any] | None = None,
        max_active: int = 100,
        on_failed_job: OnFailedJob = "fail_fast",
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, parameters=parameters, **kwargs)
        self.requests = requests
        self.max_active = max_active
        self.on_failed_job = on_failed_job
        self._singles: list[EvoLinkGenerateOperator] = []

    def execute(self, context: Context) -> list[dict[str, Any]]:  # type: ignore[override]
        """Attach to the jobs of an earlier try, order what is missing; then wait."""
        with airflow_failures(self), self._batch(context) as batch:
            batch.begin()
            return self._go_on(batch)

    def execute_complete(  # type: ignore[override]
        self, context: Context, event: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """
        Go on after the trigger: order further requests, or read the jobs again, and this reading decides.

        :param context: Airflow's context.
        :param event: Which jobs run on and which gave nothing, as the trigger saw them.
        """
        with airflow_failures(self), self._batch(context, resumed=True) as batch:
            batch.resume(event or {})
            return self._go_on(batch)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on on the worker when Airflow gave up the trigger: jobs that finished late are a success."""
        if next_method != TRIGGER_FAILED:
            return super().resume_execution(next_method, next_kwargs, context)
        self.log.warning("Airflow ended the wait in the triggerer; going on with it on the worker")
        with airflow_failures(self), self._batch(context, resumed=True) as batch:
            batch.stays = True
            batch.begin()
            return self._go_on(batch)

    def on_kill(self) -> None:
        """Say that the jobs go on: EvoLink has no cancel call. Touches nothing, not even the connection."""
        super().on_kill()
        for single in self._singles:
            single.is_stopping = True

    def singles(self) -> list[EvoLinkGenerateOperator]:
        """
        Return an operator for each request, which orders that alone.

        :raises EvoLinkConfigError: the requests are no list of fields, no model is known, or orders would be mixed up.
        """
        from airflow_provider_evolink.api.errors import EvoLinkConfigError

        if self.on_unknown_submit == "reconcile":
            raise EvoLinkConfigError(
                'on_unknown_submit="reconcile" is not for a batch: it looks for a lost order by model and time only, '
                "and would take the job of another request for it; nothing is ordered. What to do: choose "
                '"fail", "replay" or "resubmit"'
            )
        if isinstance(self.requests, str | Mapping) or not isinstance(self.requests, Sequence):
            raise EvoLinkConfigError(f"requests must be a list of dicts, not {type(self.requests).__name__}")
        shared, made = dict(self.parameters or {}), []
        for number, fields in enumerate(self.requests):
            if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
                raise EvoLinkConfigError(f"request {number} must be a dict of fields, not {type(fields).__name__}")
            given = {**shared, **fields}
            model = str(given.pop("model", None) or self.model)
            if not model:
                raise EvoLinkConfigError(f"request {number} names no model, and the operator has none")
            single = copy.copy(self)
            # What Airflow does when an attribute is set is meant for DAG files.
            single.__dict__.update(model=model, parameters=given, requests=(), max_credits=None, _singles=[])
            made.append(single)
        self._singles = list(made)
        return self._singles

    def _batch(self, context: Context, *, resumed: bool = False) -> BatchAttempt:
        from airflow_provider_evolink.execution.batch import BatchAttempt

        return BatchAttempt(self, context, resumed=resumed)

    def _go_on(self, batch: BatchAttempt) -> list[dict[str, Any]]:
        while not batch.is_ready():
            batch.order_more()
            if batch.is_waiting:
                batch.look_early()
            if not batch.is_waiting:
                continue
            if self.deferrable and not batch.stays and time.time() < batch.deadline:
                self._defer_all(batch)
            batch.wait_here()
        return batch.deliver()

    def _defer_all(self, batch: BatchAttempt) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkBatchTrigger

        jobs = batch.jobs
        left = batch.deadline - time.time()
        self.log.info("%d EvoLink jobs: waiting in the triggerer, %.0f s at most", len(jobs), left)
        self.defer(
            trigger=EvoLinkBatchTrigger(
                evolink_conn_id=self.evolink_conn_id, jobs=jobs, state=batch.state(), **batch.terms()
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, left)) + PADDING,
        )
