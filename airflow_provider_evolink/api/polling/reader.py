"""The calls of a poller: one job or many, through one client that follows a key that is replaced."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeAlias, TypeVar

from airflow_provider_evolink.api.client import AsyncEvoLinkClient
from airflow_provider_evolink.api.errors import (
    EvoLinkAccessError,
    EvoLinkAuthError,
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.http import retries
from airflow_provider_evolink.api.http.server_clock import ServerClock
from airflow_provider_evolink.api.http.wire import MAX_BATCH
from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.settings import ClientSettings

BATCH_UNSUPPORTED = frozenset({404, 405, 501})  # status of a server without the batch call
BATCH_RETRY_AFTER = 3600.0  # seconds until it is tried again: the response may be due to an update of the server
MAX_CALLS = 8  # at the same time; after as many failures `read_all` pauses
MAX_PAUSE = 30.0  # seconds between two attempts of `read_all`
T = TypeVar("T")
SettingsLoader: TypeAlias = Callable[[], Awaitable[ClientSettings]]
Read: TypeAlias = Callable[[AsyncEvoLinkClient], Awaitable[T]]


class Reader:
    """
    Reads jobs with a key that may be replaced meanwhile.

    Once EvoLink has refused the key, and the one that replaced it, ``refusal`` is set: no read can succeed any more.

    :param load_settings: Returns key and hosts as they are now; called again once where EvoLink refuses the key.
    :param clock: Learns EvoLink's time.
    """

    def __init__(self, load_settings: SettingsLoader, clock: ServerClock | None = None) -> None:
        self.clock = clock or ServerClock()
        self.client: AsyncEvoLinkClient | None = None
        self.refusal: EvoLinkError | None = None
        self._load_settings = load_settings
        self._opening: asyncio.Task[AsyncEvoLinkClient] | None = None
        self._renewing = asyncio.Lock()
        self._retired: list[AsyncEvoLinkClient] = []
        self._singly_until = 0.0

    @property
    def reads_many(self) -> bool:
        """Whether one call can read many jobs."""
        return time.monotonic() >= self._singly_until

    async def open(self) -> None:
        """Make the client, once for all users; if that fails, it fails for all of them."""
        if self.client is None:
            if self._opening is None:
                self._opening = spawn(self._make_client())
            self.client = await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close the client."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for client in (*self._retired, self.client):
            if client is not None:
                await client.aclose()

    def keep_connections(self, count: int) -> None:
        """
        Close connections that are not needed any more, once they have carried another call.

        :param count: How many may stay open.
        """
        if self.client is not None:
            self.client.connections.keep = count

    async def read(self, job_ids: list[str]) -> dict[str, JobReading]:
        """
        Read jobs. Of many, some may be missing from the result, or all: those must be read singly.

        :param job_ids: At most 50 of EvoLink's ids.
        :raises EvoLinkError: no response, or a refusal.
        """
        if len(job_ids) == 1:
            return {job_ids[0]: await self._call(functools.partial(AsyncEvoLinkClient.poll_job, job_id=job_ids[0]))}
        try:
            return await self._call(functools.partial(AsyncEvoLinkClient.poll_jobs, job_ids=job_ids))
        except EvoLinkError as error:
            if error.status_code not in BATCH_UNSUPPORTED:
                raise
            self._singly_until = time.monotonic() + BATCH_RETRY_AFTER
            return {}

    async def _call(self, read: Read[T]) -> T:
        """Call. Where the key is refused, load the settings and call again, once; a second refusal is final."""
        client = self.client
        if client is None:
            raise EvoLinkUnavailable("the connection is not open")
        try:
            return await read(client)
        except (EvoLinkAuthError, EvoLinkAccessError) as error:
            if not _concerns_key(error):
                raise
        try:
            return await read(await self._renew_client(client))
        except (EvoLinkAuthError, EvoLinkAccessError, EvoLinkConfigError) as error:
            if _concerns_key(error):
                self.refusal = error
            raise

    async def _renew_client(self, refused: AsyncEvoLinkClient) -> AsyncEvoLinkClient:
        """Return a client with the settings of now; of several calls that were refused together one makes it."""
        async with self._renewing:
            if self.client is None or self.client is refused:
                self.client = await self._make_client()
                self._retired.append(refused)  # running calls may still need it, but none of those before it
                while len(self._retired) > 1:
                    await self._retired[0].aclose()
                    del self._retired[0]
            return self.client

    async def _make_client(self) -> AsyncEvoLinkClient:
        client = await AsyncEvoLinkClient.create(await self._load_settings())
        client.clock = self.clock
        return client


async def read_all(
    load_settings: SettingsLoader, job_ids: list[str], clock: ServerClock | None = None
) -> dict[str, JobReading]:
    """
    Read any number of jobs, many in a call. Transient errors are retried; what stays unreadable is left out.

    :param load_settings: Returns key and hosts of the connection.
    :param job_ids: EvoLink's ids.
    :param clock: Learns EvoLink's time.
    """
    reader = Reader(load_settings, clock)
    bulk = _BulkRead(reader)
    try:
        await reader.open()
        for attempt in range(1, retries.MAX_ATTEMPTS + 1):
            await bulk.run(job_ids, is_last=attempt == retries.MAX_ATTEMPTS)
            pause = bulk.pause_after(attempt)
            if pause is None:
                break
            await asyncio.sleep(pause)
    finally:
        await reader.close()
    return bulk.readings


class _BulkRead:
    """The attempts of `read_all`: 50 jobs a call, then singly what these calls lacked. It stops calling in trouble."""

    def __init__(self, reader: Reader) -> None:
        self.readings: dict[str, JobReading] = {}
        self._reader = reader
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._errors: list[EvoLinkError] = []  # transient ones of this attempt

    async def run(self, job_ids: list[str], *, is_last: bool) -> None:
        """Read what is not read yet. After errors, only the last attempt reads singly."""
        self._errors.clear()
        missing = [job_id for job_id in job_ids if job_id not in self.readings]
        if len(missing) > 1:
            chunks = [missing[start : start + MAX_BATCH] for start in range(0, len(missing), MAX_BATCH)]
            await asyncio.gather(*map(self._read, chunks))
        if not self._errors or is_last:
            singles = [[job_id] for job_id in missing if job_id not in self.readings]
            await asyncio.gather(*map(self._read, singles))

    def pause_after(self, attempt: int) -> float | None:
        """Return the seconds until the next attempt; ``None`` where there is none."""
        if not self._errors:
            return None
        worst = max(self._errors, key=lambda error: error.retry_after or 0.0)
        return retries.wait_before_retry(worst, attempt, max_wait=MAX_PAUSE, jitter=random.random())  # noqa: S311

    async def _read(self, job_ids: list[str]) -> None:
        async with self._slots:
            if self._reader.refusal is not None or len(self._errors) >= MAX_CALLS:
                return
            try:
                self.readings.update(await self._reader.read(job_ids))
            except EvoLinkRateLimited as error:
                self._errors.extend([error] * MAX_CALLS)  # stops all calls of this attempt
            except EvoLinkUnavailable as error:
                self._errors.append(error)
            except EvoLinkError:
                pass


def spawn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """
    Start a task that belongs to no trigger: it must not write into the log of the one that happened to start it.

    :param coroutine: What to run.
    """
    return asyncio.get_running_loop().create_task(coroutine, context=Context())


def call_later(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
    """
    Call something later, on behalf of no trigger.

    :param delay: Seconds.
    :param callback: What to call.
    """
    return asyncio.get_running_loop().call_later(delay, callback, context=Context())


def _concerns_key(error: EvoLinkError) -> bool:
    """Tell a refusal that any job would meet from one of this job alone, such as a job of another account."""
    return not isinstance(error, EvoLinkAccessError) or error.code == "ip_restricted"
