"""
Looking at jobs from the triggerer: one poller per event loop and connection, shared by all triggers.

Triggers only await their own outcome. The poller has one timer, for the job that is due next; it reads all jobs that
are due about then in calls of up to 50, through one client. What EvoLink asks of one it asks of all.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.http.wire import MAX_BATCH
from airflow_provider_evolink.api.jobs.pace import DurationStats
from airflow_provider_evolink.api.jobs.schedule import PollSchedule, WaitEnd
from airflow_provider_evolink.api.polling.backoff import SharedBackoff
from airflow_provider_evolink.api.polling.reader import JobReading, Reader, SettingsLoader, later, spawn

if TYPE_CHECKING:
    from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot

TIMES = DurationStats()  # of all jobs whose end was seen in this process
GATHER = 0.1  # seconds in which triggers that start together find each other
EARLY = 1.0  # seconds, and part of its wait, by which a look may come early to share a call
EARLY_PART = 0.1
ALONE_AFTER = 3  # failed looks in a row, so that one job cannot spoil the calls of others
ALONE_FOR = 8  # readings, of a job that was missing among many


class Waiter:
    """One trigger's wait for one job."""

    __slots__ = ("_apart", "alone", "context", "due", "failures", "future", "job_id", "on_look", "ripe", "watch")

    def __init__(self, job_id: str, watch: PollSchedule, on_look: Callable[[JobReading], None]) -> None:
        self.job_id = job_id
        self.watch = watch
        self.on_look = on_look
        self.context = copy_context()  # Airflow tells by it whose log a line belongs to
        self.future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.alone = self._apart = 0  # readings to come without other jobs
        self.failures = 0
        self.due = self.ripe = 0.0

    def part(self, least: int) -> None:
        """
        Look alone for a while, each time for longer: this job or one beside it spoils the answers about many.

        :param least: Readings.
        """
        if not self.alone:
            self.alone = self._apart = max(least, 2 * self._apart)

    def fail(self, error: BaseException) -> None:
        """WaitEnd the wait with an error, unless it is over already."""
        if not self.future.done():
            self.future.set_exception(error)


class Poller:
    """
    Looks at the jobs of all triggers of one loop and connection.

    :param load_settings: Returns key and hosts of the connection.
    """

    def __init__(self, load_settings: SettingsLoader) -> None:
        self.users = 0
        self.is_over = False
        self._reader = Reader(load_settings)
        self._limits = SharedBackoff()
        self._waits: set[Waiter] = set()
        self._due: list[tuple[float, int, Waiter]] = []  # when it is due, and which came first
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make the client, once for all who ask; if it cannot be made, all are told."""
        try:
            await self._reader.open()
        except Exception:
            self.is_over = True
            raise

    async def close(self) -> None:
        """WaitEnd all calls and close the client."""
        self.is_over = True
        self._disarm()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._reader.close()

    async def wait(self, watch: PollSchedule, known: JobSnapshot, on_look: Callable[[JobReading], None]) -> str:
        """
        Waiter for one job and return the status for the event.

        :param watch: Says when to look and when the wait is over.
        :param known: What is known of the job so far: its id at least.
        :param on_look: Called with each reading.
        """
        if self._reader.refused is not None:
            raise self._reader.refused
        wait = Waiter(known.job_id, watch, on_look)
        self._waits.add(wait)
        try:
            first = watch.first(known, time.time())
            self._plan(wait, max(GATHER, first), early=max(GATHER, EARLY_PART * first))
            return await wait.future
        finally:
            self._waits.discard(wait)
            wait.future.cancel()

    # --- when to call

    def _plan(self, wait: Waiter, delay: float, early: float) -> None:
        """Put a wait where it is due and may be called for, and the timer where the first one is."""
        now = time.monotonic()
        left = self._limits.left(now)
        if left > delay:
            left += GATHER if wait.alone else 0.0  # others find out for all
            delay, early = max(delay, min(left, wait.watch.deadline - time.time())), 0.0
        wait.due = now + delay
        wait.ripe = wait.due - min(EARLY, early)
        heapq.heappush(self._due, (wait.due, next(self._numbers), wait))
        if self._due[0][2] is wait:
            self._arm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._disarm()
        if self._due and len(self._calls) < self._limits.at_once and not self.is_over:
            self._timer = later(max(0.0, self._due[0][0] - time.monotonic()), self._tick)

    def _tick(self) -> None:
        """Look at what is due; singly also at what may as well, since calls made together cost less."""
        now = time.monotonic()
        if left := self._limits.left(now):
            self._put_off(now, left)
        latest = now
        while self._due and self._due[0][0] <= latest and len(self._calls) < self._limits.at_once and not left:
            if not (waits := self._take(now)):
                break
            latest = now if self._reader.reads_many else now + EARLY
            call = spawn(self._look(waits))
            self._calls.add(call)
            call.add_done_callback(self._ended)
        self._arm()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not self.is_over:
            self._tick()

    def _take(self, now: float) -> list[Waiter]:
        """Take one call's worth of waits: those that are due, and those that may as well be looked at now."""
        taken: list[Waiter] = []
        unripe: list[tuple[float, int, Waiter]] = []
        most = MAX_BATCH if self._reader.reads_many else 1
        while self._due and len(taken) < most and len(unripe) < MAX_BATCH and self._due[0][0] <= now + EARLY:
            entry = heapq.heappop(self._due)
            wait = entry[2]
            if wait.future.done():
                continue
            if wait.ripe > now or (wait.alone and taken):
                unripe.append(entry)
                continue
            taken.append(wait)
            if wait.alone:
                break
        for entry in unripe:
            heapq.heappush(self._due, entry)
        return taken

    def _put_off(self, now: float, left: float) -> None:
        """Nobody calls now: what is due is due later, and a wait whose deadline has come ends without a look."""
        error = EvoLinkUnavailable("all looks are to wait until after this deadline")
        while self._due and self._due[0][0] <= now:
            wait = heapq.heappop(self._due)[2]
            time_left = wait.watch.deadline - time.time()
            if wait.future.done():
                continue
            if time_left <= 0:
                self._settle(wait, error)
            else:
                self._plan(wait, min(time_left, left + GATHER * random.random()), early=0.0)  # noqa: S311

    # --- a call

    async def _look(self, waits: list[Waiter]) -> None:
        """Read some jobs and tell each wait its own; whatever happens, none is left without a next step."""
        error: EvoLinkError | None = None
        found: dict[str, JobReading] = {}
        began = time.monotonic()
        try:
            found = await self._reader.read(list(dict.fromkeys(wait.job_id for wait in waits)))
        except EvoLinkError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the triggers decide, and the worker after them
            error = EvoLinkUnavailable(f"the jobs could not be read ({type(raised).__name__})")
        if self._reader.refused is not None:
            self.is_over = True
            for wait in self._waits:
                wait.fail(self._reader.refused)
            return
        self._limits.told(error, time.monotonic(), began, of_one=all(wait.alone for wait in waits))
        for wait in waits:
            if wait.job_id in found:
                self._settle(wait, found[wait.job_id])
            elif len(waits) > 1 and not isinstance(error, EvoLinkRateLimited | EvoLinkUnavailable):
                wait.part(ALONE_FOR if self._reader.reads_many else 0)  # no conclusion from an answer about many
                self._plan(wait, 0.0, early=0.0)
            else:
                self._settle(wait, error or EvoLinkUnavailable("the answer is about another job"))

    def _settle(self, wait: Waiter, seen: JobReading | EvoLinkError) -> None:
        """Tell a wait what was found, and do what its watch says."""
        if wait.future.done():
            return
        try:
            if isinstance(seen, EvoLinkError):
                wait.failures += 1
                if wait.failures >= ALONE_AFTER:
                    wait.part(1)
                status, step = str(WaitEnd.UNREADABLE), wait.watch.failed(seen, time.time())
            else:
                wait.failures, wait.alone = 0, max(0, wait.alone - 1)
                wait.context.run(wait.on_look, seen)
                status, step = str(seen.status), wait.watch.saw(seen, time.time())
        except Exception as error:  # noqa: BLE001 - one trigger's trouble is not that of the others
            wait.fail(error)
            return
        if step.end is None:
            self._plan(wait, step.delay, early=EARLY_PART * step.delay)
        elif step.end is WaitEnd.UNREADABLE and step.error is not None:
            wait.fail(step.error)
        else:
            wait.future.set_result(status if step.end is WaitEnd.OVER else str(step.end))


# dag.test() runs every trigger in a loop of its own, so a poller belongs to a loop.
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_poller(evolink_conn_id: str, load_settings: SettingsLoader) -> AsyncIterator[Poller]:
    """
    Lend the process's poller of a connection; the last user closes it. One whose key is refused is lent no more.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param load_settings: Returns its key and hosts.
    """
    lent = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = lent.get(evolink_conn_id)
    if poller is None or poller.is_over:
        poller = lent[evolink_conn_id] = Poller(load_settings)
    poller.users += 1
    try:
        await poller.open()
        yield poller
    finally:
        poller.users -= 1
        if poller.users == 0:
            if lent.get(evolink_conn_id) is poller:
                del lent[evolink_conn_id]
            await asyncio.shield(spawn(poller.close()))  # the user may be cancelled twice


async def watch_job(
    evolink_conn_id: str,
    load_settings: SettingsLoader,
    watch: PollSchedule,
    known: JobSnapshot,
    on_look: Callable[[JobReading], None],
) -> str:
    """
    Waiter for one job and return the status for the event: the worker reads the job again before it decides.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param load_settings: Returns its key and hosts.
    :param watch: Says when to look and when the wait is over.
    :param known: What is known of the job so far: its id at least.
    :param on_look: Called with each reading.
    :raises EvoLinkError: the job cannot be read, and looking again is pointless.
    """
    async with shared_poller(evolink_conn_id, load_settings) as poller:
        return await poller.wait(watch, known, on_look)
