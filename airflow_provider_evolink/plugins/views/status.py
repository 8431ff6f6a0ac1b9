"""The state of a task instance, and why it failed, in few words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.plugins.views.rows import Place, RunRows, TaskRow

_WORDS = {
    State.INTENT: "is being submitted",
    State.UNKNOWN: "may have been accepted: its response was lost",
    State.REFUSED: "was not accepted",
    State.SUBMITTED: "was accepted",
    State.DELIVERED: "is delivered",
}
_MAX_LISTED = 20
_IN_LOG = "the log of this task has the reason"
_MEND = "mend this, then clear the task; its log has more"


@dataclass(frozen=True)
class Order:
    """
    An order of a task instance, by its record.

    :param words: Where it stands, for people.
    :param elapsed: Seconds since it was submitted.
    :param estimate: Seconds that it takes, by EvoLink's estimate.
    """

    job_id: str | None
    model: str
    words: str
    elapsed: float
    estimate: float | None = None


@dataclass(frozen=True)
class Status:
    """
    Where a task instance stands.

    :param state: Airflow's state; ``None``: none yet.
    :param is_ours: Whether it is a task of this provider.
    :param is_over: Whether nothing more happens by itself.
    :param orders: Its orders, the latest first.
    :param more: How many orders are left out.
    """

    state: str | None
    is_ours: bool
    is_over: bool
    orders: tuple[Order, ...] = ()
    more: int = 0


def status_of(row: TaskRow | None, records: Sequence[Record], now: datetime, *, is_known: bool) -> Status:
    """
    Return where a task instance stands.

    :param row: What Airflow says of it; ``None``: there is no such task instance.
    :param records: The records of its generations.
    :param now: The present moment, UTC.
    :param is_known: Whether it has handed on something of ours.
    """
    latest = sorted(records, key=lambda record: record.ordered_at, reverse=True)
    orders = tuple(_order(record, now) for record in latest[:_MAX_LISTED])
    is_ours = is_known or bool(records) or (row is not None and row.names_us)
    state = row.state if row else None
    return Status(state, is_ours, row is None or row.is_over, orders, max(0, len(latest) - _MAX_LISTED))


def _order(record: Record, now: datetime) -> Order:
    elapsed = max(0.0, (now - datetime.fromtimestamp(record.ordered_at, UTC)).total_seconds())
    return Order(record.job_id, record.model, _WORDS[record.state], elapsed, record.estimated_time)


def running_jobs(records: Sequence[Record]) -> dict[str, Record]:
    """
    Return the records of the jobs that EvoLink may be working on, the latest first.

    :param records: The records of a task instance.
    """
    latest = sorted(records, key=lambda record: record.ordered_at, reverse=True)
    return {one.job_id: one for one in latest[:_MAX_LISTED] if one.state is State.SUBMITTED and one.job_id}


def progress_of(reading: JobReading, record: Record, now: float) -> dict[str, Any]:
    """
    Return how far a job is: percent for a bar, and words.

    :param reading: What EvoLink last reported.
    :param record: Its record.
    :param now: Epoch seconds.
    """
    percent = min(100.0, max(0.0, reading.progress or 0.0))
    elapsed = f"{max(0.0, now - record.ordered_at):.0f} s"
    estimate = f" of about {record.estimated_time:.0f} s" if record.estimated_time else ""
    return {"percent": percent, "words": f"{percent:.0f} %, {elapsed}{estimate}"}


@dataclass(frozen=True)
class FailureLines:
    """
    Why a task failed, in two lines.

    :param reason: What happened, and what it cost.
    :param advice: What to do.
    """

    reason: str
    advice: str
    job_id: str | None = None


def failure_of(rows: RunRows, place: Place) -> FailureLines | None:
    """
    Return why a task instance failed; ``None``: it did not fail.

    :param rows: What was read of the run.
    :param place: The task instance.
    """
    row = rows.tasks.get(place)
    if row is None or row.state not in ("failed", "up_for_retry"):
        return None
    note = rows.failures.get(place)
    if note is None:
        return FailureLines("The task failed", _IN_LOG) if row.names_us or place in rows.records else None
    reason = (_text(note, "reason") or _text(note, "error") or "The task failed").rstrip(".")
    cost = f"; {text}" if (text := _text(note, "cost")) and text not in reason else ""
    return FailureLines(f"{reason}{cost}", _text(note, "advice") or _MEND, _text(note, "job_id"))


def _text(note: Mapping[str, Any], name: str) -> str | None:
    value = note.get(name)
    return sanitize(value, 1000) if isinstance(value, str) and value else None
