"""The page of all DAGs: its filter, what runs, and what somebody has to do about. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME
from airflow_provider_evolink.execution.unknown_outcome import reconcile_command
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.plugins.views.book import BookedJob, Standing
from airflow_provider_evolink.plugins.views.rows import AllRows, Seat

DAYS = 7
MAX_DAYS = 366
_CONNECTION = "evolink_default"  # a record does not name its connection
_PAID = (Standing.DONE, Standing.UNSETTLED)


@dataclass(frozen=True)
class Chosen:
    """
    The filter of the page.

    :param first: The first day, UTC.
    :param last: The last day.
    :param dag_id: Only this DAG; empty: all.
    :param model: Only this model; empty: all.
    :param words: What prompt, job, DAG or task must contain, for the gallery.
    """

    first: date
    last: date
    dag_id: str = ""
    model: str = ""
    words: str = ""

    @classmethod
    def read(cls, first: str, last: str, today: date, **others: str) -> Chosen:
        """
        Read a filter from an address. What is no day counts as not given; the default are the last 7 days.

        :param first: The first day.
        :param last: The last day.
        :param today: The present day, UTC.
        :param others: The other fields.
        """
        end = min(_day(last) or today, today)
        start = min(_day(first) or end - timedelta(days=DAYS - 1), end)
        return cls(max(start, end - timedelta(days=MAX_DAYS - 1)), end, **others)

    @property
    def since(self) -> datetime:
        """The first moment."""
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)

    def takes(self, dag_id: str, model: str) -> bool:
        """
        Return whether something of a DAG and a model is shown.

        :param dag_id: The DAG.
        :param model: The model.
        """
        return self.dag_id in ("", dag_id) and self.model in ("", model)

    def covers(self, moment: datetime) -> bool:
        """
        Return whether a moment is in the window.

        :param moment: The moment, UTC.
        """
        return self.first <= moment.date() <= self.last


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year < 9000 else None


@dataclass(frozen=True)
class Line:
    """
    An order that runs, or that somebody has to do something about.

    :param advice: What to do.
    :param command: What to run for it.
    :param left: Seconds that are left.
    :param elapsed: Seconds since it was submitted.
    """

    seat: Seat
    model: str
    job_id: str | None
    elapsed: float
    reserved: float | None = None
    words: str = ""
    advice: str = ""
    command: str | None = None
    left: float | None = None


def running(rows: AllRows, chosen: Chosen, now: datetime) -> list[Line]:
    """
    Return the orders of tasks that are under way, the oldest first.

    :param rows: What was read.
    :param chosen: The filter.
    :param now: The present moment, UTC.
    """
    found = [
        Line(seat, record.model, record.job_id, _elapsed(record, now), record.credits_reserved, _words(record))
        for seat, record in rows.records
        if _is_running(seat, record) and chosen.takes(seat.run.dag_id, record.model)
    ]
    return sorted(found, key=lambda line: -line.elapsed)


def _is_running(seat: Seat, record: Record) -> bool:
    return record.state not in (State.DELIVERED, State.REFUSED) and seat.state is not None and not seat.is_over


def _words(record: Record) -> str:
    if record.is_joined:
        return "runs, paid by another task"
    return "runs" if record.job_id else "is being submitted"


def unknown(rows: AllRows, chosen: Chosen, now: datetime) -> list[Line]:
    """
    Return the orders of which nobody knows whether they were accepted, and which no task settles by itself.

    :param rows: What was read.
    :param chosen: The filter.
    :param now: The present moment, UTC.
    """
    commands = {(seat.run, seat.place): _command(note) for seat, _, note in rows.failures}
    found = []
    for seat, record in rows.records:
        if _waits(seat, record) and chosen.takes(seat.run.dag_id, record.model):
            command = commands.get((seat.run, seat.place)) or reconcile_command(record, _CONNECTION)
            elapsed = _elapsed(record, now)
            found.append(
                Line(seat, record.model, None, elapsed, record.credits_reserved, advice=_RECONCILE, command=command)
            )
    return sorted(found, key=lambda line: -line.elapsed)


_RECONCILE = (
    "run the command where the connection of the task is known: it lists the jobs that can be this order, says what to "
    "do with them, and submits nothing"
)


def _waits(seat: Seat, record: Record) -> bool:
    """Return whether an order waits for a person. Whoever marks its task as success has settled it."""
    is_open = record.state in (State.UNKNOWN, State.INTENT) and record.job_id is None
    return is_open and (seat.state is None or seat.is_over) and seat.state != "success"


def _command(note: Mapping[str, object]) -> str | None:
    advice = note.get("advice")
    is_one = isinstance(advice, str) and advice.startswith("run ") and " reconcile " in advice
    return str(advice)[4:1000] if is_one else None


def _elapsed(record: Record, now: datetime) -> float:
    return max(0.0, now.timestamp() - record.ordered_at)


def not_archived(
    rows: AllRows, jobs: Mapping[str, BookedJob], chosen: Chosen, now: datetime, limit: int
) -> tuple[int, list[Line]]:
    """
    Return how many paid jobs have no archived file that is known while their links live, and the most urgent ones.

    :param rows: What was read.
    :param jobs: The jobs.
    :param chosen: The filter.
    :param now: The present moment, UTC.
    :param limit: How many are listed.
    """
    files = [file for _, _, handed in rows.handed for file in handed.files]
    archived = {file.job_id for file in files if file.manifest is not None}
    downloaded = {file.job_id for file in files} - archived
    found = [
        (job.job_id in downloaded, left, job)
        for job in jobs.values()
        if _may_have_results(job) and job.job_id not in archived and chosen.takes(job.dag_id, job.model)
        if (left := ((job.expires_at or job.moment + LINK_LIFETIME) - now).total_seconds()) > 0
    ]
    found.sort(key=lambda one: one[:2])
    lines = [_unarchived(job, left, now, is_downloaded=is_downloaded) for is_downloaded, left, job in found[:limit]]
    return len(found), lines


def _may_have_results(job: BookedJob) -> bool:
    """Return whether there may be something to archive: a failed task does not mean a failed job."""
    return job.standing in _PAID and (job.has_results or job.seat.state == "failed")


def _unarchived(job: BookedJob, left: float, now: datetime, *, is_downloaded: bool) -> Line:
    conf = shlex.quote(json.dumps({"job_id": job.job_id}))
    return Line(
        *(job.seat, job.model, job.job_id, (now - job.moment).total_seconds()),
        reserved=job.reserved if job.credits is None else job.credits,
        words="downloaded" if is_downloaded else "",
        advice="let a task archive it, or run the command, which fetches and archives it by the DAG evolink_recover",
        command=f"airflow dags trigger evolink_recover --conf {conf}",
        left=left,
    )
