"""Every metric of this package: its name, its type and its tags. Sending one never fails a task."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_evolink.compat import triggerer_stats

RATE_LIMITED = "evolink.rate_limited"
UNKNOWN_OUTCOME = "evolink.unknown_outcome"
NOT_ARCHIVED = "evolink.paid_not_archived"


class Metric(NamedTuple):
    """
    What a monitoring system must know of a metric.

    :param kind: ``counter`` or ``gauge``.
    :param tags: Names of its tags.
    """

    kind: str
    tags: tuple[str, ...]


METRICS: dict[str, Metric] = {
    "resumable_job.fresh_submit": Metric("counter", ("operator",)),
    "resumable_job.reconnect_attempt": Metric("counter", ("operator",)),
    "resumable_job.reconnect_success": Metric("counter", ("operator",)),
    "resumable_job.already_succeeded": Metric("counter", ("operator",)),
    "resumable_job.terminal_resubmit": Metric("counter", ("operator",)),
    "evolink.credits_reserved": Metric("counter", ("operator", "model")),
    "evolink.credits_charged": Metric("counter", ("operator", "model")),
    UNKNOWN_OUTCOME: Metric("counter", ("operator",)),
    NOT_ARCHIVED: Metric("gauge", ("operator", "source", "dag_id")),
    RATE_LIMITED: Metric("counter", ("component",)),
}


def send(name: str, value: int = 1, *, stats: Any = None, **tags: str) -> None:
    """
    Add to a counter, or set a gauge.

    :param name: One of ``METRICS``.
    :param value: What to add, or the value.
    :param stats: Airflow's metrics, where they are not those of a task.
    :param tags: Values of the tags.
    """
    metric, target = METRICS[name], stats or Stats
    act = target.gauge if metric.kind == "gauge" else target.incr
    with contextlib.suppress(Exception):  # what is only for show hides no news
        act(name, value, tags={tag: tags[tag] for tag in metric.tags})


def count_rate_limit() -> None:
    """Count a response with status 429 to a call of a worker."""
    send(RATE_LIMITED, component="worker")


def count_rate_limit_in_triggerer() -> None:
    """Count a response with status 429 to a call of the triggerer."""
    send(RATE_LIMITED, stats=triggerer_stats(), component="triggerer")
