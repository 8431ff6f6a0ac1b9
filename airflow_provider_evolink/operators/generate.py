"""The operator that submits a request, waits for its job and returns it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.compat import TRIGGER_FAILED, default_deferrable
from airflow_provider_evolink.links.evolink import MEDIA_LINKS
from airflow_provider_evolink.operators.base import InputOperator, prompt_label
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
    from airflow_provider_evolink.arguments.choices import (
        OnBackfill,
        OnClear,
        OnMissing,
        OnUnknownSubmit,
        Reuse,
        UnknownPrice,
    )
    from airflow_provider_evolink.arguments.templated import Entries, Location, Seconds, Templated
    from airflow_provider_evolink.execution.generation import GenerationAttempt
    from airflow_provider_evolink.execution.job_tracker import JobWait
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import RequestSource
    from airflow_provider_evolink.execution.results import GenerationResult

PADDING = timedelta(minutes=2)
MAP_LABEL = "{{ task.map_label or ti.map_index }}"


class EvoLinkGenerateOperator(InputOperator):
    """
    Generate media with any EvoLink model: submit a request, wait for the job and return it.

    **Every submission costs credits.** A retry waits for the job of the previous try and does not submit again, unless
    EvoLink itself failed the job for a transient reason. Once the result was delivered, clearing the task means that
    you want a new one. This needs Airflow 3.3 or later, where the job id outlives a try, or ``ledger_path``.

    No worker slot is used while waiting (``deferrable=True``).

    :param model: EvoLink's name of the model. (templated)
    :param parameters: Fields of the request, as EvoLink names them. Checked when the task runs; an invalid request is
        refused before anything is sent. (templated)
    :param kind: ``video``, ``image`` or ``audio``: what a model makes that the catalog does not know, which decides
        the endpoint. Default: ``video``.
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param poll_interval: Poll interval, seconds or ``timedelta``. Default: depends on EvoLink's estimate and the kind
        of media.
    :param timeout: Seconds (or ``timedelta``) to wait, counted from the submission. The job keeps running after that; a
        retry polls it once more, and with a longer ``timeout`` keeps waiting.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable`` of the environment, else True.
    :param defer_after: Poll on the worker for this many seconds after the submission before deferring, since a deferral
        takes at least 10 s. Default: a few seconds, if EvoLink expects the job to take at most 15 s (images 20 s).
    :param durable: Record the job, so that a retry reattaches to it. False: every try submits.
    :param validation: ``strict`` refuses a request that breaks a rule of the model, ``warn`` logs the broken rules and
        submits, ``off`` submits without checking.
    :param idempotency_namespace: Name of this deployment in the idempotency key. Default: ``[evolink]
        idempotency_namespace``, else the API base URL. (templated)
    :param destination: Path in object storage (``s3://``, ``gs://``, ``abfs://``, ``file://``): this task downloads the
        results there, before their links expire. (templated)
    :param on_missing: With ``destination``: what to do if some of several results cannot be fetched, as in
        :class:`~airflow_provider_evolink.operators.media.EvoLinkDownloadOperator`: ``fail``, so that a retry fetches
        just these, or ``deliver`` the others. (templated)
    :param total_timeout: With ``destination``: seconds (or ``timedelta``) for each file. Default: 24 hours. (templated)
    :param max_bytes: With ``destination``: maximum size of a file. Default: 4 GiB. (templated)
    :param min_rate: With ``destination``: bytes per second below which a download counts as interrupted. Default:
        10240. (templated)
    :param callback_url: HTTPS URL that EvoLink calls when the job has ended. Calls are not signed: do not trust
        them. (templated)
    :param ledger_path: Absolute path in object storage for a second copy of the record; before Airflow 3.3 it is the
        only one. Default: ``[evolink] ledger_path``. It must be the same for all tries on all workers, or a retry does
        not find the job and pays again. (templated)
    :param max_credits: Refuse a request that may cost more, by the price list of the catalog. (templated)
    :param unknown_price: What to do under ``max_credits`` if the price is not known: ``refuse`` or ``order``.
    :param max_regenerations: Maximum resubmissions after transient EvoLink failures. Default: one with every retry.
        Permanent failures are never resubmitted.
    :param on_unknown_submit: What to do if EvoLink may have accepted a request whose response was lost: ``fail`` fails
        without retries, ``replay`` sends it again with the same idempotency key (the connection must state that
        EvoLink honors it), ``reconcile`` looks for the only job that it can be, ``resubmit`` submits again, once, and
        **may pay twice**.
    :param on_clear: What clearing the task means after its result was delivered: ``regenerate`` submits again,
        ``reuse`` returns the same job.
    :param on_backfill: What a backfill may do: ``generate`` follows the rules above, ``reuse`` submits only what was
        never submitted, ``fail`` submits nothing.
    :param hide_prompt: Let result, manifest, index and the rendered arguments in Airflow's UI show the SHA-256 of
        prompts and other free texts in place of the texts. The DAG file itself still shows what stands in it.
    :param reuse: ``same_request`` hands on a result of the same request that is in the archive, and submits nothing;
        the result has ``reused: true`` and files of the archive in place of links. Equal requests at the same time are
        submitted once, where the store of the archive can create only (``file``, S3). What ``on_clear`` and
        ``on_backfill`` want is decided first. Default: ``never``.
    :param reuse_unseeded: Reuse results of requests without a fixed ``seed`` as well: each would be another clip.
    :param archive_path: With ``reuse``: the ``archive_path`` of the archive task. (templated)
    :param archive_conn_id: Connection for its store, if required. (templated)
    :return: The job: ``job_id``, ``model``, ``kind``, ``status``, ``results`` (links, 24 hours), ``outputs``, ``made``,
        ``credits``, ``credits_reserved``, ``credits_charged``, ``created``, ``expires_at``, ``request``,
        ``fingerprint``, ``submitted``, ``completed``, ``request_id`` and, with ``destination``, ``files``.
    :raises AirflowFailException: invalid request, bad key, no access, no credits, rejected content, or a submission of
        unknown outcome: no retries are used.
    :raises EvoLinkError: any transient failure; Airflow's retries apply.
    """

    argument_rules = table.GENERATE
    map_label_template = MAP_LABEL
    map_label = property(prompt_label)
    template_fields: Sequence[str] = (
        "model",
        "parameters",
        "evolink_conn_id",
        "idempotency_namespace",
        "destination",
        "on_missing",
        "total_timeout",
        "max_bytes",
        "min_rate",
        "ledger_path",
        "callback_url",
        "max_credits",
        "archive_path",
        "archive_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    operator_extra_links = MEDIA_LINKS
    ui_color = "#e8e4ff"
    # The arguments that are fields of the request. A subclass names its own in ``fields``; a dotted name is a path.
    request_fields: ClassVar[tuple[str, ...]] = ("callback_url",)
    fields: ClassVar[tuple[str, ...]] = ()
    only_kind: ClassVar[Kind | None] = None  # the one kind of media that it makes; None: any
    is_stopping = False
    delivered: Sequence[Any] = ()  # the results of this try, for OpenLineage

    def __init__(
        self,
        *,
        model: Templated[str],
        parameters: Templated[Entries | None] = None,
        kind: Kind | None = None,
        evolink_conn_id: Templated[str] = "evolink_default",
        poll_interval: Seconds | None = None,
        timeout: Seconds = 1800.0,
        deferrable: bool = default_deferrable(),
        defer_after: Seconds | None = None,
        durable: bool = True,
        validation: Validation = "strict",
        idempotency_namespace: Templated[str | None] = None,
        destination: Location | None = None,
        on_missing: Templated[OnMissing] = "fail",
        total_timeout: Templated[Seconds | None] = None,
        max_bytes: Templated[int | None] = None,
        min_rate: Templated[float | None] = None,
        callback_url: Templated[str | None] = None,
        ledger_path: Location | None = None,
        max_credits: Templated[float | None] = None,
        unknown_price: UnknownPrice = "refuse",
        max_regenerations: int | None = None,
        on_unknown_submit: OnUnknownSubmit = "fail",
        on_clear: OnClear = "regenerate",
        on_backfill: OnBackfill = "generate",
        hide_prompt: bool = False,
        reuse: Reuse = "never",
        reuse_unseeded: bool = False,
        archive_path: Location | None = None,
        archive_conn_id: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.map_index_template = self.map_index_template or self.map_label_template
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
        self.on_missing = on_missing
        self.total_timeout = total_timeout
        self.max_bytes = max_bytes
        self.min_rate = min_rate
        self.callback_url = callback_url
        self.ledger_path = ledger_path
        self.max_credits = max_credits
        self.unknown_price = unknown_price
        self.max_regenerations = max_regenerations
        self.on_unknown_submit = on_unknown_submit
        self.on_clear = on_clear
        self.on_backfill = on_backfill
        self.hide_prompt = hide_prompt
        self.reuse = reuse
        self.reuse_unseeded = reuse_unseeded
        self.archive_path = archive_path
        self.archive_conn_id = archive_conn_id
        self.check_literals()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a subclass name its own fields once: they join those it inherits, and are templated."""
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("fields", ())
        cls.request_fields = (*cls.request_fields, *own)
        cls.template_fields = (*cls.template_fields, *(path.rpartition(".")[2] for path in own))

    def execute(self, context: Context) -> Any:
        """Attach to the job of an earlier try, or submit; then wait."""
        with airflow_failures(self), closing(self._attempt(context)) as attempt:
            reused = attempt.reuse.find_or_adopt(attempt) if attempt.reuse else None
            return self._keep(reused) if reused else self._wait_and_deliver(attempt, attempt.attach_or_submit())

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Continue after the trigger: the job is polled again, and this reading decides.

        :param context: Airflow's context.
        :param event: Job id and status, as the trigger reported them.
        """
        with airflow_failures(self), closing(self._attempt(context)) as attempt:
            return self._wait_and_deliver(attempt, attempt.resume(event or {}))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue on the worker if Airflow ended the trigger: a job that finished late is a success."""
        if next_method != TRIGGER_FAILED:
            return super().resume_execution(next_method, next_kwargs, context)
        with airflow_failures(self), closing(self._attempt(context)) as attempt:
            if attempt.record is None:
                return super().resume_execution(next_method, next_kwargs, context)
            self.log.warning("Airflow ended the wait in the triggerer; waiting on the worker")
            return self._keep(attempt.deliver(attempt.tracker.wait(attempt.job_wait(on_worker=True))))

    def on_kill(self) -> None:
        """Say that the job keeps running: EvoLink has no cancel call. Touches nothing, not even the connection."""
        self.is_stopping = True
        self.log.warning(
            "EvoLink has no cancel call: a submitted job keeps running and is still billed. Its id is in this log; "
            "EvoLinkJobSensor and EvoLinkDownloadOperator fetch its result"
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Return input media, jobs and files of this task, for OpenLineage."""
        from airflow_provider_evolink.lineage.openlineage import of_jobs

        return of_jobs(self.delivered)

    def _keep(self, result: GenerationResult) -> GenerationResult:
        self.delivered = [result]
        return result

    def _attempt(self, context: Context) -> GenerationAttempt:
        from airflow_provider_evolink.execution.generation import GenerationAttempt
        from airflow_provider_evolink.execution.options import GenerationOptions
        from airflow_provider_evolink.execution.task_run import TaskRun

        options = GenerationOptions.of(self, context)
        run = TaskRun(context, self.log, lambda: self.is_stopping, allowed=self.execution_timeout)
        return GenerationAttempt(options, self._source(options, context), run)

    def _source(self, options: GenerationOptions, context: Context) -> RequestSource:  # noqa: ARG002 - for subclasses
        from airflow_provider_evolink.execution.request import ArgumentSource

        return ArgumentSource(options)

    def _wait_and_deliver(self, attempt: GenerationAttempt, wait: JobWait) -> GenerationResult:
        reading = attempt.tracker.poll_before_defer(wait)
        if reading.is_over:
            return self._keep(attempt.deliver(reading.ended_job))
        if self.deferrable and wait.may_defer:
            self._defer(attempt, wait)
        return self._keep(attempt.deliver(attempt.tracker.wait(wait)))

    def _defer(self, attempt: GenerationAttempt, wait: JobWait) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

        left = max(0.0, wait.deadline - time.time())
        self.log.info("EvoLink job %s: deferring, timeout in %.0f s", wait.job_id, left)
        self.defer(
            trigger=EvoLinkJobTrigger(
                evolink_conn_id=attempt.options.evolink_conn_id,
                job_id=wait.job_id,
                deadline=wait.deadline + attempt.tracker.clock_offset,
                started=wait.started + attempt.tracker.clock_offset,
                poll_interval=attempt.options.poll_interval,
                **attempt.tracker.hints(),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + PADDING,
        )
