"""The state of one emulator, and every change to it that HTTP may ask for. Knows nothing of HTTP."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.jobs import Failure, Job, advance, finish, new_id
from airflow_provider_evolink.emulator.state.books import Books, fingerprint
from airflow_provider_evolink.emulator.state.faults import Faults
from airflow_provider_evolink.emulator.state.links import Links
from airflow_provider_evolink.emulator.state.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_evolink.emulator.orders.plans import Plan
    from airflow_provider_evolink.emulator.settings import Settings

log = logging.getLogger("evolink.emulator")

DEFAULT_FAILURE = Failure("generation_failed_no_content", "The model produced no content")


class NoCredits(Exception):
    """The account cannot pay for the order."""


@dataclass(frozen=True)
class Caller:
    """
    Who is calling. Keys that contain "other-account" belong to a second account, all others to the first.

    :param key_fingerprint: Names the API key without showing it.
    :param account: The account it belongs to.
    """

    key_fingerprint: str
    account: str

    @classmethod
    def of(cls, key: str) -> Caller:
        """
        Tell the caller from the API key.

        :param key: The key.
        """
        return cls(fingerprint(key), "other" if "other-account" in key else "main")


@dataclass(frozen=True)
class Order:
    """
    One request for media.

    :param caller: Who orders.
    :param key: The idempotency key, if one counts.
    :param kind: ``video``, ``image`` or ``audio``.
    :param body: The order, as sent.
    :param effective: The order, as understood: long texts are cut.
    """

    caller: Caller
    key: str | None
    kind: str
    body: dict[str, Any]
    effective: dict[str, Any]


class World:
    """
    Everything one emulator remembers.

    :param settings: The knobs at the start; a reset returns to them.
    :param folder: For uploads and results.
    :param clock: Gives Unix seconds.
    """

    def __init__(self, settings: Settings, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._at_start = settings
        self._clock = clock
        self.folder = folder
        self.links = Links(secrets.token_bytes(32))
        self.reset()

    def reset(self) -> None:
        """Forget jobs, money, faults and files, and turn all knobs back."""
        self.settings = self._at_start
        self.books = Books()
        self.faults = Faults()
        self.jobs: dict[str, Job] = {}
        self.uploads = Uploads(self.folder)

    def now(self) -> float:
        """Return the emulator's time in Unix seconds."""
        return self._clock() + self.settings.clock_shift

    def earlier(self, order: Order) -> Job | None:
        """
        Return the job that the order's idempotency key already stands for.

        :param order: The order.
        :raises KeyReused: The key stands for another body.
        """
        if order.key is None:
            return None
        job_id = self.books.earlier_order(order.caller.key_fingerprint, order.key, order.body)
        if job_id is None:
            return None
        self.books.replays += 1
        log.info("submit   %s replayed", job_id)
        return self.jobs[job_id]

    def accept(self, order: Order, plan: Plan, source: Job | None = None) -> Job:
        """
        Turn an order into a job and hold its credits.

        :param order: The order, checked.
        :param plan: What will come of it.
        :param source: The earlier job it goes on from.
        :raises NoCredits: The balance is too small.
        """
        if plan.reserved > self.books.balance(self.settings.balance):
            raise NoCredits
        now = self.now()
        job = Job(
            id=new_id(now),
            kind=order.kind,
            model=str(order.body["model"]),
            body=order.body,
            effective=order.effective,
            account=order.caller.account,
            key_fingerprint=order.caller.key_fingerprint,
            idempotency_key=order.key,
            created=now,
            estimate=self.settings.estimate_for(order.kind),
            output=plan.output,
            reserved=plan.reserved,
            due=plan.due,
            materials=plan.materials,
            planned_failure=plan.failure or self._failure_to_come(),
            source=source,
        )
        self.jobs[job.id] = job
        self.books.enter(job)
        log.info("submit   %s %s, %g credits held", job.id, job.model, job.reserved)
        return job

    def _failure_to_come(self) -> Failure | None:
        fault = self.faults.take("submit", "", "order")
        if fault is None:
            return None
        code = str(fault.params.get("code", DEFAULT_FAILURE.code))
        return Failure(code, str(fault.params.get("message", f"The emulator was told to fail: {code}")))

    def read(self, job: Job) -> None:
        """
        Count a reading of a job and move it on.

        :param job: The job.
        """
        job.reads += 1
        self.move(job)

    def move(self, job: Job) -> None:
        """
        Move a job as far as it has got, and settle it if it came to its end.

        :param job: The job.
        """
        if advance(job, self.settings, self.now()):
            self._settle(job)

    def move_by_clock(self) -> None:
        """Move every job as far as the clock allows, without counting a reading."""
        for job in self.jobs.values():
            self.move(job)

    def force(self, job: Job, status: str, failure: Failure | None = None) -> None:
        """
        Put a running job into a state of one's choice. ``pending`` and ``processing`` last until forced again.

        :param job: A job that is not over.
        :param status: The state.
        :param failure: Why, for ``failed`` and ``cancelled``.
        """
        if status in {"pending", "processing"}:
            job.held, job.status, job.progress = True, status, 0 if status == "pending" else 50
            return
        finish(job, status, self.now(), failure)
        self._settle(job)

    def _settle(self, job: Job) -> None:
        self.books.settle(job)
        word = "charged" if job.status == "completed" else "given back"
        log.info("%-8s %s, %g credits %s", job.status, job.id, job.charged or job.refunded, word)

    def links_of(self, job: Job, base: str) -> list[str]:
        """
        Return the result links of a job; none unless it completed.

        :param job: The job.
        :param base: Scheme, host and port of the emulator.
        """
        if job.status != "completed" or job.ended is None:
            return []
        born = self.now() if self.settings.resign_links else job.ended
        return self.links.sign(job, base, int(born + self.settings.link_seconds))
