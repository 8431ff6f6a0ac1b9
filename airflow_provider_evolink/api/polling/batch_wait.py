"""Waiting for the jobs of a batch, in the triggerer or on the worker: one outcome for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkError
from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.schedule import PollSchedule, WaitEnd
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.api.polling.poller import TIMES, Poller, shared_poller

if TYPE_CHECKING:
    from airflow_provider_evolink.api.polling.reader import JobReading, SettingsLoader

STEPS = 10  # lines in the log about how many jobs are over


@dataclass(frozen=True)
class Awaited:
    """
    One job of a batch.

    :param job_id: EvoLink's id.
    :param started: Epoch seconds of its order.
    :param deadline: Epoch seconds when the wait for it ends.
    """

    job_id: str
    started: float
    deadline: float


class BatchWait:
    """
    The wait for some jobs. It is over when enough of them are, or at the first that gave nothing.

    :param jobs: The jobs.
    :param enough: How many must be over.
    :param fail_fast: Whether the first job that gave nothing is enough as well.
    :param poll_interval: Seconds between looks; by default the schedule decides.
    :param say: Takes a line for the log.
    :param stopping: Asked at each reading whether to stop waiting.
    :param facts: What is known of all jobs: ``model``, ``kind`` and ``estimated_time``.
    """

    def __init__(
        self,
        jobs: Sequence[Awaited],
        *,
        enough: int,
        fail_fast: bool,
        poll_interval: float | None,
        say: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
        **facts: Any,
    ) -> None:
        self._jobs = jobs
        self._enough = min(enough, len({job.job_id for job in jobs}))
        self._fail_fast = fail_fast
        self._poll_interval = poll_interval
        self._facts = facts
        self._say = say
        self._stopping = stopping
        self._ended: dict[str, str] = {}
        self._is_over = asyncio.Event()

    async def run(self, evolink_conn_id: str, load_settings: SettingsLoader, hold: float = 0.0) -> dict[str, Any]:
        """
        Wait and return what the event tells: the jobs that run on, and those that gave nothing.

        :param evolink_conn_id: Connection of type ``evolink``.
        :param load_settings: Returns its key and hosts.
        :param hold: Seconds before which it does not return.
        """
        began = time.monotonic()
        waits: list[asyncio.Task[None]] = []
        try:
            async with shared_poller(evolink_conn_id, load_settings) as poller:
                waits = [asyncio.create_task(self._wait(poller, job)) for job in self._jobs]
                if waits:
                    await self._is_over.wait()
                await asyncio.sleep(max(0.0, began + hold - time.monotonic()))
                found = self._outcome()
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
        finally:
            for wait in waits:
                wait.cancel()
        return found

    def unreadable(self) -> dict[str, Any]:
        """Return what the event tells where no job can be read: the worker looks itself."""
        self._ended = {job.job_id: str(WaitEnd.UNREADABLE) for job in self._jobs}
        return self._outcome()

    def _outcome(self) -> dict[str, Any]:
        running = [job.job_id for job in self._jobs if job.job_id not in self._ended]
        gave_nothing = {job_id: word for job_id, word in self._ended.items() if word != JobStatus.COMPLETED}
        return {"ended": len(self._ended), "running": running, "without_result": gave_nothing}

    async def _wait(self, poller: Poller, job: Awaited) -> None:
        try:
            watch = PollSchedule(
                deadline=job.deadline, started=job.started, poll_interval=self._poll_interval, times=TIMES
            )
            known = JobSnapshot(job.job_id, JobStatus.PENDING, "", **self._facts)
            word = await poller.wait(watch, known, self._looked)
        except EvoLinkError as error:
            word = str(WaitEnd.UNREADABLE)
            self._say(f"The wait for job {job.job_id} ends, the worker will look itself: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the job and decides
            word = str(WaitEnd.UNREADABLE)
            self._say(f"The wait for job {job.job_id} ends, the worker will look itself: {type(error).__name__}")
        self._took(job.job_id, word)

    def _looked(self, _: JobReading) -> None:
        if self._stopping():
            self._is_over.set()

    def _took(self, job_id: str, word: str) -> None:
        before, count = len(self._ended), len(self._jobs)
        self._ended[job_id] = word
        gave = word == JobStatus.COMPLETED
        if not gave and word != WaitEnd.UNREADABLE:
            self._say(f"EvoLink job {job_id}: {word}")
        if before * STEPS // count != len(self._ended) * STEPS // count:
            self._say(f"{len(self._ended)} of {count} EvoLink jobs are over")
        if len(self._ended) >= self._enough or (self._fail_fast and not gave):
            self._is_over.set()
