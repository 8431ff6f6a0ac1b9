"""The jobs of all DAGs, each once: who ordered it, when, and what it cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_evolink.api.jobs.job_id import JOB_ID
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.plugins.views.rows import AllRows, Seat
from airflow_provider_evolink.plugins.views.values import JobEntry
from airflow_provider_evolink.storage.media_file import MediaFile

UNKNOWN_MODEL = "not known"
_STORED_TOO_LATE = "EvoLinkMediaError"  # the job completed, and its result could not be stored


class Standing(StrEnum):
    """What is known of the cost of a job."""

    DONE = "done"
    FAILED = "failed"
    RUNNING = "running"
    UNSETTLED = "not settled"  # it was submitted, and nobody knows here how it ended
    REUSED = "re-used"  # it was paid for elsewhere, or before


class _Rank(NamedTuple):
    """How good a claim to have ordered a job is; the lowest is the best."""

    kind: int
    moment: datetime


_OWN, _RESULT, _FAILURE, _RECORD, _FILE, _REUSED, _PASSED_ON = range(7)


@dataclass(frozen=True)
class BookedJob:
    """
    A job.

    :param seat: The task instance that ordered it, as far as that is known.
    :param moment: When it was submitted, UTC.
    :param credits: What it cost; ``None``: not settled, or not known.
    :param reserved: What its order reserved.
    :param expires_at: Until when its links live.
    :param advice: What to do where its task failed.
    """

    job_id: str
    seat: Seat
    model: str
    moment: datetime
    standing: Standing
    credits: float | None = None
    reserved: float | None = None
    expires_at: datetime | None = None
    has_results: bool = False
    advice: str | None = None

    @property
    def dag_id(self) -> str:
        """The DAG that ordered it."""
        return self.seat.run.dag_id

    @classmethod
    def of_file(cls, file: MediaFile, seat: Seat, moment: datetime) -> BookedJob:
        """
        Return the job of an archived file of which nothing else is known.

        :param file: The file.
        :param seat: The task instance that handed it on.
        :param moment: When it did.
        """
        return cls(file.job_id, seat, file.model or UNKNOWN_MODEL, _utc(moment), Standing.REUSED)


class Book:
    """
    The jobs in what was read.

    :param rows: What was read.
    """

    def __init__(self, rows: AllRows) -> None:
        self._orders = {(seat.run, seat.place, record.job_id): record for seat, record in rows.records}
        self._joined = {record.job_id for _, record in rows.records if record.is_joined}
        self._jobs: dict[str, tuple[_Rank, BookedJob]] = {}
        self._reuses: dict[tuple[str, str], BookedJob] = {}
        for rank, job in (*self._of_results(rows), *self._of_failures(rows), *self._of_records(rows)):
            known = self._jobs.get(job.job_id)
            if known is None or rank < known[0]:
                self._jobs[job.job_id] = (rank, job)
            if rank.kind == _REUSED:
                self._reuses.setdefault((job.job_id, job.dag_id), job)

    @property
    def jobs(self) -> dict[str, BookedJob]:
        """The jobs by their ID."""
        return {job_id: job for job_id, (_, job) in self._jobs.items()}

    @property
    def entries(self) -> list[BookedJob]:
        """Each job that somebody ordered, and each re-use, once for each DAG that did without an order."""
        paid = [job for _, job in self._jobs.values() if job.standing is not Standing.REUSED]
        return [*paid, *self._reuses.values()]

    def _of_results(self, rows: AllRows) -> Iterator[tuple[_Rank, BookedJob]]:
        for seat, moment, handed in rows.handed:
            for entry in handed.jobs:
                if entry.job_id:
                    yield self._of_entry(seat, moment, entry, entry.job_id)
            for file in handed.files:
                if file.manifest is None:  # what the archive returns does not say what a job cost
                    yield self._of_file(seat, moment, file)

    def _of_entry(self, seat: Seat, moment: datetime, entry: JobEntry, job_id: str) -> tuple[_Rank, BookedJob]:
        order = self._orders.get((seat.run, seat.place, job_id))
        is_free = entry.reused is True or self._is_free(job_id, order)
        standing, cost = (Standing.REUSED, 0.0) if is_free else _settled(entry)
        when = moment if is_free else entry.submitted or entry.created or moment
        job = BookedJob(
            *(job_id, seat, entry.model or UNKNOWN_MODEL, _utc(when), standing, cost),
            reserved=entry.credits_reserved,
            expires_at=entry.expires_at,
            has_results=bool(entry.results) and entry.error is None,
        )
        is_reused = entry.reused is True or (order is not None and order.is_joined)
        free = _REUSED if is_reused else _PASSED_ON
        return _Rank(free if is_free else _RESULT if order is None else _OWN, moment), job

    def _of_file(self, seat: Seat, moment: datetime, file: MediaFile) -> tuple[_Rank, BookedJob]:
        about = file.job
        is_reused = (about.model_extra or {}).get("reused") is True
        is_free = is_reused or self._is_free(file.job_id, None)
        standing = Standing.REUSED if is_free else Standing.DONE
        when = moment if is_free else about.submitted or about.created or moment
        cost = 0.0 if is_free else about.credits
        job = BookedJob(file.job_id, seat, file.model or UNKNOWN_MODEL, _utc(when), standing, cost)
        return _Rank(_REUSED if is_reused else _PASSED_ON if is_free else _FILE, moment), job

    def _of_failures(self, rows: AllRows) -> Iterator[tuple[_Rank, BookedJob]]:
        for seat, moment, note in rows.failures:
            job_id, amount = note.get("job_id"), note.get("credits")
            if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
                continue
            order = self._orders.get((seat.run, seat.place, job_id))
            cost = float(amount) if isinstance(amount, int | float) and not isinstance(amount, bool) else None
            standing = Standing.UNSETTLED if cost is None else Standing.FAILED
            if note.get("error") == _STORED_TOO_LATE and order:
                standing, cost = Standing.DONE, order.credits_reserved
            is_free = self._is_free(job_id, order)
            job = BookedJob(
                *(job_id, seat, order.model if order else UNKNOWN_MODEL),
                _moment(order) if order and not is_free else moment,
                *((Standing.REUSED, 0.0) if is_free else (standing, cost)),
                reserved=order.credits_reserved if order else None,
                advice=str(note.get("advice") or "")[:1000] or None,
            )
            yield _Rank(_REUSED if is_free else _FAILURE, moment), job

    def _of_records(self, rows: AllRows) -> Iterator[tuple[_Rank, BookedJob]]:
        for seat, record in rows.records:
            if record.job_id is None:
                continue
            standing, cost = Standing.UNSETTLED, None
            if record.is_joined:
                standing, cost = Standing.REUSED, 0.0
            elif record.state is State.DELIVERED:
                standing, cost = Standing.DONE, record.credits_reserved
            elif not seat.is_over and seat.state is not None:
                standing = Standing.RUNNING
            job = BookedJob(
                *(record.job_id, seat, record.model, _moment(record), standing, cost), reserved=record.credits_reserved
            )
            yield _Rank(_REUSED if record.is_joined else _RECORD, _moment(record)), job

    def _is_free(self, job_id: str, order: Record | None) -> bool:
        """Return whether another task pays for a job: this one has joined it, or has it from one that did."""
        return order.is_joined if order else job_id in self._joined


def _settled(entry: JobEntry) -> tuple[Standing, float | None]:
    """Return how a request ended, and what it cost. A failed job gives its reservation back, as far as is reported."""
    if entry.error is None and entry.status in (None, "completed"):
        return Standing.DONE, entry.credits
    cost = entry.credits_charged
    if cost is None and entry.credits != entry.credits_reserved:
        cost = entry.credits
    if cost is None and entry.error == _STORED_TOO_LATE:
        cost = entry.credits
    return (Standing.UNSETTLED if cost is None else Standing.FAILED), cost


def _moment(record: Record) -> datetime:
    return datetime.fromtimestamp(record.ordered_at, UTC)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
