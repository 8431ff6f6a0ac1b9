"""The calls of a poller: jobs, one or many, through one client that follows its connection."""

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
from airflow_provider_evolink.api.http.wire import MAX_BATCH
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

NO_SUCH_CALL = frozenset({404, 405, 501})  # what a server says that does not read many at once
ASK_AGAIN = 3600.0  # seconds: what a server said in the middle of an update need not hold for good
AT_ONCE = 8  # calls of one worker; after as many failures it calls no more for a while
LONGEST_PAUSE = 30.0  # seconds between two tries of one worker
T = TypeVar("T")
JobReading: TypeAlias = Job | JobSnapshot


class Reader:
    """
    Reads jobs with the key of a connection.

    :param evolink_conn_id: Connection of type ``evolink``.
    """

    def __init__(self, evolink_conn_id: str) -> None:
        self.client: AsyncEvoLinkClient | None = None
        self.refused: EvoLinkError | None = None
        self._conn_id = evolink_conn_id
        self._opening: asyncio.Task[AsyncEvoLinkClient] | None = None
        self._renewing = asyncio.Lock()
        self._retired: list[AsyncEvoLinkClient] = []
        self._singly_until = 0.0

    @property
    def reads_many(self) -> bool:
        """Whether many jobs may be read at once."""
        return time.monotonic() >= self._singly_until

    async def open(self) -> None:
        """Make the client, once for all who ask; if it cannot be made, all are told."""
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

    async def read(self, job_ids: list[str]) -> dict[str, JobReading]:
        """
        Read jobs. Of many, some may be missing in what is returned, or all: those must be read singly.

        :param job_ids: At most 50 of EvoLink's ids.
        :raises EvoLinkError: no answer, or a refusal.
        """
        if len(job_ids) == 1:
            return {job_ids[0]: await self._ask(functools.partial(AsyncEvoLinkClient.poll_job, job_id=job_ids[0]))}
        try:
            return await self._ask(functools.partial(AsyncEvoLinkClient.poll_jobs, job_ids=job_ids))
        except EvoLinkError as error:
            if error.status_code not in NO_SUCH_CALL:
                raise
            self._singly_until = time.monotonic() + ASK_AGAIN
            return {}

    async def _ask(self, ask: Callable[[AsyncEvoLinkClient], Awaitable[T]]) -> T:
        """Call; where the key is refused, read the connection anew, once. A second refusal is the end."""
        client = self.client
        if client is None:
            raise EvoLinkUnavailable("the connection is not open")
        try:
            return await ask(client)
        except (EvoLinkAuthError, EvoLinkAccessError) as error:
            if not _is_about_the_key(error):
                raise
        try:
            return await ask(await self._renewed(client))
        except (EvoLinkAuthError, EvoLinkAccessError, EvoLinkConfigError) as error:
            if _is_about_the_key(error):
                self.refused = error
            raise

    async def _renewed(self, refused: AsyncEvoLinkClient) -> AsyncEvoLinkClient:
        async with self._renewing:
            if self.client is None or self.client is refused:
                self.client = await self._make_client()
                self._retired.append(refused)  # calls under way may still need it, but none before it
                while len(self._retired) > 1:
                    await self._retired[0].aclose()
                    del self._retired[0]
            return self.client

    async def _make_client(self) -> AsyncEvoLinkClient:
        return await AsyncEvoLinkClient.create(await EvoLinkHook.aget_settings(self._conn_id))


async def read_all(evolink_conn_id: str, job_ids: list[str]) -> dict[str, JobReading]:
    """
    Read any number of jobs, many in a call. While faults pass it tries again; what cannot be read is left out.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param job_ids: EvoLink's ids.
    """
    reader, places = Reader(evolink_conn_id), asyncio.Semaphore(AT_ONCE)
    found: dict[str, JobReading] = {}
    troubles: list[EvoLinkError] = []

    async def read(some: list[str]) -> None:
        async with places:
            if reader.refused is None and len(troubles) < AT_ONCE:
                try:
                    found.update(await reader.read(some))
                except EvoLinkRateLimited as error:
                    troubles.extend([error] * AT_ONCE)  # nobody calls any more
                except EvoLinkUnavailable as error:
                    troubles.append(error)
                except EvoLinkError:
                    pass

    try:
        await reader.open()
        for tries in range(1, retries.MAX_ATTEMPTS + 1):
            troubles.clear()
            left = [job_id for job_id in job_ids if job_id not in found]
            if len(left) > 1:
                await asyncio.gather(*(read(left[at : at + MAX_BATCH]) for at in range(0, len(left), MAX_BATCH)))
            if not troubles or tries == retries.MAX_ATTEMPTS:
                await asyncio.gather(*(read([job_id]) for job_id in left if job_id not in found))
            pause = retries.wait_before_retry(
                max(troubles, key=lambda error: error.retry_after or 0.0, default=None),
                tries,
                max_wait=LONGEST_PAUSE,
                jitter=random.random(),  # noqa: S311
            )
            if not troubles or pause is None:
                break
            await asyncio.sleep(pause)
    finally:
        await reader.close()
    return found


def spawn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """
    Start a task that belongs to no trigger: it is not to write into the log of the one that came first.

    :param coroutine: What to run.
    """
    return asyncio.get_running_loop().create_task(coroutine, context=Context())


def later(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
    """
    Call something later, on nobody's behalf.

    :param delay: Seconds.
    :param callback: What to call.
    """
    return asyncio.get_running_loop().call_later(delay, callback, context=Context())


def _is_about_the_key(error: EvoLinkError) -> bool:
    """Tell a refusal that meets every job from one that meets this job alone, such as somebody else's."""
    return not isinstance(error, EvoLinkAccessError) or error.code == "ip_restricted"
