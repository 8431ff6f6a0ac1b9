"""Waiting for EvoLink jobs in the triggerer."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot

# An event within about 6 s of defer() can hit a task Airflow has already queued again, and fail it (Airflow 3.x).
HOLD_EVENT = 10.0
_imported = threading.Event()


class EvoLinkJobTrigger(BaseTrigger):
    """
    Wait for one job and tell its id and status, nothing else. Orders nothing, cancels nothing.

    The event is a hint: the worker reads the job again and decides. It carries no link, so nothing that expires
    or is secret is stored by Airflow.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param job_id: EvoLink's id.
    :param deadline: Epoch seconds when the wait ends with status ``timeout``.
    :param started: Epoch seconds of the order; the age of the job paces the looks.
    :param poll_interval: Seconds between looks; by default EvoLink's estimate and the kind of media decide.
    :param model: EvoLink's name of the model, where it is known.
    :param kind: ``video``, ``image`` or ``audio``, where it is known.
    :param estimated_time: EvoLink's estimate in seconds. Where it is known, the first look is not made at once.
    :param hold: Seconds from the start of the trigger before which no event leaves. Default: ``HOLD_EVENT``.
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
        """Return what rebuilds this trigger elsewhere. Airflow stores it in plain text: nothing secret is in it."""
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
        """Wait for the job, then for the moment an event may leave."""
        began = time.monotonic()
        status = await self._wait()
        await asyncio.sleep(max(0.0, began + self.hold - time.monotonic()))
        yield TriggerEvent({"job_id": self.job_id, "status": status})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Say that the job goes on: EvoLink has no cancel call, and Airflow 3.3 calls this on mere hand-over."""
        self.log.info("EvoLink job %s goes on and stays billable; its result can be fetched by this id", self.job_id)

    async def _wait(self) -> str:
        if not _imported.is_set():
            await asyncio.to_thread(_import)
        from airflow_provider_evolink.api.errors import EvoLinkError
        from airflow_provider_evolink.api.jobs.job import JobStatus
        from airflow_provider_evolink.api.jobs.schedule import PollSchedule
        from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
        from airflow_provider_evolink.api.polling.poller import TIMES, watch_job
        from airflow_provider_evolink.api.polling.progress import Progress
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook

        progress = Progress(self.started, self.estimated_time)

        def tell(job: Job | JobSnapshot) -> None:
            if line := progress.line(job, time.time()):
                self.log.info(line)

        try:
            watch = PollSchedule(
                deadline=self.deadline, started=self.started, poll_interval=self.poll_interval, times=TIMES
            )
            known = JobSnapshot(
                self.job_id, JobStatus.PENDING, "", model=self.model, kind=self.kind, estimated_time=self.estimated_time
            )
            load_settings = functools.partial(EvoLinkHook.aget_settings, self.evolink_conn_id)
            return await watch_job(self.evolink_conn_id, load_settings, watch, known, tell)
        except EvoLinkError as error:
            self.log.warning("The wait for job %s ends, the worker will look itself: %s", self.job_id, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the job and decides
            self.log.warning(
                "The wait for job %s ends, the worker will look itself: %s", self.job_id, type(error).__name__
            )
        return "unreadable"


class EvoLinkBatchTrigger(BaseTrigger):
    """
    Wait for the jobs of a batch and tell which run on and which gave nothing. Orders nothing, cancels nothing.

    One event leaves: when enough jobs are over, or at the first that gave nothing where that ends the batch. It is a
    hint: the worker reads the jobs again and decides. It carries no link, as the trigger carries no request.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param jobs: For each job: EvoLink's id, epoch seconds of its order, epoch seconds when the wait for it ends.
    :param enough: How many jobs must be over. Default: all.
    :param fail_fast: Whether the first job that gave nothing is enough as well.
    :param poll_interval: Seconds between looks; by default EvoLink's estimate and the kind of media decide.
    :param model: EvoLink's name of the model, where it is known and all have the same.
    :param kind: ``video``, ``image`` or ``audio``, where all make the same.
    :param estimated_time: EvoLink's estimate in seconds, where it is the same for all.
    :param state: What the worker wants to find in the event again.
    :param hold: Seconds from the start of the trigger before which no event leaves. Default: ``HOLD_EVENT``.
    """

    def __init__(
        self,
        *,
        evolink_conn_id: str,
        jobs: list[list[Any]],
        enough: int | None = None,
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
        self.enough = len(jobs) if enough is None else enough
        self.fail_fast = fail_fast
        self.poll_interval = poll_interval
        self.model = model
        self.kind = kind
        self.estimated_time = estimated_time
        self.state = state or {}
        self.hold = HOLD_EVENT if hold is None else hold

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger elsewhere. Airflow stores it in plain text: nothing secret is in it."""
        facts = ("model", "kind", "estimated_time")
        names = ("evolink_conn_id", "jobs", "enough", "fail_fast", "poll_interval", *facts, "state", "hold")
        return (
            "airflow_provider_evolink.triggers.evolink.EvoLinkBatchTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the jobs, then for the moment an event may leave."""
        began = time.monotonic()
        if not _imported.is_set():
            await asyncio.to_thread(_import)
        from airflow_provider_evolink.api.errors import EvoLinkError
        from airflow_provider_evolink.api.polling.batch_wait import Awaited, BatchWait
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook

        wait = BatchWait(
            [Awaited(*job) for job in self.jobs],
            enough=self.enough,
            fail_fast=self.fail_fast,
            poll_interval=self.poll_interval,
            say=self.log.info,
            model=self.model,
            kind=self.kind,
            estimated_time=self.estimated_time,
        )
        try:
            load_settings = functools.partial(EvoLinkHook.aget_settings, self.evolink_conn_id)
            found = await wait.run(self.evolink_conn_id, load_settings, began + self.hold - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker reads the jobs and decides
            why = error if isinstance(error, EvoLinkError) else type(error).__name__
            self.log.warning("The wait for %d jobs ends, the worker will look itself: %s", len(self.jobs), why)
            found = wait.unreadable()
            await asyncio.sleep(max(0.0, began + self.hold - time.monotonic()))
        yield TriggerEvent({**found, "state": self.state})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Say that the jobs go on: EvoLink has no cancel call, and Airflow 3.3 calls this on mere hand-over."""
        self.log.info("%d EvoLink jobs go on and stay billable; a retry waits for them", len(self.jobs))


def _import() -> None:
    """Import what the wait needs, in a thread: on the loop it would hold up all other triggers."""
    import anyio
    import httpx_aiohttp.transport  # noqa: F401 - aiohttp's way to the network; httpx's imports the rest when first used

    import airflow_provider_evolink.api.polling.batch_wait
    import airflow_provider_evolink.hooks.evolink  # noqa: F401

    anyio.run(anyio.sleep, 0)
    _imported.set()
