"""What a task instance shows: each of its results, with the best source of it in the run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_evolink.plugins.views.rows import Place, RunRows
from airflow_provider_evolink.plugins.views.values import JobEntry, is_hidden, parameters_of, prompt_of
from airflow_provider_evolink.storage.media_file import MediaFile

_HIDDEN: dict[str, Any] = {"is_prompt_hidden": True}
_KINDS = ("video", "image", "audio")


@dataclass(frozen=True)
class FileAt:
    """
    A file, and the task instance that handed it on.

    :param number: Its place among the files of that task instance.
    """

    file: MediaFile
    place: Place
    number: int

    @property
    def is_archived(self) -> bool:
        """Whether it is in an archive, and not only downloaded."""
        return self.file.manifest is not None

    def frame_view(self, kind: str | None) -> str | None:
        """
        Return the route that may have a small picture of it; ``None``: none has.

        :param kind: ``video``, ``image`` or ``audio``.
        """
        if self.is_archived and kind in ("video", "image"):
            return "poster"
        return "file" if self.file.content_type.startswith("image/") else None


@dataclass(frozen=True)
class Medium:
    """
    One result of a job, or a request without a result.

    :param index: Number of the result in its job, from 0.
    :param kind: ``video``, ``image`` or ``audio``; ``None``: not known.
    :param file: The best file of it in the run: archived rather than downloaded.
    :param link: EvoLink's link, while it lives.
    :param expires_at: Until when the link lives.
    :param prompt: What was ordered; ``None``: not known, or hidden.
    :param has_result: Whether it stands for media; some jobs make names in place of them.
    :param steps: What happened to the job, and when; ``None``: not yet, or not known.
    """

    job_id: str | None
    index: int
    kind: str | None = None
    model: str | None = None
    status: str | None = None
    credits: float | None = None
    file: FileAt | None = None
    link: str | None = None
    expires_at: datetime | None = None
    prompt: str | None = None
    is_prompt_hidden: bool = False
    parameters: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, datetime | None], ...] = ()
    error: str | None = None
    is_reused: bool = False
    has_result: bool = True

    @property
    def is_lost(self) -> bool:
        """Whether there was a result that nothing leads to any more."""
        return self.has_result and self.error is None and self.file is None and self.link is None


class RunMedia:
    """
    The media of a run.

    :param rows: What was read of the run.
    :param now: The present moment, UTC.
    """

    def __init__(self, rows: RunRows, now: datetime) -> None:
        self._rows = rows
        self._now = now
        self._files: dict[str, dict[int, list[FileAt]]] = {}
        self._jobs: dict[str, JobEntry] = {}
        for place, handed in rows.handed.items():
            for job in handed.jobs:
                self._jobs.setdefault(job.job_id or "", job)
            for number, file in enumerate(handed.files):
                found = self._files.setdefault(file.job_id, {}).setdefault(file.index, [])
                found.append(FileAt(file, place, number))

    def of(self, place: Place) -> list[Medium]:
        """
        Return what a task instance shows, in the order of what it handed on.

        :param place: The task instance.
        """
        handed = self._rows.handed.get(place)
        if handed is None:
            return []
        shown = [medium for job in handed.jobs for medium in self._of_job(job)]
        known = {job.job_id for job in handed.jobs}
        own = [FileAt(file, place, number) for number, file in enumerate(handed.files)]
        return shown + [self._of_file(one) for one in own if one.file.job_id not in known]

    def best_file(self, job_id: str | None, index: int) -> FileAt | None:
        """
        Return the file of a result; an archived one if there is one.

        :param job_id: The job.
        :param index: Number of the result.
        """
        found = self._files.get(job_id or "", {}).get(index, [])
        return min(found, key=lambda one: not one.is_archived, default=None)

    def _of_job(self, job: JobEntry) -> Iterator[Medium]:
        files = self._files.get(job.job_id or "", {})
        if job.error is not None or not (job.results or files):
            error = job.error_code or job.error
            medium = self._medium(job, 0, error=error or (None if job.status == "completed" else job.status))
            yield replace(medium, has_result=False, parameters=(*medium.parameters, *_named(job.made)))
            return
        is_alive = job.expires_at is None or self._now < job.expires_at
        links = dict(enumerate(job.results)) if is_alive else {}
        for index in sorted({*range(len(job.results)), *files}):
            link = links.get(index)
            yield self._medium(job, index, link=link if link in job.links else None)

    def _medium(self, job: JobEntry, index: int, *, link: str | None = None, error: str | None = None) -> Medium:
        file = self.best_file(job.job_id, index)
        return Medium(
            job_id=job.job_id,
            index=index,
            kind=_kind(file.file.content_type.partition("/")[0] if file else job.kind),
            model=job.model,
            status=job.status,
            credits=job.credits,
            file=file,
            link=link,
            expires_at=job.expires_at,
            steps=self._steps(job.submitted or job.created, job.completed, job.job_id, index),
            error=error,
            is_reused=job.reused is True,
            **_words(job.request),
        )

    def _of_file(self, one: FileAt) -> Medium:
        """Return a file of a download or archive task; the run may know more of its job than the file says."""
        file, about = one.file, one.file.job
        order = self._jobs.get(file.job_id) or JobEntry()
        request = about.request or order.request or self._request_of(file.job_id)
        submitted = about.submitted or order.submitted or order.created or about.created
        return Medium(
            job_id=file.job_id,
            index=file.index,
            kind=_kind(file.content_type.partition("/")[0]),
            model=file.model,
            status="completed",
            credits=order.credits if about.credits is None else about.credits,
            file=one if one.is_archived else self.best_file(file.job_id, file.index),
            steps=self._steps(submitted, about.completed or order.completed, file.job_id, file.index),
            **(_HIDDEN if self.hides(file.job_id) else _words(request)),
        )

    def hides(self, job_id: str) -> bool:
        """
        Return whether a task of the run hides the prompt of a job.

        :param job_id: The job.
        """
        order, files = self._jobs.get(job_id), self._files.get(job_id, {})
        requests = [one.file.job.request for listed in files.values() for one in listed]
        return any(is_hidden(request) for request in (order.request if order else None, *requests))

    def _request_of(self, job_id: str) -> dict[str, Any] | None:
        found = (one.file.job.request for files in self._files.get(job_id, {}).values() for one in files)
        return next((request for request in found if request), None)

    def _steps(
        self, submitted: datetime | None, completed: datetime | None, job_id: str | None, index: int
    ) -> tuple[tuple[str, datetime | None], ...]:
        files = self._files.get(job_id or "", {}).get(index, [])
        return (
            ("submitted", _utc(submitted)),
            ("completed", _utc(completed)),
            ("downloaded", self._first_end(one.place for one in files if not one.is_archived)),
            ("archived", self._first_end(one.place for one in files if one.is_archived)),
        )

    def _first_end(self, places: Iterator[Place]) -> datetime | None:
        rows = (self._rows.tasks.get(place) for place in places)
        return min((_utc(row.ended) for row in rows if row and row.ended), default=None)  # type: ignore[type-var]


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _named(made: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return the names that a job has made in place of media, such as a voice."""
    return [(f"made: {name}", value) for name, value in parameters_of(made)]


def _kind(word: str | None) -> str | None:
    return word if word in _KINDS else None


def _words(request: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "prompt": prompt_of(request),
        "is_prompt_hidden": is_hidden(request),
        "parameters": tuple(parameters_of(request)),
    }


def total_credits(media: list[Medium]) -> float:
    """
    Return what the jobs of some media cost, each job once. What was taken from an archive cost nothing.

    :param media: The media.
    """
    costs = {one.job_id: one.credits or 0.0 for one in media if one.job_id and not one.is_reused}
    return sum(costs.values())
