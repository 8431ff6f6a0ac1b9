"""The state of one emulator, and every change to it that HTTP may cause. Knows nothing of HTTP."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_evolink.emulator.orders.jobs import Failure, Job, advance, finish, new_id
from airflow_provider_evolink.emulator.state.books import Books
from airflow_provider_evolink.emulator.state.faults import FaultQueue
from airflow_provider_evolink.emulator.state.links import LinkSigner
from airflow_provider_evolink.emulator.state.uploads import UploadStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_evolink.emulator.orders.jobs import Plan
    from airflow_provider_evolink.emulator.orders.order import Order
    from airflow_provider_evolink.emulator.settings import Settings

log = logging.getLogger("evolink.emulator")

DEFAULT_FAILURE = Failure("generation_failed_no_content", "The model produced no content")


class InsufficientCredits(Exception):
    """The account cannot pay for the order."""


class World:
    """
    Everything that one emulator remembers.

    :param settings: The settings at the start; a reset restores them.
    :param folder: For uploads and results.
    :param clock: Returns Unix seconds.
    """

    def __init__(self, settings: Settings, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._initial_settings = settings
        self._clock = clock
        self.folder = folder
        self.links = LinkSigner(secrets.token_bytes(32))
        self.reset()

    def reset(self) -> None:
        """Forget jobs, money, faults and files, and restore the settings of the start."""
        self.settings = self._initial_settings
        self.books = Books()
        self.faults = FaultQueue()
        self.jobs: dict[str, Job] = {}
        self.uploads = UploadStore(self.folder)

    def now(self) -> float:
        """Return the emulator's time in Unix seconds."""
        return self._clock() + self.settings.clock_shift

    def replayed_job(self, order: Order) -> Job | None:
        """
        Return the job that was already accepted under the order's idempotency key, and count the replay.

        :raises KeyReused: It was accepted with another body.
        """
        job_id = self.books.job_of_key(order)
        if job_id is None:
            return None
        self.books.replays += 1
        log.info("submit   %s replayed", job_id)
        return self.jobs[job_id]

    def accept(self, order: Order, plan: Plan, source: Job | None = None) -> Job:
        """
        Turn an order into a job and reserve its credits.

        :param order: The checked order.
        :param plan: What it will produce and cost.
        :param source: The earlier job it continues.
        :raises InsufficientCredits: The balance is too small.
        """
        if plan.reserved > self.books.balance(self.settings.balance):
            raise InsufficientCredits
        now = self.now()
        self._forget_old(now)
        job = Job(
            id=new_id(now),
            order=order,
            plan=replace(plan, failure=plan.failure or self._injected_failure(order)),
            created=now,
            estimate=self.settings.reported_estimate(order.kind),
            source=source,
        )
        self.jobs[job.id] = job
        self.books.open(job)
        log.info("submit   %s %s, %g credits reserved", job.id, order.model, plan.reserved)
        return job

    def _forget_old(self, now: float) -> None:
        """Forget the oldest jobs that have ended, and delete their files, so that memory and disk do not fill up."""
        if self.settings.keep_hours is None:
            return
        limit = now - self.settings.keep_hours * 3600
        for job in list(itertools.takewhile(lambda job: job.created < limit, self.jobs.values())):
            self.update(job)
            if job.is_over:
                del self.jobs[job.id]
                self.books.forget(job.order)
                for path in job.files(self.folder):
                    path.unlink(missing_ok=True)

    def _injected_failure(self, order: Order) -> Failure | None:
        fault = self.faults.take("submit", f"/v1/{order.kind}s/generations", "order")
        if fault is None:
            return None
        code = str(fault.params.get("code", DEFAULT_FAILURE.code))
        return Failure(code, str(fault.params.get("message", f"Injected failure: {code}")))

    def poll(self, job: Job) -> None:
        """Count a poll of a job and bring it up to date."""
        job.state.reads += 1
        self.update(job)

    def update(self, job: Job) -> None:
        """Bring a job up to date, and settle it if it has just ended."""
        if advance(job, self.settings, self.now()):
            self._settle(job)

    def update_all(self) -> None:
        """Bring all jobs up to date, without counting a poll."""
        for job in self.jobs.values():
            self.update(job)

    def force(self, job: Job, status: str, failure: Failure | None = None) -> None:
        """
        Set the status of a job that has not ended. ``pending`` and ``processing`` last until the next change.

        :param job: The job.
        :param status: The new status.
        :param failure: Why, for ``failed`` and ``cancelled``.
        """
        if status in {"pending", "processing"}:
            job.state.held, job.state.status, job.state.progress = True, status, 0 if status == "pending" else 50
            return
        finish(job, status, self.now(), failure)
        self._settle(job)

    def _settle(self, job: Job) -> None:
        self.books.settle(job)
        verb = "charged" if job.is_completed else "released"
        log.info("%-8s %s, %g credits %s", job.state.status, job.id, job.credits_charged or job.credits_refunded, verb)

    def result_links(self, job: Job, base: str) -> list[str]:
        """
        Return the result links of a job; none unless it completed.

        :param job: The job.
        :param base: Scheme, host and port of the emulator.
        """
        if not job.is_completed or job.state.ended is None:
            return []
        signed_at = self.now() if self.settings.resign_links else job.state.ended
        return self.links.sign(job, base, int(signed_at + self.settings.link_seconds))
