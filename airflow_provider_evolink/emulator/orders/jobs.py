"""A job and how it moves from pending to its end. Pure: time comes in as an argument."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.materials import Material
    from airflow_provider_evolink.emulator.settings import Settings

ENDED = frozenset({"completed", "failed", "cancelled"})
_PENDING_SHARE = 0.1
_ID_LETTERS = string.ascii_lowercase + string.digits


def new_id(now: float) -> str:
    """
    Make a job id in the shape the service uses.

    :param now: Unix seconds.
    """
    return f"task-unified-{int(now)}-" + "".join(secrets.choice(_ID_LETTERS) for _ in range(8))


@dataclass(frozen=True)
class Output:
    """
    What a job gives when it completes.

    :param kind: ``video``, ``image`` or ``audio``.
    :param width: Pixels; 0 for audio.
    :param height: Pixels; 0 for audio.
    :param seconds: Length; 0 for images.
    :param count: How many files; 0 where the result is no file but a name, such as that of a voice.
    :param extension: Of the files, without the dot.
    :param first: Extension of the first file, where it is another.
    :param shape: What ``result_data`` looks like; see :mod:`~airflow_provider_evolink.emulator.routes.result_data`.
    """

    kind: str
    width: int
    height: int
    seconds: float
    count: int = 1
    extension: str = "mp4"
    first: str | None = None
    shape: str = ""

    def names(self) -> list[str]:
        """Return the names of the files, as they stand in links."""
        return [f"{number}.{self.extension_of(number)}" for number in range(1, self.count + 1)]

    def extension_of(self, number: int) -> str:
        """
        Return the extension of one file.

        :param number: Which, from 1.
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


@dataclass
class Job:
    """One accepted order; EvoLink's "task"."""

    id: str
    kind: str
    model: str
    body: dict[str, Any]
    effective: dict[str, Any]
    account: str
    key_fingerprint: str
    idempotency_key: str | None
    created: float
    estimate: int
    output: Output
    reserved: float
    due: float
    materials: dict[str, Material] = field(default_factory=dict)
    planned_failure: Failure | None = None
    source: Job | None = None
    status: str = "pending"
    progress: int = 0
    reads: int = 0
    ended: float | None = None
    failure: Failure | None = None
    charged: float = 0.0
    refunded: float = 0.0
    held: bool = False
    vanished: bool = False
    link_epoch: int = 0

    def is_over(self) -> bool:
        """Say whether the job has reached its end."""
        return self.status in ENDED


def advance(job: Job, settings: Settings, now: float) -> bool:
    """
    Move a job as far as its reads or the clock allow.

    :param job: The job.
    :param settings: The knobs in force.
    :param now: Unix seconds.
    :return: Whether the job came to its end just now.
    """
    if job.is_over() or job.held:
        return False
    share = _share_done(job, settings, now)
    if share >= 1:
        finish(job, "failed" if job.planned_failure else "completed", now, job.planned_failure)
        return True
    job.status = "pending" if _is_pending(job, settings, share) else "processing"
    job.progress = 0 if job.status == "pending" else max(1, min(99, int(share * 100)))
    return False


def finish(job: Job, status: str, now: float, failure: Failure | None = None) -> None:
    """
    End a job.

    :param job: The job.
    :param status: ``completed``, ``failed`` or ``cancelled``.
    :param now: Unix seconds.
    :param failure: Why, unless it completed.
    """
    job.status, job.ended, job.failure = status, now, failure
    job.progress = 100 if status == "completed" else 0


def _share_done(job: Job, settings: Settings, now: float) -> float:
    if settings.mode == "polls":
        return job.reads / settings.polls if settings.polls else 1.0
    needed = settings.seconds_for(job.kind)
    return (now - job.created) / needed if needed else 1.0


def _is_pending(job: Job, settings: Settings, share: float) -> bool:
    if settings.mode == "seconds":
        return share < _PENDING_SHARE
    # two reads show one state in progress; only with three or more is there room for both
    return job.reads == 0 or (job.reads == 1 and settings.polls > 2)
