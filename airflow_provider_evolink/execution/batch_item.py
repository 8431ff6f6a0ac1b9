"""One request of a batch: a generation with a record of its own, read and concluded together with the others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkSubmissionUnknown, EvoLinkUnavailable
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.polling.batch_wait import Awaited
from airflow_provider_evolink.api.polling.reader import read_all
from airflow_provider_evolink.execution.generation import GenerationAttempt
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.decisions import (
    Act,
    decide,
    may_resubmit,
    unknown_submit_policy,
)
from airflow_provider_evolink.storage.object_store import open_folder

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.polling.reader import JobReading
    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

SHOWN = 20


class BatchItem(GenerationAttempt):
    """
    What one try does for one request of a batch.

    :param operator: The operator of this request alone.
    :param context: Airflow's context.
    :param number: Number of the request, from 0.
    :param client: EvoLink; all parts share it.
    :param resumed: Whether the try has been deferred before: then what Airflow tells of XCom is about something else.
    """

    def __init__(
        self,
        operator: EvoLinkGenerateOperator,
        context: Context,
        *,
        number: int,
        client: EvoLinkClient,
        resumed: bool,
    ) -> None:
        super().__init__(operator, context, part=number, client=client)
        if resumed:
            self._identity = replace(self._identity, had_result=None)

    @property
    def job_id(self) -> str | None:
        """EvoLink's id, where a job is known."""
        return self._record.job_id if self._record else None

    @property
    def is_remembered(self) -> bool:
        """Whether the order will be remembered."""
        return self._ledger.is_durable

    @property
    def is_over(self) -> bool:
        """Whether the job was seen to be over."""
        return self._last is not None and self._last.status.is_over

    @property
    def is_lost(self) -> bool:
        """Whether the job was seen to have failed."""
        return self._is_lost()

    @property
    def estimated_time(self) -> float | None:
        """Seconds the job takes, by EvoLink's estimate."""
        estimate: float | None = self.known().get("estimated_time")
        return estimate

    @property
    def will_order(self) -> bool:
        """Whether `start` is to send an order, as far as the job of an earlier one is known."""
        act, _ = decide(self._record, self._identity, self._policies)
        if act is Act.RESOLVE and self._record is not None:
            return unknown_submit_policy(self._identity, self._policies) == "resubmit" and may_resubmit(self._record)
        return act is Act.SUBMIT or (act is Act.ATTACH and self._last is not None and self._orders_again(self._last))

    def start(self) -> str:
        """
        Return the id of the job, as for a task with one order. After a failure it may be called again.

        :raises EvoLinkError: there is none.
        """
        try:
            return super().start()
        except EvoLinkError:
            self._take_own_refusal()
            raise

    def was_ordered_before(self) -> bool:
        """Tell whether this task had such a request, and ordered it, since it was last cleared."""
        return (
            self.job_id is not None
            and self._record is not None
            and (self._record.clear_count == self._identity.clear_count)
        )

    def order_body(self) -> tuple[str, dict[str, Any]]:
        """
        Return model and body of the order.

        :raises EvoLinkError: it could not be sent, or its result not be stored.
        """
        if self._operator.destination:
            open_folder(self._operator.destination)
        return self._operator.model, self._inputs.body()

    def saw(self, seen: JobReading | None) -> None:
        """
        Take a reading of the job.

        :param seen: The job, as read together with others; ``None``: it could not be read.
        """
        if seen is None:
            self._unread = EvoLinkUnavailable("the job could not be read", job_id=self.job_id)
            self._last = None if self.is_lost else self._last  # a failure counts once it was read twice
            return
        if isinstance(seen, Job):
            self._last = seen
            return
        facts = {"id": seen.job_id, "status": str(seen.status), "type": seen.kind, "model": seen.model}
        guess = {"estimated_time": seen.estimated_time}
        self._last = Job.model_validate({**facts, "created": seen.created, "task_info": guess})

    def look(self) -> None:
        """
        Read the job by itself; a passing fault is no reading.

        :raises EvoLinkError: it cannot be read.
        """
        if self.job_id is not None:
            self._last = self._look(self.job_id)

    def pauses(self, now: float) -> tuple[float, ...]:
        """
        Return the waits, in seconds, of the looks the worker takes before it defers.

        :param now: Epoch seconds.
        """
        return (
            schedule.worker_poll_delays(self._last, self.started, now, self._operator.defer_after) if self._last else ()
        )

    def conclude(self) -> dict[str, Any]:
        """
        Return what is handed on of the job, as just read.

        :raises EvoLinkError: it gave nothing, or nothing yet.
        """
        job_id = str(self.job_id)
        if self._last is None or not self._last.status.is_over:
            schedule.result_or_raise(job_id, schedule.WaitEnd.TIMEOUT, self._last, None if self._last else self._unread)
        elif self._last.status is JobStatus.COMPLETED and not self._last.results:
            self._last = self.wait(job_id)
        return self._result(self._checked())

    def note_delivered(self) -> None:
        """Take note that the result goes to the task, together with those of all others."""
        self._delivered(self._checked())

    def without_result(self, error: EvoLinkError) -> dict[str, Any]:
        """
        Return what stands in the place of a result.

        :param error: Why there is none.
        """
        job = self._last or Job.model_validate({"id": self.job_id or "task-none", "status": "unknown"})
        status = "failed" if job.status is JobStatus.COMPLETED else str(job.status)
        if self.job_id is None:
            status = "unknown" if isinstance(error, EvoLinkSubmissionUnknown) else "refused"
        return {
            **job.summary(),
            "job_id": self.job_id,
            "model": job.model or self._operator.model,
            "status": status,
            "error": type(error).__name__,
            "error_code": error.code,
            "request": self._inputs.shown(self._record),
        }

    def _take_own_refusal(self) -> None:
        """Read what is recorded of the order just sent. What another try has written is to stop this one."""
        with contextlib.suppress(EvoLinkError):
            latest = self._ledger.read()
            if latest is not None and latest.job_id is None and latest.attempt == self._identity.attempt:
                self._record, self._last = latest, None

    def _checked(self) -> Job:
        if self._last is None:
            raise EvoLinkError("the job was not read", job_id=self.job_id)
        return self._last


def read_together(parts: Sequence[BatchItem], evolink_conn_id: str) -> None:
    """
    Read the jobs of some parts, many in a call; failed ones twice, since money hangs on it. One may stay unread.

    :param parts: Parts whose jobs are known.
    :param evolink_conn_id: Connection of type ``evolink``.
    """
    _read_once(parts, evolink_conn_id)
    lost = [part for part in parts if part.is_lost]
    if lost:
        time.sleep(schedule.CONFIRM_AFTER)
        _read_once(lost, evolink_conn_id)


def _read_once(parts: Sequence[BatchItem], evolink_conn_id: str) -> None:
    ids = list(dict.fromkeys(part.job_id for part in parts if part.job_id))
    found = asyncio.run(read_all(functools.partial(EvoLinkHook.aget_settings, evolink_conn_id), ids)) if ids else {}
    for part in parts:
        part.saw(found.get(str(part.job_id)))


def awaited(parts: Sequence[BatchItem]) -> list[Awaited]:
    """
    Return the jobs of parts to wait for.

    :param parts: Parts whose jobs run.
    """
    return [Awaited(str(part.job_id), round(part.started, 1), round(part.deadline, 1)) for part in parts]


def facts(parts: Sequence[BatchItem]) -> dict[str, Any]:
    """
    Return what is known of the jobs and the same for all of them.

    :param parts: Parts whose jobs run.
    """
    known = [part.known() for part in parts]
    values = {name: {of_one.get(name) for of_one in known} for name in ("model", "kind", "estimated_time")}
    return {name: found.pop() if len(found) == 1 else None for name, found in values.items()}


def going_on(parts: Sequence[BatchItem]) -> str:
    """
    Return the end of an error: the jobs that go on are paid, and the next try waits for them.

    :param parts: Parts whose jobs run.
    """
    if not parts:
        return ""
    ids = listed([part.job_id for part in parts])
    return (
        f"; {len(parts)} other job(s) of this batch go on and stay billable: {ids}. "
        "A retry, or clearing the task, waits for them and orders none of them again"
    )


def listed(things: Sequence[Any]) -> str:
    """
    Return things as a text that does not grow without end.

    :param things: What to list.
    """
    more = f" and {len(things) - SHOWN} more, see the log" if len(things) > SHOWN else ""
    return ", ".join(str(thing) for thing in things[:SHOWN]) + more
