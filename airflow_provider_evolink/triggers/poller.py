"""
Looking at jobs from the triggerer. One HTTP client per event loop and connection, shared by all triggers.

The seam for a shared poller: triggers only await `watch_job`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_evolink.api.client import AsyncEvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkAccessError, EvoLinkAuthError, EvoLinkError
from airflow_provider_evolink.api.outcomes import TRIES
from airflow_provider_evolink.api.schedule import End, Watch
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

if TYPE_CHECKING:
    from airflow_provider_evolink.api.models import Job


@dataclass
class _Shared:
    """A client and how many triggers use it."""

    users: int = 0
    client: AsyncEvoLinkClient | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


# dag.test() runs every trigger in a loop of its own, so a client belongs to a loop.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(evolink_conn_id: str) -> AsyncIterator[AsyncEvoLinkClient]:
    """
    Lend the process's client of a connection; the last user closes it.

    A client whose key is refused is lent no more, so that later triggers read the connection anew.

    :param evolink_conn_id: Connection of type ``evolink``.
    """
    lent = _clients.setdefault(asyncio.get_running_loop(), {})
    shared = lent.setdefault(evolink_conn_id, _Shared())
    shared.users += 1
    try:
        async with shared.lock:
            if shared.client is None:
                shared.client = await AsyncEvoLinkClient.create(await EvoLinkHook.aget_settings(evolink_conn_id))
        yield shared.client
    except (EvoLinkAuthError, EvoLinkAccessError):
        _retire(lent, evolink_conn_id, shared)
        raise
    finally:
        shared.users -= 1
        if shared.users == 0:
            _retire(lent, evolink_conn_id, shared)
            if shared.client is not None:
                await shared.client.aclose()


def _retire(lent: dict[str, _Shared], evolink_conn_id: str, shared: _Shared) -> None:
    if lent.get(evolink_conn_id) is shared:
        del lent[evolink_conn_id]


async def watch_job(evolink_conn_id: str, job_id: str, watch: Watch, on_look: Callable[[Job], None]) -> str:
    """
    Wait for one job and return the status for the event: the worker reads the job again before it decides.

    A refused key is no end: it may have been replaced. The connection is read anew, once per refusal.

    :param evolink_conn_id: Connection of type ``evolink``.
    :param job_id: EvoLink's id.
    :param watch: Says when to look and when the wait is over.
    :param on_look: Called with each reading.
    :raises EvoLinkError: the job cannot be read, and looking again is pointless.
    """
    refused = False

    def seen(job: Job) -> None:
        nonlocal refused
        refused = False
        on_look(job)

    while True:
        try:
            async with shared_client(evolink_conn_id) as client:
                return await _watch(client, job_id, watch, seen)
        except EvoLinkAuthError:
            if refused:
                raise
            refused = True


async def _watch(client: AsyncEvoLinkClient, job_id: str, watch: Watch, on_look: Callable[[Job], None]) -> str:
    while True:
        now = time.time()
        try:
            # The watch paces all looks but the last, which is worth the tries of a single read.
            job = await client.get_job(job_id, tries=1 if now < watch.deadline else TRIES)
        except EvoLinkError as error:
            status, step = str(End.UNREADABLE), watch.failed(error, now)
        else:
            on_look(job)
            status, step = str(job.status), watch.saw(job, now)
        if step.end is End.UNREADABLE and step.error is not None:
            raise step.error
        if step.end is not None:
            return status if step.end is End.OVER else str(step.end)
        await asyncio.sleep(step.delay)
