"""
Polling from the triggerer: one poller per event loop and connection, shared by all triggers.

A trigger only awaits its own outcome. The poller has one timer, for the waiter that is due next; it reads the jobs that
are due about then in calls of up to 50, through one client. A pause that EvoLink demands of one wait holds for all.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.http.wire import MAX_BATCH
from airflow_provider_evolink.api.jobs.job import JobStatus
from airflow_provider_evolink.api.jobs.job_id import JOB_ID
from airflow_provider_evolink.api.jobs.pace import DurationStats, JobHints
from airflow_provider_evolink.api.jobs.schedule import Decision, PollSchedule, WaitEnd
from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.polling.backoff import SharedBackoff
from airflow_provider_evolink.api.polling.call_limit import Demand, NextPoll
from airflow_provider_evolink.api.polling.due_queue import GATHER_SECONDS, DueQueue
from airflow_provider_evolink.api.polling.lateness import Lateness, PollerState
from airflow_provider_evolink.api.polling.reader import Reader, SettingsLoader, call_later, spawn

log = logging.getLogger(__name__)
DURATIONS = DurationStats()  # of all jobs that ended in this process
EARLY_SHARE = 0.1  # of its delay by which a poll may come early to share a call
ISOLATE_AFTER = 3  # failed polls in a row, so that one job cannot spoil the calls of others
MAX_TAKEN_SHARE = 0.5  # of an interval that the poll before may take from it
ISOLATED_POLLS = 8  # of a job that a response about many lacked

WaitOutcome: TypeAlias = JobStatus | WaitEnd
OnPoll: TypeAlias = Callable[[JobReading], None]


class Waiter:
    """
    One wait for one job.

    :param job_id: EvoLink's id.
    :param schedule: Decides when to poll, and when the wait is over.
    :param on_poll: Called with each reading, in the context of the wait: Airflow routes log lines by it.
    :param now: Returns epoch seconds by EvoLink's clock, as those of the schedule are.
    """

    __slots__ = (
        *("_isolated_polls", "_isolation", "context", "failures", "future"),
        *("job_id", "next_poll", "now", "on_poll", "schedule"),
    )

    def __init__(self, job_id: str, schedule: PollSchedule, on_poll: OnPoll, now: Callable[[], float]) -> None:
        self.now = now
        self.job_id = job_id
        self.schedule = schedule
        self.on_poll = on_poll
        self.context = copy_context()
        self.future: asyncio.Future[WaitOutcome] = asyncio.get_running_loop().create_future()
        self.failures = 0  # in a row
        self.next_poll: NextPoll | None = None
        self._isolated_polls = 0  # to come
        self._isolation = 0  # how long the last one was

    @property
    def is_done(self) -> bool:
        """Whether nobody waits any more."""
        return self.future.done()

    @property
    def isolated(self) -> bool:
        """Whether the job is to be read in a call of its own."""
        return self._isolated_polls > 0

    @property
    def deadline(self) -> float:
        """The end of the wait on the monotonic clock; the wall clock may be set meanwhile."""
        return time.monotonic() + self.schedule.deadline - self.now()

    def isolate(self, at_least: int) -> None:
        """
        Read the job in calls of its own for a while, twice as long each time: it may spoil the calls of others.

        :param at_least: Polls.
        """
        if not self.isolated:
            self._isolated_polls = self._isolation = max(at_least, 2 * self._isolation)

    def decide(self, result: JobReading | EvoLinkError, now: float) -> Decision:
        """
        Return what to do after a poll.

        :param result: The reading, or why there is none.
        :param now: Epoch seconds.
        """
        if isinstance(result, EvoLinkError):
            self.failures += 1
            if self.failures >= ISOLATE_AFTER:
                self.isolate(1)
            return self.schedule.on_error(result, now)
        self.failures, self._isolated_polls = 0, max(0, self._isolated_polls - 1)
        self.context.run(self.on_poll, result)
        return self.schedule.on_reading(result, now)

    def fail(self, error: BaseException) -> None:
        """
        End the wait with an error, unless it has ended.

        :param error: What to raise. What a future cannot hold is replaced.
        """
        if isinstance(error, StopIteration) or not isinstance(error, Exception):
            error = RuntimeError(f"the wait was interrupted by {type(error).__name__}")
        if not self.is_done:
            self.future.set_exception(error)


class Poller:
    """
    Polls the jobs of all triggers of one loop and connection.

    :param load_settings: Returns key and hosts of the connection.
    :param conn_id: Names the connection in the log.
    """

    def __init__(self, load_settings: SettingsLoader, conn_id: str = "") -> None:
        self.users = 0
        self.is_closed = False
        self._reader = Reader(load_settings)
        self._backoff = SharedBackoff()
        self._waiters: set[Waiter] = set()
        self._queue: DueQueue[Waiter] = DueQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._demand = Demand()
        self._lateness = Lateness(conn_id)

    async def open(self) -> None:
        """Make the client, once for all users; if that fails, it fails for all of them."""
        try:
            await self._reader.open()
        except Exception:
            self.is_closed = True
            raise

    async def close(self) -> None:
        """Cancel all calls and close the client."""
        self.is_closed = True
        self._disarm()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._reader.close()

    async def wait(self, job_id: str, hints: JobHints, schedule: PollSchedule, on_poll: OnPoll) -> WaitOutcome:
        """
        Wait for one job. Return the status it ended with, or why the wait ended without one.

        The outcome is a hint for the worker, which reads the job again before it decides.

        :param job_id: EvoLink's id.
        :param hints: What is known of the job so far.
        :param schedule: Decides when to poll, and when the wait is over.
        :param on_poll: Called with each reading.
        :raises EvoLinkError: the job cannot be read, and polling again is pointless.
        """
        if self._reader.refusal is not None:
            raise self._reader.refusal
        _check_wait(job_id, schedule)
        waiter = Waiter(job_id, schedule, on_poll, self._now)
        self._waiters.add(waiter)
        try:
            first = schedule.first_delay(hints, self._now())
            self._enqueue(waiter, max(GATHER_SECONDS, first), max(GATHER_SECONDS, EARLY_SHARE * first))
            return await waiter.future
        finally:
            self._waiters.discard(waiter)
            self._demand.replace(waiter.next_poll, None)
            waiter.future.cancel()

    def _now(self) -> float:
        """Return epoch seconds by EvoLink's clock: deadlines come from workers, whose clocks may differ from ours."""
        now = time.time()
        return now + self._reader.clock.offset(now)

    def _enqueue(self, waiter: Waiter, delay: float, early_by: float) -> None:
        planned = NextPoll(time.monotonic() + delay, delay)
        is_first = self._queue.push(waiter, planned.due, early_by)
        if waiter in self._waiters:
            self._demand.replace(waiter.next_poll, planned)
            waiter.next_poll = planned
        if is_first:
            self._arm()

    # --- the timer

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._disarm()
        due = self._queue.next_due
        if due is not None and len(self._calls) < self._backoff.max_calls and not self.is_closed:
            self._timer = call_later(max(0.0, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        """Start the calls that are due."""
        now = time.monotonic()
        for waiter in self._queue.postpone(now):
            self._next_step(waiter, EvoLinkUnavailable("all polls are paused until after the timeout"))
        size = MAX_BATCH if self._reader.reads_many else 1
        for waiters in self._queue.pop_batches(now, size, self._backoff.max_calls - len(self._calls)):
            self._note_lateness(waiters, now)
            call = spawn(self._poll(waiters))
            self._calls.add(call)
            call.add_done_callback(self._on_call_done)
        self._arm()

    def _note_lateness(self, waiters: list[Waiter], now: float) -> None:
        for waiter in waiters:
            if waiter.next_poll is not None:
                self._lateness.note(now - waiter.next_poll.due, waiter.next_poll.delay)
        if (late_by := self._lateness.close_window(now)) is None:
            return
        state = PollerState(
            waits=len(self._waiters),
            max_calls=self._backoff.max_calls,
            round_trip=self._backoff.limit.round_trip,
            is_refused=self._backoff.is_reduced,
            is_full=len(self._calls) + 1 >= self._backoff.max_calls,
        )
        log.warning("%s", self._lateness.warning(late_by, state))

    def _on_call_done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not self.is_closed:
            self._tick()

    # --- a call

    async def _poll(self, waiters: list[Waiter]) -> None:
        """Read the jobs of some waiters. Whatever happens, each of them gets a next step."""
        error: EvoLinkError | None = None
        readings: dict[str, JobReading] = {}
        began = time.monotonic()
        try:
            readings = await self._reader.read(list(dict.fromkeys(waiter.job_id for waiter in waiters)))
        except EvoLinkError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the triggers decide, and the worker after them
            error = EvoLinkUnavailable(f"the jobs could not be read ({type(raised).__name__})")
        if self._reader.refusal is not None:
            self._fail_all(self._reader.refusal)
            return
        self._learn(error, began, isolated=all(waiter.isolated for waiter in waiters))
        self._queue.paused_until = self._backoff.paused_until
        proves_nothing = len(waiters) > 1 and not isinstance(error, EvoLinkRateLimited | EvoLinkUnavailable)
        took = time.monotonic() - began
        for waiter in waiters:
            if waiter.job_id in readings:
                self._next_step(waiter, readings[waiter.job_id], took)
            elif proves_nothing:  # about a single job that it lacks
                waiter.isolate(ISOLATED_POLLS if self._reader.reads_many else 0)
                self._enqueue(waiter, 0.0, 0.0)
            else:
                self._next_step(waiter, error or EvoLinkUnavailable("the response is about another job"))

    def _learn(self, error: EvoLinkError | None, began: float, *, isolated: bool) -> None:
        """Let the end of a call decide how many may follow, and when."""
        now, due = time.monotonic(), self._queue.next_due
        wanted = self._demand.single_reads(reads_many=self._reader.reads_many)
        is_late = due is not None and due < now
        self._backoff.record(error, now, began, isolated=isolated, wanted=wanted, is_late=is_late)
        self._reader.keep_connections(self._backoff.limit.value)

    def _fail_all(self, error: EvoLinkError) -> None:
        self.is_closed = True
        for waiter in self._waiters:
            waiter.fail(error)

    def _next_step(self, waiter: Waiter, result: JobReading | EvoLinkError, took: float = 0.0) -> None:
        """Poll again, or end the wait. What a single wait raises ends that wait alone."""
        if waiter.is_done:
            return
        try:
            decision = waiter.decide(result, self._now())
            if decision.end is None:
                delay = until_next_poll(decision.delay, took if waiter.schedule.poll_interval else 0.0)
                self._enqueue(waiter, delay, EARLY_SHARE * delay)
            elif decision.end is WaitEnd.UNREADABLE and decision.error is not None:
                waiter.fail(decision.error)
            elif decision.end is WaitEnd.OVER and not isinstance(result, EvoLinkError):
                waiter.future.set_result(result.status)
            else:
                waiter.future.set_result(decision.end)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            waiter.fail(error)


def until_next_poll(delay: float, took: float) -> float:
    """
    Return the seconds until the next poll, where an interval counts from one poll to the next.

    :param delay: The interval.
    :param took: Seconds that the last poll took.
    """
    return max(delay - took, (1.0 - MAX_TAKEN_SHARE) * delay)


def _check_wait(job_id: Any, schedule: PollSchedule) -> None:
    """Refuse a wait that would disturb others, or never end."""
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        raise EvoLinkConfigError("job_id must be an id as EvoLink issues them")
    if not all(
        isinstance(moment, int | float) and math.isfinite(moment) for moment in (schedule.deadline, schedule.started)
    ):
        raise EvoLinkConfigError("a wait needs its start and its deadline as epoch seconds", job_id=job_id)


# dag.test() runs every trigger in a loop of its own, so a poller belongs to a loop.
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_poller(evolink_conn_id: str, load_settings: SettingsLoader) -> AsyncIterator[Poller]:
    """
    Share one poller for each connection in this process; its last user closes it, a refused key replaces it.

    :param evolink_conn_id: Names the connection; users of one name and event loop share a poller.
    :param load_settings: Returns key and hosts of the connection.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get(evolink_conn_id)
    if poller is None or poller.is_closed:
        poller = pollers[evolink_conn_id] = Poller(load_settings, evolink_conn_id)
    poller.users += 1
    try:
        await poller.open()
        yield poller
    finally:
        poller.users -= 1
        if poller.users == 0:
            if pollers.get(evolink_conn_id) is poller:
                del pollers[evolink_conn_id]
            await asyncio.shield(spawn(poller.close()))  # the user may be cancelled twice
