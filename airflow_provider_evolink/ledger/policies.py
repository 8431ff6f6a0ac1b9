"""What a DAG author chooses about reruns. Light: imported when a DAG file is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_evolink.arguments.choices import OnBackfill, OnClear, OnUnknownSubmit, UnknownPrice


@dataclass(frozen=True)
class Policies:
    """
    What a DAG author chose about reruns, checked.

    :param on_unknown_submit: What to do about a request that EvoLink may or may not have accepted.
    :param on_clear: What clearing a task means once its result was delivered.
    :param on_backfill: What a backfill may do.
    :param unknown_price: What to do under ``max_credits`` if the price is not known.
    :param max_regenerations: How often a failed job is submitted again; ``None``: as often as the task is retried.
    """

    on_unknown_submit: OnUnknownSubmit = "fail"
    on_clear: OnClear = "regenerate"
    on_backfill: OnBackfill = "generate"
    unknown_price: UnknownPrice = "refuse"
    max_regenerations: int | None = None
