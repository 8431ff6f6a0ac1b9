"""The page of all DAGs: its filter, what runs, what waits for a person, and the gallery. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME
from airflow_provider_evolink.execution.unknown_outcome import reconcile_command
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.plugins.views.book import UNKNOWN_MODEL, BookedJob, Standing
from airflow_provider_evolink.plugins.views.media import Medium, RunMedia
from airflow_provider_evolink.plugins.views.rows import AllRows, RunAt, RunRows, Seat
from airflow_provider_evolink.plugins.views.values import Handed, is_hidden

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


def not_archived(rows: AllRows, jobs: Mapping[str, BookedJob], chosen: Chosen, now: datetime) -> list[Line]:
    """
    Return the paid jobs of which no archived file is known while their links live, the most urgent first.

    :param rows: What was read.
    :param jobs: The jobs.
    :param chosen: The filter.
    :param now: The present moment, UTC.
    """
    files = [file for _, _, handed in rows.handed for file in handed.files]
    archived = {file.job_id for file in files if file.manifest is not None}
    downloaded = {file.job_id for file in files} - archived
    found = []
    for job in jobs.values():
        left = ((job.expires_at or job.moment + LINK_LIFETIME) - now).total_seconds()
        is_wanted = _may_have_results(job) and job.job_id not in archived and chosen.takes(job.dag_id, job.model)
        if is_wanted and left > 0:
            found.append(_unarchived(job, left, now, is_downloaded=job.job_id in downloaded))
    return sorted(found, key=lambda line: (bool(line.words), line.left or 0.0))


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


@dataclass(frozen=True)
class Picture:
    """
    A result in the gallery.

    :param seat: The task instance that shows it.
    :param dag_id: The DAG that ordered it.
    :param model: Its model.
    :param moment: When it was ordered, UTC.
    """

    seat: Seat
    dag_id: str
    model: str
    moment: datetime
    medium: Medium

    def has(self, words: str) -> bool:
        """
        Return whether a search finds it. What is hidden is not searched.

        :param words: The search, in any case.
        """
        texts = (self.medium.prompt, self.medium.job_id, self.dag_id, self.model, self.seat.place.task_id)
        return all(any(word in (text or "").lower() for text in texts) for word in words.lower().split())


def gallery(rows: AllRows, jobs: Mapping[str, BookedJob], chosen: Chosen, now: datetime) -> list[Picture]:
    """
    Return the results in the window, each once, the latest first.

    :param rows: What was read.
    :param jobs: The jobs.
    :param chosen: The filter.
    :param now: The present moment, UTC.
    """
    best: dict[tuple[str | None, int], Picture] = {}
    for picture in _pictures(rows, jobs, now):
        key = (picture.medium.job_id, picture.medium.index)
        known = best.get(key)
        best[key] = _better(known, picture) if known else picture
    hidden = _hidden(rows)
    found = [_veiled(one) if one.medium.job_id in hidden else one for one in best.values()]
    shown = [
        one
        for one in found
        if chosen.covers(one.moment) and chosen.takes(one.dag_id, one.model) and one.has(chosen.words)
    ]
    return sorted(shown, key=lambda one: (one.moment, one.medium.job_id or "", -one.medium.index), reverse=True)


def _pictures(rows: AllRows, jobs: Mapping[str, BookedJob], now: datetime) -> Iterator[Picture]:
    runs: dict[RunAt, list[tuple[Seat, datetime, Handed]]] = {}
    for one in rows.handed:
        runs.setdefault(one[0].run, []).append(one)
    for listed in runs.values():
        media = RunMedia(RunRows(handed={seat.place: handed for seat, _, handed in listed}), now)
        for seat, moment, _ in listed:
            for medium in media.of(seat.place):
                if medium.has_result and medium.job_id:
                    yield _picture(seat, moment, medium, jobs.get(medium.job_id))


def _picture(seat: Seat, moment: datetime, medium: Medium, job: BookedJob | None) -> Picture:
    model = job.model if job and job.model != UNKNOWN_MODEL else medium.model or UNKNOWN_MODEL
    return Picture(seat, job.dag_id if job else seat.run.dag_id, model, job.moment if job else moment, medium)


def _better(one: Picture, other: Picture) -> Picture:
    """Return that of two pictures of a result which can be shown, with what the other one knows of it."""
    best, rest = (one, other) if _worth(one.medium) >= _worth(other.medium) else (other, one)
    known = replace(
        best.medium,
        prompt=best.medium.prompt or rest.medium.prompt,
        is_prompt_hidden=best.medium.is_prompt_hidden or rest.medium.is_prompt_hidden,
    )
    return replace(best, medium=known)


def _worth(medium: Medium) -> tuple[bool, bool, bool]:
    return bool(medium.file and medium.file.is_archived), medium.file is not None, medium.link is not None


def _hidden(rows: AllRows) -> set[str | None]:
    """Return the jobs whose prompt some task hides: another one may have been handed the same job with it."""
    handed = [one for _, _, one in rows.handed]
    jobs = {entry.job_id for one in handed for entry in one.jobs if is_hidden(entry.request)}
    return jobs | {file.job_id for one in handed for file in one.files if is_hidden(file.job.request)}


def _veiled(picture: Picture) -> Picture:
    return replace(picture, medium=replace(picture.medium, prompt=None, is_prompt_hidden=True, parameters=()))
