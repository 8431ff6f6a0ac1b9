"""
EvoLinkClient and AsyncEvoLinkClient: send a call, read the answer. Every decision is in ``wire`` and ``schedule``.

    >>> from airflow_provider_evolink.api import ClientSettings, EvoLinkClient, build_request
    >>> with EvoLinkClient(ClientSettings(api_key="...")) as client:  # doctest: +SKIP
    ...     job = client.submit(build_request("wan2.7-text-to-video", {"prompt": "A paper boat in the rain"}))
    ...     job = client.wait(job.job_id)
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import tenacity

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import EvoLinkAuthError, EvoLinkConfigError, EvoLinkError
from airflow_provider_evolink.api.http import retries, wire
from airflow_provider_evolink.api.http.failures import network_error
from airflow_provider_evolink.api.http.messages import Call, Response
from airflow_provider_evolink.api.http.retries import retry_options
from airflow_provider_evolink.api.http.transport import (
    Permit,
    Reading,
    TooLong,
    Watchdog,
    answer,
    build,
    reading,
    request,
    seconds_for,
    ssl_context,
    traced,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.credits import Credits
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.jobs.schedule import PollSchedule
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor
from airflow_provider_evolink.api.settings import ClientSettings

KEEP_ALIVE = 300.0  # seconds; more than the longest wait between two looks
MAX_CONNECTIONS = 8
T = TypeVar("T")
Read = Callable[[Call, Response], T]


class EvoLinkClient:
    """
    EvoLink for the worker and for plain scripts. Close it, or use it in ``with``.

    :param settings: Key, hosts and time-outs.
    :param renew: Returns settings read anew: asked once by a read whose key is refused, since the key of a long wait
        may have been replaced meanwhile. An order never asks.
    """

    def __init__(self, settings: ClientSettings, *, renew: Callable[[], ClientSettings] | None = None) -> None:
        self._renew = renew
        self._open(settings)

    def _open(self, settings: ClientSettings) -> None:
        self.settings = settings
        # No connection is kept: an idle one may be dead, and an order lost on it is an order of unknown outcome.
        self._http = build(httpx.Client, settings, ssl_context(), httpx.Limits(max_keepalive_connections=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        body: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        path: str | None = None,
        permit: Permit | None = None,
    ) -> Job:
        """
        Order a generation. **This costs credits.** It is sent once; again only if provably not accepted.

        :param body: Request body from :func:`~airflow_provider_evolink.api.catalog.catalog.build_request`.
        :param idempotency_key: 16-96 characters, the same for the same intent; made up if absent.
        :param path: Endpoint; by default that of the body's model.
        :param permit: Asked before every sending and once more as the first byte is about to leave.
        :raises EvoLinkSubmissionUnknown: it was sent and nobody knows whether it was accepted.
        :raises EvoLinkAPIError: EvoLink refused, nothing was charged; or it could not be reached, nothing was sent.
        """
        path = path or catalog.endpoint(str(body.get("model")))
        return self._do(wire.submit(path, body, idempotency_key or uuid.uuid4().hex), wire.job_from, permit=permit)

    def list_jobs(self, model: str) -> list[tuple[str, float]]:
        """
        Return id and epoch second of the account's newest jobs of a model. Free; undocumented at EvoLink.

        :param model: EvoLink's name of the model.
        """
        return self._do(wire.list_jobs(model), wire.listed_from)

    def get_job(self, job_id: str, *, tries: int = retries.TRIES) -> Job:
        """
        Read one job. Free. A completed job comes with fresh links.

        :param job_id: EvoLink's id.
        :param tries: How often to send the call while faults pass; 1 for a caller with a schedule of its own.
        :raises EvoLinkAPIError: after a few tries, or at once where trying again is pointless.
        """
        try:
            return self._do(wire.read_job(job_id), wire.job_from, tries)
        except EvoLinkAuthError:
            if self._renew is None:
                raise
        self.close()
        self._open(self._renew())
        return self._do(wire.read_job(job_id), wire.job_from, tries)

    def get_credits(self) -> Credits:
        """Read the balance of account and key. Free."""
        return self._do(wire.read_credits(), wire.credits_from)

    def wait(
        self,
        job_id: str,
        *,
        timeout: float = 1800.0,
        poll_interval: float | None = None,
        started: float | None = None,
        estimated_time: float | None = None,
        on_look: Callable[[Job], None] | None = None,
        redactor: Redactor = LINKS_ONLY,
    ) -> Job:
        """
        Wait, blocking, until a job is over, and return it with its links.

        :param job_id: EvoLink's id.
        :param timeout: Seconds to wait. The job itself goes on after that.
        :param poll_interval: Seconds between looks; by default EvoLink's estimate and the kind of media decide.
        :param started: Epoch seconds of the order, by which the looks are paced; by default now.
        :param estimated_time: Seconds, as EvoLink told with the order: the first look waits for a part of it.
        :param on_look: Called with each reading, e.g. to log progress.
        :param redactor: Hides what the error of a failed job must not quote from the request.
        :raises EvoLinkJobFailed: EvoLink ended the job.
        :raises EvoLinkNoResults: completed without links.
        :raises EvoLinkJobTimeout: still running; wait again with the same id.
        """
        began, tick = time.time(), time.monotonic()
        watch = PollSchedule(deadline=began + timeout, started=started or began, poll_interval=poll_interval)
        if estimated_time is not None:
            time.sleep(watch.first(JobSnapshot(job_id, JobStatus.PENDING, "", estimated_time=estimated_time), began))
        while True:
            job: Job | None = None
            now = began + time.monotonic() - tick
            try:
                # The watch paces all looks but the last, which is worth the tries of a single read.
                job = self.get_job(job_id, tries=1 if now < watch.deadline else retries.TRIES)
            except EvoLinkError as error:
                step = watch.failed(error, now)
            else:
                if on_look:
                    on_look(job)
                step = watch.saw(job, now)
            if step.end is not None:
                return schedule.result_or_raise(job_id, step.end, job, step.error, redactor)
            time.sleep(step.delay)

    def _do(self, call: Call, read: Read[T], tries: int = retries.TRIES, permit: Permit | None = None) -> T:
        def attempt() -> T:
            if permit is not None:
                permit.renew()
            return read(call, self._send(call, permit))

        return tenacity.Retrying(**retry_options(call, self.settings, tries))(attempt)

    def _send(self, call: Call, permit: Permit | None) -> Response:
        with Watchdog(seconds_for(call, self.settings)) as watchdog:
            try:
                with self._http.stream(
                    **request(call, self.settings), extensions={"trace": traced(watchdog, permit)}
                ) as response:
                    content = bytearray()
                    for chunk in response.iter_raw():
                        content += chunk
                        if len(content) > wire.MAX_BODY:
                            raise TooLong
                    return answer(response, content, self.settings)
            except httpx.HTTPError as error:
                raise network_error(call, httpx.ReadTimeout("") if watchdog.has_cut else error) from None


class AsyncEvoLinkClient:
    """
    EvoLink for the triggerer: only what a trigger needs, and nothing that blocks the loop.

    :param settings: Key, hosts and time-outs.
    :param tls: A ready TLS context, built off the loop.
    :param reads_only: Read at a third of the processor time, over aiohttp's connections. They do not tell a lost
        answer from an order that never left, so such a client does not order.
    """

    def __init__(self, settings: ClientSettings, tls: ssl.SSLContext, *, reads_only: bool = False) -> None:
        self.settings = settings
        self._reads_only = reads_only
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE)
        self._http: httpx.AsyncClient | Reading
        if reads_only:
            self._http, self._faults = reading(settings, tls, limits)
        else:
            self._http, self._faults = build(httpx.AsyncClient, settings, tls, limits), (httpx.HTTPError,)

    @classmethod
    async def create(cls, settings: ClientSettings, *, reads_only: bool = False) -> Self:
        """
        Return a client whose TLS context was built in a thread.

        :param settings: Key, hosts and time-outs.
        :param reads_only: See the class.
        """
        return cls(settings, await asyncio.to_thread(ssl_context), reads_only=reads_only)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
        self, body: Mapping[str, Any], *, idempotency_key: str | None = None, path: str | None = None
    ) -> Job:
        """See :meth:`EvoLinkClient.submit`. Never called from a trigger: triggers run again after a restart."""
        if self._reads_only:
            raise EvoLinkConfigError("a client that was made with reads_only=True cannot order: make one without it")
        path = path or catalog.endpoint(str(body.get("model")))
        return await self._do(wire.submit(path, body, idempotency_key or uuid.uuid4().hex), wire.job_from)

    async def get_job(self, job_id: str, *, tries: int = retries.TRIES) -> Job:
        """See :meth:`EvoLinkClient.get_job`."""
        return await self._do(wire.read_job(job_id), wire.job_from, tries)

    async def look(self, job_id: str) -> Job | JobSnapshot:
        """
        Read one job, once; a running one no further than a wait needs. Free.

        :param job_id: EvoLink's id.
        """
        return await self._do(wire.read_job(job_id), wire.seen_from, 1)

    async def get_jobs(self, job_ids: Sequence[str]) -> dict[str, Job | JobSnapshot]:
        """
        Read many jobs at once. Free; undocumented at EvoLink. One that is missing must be read singly.

        :param job_ids: At most 50 of EvoLink's ids.
        """
        return await self._do(wire.read_jobs(job_ids), wire.jobs_from, 1)

    async def get_credits(self) -> Credits:
        """See :meth:`EvoLinkClient.get_credits`."""
        return await self._do(wire.read_credits(), wire.credits_from)

    async def _do(self, call: Call, read: Read[T], tries: int = retries.TRIES) -> T:
        async def attempt() -> T:
            return read(call, await self._send(call))

        if tries == 1:
            return await attempt()
        return await tenacity.AsyncRetrying(**retry_options(call, self.settings, tries))(attempt)

    async def _send(self, call: Call) -> Response:
        try:
            async with (
                asyncio.timeout(seconds_for(call, self.settings)),
                self._http.stream(**request(call, self.settings)) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > wire.MAX_BODY:
                        raise TooLong
                return answer(response, content, self.settings)
        except TimeoutError:
            raise network_error(call, httpx.ReadTimeout("")) from None
        except self._faults as error:
            raise network_error(call, error) from None
