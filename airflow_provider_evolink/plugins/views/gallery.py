"""The results of all DAGs, each once. Of thousands, only those of one page are put together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from airflow_provider_evolink.plugins.views.book import BookedJob
from airflow_provider_evolink.plugins.views.media import Medium, RunMedia
from airflow_provider_evolink.plugins.views.overview import Chosen
from airflow_provider_evolink.plugins.views.rows import AllRows, RunAt, RunRows, Seat
from airflow_provider_evolink.plugins.views.values import Handed, is_hidden, prompt_of


@dataclass(frozen=True)
class Picture:
    """
    A result in the gallery.

    :param seat: The task instance that shows it.
    :param job: Its job.
    """

    seat: Seat
    job: BookedJob
    medium: Medium


class Gallery:
    """
    The results in what was read.

    :param rows: What was read.
    :param jobs: The jobs, each with the DAG that ordered it.
    """

    def __init__(self, rows: AllRows, jobs: Mapping[str, BookedJob]) -> None:
        self._jobs = dict(jobs)
        self._results: dict[str, set[int]] = defaultdict(set)
        self._seats: dict[str, dict[Seat, None]] = defaultdict(dict)
        self._prompts: dict[str, str | None] = {}
        self._hidden: set[str] = set()
        self._runs: dict[RunAt, dict[Seat, Handed]] = defaultdict(dict)
        for seat, moment, handed in rows.handed:
            self._runs[seat.run][seat] = handed
            self._add(seat, moment, handed)

    def page(self, chosen: Chosen, now: datetime, start: int, size: int) -> tuple[int, list[Picture]]:
        """
        Return how many results a filter leaves, and some of them, the latest first.

        :param chosen: The filter.
        :param now: The present moment, UTC.
        :param start: Number of the first.
        :param size: How many.
        """
        found = [
            job for job_id, job in self._jobs.items() if self._results.get(job_id) and self._is_chosen(job, chosen)
        ]
        found.sort(key=lambda job: (job.moment, job.job_id), reverse=True)
        first, passed, wanted = 0, 0, []
        for job in found:
            count = len(self._results[job.job_id])
            if passed + count > start and passed < start + size:
                wanted.append(job)
                first = passed if len(wanted) == 1 else first
            passed += count
        return passed, self._pictures(wanted, now)[start - first : start - first + size]

    def _add(self, seat: Seat, moment: datetime, handed: Handed) -> None:
        for entry in handed.jobs:
            if entry.job_id and entry.error is None:
                self._results[entry.job_id].update(range(len(entry.results)))
                self._know(entry.job_id, seat, entry.request)
        for file in handed.files:
            self._results[file.job_id].add(file.index)
            self._know(file.job_id, seat, file.job.request)
            if file.job_id not in self._jobs:  # the archive does not say who ordered it
                self._jobs[file.job_id] = BookedJob.of_file(file, seat, moment)

    def _know(self, job_id: str, seat: Seat, request: dict[str, object] | None) -> None:
        self._seats[job_id][seat] = None
        if is_hidden(request):
            self._hidden.add(job_id)
        self._prompts[job_id] = self._prompts.get(job_id) or prompt_of(request)

    def _is_chosen(self, job: BookedJob, chosen: Chosen) -> bool:
        if not (chosen.covers(job.moment) and chosen.takes(job.dag_id, job.model)):
            return False
        prompt = None if job.job_id in self._hidden else self._prompts.get(job.job_id)
        texts = (prompt, job.job_id, job.dag_id, job.model, job.seat.place.task_id)
        return all(any(word in (text or "").lower() for text in texts) for word in chosen.words.lower().split())

    def _pictures(self, jobs: list[BookedJob], now: datetime) -> list[Picture]:
        best: dict[tuple[str, int], Picture] = {}
        for job in jobs:
            best |= {(job.job_id, index): None for index in sorted(self._results[job.job_id])}  # type: ignore[misc]
        for seat, medium in self._media(jobs, now):
            key = (medium.job_id or "", medium.index)
            if key in best:
                picture = Picture(seat, self._jobs[key[0]], medium)
                best[key] = _better(best[key], picture) if best[key] else picture
        return [self._veiled(picture) for picture in best.values() if picture]

    def _media(self, jobs: Iterable[BookedJob], now: datetime) -> Iterator[tuple[Seat, Medium]]:
        seats = {seat: None for job in jobs for seat in self._seats[job.job_id]}
        for run in {seat.run: None for seat in seats}:
            media = RunMedia(RunRows(handed={seat.place: handed for seat, handed in self._runs[run].items()}), now)
            for seat in (one for one in seats if one.run == run):
                yield from ((seat, medium) for medium in media.of(seat.place) if medium.has_result)

    def _veiled(self, picture: Picture) -> Picture:
        """Hide the prompt of a job that some task hides: another one may have been handed the same job with it."""
        if picture.medium.job_id not in self._hidden:
            return picture
        return replace(picture, medium=replace(picture.medium, prompt=None, is_prompt_hidden=True, parameters=()))


def _better(one: Picture, other: Picture) -> Picture:
    """Return that of two pictures of a result which can be shown, with the prompt that the other one may know."""
    best, rest = (one, other) if _worth(one.medium) >= _worth(other.medium) else (other, one)
    return replace(best, medium=replace(best.medium, prompt=best.medium.prompt or rest.medium.prompt))


def _worth(medium: Medium) -> tuple[bool, bool, bool]:
    return bool(medium.file and medium.file.is_archived), medium.file is not None, medium.link is not None
