"""The operator that orders a generation, waits for it and hands on the job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_evolink.compat import TRIGGER_FAILED, default_deferrable
from airflow_provider_evolink.links.evolink import EvoLinkResultLink
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
    from airflow_provider_evolink.api.errors import EvoLinkRequestError
    from airflow_provider_evolink.execution.generation import GenerationAttempt
    from airflow_provider_evolink.ledger.policies import OnBackfill, OnClear, OnUnknownSubmit, UnknownPrice

PADDING = timedelta(minutes=2)


class EvoLinkGenerateOperator(BaseOperator):
    """
    Order a generation of any EvoLink model, wait for it and return the job.

    **Every order costs credits.** A retry waits for the job of the previous try; it does not order again, unless
    EvoLink itself failed the job for a passing reason. Once the result was delivered, clearing the task means you
    want a new one. This needs Airflow 3.3 or later, where the job id survives the try.

    While the job runs, no worker is held: a trigger waits (``deferrable=True``).

    :param model: EvoLink's name of the model. (templated)
    :param parameters: Fields of the request, as EvoLink names them. Checked when the task runs; a wrong request is
        refused before anything is sent. (templated)
    :param kind: ``video``, ``image`` or ``audio``: where a model is ordered that the catalog does not know.
        Default: ``video``.
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param poll_interval: Seconds between looks; by default EvoLink's estimate and the kind of media decide.
    :param timeout: Seconds (or ``timedelta``) to wait, counted from the order. The job itself goes on after it; a
        retry looks at it once more, and with a longer ``timeout`` waits on.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable`` of the environment, else True.
    :param defer_after: Seconds after the order in which the worker looks itself before it defers, since a deferral
        takes 10 s at least. Default: some seconds, for jobs that EvoLink expects to end within 15 s (images 20 s).
    :param durable: Remember the job, so that a retry re-attaches. False: every try orders.
    :param validation: ``strict`` refuses a request that breaks a rule of the model, ``warn`` logs it and sends,
        ``off`` sends.
    :param idempotency_namespace: Name of this deployment in the idempotency key. Default: ``[evolink]
        idempotency_namespace``, else the API address. (templated)
    :param destination: Folder in object storage (``s3://``, ``gs://``, ``abfs://``, ``file://``): the results are
        downloaded there in this task, before their links die. (templated)
    :param callback_url: HTTPS address EvoLink calls when the job is over. Unsigned: a hint at best. (templated)
    :param ledger_path: Folder in object storage for a copy of the record; what Airflow before 3.3 needs for safety.
        Default: ``[evolink] ledger_path``. It must stay the same for all tries.
    :param max_credits: Refuse an order that may cost more, by the dated price in the catalog.
    :param unknown_price: Under ``max_credits``, what to do where nobody knows the price: ``refuse`` or ``order``.
    :param max_regenerations: How often a job that EvoLink failed for a passing reason is ordered anew by retries.
        Default: by every retry. Failures that would come again are never repeated.
    :param on_unknown_submit: Where an order may have been accepted: ``fail`` stops without using retries, ``replay``
        sends it again with its key (the connection must say that EvoLink honours it), ``reconcile`` looks for the
        one job it can be, ``resubmit`` orders again, once, and **may pay twice**.
    :param on_clear: Clearing after the result was delivered: ``regenerate`` orders anew, ``reuse`` returns the job.
    :param on_backfill: In a backfill: ``generate`` follows the rules above, ``reuse`` orders only what was never
        ordered, ``fail`` orders nothing.
    :return: The job: ``job_id``, ``model``, ``kind``, ``status``, ``results`` (links, 24 hours), ``credits``,
        ``credits_reserved``, ``credits_charged``, ``created``, ``expires_at``, ``request`` and, with
        ``destination``, ``files``.
    :raises AirflowFailException: wrong request, bad key, no access, no credits, refused content, unknown outcome of
        an order: no retries are used.
    :raises EvoLinkError: anything that may pass; Airflow's retries apply.
    """

    template_fields: Sequence[str] = (
        "model",
        "parameters",
        "evolink_conn_id",
        "idempotency_namespace",
        "destination",
        "callback_url",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    operator_extra_links = (EvoLinkResultLink(),)
    ui_color = "#e8e4ff"
    typed_fields: ClassVar[tuple[str, ...]] = ("callback_url",)
    is_stopping = False
    kind_made: ClassVar[Kind | None] = None  # the one kind of models it orders; None: any
    makes_request = False  # whether a function makes the request, which is then kept for a job that is known

    def __init__(
        self,
        *,
        model: str,
        parameters: dict[str, Any] | None = None,
        kind: Kind | None = None,
        evolink_conn_id: str = "evolink_default",
        poll_interval: float | None = None,
        timeout: float | timedelta = 1800.0,
        deferrable: bool = default_deferrable(),
        defer_after: float | None = None,
        durable: bool = True,
        validation: Validation = "strict",
        idempotency_namespace: str | None = None,
        destination: str | None = None,
        callback_url: str | None = None,
        ledger_path: str | None = None,
        max_credits: float | None = None,
        unknown_price: UnknownPrice = "refuse",
        max_regenerations: int | None = None,
        on_unknown_submit: OnUnknownSubmit = "fail",
        on_clear: OnClear = "regenerate",
        on_backfill: OnBackfill = "generate",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.parameters = parameters
        self.kind = kind
        self.evolink_conn_id = evolink_conn_id
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable
        self.defer_after = defer_after
        self.durable = durable
        self.validation = validation
        self.idempotency_namespace = idempotency_namespace
        self.destination = destination
        self.callback_url = callback_url
        self.ledger_path = ledger_path
        self.max_credits = max_credits
        self.unknown_price = unknown_price
        self.max_regenerations = max_regenerations
        self.on_unknown_submit = on_unknown_submit
        self.on_clear = on_clear
        self.on_backfill = on_backfill

    def execute(self, context: Context) -> dict[str, Any]:
        """Attach to the job of an earlier try, or order; then wait."""
        with airflow_failures(self), self._generation(context) as generation:
            return self._wait_and_deliver(generation, generation.start())

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """
        Go on after the trigger: the job is read again, and this reading decides.

        :param context: Airflow's context.
        :param event: Job id and status, as the trigger saw them.
        """
        with airflow_failures(self), self._generation(context) as generation:
            return self._wait_and_deliver(generation, generation.resume(event or {}))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on on the worker when Airflow gave up the trigger: a job that finished late is a success."""
        if next_method == TRIGGER_FAILED and self._has_record(context):
            self.log.warning("Airflow ended the wait in the triggerer; going on with it on the worker")
            with airflow_failures(self), self._generation(context) as generation:
                return generation.deliver(generation.wait_here())
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Say that the job goes on: EvoLink has no cancel call. Touches nothing, not even the connection."""
        self.is_stopping = True
        self.log.warning(
            "EvoLink has no cancel call: a job that was ordered goes on and stays billable. Its "
            "id is in this log; EvoLinkJobSensor and EvoLinkDownloadOperator fetch its result"
        )

    def request(self) -> dict[str, Any]:
        """
        Return the parameters of the request: the typed arguments that are set, and ``parameters``.

        :raises EvoLinkRequestError: a field is given twice, with two values; or the model makes another kind of media.
        """
        self._check_kind()
        typed = {name: getattr(self, name) for name in self.typed_fields if getattr(self, name) is not None}
        given = dict(self.parameters or {})
        twice = [name for name in typed if given.get(name) not in (None, typed[name])]
        if twice:
            raise self._given_twice(twice)
        return {**given, **typed}

    def _given_twice(self, names: list[str]) -> EvoLinkRequestError:
        from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation

        rule = "is given as an argument and in parameters, with two values"
        return EvoLinkRequestError(self.model, [Violation(name, rule) for name in names])

    def _check_kind(self) -> None:
        if self.kind_made is None:
            return
        from airflow_provider_evolink.api import catalog
        from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation

        made = catalog.kind(self.model)
        if made not in (None, self.kind_made):
            rule = f"makes {made}, and {type(self).__name__} orders {self.kind_made} only"
            raise EvoLinkRequestError(self.model, [Violation("model", rule)])

    def keep_request(self, shown: dict[str, Any]) -> None:
        """
        Keep what is ordered, where a function made it.

        :param shown: The request without secrets.
        """

    def kept_request(self) -> dict[str, Any] | None:
        """Return what this try has ordered, where a function made it and it is known."""
        return None

    def _has_record(self, context: Context) -> bool:
        from airflow_provider_evolink.ledger.ledger import Ledger

        with airflow_failures(self):
            return Ledger.of(context, durable=self.durable, path=self.ledger_path).read() is not None

    def _generation(self, context: Context) -> GenerationAttempt:
        from airflow_provider_evolink.execution.generation import GenerationAttempt

        return GenerationAttempt(self, context)

    def _wait_and_deliver(self, generation: GenerationAttempt, job_id: str) -> dict[str, Any]:
        job = generation.early_look(job_id)
        if job is None and self.deferrable and not generation.stays and time.time() < generation.deadline:
            self._defer(generation, job_id)
        return generation.deliver(job or generation.wait(job_id))

    def _defer(self, generation: GenerationAttempt, job_id: str) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

        left = generation.deadline - time.time()
        self.log.info("EvoLink job %s: waiting in the triggerer, %.0f s at most", job_id, left)
        self.defer(
            trigger=EvoLinkJobTrigger(
                evolink_conn_id=self.evolink_conn_id,
                job_id=job_id,
                deadline=generation.deadline,
                started=generation.started,
                poll_interval=self.poll_interval,
                **generation.known(),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, left)) + PADDING,
        )
