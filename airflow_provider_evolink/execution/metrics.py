"""Metrics and spans, named as those of Airflow's own durable operators."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_evolink.api.errors import EvoLinkSubmissionUnknown
from airflow_provider_evolink.metrics import UNKNOWN_OUTCOME, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot

T = TypeVar("T")
_COUNTED = {
    "fresh_submit": ("fresh_submit",),
    "reconnect": ("reconnect_attempt", "reconnect_success"),
    "already_succeeded": ("reconnect_attempt", "already_succeeded"),
    "terminal_resubmit": ("reconnect_attempt", "terminal_resubmit"),
}


def count_decision(operator_name: str, decision: str, job: Job | JobSnapshot | None = None) -> None:
    """
    Count what a try decided, and leave a span.

    :param operator_name: Class of the operator.
    :param decision: ``fresh_submit``, ``reconnect``, ``already_succeeded``, ``terminal_resubmit``,
        ``no_task_state_store`` or ``outcome_unknown``.
    :param job: The job of the earlier try, as just polled.
    """
    for counter in _COUNTED.get(decision, ()):
        send(f"resumable_job.{counter}", operator=operator_name)
    attributes = {
        "operator": operator_name,
        "resumable.decision": decision,
        "resumable.external_id_key": "evolink_generation",
        "resumable.external_id": job.job_id if job else None,
        "resumable.prior_status": str(job.status) if job else None,
    }
    with contextlib.suppress(Exception):  # also where OpenTelemetry is missing, as in Airflow 2
        from opentelemetry import trace

        tracer = trace.get_tracer("airflow_provider_evolink")
        known = {name: text for name, text in attributes.items() if text is not None}
        tracer.start_span("resumable_job.resume_decision", attributes=known).end()


def count_credits(operator_name: str, what: str, job: Job) -> None:
    """
    Count credits, rounded up to whole ones.

    :param operator_name: Class of the operator.
    :param what: ``credits_reserved`` or ``credits_charged``.
    :param job: The job as just polled.
    """
    amount = getattr(job, what)
    if amount:
        send(f"evolink.{what}", math.ceil(amount), operator=operator_name, model=job.model or "unknown")


def counts_unknown(act: Callable[[Any], T]) -> Callable[[Any], T]:
    """
    Count each time that a method ends with an order whose outcome is unknown.

    :param act: Method of what submits, with the ``options`` of its operator.
    """

    @functools.wraps(act)
    def counted(attempt: Any) -> T:
        try:
            return act(attempt)
        except EvoLinkSubmissionUnknown:
            send(UNKNOWN_OUTCOME, operator=attempt.options.operator_name)
            raise

    return counted
