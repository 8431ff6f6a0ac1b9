"""Wait for EvoLink jobs in the triggerer."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.api.polling.poller import OnPoll, WaitOutcome
    from airflow_provider_evolink.api.polling.reader import SettingsLoader
    from airflow_provider_evolink.api.settings import ClientSettings

# An event within about 6 s of defer() can reach the task while the scheduler still records the deferral, and fail it
# (Airflow 3.x).
HOLD_EVENT = 10.0
_imported = threading.Event()


class EvoLinkJobTrigger(BaseTrigger):
    """
    Wait for one job and return its id and status, nothing else. Submits nothing, cancels nothing.

    The event is a hint: the worker reads the job again and decides. It holds no link, so Airflow stores nothing that
    expires or is secret.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param job_id: EvoLink's id.
    :param deadline: Epoch seconds, by EvoLink's clock, when the wait ends with status ``timeout``.
    :param started: Epoch seconds, by EvoLink's clock, when the job was submitted; its age paces the polls.
    :param poll_interval: Seconds between polls; by default EvoLink's estimate and the kind of media decide.
    :param model: EvoLink's name of the model, where it is known.
    :param kind: ``video``, ``image`` or ``audio``, where it is known.
    :param estimated_time: EvoLink's estimate in seconds. Where it is known, the first poll is delayed.
    :param hold: Seconds from the start of the trigger before which no event is sent. Default: ``HOLD_EVENT``.
    """

    def __init__(
        self,
        *,
        evolink_conn_id: str,
        job_id: str,
        deadline: float,
        started: float,
        poll_interval: float | None = None,
        model: str | None = None,
        kind: str | None = None,
        estimated_time: float | None = None,
        hold: float | None = None,
        **_: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.evolink_conn_id = evolink_conn_id
        self.job_id = job_id
        self.deadline = deadline
        self.started = started
        self.poll_interval = poll_interval
        self.model = model
        self.kind = kind
        self.estimated_time = estimated_time
        self.hold = HOLD_EVENT if hold is None else hold

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger in another process. Airflow stores it in plain text: it holds no secret."""
        return (
            "airflow_provider_evolink.triggers.evolink.EvoLinkJobTrigger",
            {
                "evolink_conn_id": self.evolink_conn_id,
                "job_id": self.job_id,
                "deadline": self.deadline,
                "started": self.started,
                "poll_interval": self.poll_interval,
                "model": self.model,
                "kind": self.kind,
                "estimated_time": self.estimated_time,
                "hold": self.hold,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job, then until an event may be sent."""
        began = time.monotonic()
        outcome = await self._wait()
        await asyncio.sleep(max(0.0, began + self.hold - time.monotonic()))
        yield TriggerEvent({"job_id": self.job_id, "status": str(outcome)})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Log that the job keeps running: EvoLink cannot cancel, and Airflow 3.3 calls this on a mere hand-over too."""
        self.log.info(
            "EvoLink job %s keeps running and is still billed; its result can be fetched by this id", self.job_id
        )

    async def _wait(self) -> WaitOutcome:
        await _import_off_loop()
        from airflow_provider_evolink.api.errors import EvoLinkError
        from airflow_provider_evolink.api.jobs.pace import JobHints
        from airflow_provider_evolink.api.jobs.schedule import PollSchedule, WaitEnd
        from airflow_provider_evolink.api.polling.poller import DURATIONS, shared_poller

        hints = JobHints(model=self.model, kind=self.kind, estimated_time=self.estimated_time)
        try:
            schedule = PollSchedule(
                deadline=self.deadline, started=self.started, poll_interval=self.poll_interval, durations=DURATIONS
            )
            async with shared_poller(self.evolink_conn_id, _settings_loader(self.evolink_conn_id)) as poller:
                return await poller.wait(self.job_id, hints, schedule, self._log_progress())
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the job and decides
            why = error if isinstance(error, EvoLinkError) else type(error).__name__
            self.log.warning("Trigger stopped polling job %s; the worker will check it: %s", self.job_id, why)
        return WaitEnd.UNREADABLE

    def _log_progress(self) -> OnPoll:
        from airflow_provider_evolink.api.polling.progress import Progress

        progress = Progress(self.started, self.estimated_time)

        def on_poll(job: JobReading) -> None:
            if line := progress.line(job, time.time()):
                self.log.info(line)

        return on_poll


class EvoLinkBatchTrigger(BaseTrigger):
    """
    Wait for the jobs of a batch. Submits nothing, cancels nothing.

    There is one event: when enough jobs have ended, or at the first one without a result if that ends the batch. It
    lists the jobs still running and those without a result. It is a hint: the worker reads the jobs again and decides.
    It holds no link, and the trigger holds no request.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param jobs: For each job: EvoLink's id, epoch seconds when it was submitted and when the wait for it ends.
    :param min_ended: How many jobs must have ended. Default: all.
    :param fail_fast: Whether the first job that ends without a result is enough as well.
    :param poll_interval: Seconds between polls; by default EvoLink's estimate and the kind of media decide.
    :param model: EvoLink's name of the model, where it is known and all have the same.
    :param kind: ``video``, ``image`` or ``audio``, where all make the same.
    :param estimated_time: EvoLink's estimate in seconds, where it is the same for all.
    :param state: Returned to the worker with the event, unchanged.
    :param hold: Seconds from the start of the trigger before which no event is sent. Default: ``HOLD_EVENT``.
    """

    def __init__(
        self,
        *,
        evolink_conn_id: str,
        jobs: list[list[Any]],
        min_ended: int | None = None,
        fail_fast: bool = True,
        poll_interval: float | None = None,
        model: str | None = None,
        kind: str | None = None,
        estimated_time: float | None = None,
        state: dict[str, Any] | None = None,
        hold: float | None = None,
        **_: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.evolink_conn_id = evolink_conn_id
        self.jobs = jobs
        self.min_ended = len(jobs) if min_ended is None else min_ended
        self.fail_fast = fail_fast
        self.poll_interval = poll_interval
        self.model = model
        self.kind = kind
        self.estimated_time = estimated_time
        self.state = state or {}
        self.hold = HOLD_EVENT if hold is None else hold

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger in another process. Airflow stores it in plain text: it holds no secret."""
        hints = ("model", "kind", "estimated_time")
        names = ("evolink_conn_id", "jobs", "min_ended", "fail_fast", "poll_interval", *hints, "state", "hold")
        return (
            "airflow_provider_evolink.triggers.evolink.EvoLinkBatchTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the jobs, then until an event may be sent."""
        began = time.monotonic()
        await _import_off_loop()
        from airflow_provider_evolink.api.errors import EvoLinkError
        from airflow_provider_evolink.api.polling.batch_wait import AwaitedJob, BatchWait

        wait = BatchWait(
            [AwaitedJob(*job) for job in self.jobs],
            min_ended=self.min_ended,
            fail_fast=self.fail_fast,
            poll_interval=self.poll_interval,
            log=self.log.info,
            model=self.model,
            kind=self.kind,
            estimated_time=self.estimated_time,
        )
        try:
            load_settings = _settings_loader(self.evolink_conn_id)
            event = await wait.run(self.evolink_conn_id, load_settings, began + self.hold - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the jobs and decides
            why = error if isinstance(error, EvoLinkError) else type(error).__name__
            self.log.warning("Trigger stopped polling %d jobs; the worker will check them: %s", len(self.jobs), why)
            event = wait.unreadable()
            await asyncio.sleep(max(0.0, began + self.hold - time.monotonic()))
        yield TriggerEvent({**event, "state": self.state})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Log that the jobs keep running: EvoLink cannot cancel, and Airflow 3.3 calls this on a mere hand-over too."""
        self.log.info("%d EvoLink jobs keep running and are still billed; a retry waits for them", len(self.jobs))


def _settings_loader(evolink_conn_id: str) -> SettingsLoader:
    return functools.partial(_settings_in_triggerer, evolink_conn_id)


async def _settings_in_triggerer(evolink_conn_id: str) -> ClientSettings:
    from airflow_provider_evolink.hooks.evolink import EvoLinkHook
    from airflow_provider_evolink.metrics import count_rate_limit_in_triggerer

    settings = await EvoLinkHook.aget_settings(evolink_conn_id)
    return replace(settings, on_rate_limit=count_rate_limit_in_triggerer)


async def _import_off_loop() -> None:
    """Import what the wait needs, in a thread: on the loop it would block all other triggers."""
    if not _imported.is_set():
        await asyncio.to_thread(_import)


def _import() -> None:
    import anyio
    import httpx_aiohttp.transport  # noqa: F401 - aiohttp's way to the network; httpx's imports the rest when first used

    import airflow_provider_evolink.api.polling.batch_wait
    import airflow_provider_evolink.api.polling.progress
    import airflow_provider_evolink.hooks.evolink
    import airflow_provider_evolink.metrics  # noqa: F401

    anyio.run(anyio.sleep, 0)
    _imported.set()
