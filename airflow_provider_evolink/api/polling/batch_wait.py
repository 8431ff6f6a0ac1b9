"""The wait for the jobs of a batch, in the triggerer or on the worker: one outcome for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.errors import EvoLinkError
from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.jobs.schedule import PollSchedule, WaitEnd
from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.polling.poller import DURATIONS, Poller, WaitOutcome, shared_poller
from airflow_provider_evolink.api.polling.reader import SettingsLoader

LOG_STEPS = 10  # log lines, at most, about how many jobs have ended


@dataclass(frozen=True)
class AwaitedJob:
    """
    One job of a batch.

    :param job_id: EvoLink's id.
    :param started: Epoch seconds when it was submitted.
    :param deadline: Epoch seconds when the wait for it ends.
    """

    job_id: str
    started: float
    deadline: float


class BatchWait:
    """
    The wait for some jobs. It is over when enough of them have ended, or at the first one without a result.

    :param jobs: The jobs.
    :param min_ended: How many must have ended.
    :param fail_fast: Whether the first job that ends without a result is enough as well.
    :param poll_interval: Seconds between polls; by default the schedule decides.
    :param log: Takes a line for the log.
    :param is_stopping: Called at each reading: whether to stop waiting.
    :param model: EvoLink's name of the model, where it is known and all have the same.
    :param kind: ``video``, ``image`` or ``audio``, where all make the same.
    :param estimated_time: EvoLink's estimate in seconds, where it is the same for all.
    """

    def __init__(
        self,
        jobs: Sequence[AwaitedJob],
        *,
        min_ended: int,
        fail_fast: bool,
        poll_interval: float | None,
        log: Callable[[str], None],
        is_stopping: Callable[[], bool] = lambda: False,
        model: str | None = None,
        kind: str | None = None,
        estimated_time: float | None = None,
    ) -> None:
        self._jobs = jobs
        self._min_ended = min(min_ended, len({job.job_id for job in jobs}))
        self._fail_fast = fail_fast
        self._poll_interval = poll_interval
        self._hints = JobHints(model=model, kind=kind, estimated_time=estimated_time)
        self._log = log
        self._is_stopping = is_stopping
        self._outcomes: dict[str, WaitOutcome] = {}
        self._is_over = asyncio.Event()

    async def run(self, evolink_conn_id: str, load_settings: SettingsLoader, hold: float = 0.0) -> dict[str, Any]:
        """
        Wait, and return the event: how many jobs ended, those still running, and those without a result.

        :param evolink_conn_id: Names the connection.
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
                event = self._event()
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
        finally:
            for wait in waits:
                wait.cancel()
        return event

    def unreadable(self) -> dict[str, Any]:
        """Return the event where no job can be read: the worker checks all of them."""
        self._outcomes = {job.job_id: WaitEnd.UNREADABLE for job in self._jobs}
        return self._event()

    def _event(self) -> dict[str, Any]:
        running = [job.job_id for job in self._jobs if job.job_id not in self._outcomes]
        failed = {job_id: str(end) for job_id, end in self._outcomes.items() if end is not JobStatus.COMPLETED}
        return {"ended": len(self._outcomes), "running": running, "without_result": failed}

    async def _wait(self, poller: Poller, job: AwaitedJob) -> None:
        outcome: WaitOutcome = WaitEnd.UNREADABLE
        try:
            schedule = PollSchedule(
                deadline=job.deadline, started=job.started, poll_interval=self._poll_interval, durations=DURATIONS
            )
            outcome = await poller.wait(job.job_id, self._hints, schedule, self._on_poll)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the job and decides
            why = error if isinstance(error, EvoLinkError) else type(error).__name__
            self._log(f"Stopped polling job {job.job_id}; the worker will check it: {why}")
        self._record(job.job_id, outcome)

    def _on_poll(self, _: JobReading) -> None:
        if self._is_stopping():
            self._is_over.set()

    def _record(self, job_id: str, outcome: WaitOutcome) -> None:
        before, total = len(self._outcomes), len(self._jobs)
        self._outcomes[job_id] = outcome
        has_result = outcome is JobStatus.COMPLETED
        if not has_result and outcome is not WaitEnd.UNREADABLE:
            self._log(f"EvoLink job {job_id}: {outcome}")
        ended = len(self._outcomes)
        if before * LOG_STEPS // total != ended * LOG_STEPS // total:
            self._log(f"{ended} of {total} EvoLink jobs have ended")
        if ended >= self._min_ended or (self._fail_fast and not has_result):
            self._is_over.set()
