"""
Looking at jobs from the triggerer: one reader per event loop and connection, shared by all triggers.

A trigger sleeps until its job is due and then asks the reader, which reads all jobs that are due about then in one
call of up to 50, through one client with a handful of connections. What EvoLink asks of one it asks of all.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_evolink.api.client import AsyncEvoLinkClient
from airflow_provider_evolink.api.errors import (
    EvoLinkAccessError,
    EvoLinkAuthError,
    EvoLinkError,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.schedule import End, SharedPause, Watch
from airflow_provider_evolink.api.wire import MAX_BATCH
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

if TYPE_CHECKING:
    from airflow_provider_evolink.api.models import Job

GATHER = 0.25  # seconds in which looks are gathered into one call
IN_FLIGHT = 8
T = TypeVar("T")
Asked: TypeAlias = "dict[str, asyncio.Future[Job | None]]"
NO_BATCHES = frozenset({400, 403, 404, 405, 501})  # what a server says that does not read many at once


class Reader:
    """
    Reads jobs for all triggers of one loop and connection.

    :param evolink_conn_id: Connection of type ``evolink``.
    """

    def __init__(self, evolink_conn_id: str) -> None:
        self.users = 0
        self.client: AsyncEvoLinkClient | None = None
        self._conn_id = evolink_conn_id
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._probe = asyncio.Lock()
        self._pause = SharedPause()
        self._asked: Asked = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Task[Any]] = set()
        self._retired: list[AsyncEvoLinkClient] = []
        self._reads_many = True
        self._refused: EvoLinkError | None = None

    @property
    def is_refused(self) -> bool:
        """Whether EvoLink has refused the key twice, the second time as read anew."""
        return self._refused is not None

    async def open(self) -> None:
        """Make the client, once."""
        async with self._opening:
            if self.client is None:
                self.client = await AsyncEvoLinkClient.create(await EvoLinkHook.aget_settings(self._conn_id))

    async def close(self) -> None:
        """End all calls and close the client."""
        for call in self._calls:
            call.cancel()
        for client in (*self._retired, self.client):
            if client is not None:
                await client.aclose()

    async def read(self, job_id: str, until: float) -> Job:
        """
        Read a job, together with all others that are asked for about now.

        :param job_id: EvoLink's id.
        :param until: Epoch seconds beyond which nobody waits for a turn.
        :raises EvoLinkError: as for a single read.
        """
        job = None
        while job is None:
            while (left := self._pause.left(time.time())) > 0:
                if time.time() + left >= until:
                    await self.rest(max(0.0, until - time.time()))
                    raise EvoLinkUnavailable("all reads are to wait until after this deadline", job_id=job_id)
                await self.rest(left + GATHER * random.random())  # noqa: S311
            if self._refused is not None:
                raise self._refused
            job = await asyncio.shield(self._ask(job_id))
        return job

    def _ask(self, job_id: str) -> asyncio.Future[Job | None]:
        """Put a job into the next call. ``None`` is the answer where that call was not made after all."""
        future = self._asked.get(job_id)
        if future is None:
            future = self._asked[job_id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            if len(self._asked) == 1:
                self._start(self._gather())
            elif len(self._asked) == MAX_BATCH:
                self._start(self._send(self._take()))
        return future

    async def rest(self, seconds: float) -> None:
        """
        Sleep, but not beyond the moment when the key turns out to be refused.

        :param seconds: How long.
        """
        task = asyncio.current_task()
        if self._refused is not None or task is None:
            return
        self._resting.add(task)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if self._refused is None or task.uncancel():
                raise
        finally:
            self._resting.discard(task)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        call = asyncio.ensure_future(coroutine)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _take(self) -> Asked:
        taken, self._asked = self._asked, {}
        return taken

    async def _gather(self) -> None:
        """Wait for others who ask; they may have filled a call meanwhile, and begun the next one."""
        await asyncio.sleep(GATHER)
        if self._asked:
            await self._send(self._take())

    async def _send(self, asked: Asked) -> None:
        """Read some jobs and hand each its own answer; whatever happens, nobody is left without one."""
        turn = self._probe if self._pause.is_failing else self._slots
        try:
            async with turn:
                if self._pause.left(time.time()) == 0:
                    await self._read_into(asked)
        except EvoLinkError as error:
            _fail(asked, error)
        except Exception as error:  # noqa: BLE001 - the triggers decide, and the worker after them
            _fail(asked, EvoLinkUnavailable(f"the jobs could not be read ({type(error).__name__})"))
        finally:
            _hand_out(dict.fromkeys(asked), asked)

    async def _read_into(self, asked: Asked) -> None:
        found: dict[str, Job] = {}
        if len(asked) > 1 and self._reads_many:
            found = await self._read_many(list(asked))
            _hand_out(found, asked)
        for job_id in [job_id for job_id in asked if job_id not in found]:
            try:
                job = await self._call(functools.partial(AsyncEvoLinkClient.get_job, job_id=job_id, tries=1))
            except EvoLinkError as error:
                _fail({job_id: asked[job_id]}, error)
                if self._pause.left(time.time()) > 0 or self._refused is not None:
                    return
            else:
                _hand_out({job_id: job}, asked)

    async def _read_many(self, job_ids: list[str]) -> dict[str, Job]:
        """Read many jobs at once, or find out for good that this server does not do that."""
        try:
            return await self._call(functools.partial(AsyncEvoLinkClient.get_jobs, job_ids=job_ids), may_end=False)
        except EvoLinkError as error:
            if error.status_code not in NO_BATCHES:
                raise
            self._reads_many = False
            return {}

    async def _call(self, ask: Callable[[AsyncEvoLinkClient], Awaitable[T]], *, may_end: bool = True) -> T:
        client = self.client
        if client is None:
            raise EvoLinkUnavailable("the reader is closed")
        try:
            try:
                found = await ask(client)
            except (EvoLinkAuthError, EvoLinkAccessError) as error:
                if not may_end and isinstance(error, EvoLinkAccessError):
                    raise
                found = await self._ask_with_a_new_key(client, ask)
        except EvoLinkError as error:
            if error.status_code not in NO_BATCHES:
                self._pause.failed(error, time.time())
            raise
        self._pause.worked()
        return found

    async def _ask_with_a_new_key(
        self, refused: AsyncEvoLinkClient, ask: Callable[[AsyncEvoLinkClient], Awaitable[T]]
    ) -> T:
        """Read the connection anew, once for all who were refused; a second refusal ends all waits."""
        async with self._opening:
            if self.client is refused:
                self._retired.append(refused)
                self.client = await AsyncEvoLinkClient.create(await EvoLinkHook.aget_settings(self._conn_id))
        try:
            return await ask(self.client or refused)
        except (EvoLinkAuthError, EvoLinkAccessError) as error:
            self._refused = error
            for task in self._resting:
                task.cancel()
            raise


def _hand_out(found: Mapping[str, Job | None], asked: Asked) -> None:
    for job_id, job in found.items():
        if job_id in asked and not asked[job_id].done():
            asked[job_id].set_result(job)


def _fail(asked: Asked, error: EvoLinkError) -> None:
    for future in asked.values():
        if not future.done():
            future.set_exception(error)


# dag.test() runs every trigger in a loop of its own, so a reader belongs to a loop.
_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Reader]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_reader(evolink_conn_id: str) -> AsyncIterator[Reader]:
    """
    Lend the process's reader of a connection; the last user closes it. One whose key is refused is lent no more.

    :param evolink_conn_id: Connection of type ``evolink``.
    """
    lent = _readers.setdefault(asyncio.get_running_loop(), {})
    reader = lent.get(evolink_conn_id)
    if reader is None or reader.is_refused:
        reader = lent[evolink_conn_id] = Reader(evolink_conn_id)
    reader.users += 1
    try:
        await reader.open()
        yield reader
    finally:
        reader.users -= 1
        if reader.users == 0:
            if lent.get(evolink_conn_id) is reader:
                del lent[evolink_conn_id]
            await reader.close()


async def watch_job(evolink_conn_id: str, job_id: str, watch: Watch, on_look: Callable[[Job], None]) -> str:
    """
    Wait for one job and return the status for the event: the worker reads the job again before it decides.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param job_id: EvoLink's id.
    :param watch: Says when to look and when the wait is over.
    :param on_look: Called with each reading.
    :raises EvoLinkError: the job cannot be read, and looking again is pointless.
    """
    async with shared_reader(evolink_conn_id) as reader:
        while True:
            try:
                job = await reader.read(job_id, watch.deadline)
            except EvoLinkError as error:
                status, step = str(End.UNREADABLE), watch.failed(error, time.time())
            else:
                on_look(job)
                status, step = str(job.status), watch.saw(job, time.time())
            if step.end is End.UNREADABLE and step.error is not None:
                raise step.error
            if step.end is not None:
                return status if step.end is End.OVER else str(step.end)
            await reader.rest(step.delay)
