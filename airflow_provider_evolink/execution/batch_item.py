"""One request of a batch: an attempt of its own, polled and concluded together with the others."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, cast

import pendulum

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkSubmissionUnknown, EvoLinkUnavailable
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.job import Job, JobStatus, link_times
from airflow_provider_evolink.api.polling.batch_wait import AwaitedJob
from airflow_provider_evolink.api.polling.reader import read_all
from airflow_provider_evolink.execution.job_tracker import JobWait, Reading
from airflow_provider_evolink.execution.results import GenerationResult, RequestResult
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.storage.object_store import open_folder

if TYPE_CHECKING:
    from airflow_provider_evolink.api.http.server_clock import ServerClock
    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.execution.generation import GenerationAttempt
    from airflow_provider_evolink.ledger.record import Record

MAX_LISTED = 20  # things that an error lists
_EMPTY = {"kind": None, "results": [], "outputs": [], "made": {}} | dict.fromkeys(
    ("credits", "credits_reserved", "credits_charged", "created", "expires_at")
)


class FailedRequest(RequestResult):
    """
    What ``EvoLinkBatchOperator`` returns for a request without a result, as XCom holds it.

    Only ``on_failed_job="collect"`` returns it. ``results`` is empty, unless the job has results that could not be
    stored, and ``completed`` is ``None``.

    :param job_id: EvoLink's id; ``None`` where no job is known.
    :param error: Name of the error class, such as ``EvoLinkContentError``.
    :param error_code: EvoLink's code of the failure, where it states one.
    """

    job_id: str | None
    error: str
    error_code: str | None


#: What ``EvoLinkBatchOperator`` returns, as XCom holds it: for each request its result, in the order of the requests.
BatchResult = list[GenerationResult | FailedRequest]


class ItemState(StrEnum):
    """State of a request of a batch in this try."""

    QUEUED = "queued"  # to be submitted
    RUNNING = "running"  # its job is waited for
    ENDED = "ended"  # nothing to wait for, and its result not taken yet
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Known(IntEnum):
    """How much of the record of a request this process has read."""

    NOTHING = 0
    ONE_COPY = 1
    ALL_COPIES = 2


@dataclass
class BatchItem:
    """
    What one try does for one request of a batch.

    :param number: Number of the request, from 0.
    :param attempt: Its attempt.
    :param state: Its state in this try.
    :param result: What it gave.
    :param error: Why it has no result.
    :param known: How much of its record was read.
    """

    number: int
    attempt: GenerationAttempt
    state: ItemState = ItemState.ENDED
    result: GenerationResult | None = None
    error: EvoLinkError | None = None
    known: Known = Known.NOTHING

    def read_copy(self) -> None:
        """
        Read one copy of the record: enough to wait for a job, never to order.

        :raises EvoLinkError: as :meth:`Ledger.read`.
        """
        self.attempt.record = self.attempt.ledger.read_one_copy()
        self.known = Known.ALL_COPIES if len(self.attempt.ledger.stores) == 1 else Known.ONE_COPY

    def take_hint(self, record: Record) -> None:
        """
        Take a record that the index of the batch repeats, if it names a job since the last clear.

        :param record: The record.
        """
        self.attempt.record = record
        if self.attempt.was_submitted_since_clear:
            self.known = Known.ONE_COPY
        else:
            self.attempt.record = None

    def read(self) -> None:
        """
        Read all copies of the record; a poll of another job does not count then.

        :raises EvoLinkError: as :meth:`Ledger.read`.
        """
        before = self.job_id
        self.attempt.record, self.known = self.attempt.ledger.read(), Known.ALL_COPIES
        if self.job_id != before:
            self.attempt.tracker.reading = None

    def make_sure(self) -> None:
        """
        Read all copies of the record, unless one was enough: it names a job to wait for, and orders nothing.

        :raises EvoLinkError: as :meth:`Ledger.read`.
        """
        if self.known is not Known.ALL_COPIES and not (self.attempt.was_submitted_since_clear and self.only_attaches):
            self.read()

    @property
    def only_attaches(self) -> bool:
        """Whether :meth:`start` waits for the recorded job, and orders nothing."""
        return self.job_id is not None and not self.attempt.will_submit and self.attempt.tracker.reading is not None

    @property
    def is_open(self) -> bool:
        """Whether it has neither a result nor an error."""
        return self.state not in (ItemState.SUCCEEDED, ItemState.FAILED)

    @property
    def job_id(self) -> str | None:
        """EvoLink's id, where a job is recorded."""
        return self.attempt.job_id

    @property
    def reading(self) -> Reading:
        """The last poll of the job; an empty one if there was none."""
        return self.attempt.tracker.reading or Reading()

    @property
    def wait(self) -> JobWait:
        """The wait for the job."""
        return self.attempt.job_wait(str(self.job_id))

    @property
    def expected_seconds(self) -> float:
        """How long EvoLink expects the job to take; infinite if it does not say."""
        estimate = self.attempt.tracker.hints().get("estimated_time")
        return float("inf") if estimate is None else estimate

    def checked_order(self) -> tuple[str, dict[str, Any]]:
        """
        Return model and body of the order.

        :raises EvoLinkError: it could not be submitted, or its result not be stored.
        """
        request, destination = self.attempt.request, self.attempt.options.destination
        if destination:
            open_folder(destination)
        body = request.body()
        return body["model"], body

    def start(self) -> None:
        """
        Attach or submit, as a task with one request does. After a failure it may be called again.

        :raises EvoLinkError: there is no job.
        """
        self.make_sure()
        try:
            self.attempt.attach_or_submit()
        except EvoLinkError:
            self.attempt.reload_own_record()
            raise
        self.state = ItemState.ENDED if self.reading.is_over else ItemState.RUNNING

    def find_reusable(self) -> None:
        """
        Take the archived result of this request, where it may be reused. A wrong request is for all to refuse.

        :raises EvoLinkError: the archive cannot be read.
        """
        if self.attempt.reuse is None or not self._is_right():
            return
        if found := self.attempt.reuse.find(self.attempt.record):
            self.result, self.state = found, ItemState.SUCCEEDED

    def _is_right(self) -> bool:
        try:
            self.checked_order()
        except EvoLinkError:
            return False
        return True

    def take(self, found: JobReading | None) -> None:
        """
        Take a poll of the job.

        :param found: The job, as read together with others; ``None``: it could not be read.
        """
        if found is not None:
            self.attempt.tracker.reading = Reading(found)
            return
        # A failure counts once it was read twice.
        last = None if self.reading.has_failed else self.reading.job
        error = EvoLinkUnavailable("the job could not be read", job_id=self.job_id)
        self.attempt.tracker.reading = Reading(last, error)

    def conclude(self) -> None:
        """
        Take the result of the job, as last polled.

        :raises EvoLinkError: it has none, or none yet.
        """
        reading = self.reading
        if not reading.is_over:
            cause = None if reading.job else reading.error
            raise self.wait.timeout_error(cause) from cause
        job = reading.ended_job
        if job.status is JobStatus.COMPLETED and not job.results:
            job = self.attempt.tracker.wait(self.wait, patience=self.attempt.tracker.run.patience)
        self.result = self.attempt.result(job)
        self.state = ItemState.SUCCEEDED

    def fail(self, error: EvoLinkError) -> None:
        """
        Note that it gives no result.

        :param error: Why.
        """
        self.state, self.error = ItemState.FAILED, error

    def outcome(self) -> GenerationResult | FailedRequest:
        """Return the result, or why there is none."""
        return self.result or _failed_request(self)


def _failed_request(item: BatchItem) -> FailedRequest:
    job = item.reading.job
    status = "unknown" if job is None else str(job.status)
    if item.job_id is None:
        status = "unknown" if isinstance(item.error, EvoLinkSubmissionUnknown) else "refused"
    request = item.attempt.request
    failed = {
        **_summary(job, item.attempt.tracker.reserved_by(item.attempt.record)),
        "job_id": item.job_id,
        "model": (job.model if job else None) or request.options.model,
        "status": "failed" if status == JobStatus.COMPLETED else status,
        "error": type(item.error).__name__,
        "error_code": item.error.code if item.error else None,
        **item.attempt.tracker.origin(item.attempt.record, job),
    }
    return cast("FailedRequest", failed)


def _summary(job: JobReading | None, credits_reserved: float | None) -> dict[str, Any]:
    """Return what is known of a job, in the shape of a result."""
    if isinstance(job, Job):
        return job.summary(credits_reserved)
    if job is None:
        return _EMPTY
    created = None if job.created is None else pendulum.from_timestamp(job.created)
    return {**_EMPTY, "kind": job.kind, "credits_reserved": credits_reserved, **link_times(created)}


def poll_together(items: Sequence[BatchItem], evolink_conn_id: str, clock: ServerClock) -> None:
    """
    Poll the jobs of some items, many in a call; failed ones twice, since money hangs on it. One may stay unread.

    :param items: Items whose jobs are known.
    :param evolink_conn_id: Connection of type ``evolink``.
    :param clock: Learns EvoLink's time.
    """
    _poll_once(items, evolink_conn_id, clock)
    failed = [item for item in items if item.reading.has_failed]
    if failed:
        time.sleep(schedule.POLICY.confirm_failure_after)
        _poll_once(failed, evolink_conn_id, clock)


def _poll_once(items: Sequence[BatchItem], evolink_conn_id: str, clock: ServerClock) -> None:
    ids = list(dict.fromkeys(item.job_id for item in items if item.job_id))
    load_settings = functools.partial(EvoLinkHook.aget_settings, evolink_conn_id)
    found = asyncio.run(read_all(load_settings, ids, clock)) if ids else {}
    for item in items:
        item.take(found.get(str(item.job_id)))


def awaited(items: Sequence[BatchItem], clock: ServerClock) -> list[AwaitedJob]:
    """
    Return the jobs of items to wait for, with times by EvoLink's clock.

    :param items: Items whose jobs run.
    :param clock: EvoLink's clock.
    """
    offset, waits = clock.offset(time.time()), [item.wait for item in items]
    return [AwaitedJob(one.job_id, round(one.started + offset, 1), round(one.deadline + offset, 1)) for one in waits]


def common_hints(items: Sequence[BatchItem]) -> dict[str, Any]:
    """
    Return what is known of the jobs and the same for all of them.

    :param items: Items whose jobs run.
    """
    hints = [item.attempt.tracker.hints() for item in items]
    values = {name: {of_one.get(name) for of_one in hints} for name in ("model", "kind", "estimated_time")}
    return {name: found.pop() if len(found) == 1 else None for name, found in values.items()}


def in_state(items: Sequence[BatchItem], state: ItemState) -> list[BatchItem]:
    """
    Return the items in a state.

    :param items: Items of the batch.
    :param state: The state.
    """
    return [item for item in items if item.state is state]


def described(items: Sequence[BatchItem], item: BatchItem, error: EvoLinkError) -> EvoLinkError:
    """
    Say which request it was, and which jobs keep running: they are paid, and the next try waits for them.

    :param items: All items of the batch.
    :param item: The item that failed.
    :param error: Its error.
    """
    others = [one for one in in_state(items, ItemState.RUNNING) if one is not item]
    message = f"request {item.number} of {len(items)}: {error.message}{still_running(others)}"
    return error.amended(message=message)


def still_running(items: Sequence[BatchItem]) -> str:
    """
    Return the end of an error: other jobs keep running, are still billed, and the next try waits for them.

    :param items: Items whose jobs run.
    """
    if not items:
        return ""
    jobs = "job of this batch keeps" if len(items) == 1 else "jobs of this batch keep"
    return (
        f"; {len(items)} other {jobs} running and billed: {listed([item.job_id for item in items])}. "
        "A retry, or clearing the task, waits for them and submits none of them again"
    )


def listed(things: Sequence[Any]) -> str:
    """
    Return things as a text of bounded length.

    :param things: What to list.
    """
    more = f" and {len(things) - MAX_LISTED} more, see the log" if len(things) > MAX_LISTED else ""
    return ", ".join(str(thing) for thing in things[:MAX_LISTED]) + more
