"""A job and its way from pending to its end. Pure: time is an argument."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_evolink.emulator.orders.input_media import InputMedia
    from airflow_provider_evolink.emulator.orders.order import Order
    from airflow_provider_evolink.emulator.settings import Settings

ENDED = frozenset({"completed", "failed", "cancelled"})
_PENDING_SHARE = 0.1
_ID_LETTERS = string.ascii_lowercase + string.digits


def new_id(now: float) -> str:
    """
    Return a new job id in EvoLink's format.

    :param now: Unix seconds.
    """
    return f"task-unified-{int(now)}-" + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))


@dataclass(frozen=True)
class Output:
    """
    What a job produces when it completes.

    :param kind: ``video``, ``image`` or ``audio``.
    :param width: Pixels; 0 for audio.
    :param height: Pixels; 0 for audio.
    :param seconds: Length; 0 for images.
    :param count: Number of files; 0 where the result is only a name, such as that of a voice.
    :param extension: Of the files, without the dot.
    :param first: Extension of the first file, if it differs.
    :param content: What is special about the result, such as ``songs`` or ``upscaled``; decides ``result_data``, see
        :mod:`~airflow_provider_evolink.emulator.routes.result_data`. Empty for ordinary files.
    """

    kind: str
    width: int
    height: int
    seconds: float
    count: int = 1
    extension: str = "mp4"
    first: str | None = None
    content: str = ""

    def file_names(self) -> list[str]:
        """Return the names of the files, as used in links."""
        return [f"{number}.{self.extension_of(number)}" for number in range(1, self.count + 1)]

    def extension_of(self, number: int) -> str:
        """
        Return the extension of one file.

        :param number: Its number, from 1.
        """
        return self.first if self.first and number == 1 else self.extension


@dataclass(frozen=True)
class Failure:
    """
    Why a job ended without a result.

    :param code: ``error.code`` of the job.
    :param message: ``error.message`` of the job.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Plan:
    """
    What an accepted order will produce and cost.

    :param output: The result.
    :param reserved: Credits reserved at submission.
    :param due: Credits charged at completion.
    :param failure: Why the job will fail; None if it will complete.
    :param inputs: The input media that could be fetched, by address.
    """

    output: Output
    reserved: float
    due: float
    failure: Failure | None = None
    inputs: dict[str, InputMedia] = field(default_factory=dict)


@dataclass
class JobState:
    """
    What changes during the life of a job.

    :param reads: How often it was polled.
    :param held: Whether the control plane keeps it in its status.
    :param vanished: Whether EvoLink's routes no longer know it.
    :param link_version: Links signed with an earlier version are expired.
    """

    status: str = "pending"
    progress: int = 0
    reads: int = 0
    ended: float | None = None
    failure: Failure | None = None
    held: bool = False
    vanished: bool = False
    link_version: int = 0


@dataclass(frozen=True)
class Job:
    """
    One accepted order; EvoLink's "task".

    :param source: The earlier job it continues.
    """

    id: str
    order: Order
    plan: Plan
    created: float
    estimate: int
    source: Job | None = None
    state: JobState = field(default_factory=JobState)

    @property
    def is_over(self) -> bool:
        """Return whether the job has ended, in whatever way."""
        return self.state.status in ENDED

    @property
    def is_completed(self) -> bool:
        """Return whether the job has ended with a result."""
        return self.state.status == "completed"

    def result_path(self, folder: Path, number: int) -> Path:
        """
        Return where a result is kept once it is rendered.

        :param folder: Of all results.
        :param number: Number of the file, from 1.
        """
        return folder / f"{self.id}-{number}.{self.plan.output.extension_of(number)}"

    def files(self, folder: Path) -> list[Path]:
        """
        Return all files that only this job needs: its results, and inputs that were fetched for it.

        :param folder: Of all results.
        """
        results = [self.result_path(folder, number + 1) for number in range(self.plan.output.count)]
        return [*results, *(media.fetched for media in self.plan.inputs.values() if media.fetched)]

    @property
    def credits_charged(self) -> float:
        """Return what the job has cost; 0 unless it completed."""
        return self.plan.due if self.is_completed else 0.0

    @property
    def credits_refunded(self) -> float:
        """Return the reserved credits that were released; 0 unless it ended without a result."""
        return self.plan.reserved if self.is_over and not self.is_completed else 0.0


def advance(job: Job, settings: Settings, now: float) -> bool:
    """
    Bring a job up to date with its polls or the clock.

    :param job: The job; it is changed.
    :param settings: The current settings.
    :param now: Unix seconds.
    :return: Whether the job has just ended.
    """
    if job.is_over or job.state.held:
        return False
    share = _share_done(job, settings, now)
    if share >= 1:
        finish(job, "failed" if job.plan.failure else "completed", now, job.plan.failure)
        return True
    job.state.status = "pending" if _is_pending(job, settings, share) else "processing"
    job.state.progress = 0 if job.state.status == "pending" else max(1, min(99, int(share * 100)))
    return False


def finish(job: Job, status: str, now: float, failure: Failure | None = None) -> None:
    """
    End a job.

    :param job: The job; it is changed.
    :param status: ``completed``, ``failed`` or ``cancelled``.
    :param now: Unix seconds.
    :param failure: Why, unless it completed.
    """
    job.state.status, job.state.ended, job.state.failure = status, now, failure
    job.state.progress = 100 if status == "completed" else 0


def _share_done(job: Job, settings: Settings, now: float) -> float:
    if settings.mode == "polls":
        return job.state.reads / settings.polls if settings.polls else 1.0
    needed = settings.job_seconds(job.order.kind)
    return (now - job.created) / needed if needed else 1.0


def _is_pending(job: Job, settings: Settings, share: float) -> bool:
    if settings.mode == "seconds":
        return share < _PENDING_SHARE
    # with two polls there is room for one state before the end, with three or more for both
    return job.state.reads == 0 or (job.state.reads == 1 and settings.polls > 2)
