"""
EvoLinkClient and AsyncEvoLinkClient: send a call, read the response. Every decision is in ``wire`` and ``schedule``.

    >>> from airflow_provider_evolink.api import ClientSettings, EvoLinkClient, build_request
    >>> with EvoLinkClient(ClientSettings(api_key="...")) as client:  # doctest: +SKIP
    ...     job = client.submit(build_request("wan2.7-text-to-video", {"prompt": "A paper boat in the rain"}))
    ...     job = client.wait(job.job_id)
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import EvoLinkAuthError, EvoLinkError
from airflow_provider_evolink.api.http import wire
from airflow_provider_evolink.api.http.connections import MAX_CONNECTIONS, ConnectionCount
from airflow_provider_evolink.api.http.failures import network_error
from airflow_provider_evolink.api.http.messages import Call, Response, request_id
from airflow_provider_evolink.api.http.patience import Patience, is_throttled
from airflow_provider_evolink.api.http.quiet import IS_OURS
from airflow_provider_evolink.api.http.retries import MAX_ATTEMPTS, retrying
from airflow_provider_evolink.api.http.server_clock import ServerClock
from airflow_provider_evolink.api.http.transport import (
    Permit,
    append,
    build_client,
    build_polling_client,
    exchange,
    httpx_request,
    ssl_context,
    to_response,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.credits import Credits
from airflow_provider_evolink.api.jobs.failures import remarks
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.pace import JobHints
from airflow_provider_evolink.api.jobs.schedule import PollSchedule
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.api.settings import ClientSettings

log = logging.getLogger(__name__)

KEEP_ALIVE = 300.0  # seconds; more than the longest wait between two polls
MAX_REDACTORS = 100
T = TypeVar("T")
Read = Callable[[Call, Response], T]


class EvoLinkClient:
    """
    EvoLink for the worker and for plain scripts. Close it, or use it in ``with``. Several threads may read with it.

    :param settings: Key, hosts and timeouts.
    :param renew: Returns fresh settings. Called once by a read whose key is refused, since the key may have been
        replaced during a long wait; never called to submit.
    """

    def __init__(self, settings: ClientSettings, *, renew: Callable[[], ClientSettings] | None = None) -> None:
        self._redactors: dict[str, Redactor] = {}  # of the newest orders
        self.settings = settings
        self.clock = ServerClock()
        self._renew = renew
        self._renewing = threading.Lock()
        self._retired: list[httpx.Client] = []  # other threads may still read with them
        # No connection is kept: an idle one may be dead, and the outcome of an order lost on it is unknown.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = build_client(httpx.Client, settings, ssl_context(settings.network), limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for http in (*self._retired, self._http):
            http.close()

    def submit(
        self,
        body: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        path: str | None = None,
        permit: Permit | None = None,
    ) -> Job:
        """
        Submit a generation. **This costs credits.** It is sent once, and again only if provably not accepted.

        :param body: Request body from :func:`~airflow_provider_evolink.api.catalog.catalog.build_request`.
        :param idempotency_key: 16-96 characters, the same for the same intent; random by default.
        :param path: Endpoint; by default that of the body's model.
        :param permit: Renewed before every attempt and checked once more right before the first byte leaves.
        :raises EvoLinkSubmissionUnknown: it was sent, and whether it was accepted is not known.
        :raises EvoLinkAPIError: EvoLink refused, and nothing was charged; or it could not be reached, and nothing was
            sent.
        """
        path = path or catalog.endpoint(str(body.get("model")))
        call = wire.submit(path, body, idempotency_key or uuid.uuid4().hex)

        def attempt() -> Job:
            if permit is not None:
                permit.renew()
            response = exchange(self._http, call, self.settings, permit=permit)
            self.clock.note(response.headers)
            return wire.job_from(call, response).model_copy(update={"request_id": request_id(response)})

        job = retrying(call, self.settings)(attempt)
        self._redactors[job.job_id] = call.redactor
        while len(self._redactors) > MAX_REDACTORS:
            del self._redactors[next(iter(self._redactors))]
        return job

    def list_jobs(self, model: str) -> list[Job]:
        """
        Return the account's newest jobs of a model, without links. Free; undocumented at EvoLink, so check the model.

        :param model: EvoLink's name of the model.
        """
        return self._read(wire.list_jobs(model), wire.listed_from)

    def list_account(self, page: int) -> list[Job]:
        """
        Return a page of the account's jobs of all models, newest first, without links. Free; undocumented at EvoLink.

        :param page: Which page, from 1.
        """
        return self._read(wire.list_jobs(page=page), wire.listed_from)

    def get_job(
        self,
        job_id: str,
        *,
        attempts: int = MAX_ATTEMPTS,
        redactor: Redactor | None = None,
        patience: Patience | None = None,
    ) -> Job:
        """
        Read one job. Free. A completed job comes with fresh links. What is odd about its end is logged.

        :param job_id: EvoLink's id.
        :param attempts: How often to send the call while failures are transient; 1 for a caller with its own schedule.
        :param redactor: Hides what no error or log line may quote from the request. By default that of an order which
            this client submitted; of other jobs EvoLink's messages are hidden wholly, since nobody here knows the
            prompt that they may quote. Codes are shown.
        :param patience: Wait out a rate limit with what is left of it, instead of by ``attempts``.
        :raises EvoLinkAPIError: after the last attempt, or at once where another one is pointless.
        """
        redactor = redactor or self._redactors.get(job_id) or Redactor.everything()
        call = replace(wire.read_job(job_id), redactor=redactor)
        job = self._read_renewing(call, attempts, patience)
        for line in remarks(job, redactor):
            log.warning("EvoLink job %s: %s", job.job_id, line)
        return job

    def _read_renewing(self, call: Call, attempts: int, patience: Patience | None) -> Job:
        refused = self._http
        try:
            return self._read(call, wire.job_from, attempts, patience)
        except EvoLinkAuthError:
            if self._renew is None:
                raise
        with self._renewing:
            if self._http is refused:  # no other thread has renewed it meanwhile
                fresh = EvoLinkClient(self._renew())
                self._retired.append(refused)
                self.settings, self._http = fresh.settings, fresh._http
        return self._read(call, wire.job_from, attempts, patience)

    def get_credits(self) -> Credits:
        """Read the balance of account and key. Free."""
        return self._read(wire.read_credits(), wire.credits_from)

    def wait(
        self,
        job_id: str,
        *,
        timeout: float = 1800.0,
        poll_interval: float | None = None,
        started: float | None = None,
        estimated_time: float | None = None,
        on_poll: Callable[[Job], None] | None = None,
        redactor: Redactor | None = None,
        patience: Patience | None = None,
    ) -> Job:
        """
        Block until a job has ended, and return it with its links.

        :param job_id: EvoLink's id.
        :param timeout: Seconds to wait. The job itself keeps running after that.
        :param poll_interval: Seconds between polls; by default EvoLink's estimate and the kind of media decide.
        :param started: Epoch seconds when the job was submitted, which paces the polls; by default now.
        :param estimated_time: EvoLink's estimate in seconds, if known: the first poll waits for a part of it.
        :param on_poll: Called with each reading, e.g. to log progress.
        :param redactor: As for :meth:`get_job`.
        :param patience: As for :meth:`get_job`, for a job that has ended: what it takes comes on top of ``timeout``.
        :raises EvoLinkJobFailed: EvoLink reported the job as failed.
        :raises EvoLinkNoResults: completed without links.
        :raises EvoLinkJobTimeout: still running; wait again with the same id.
        """
        redactor = redactor or self._redactors.get(job_id) or Redactor.everything()
        began, tick = time.time(), time.monotonic()
        watch = PollSchedule(deadline=began + timeout, started=started or began, poll_interval=poll_interval)
        if estimated_time is not None:
            time.sleep(watch.first_delay(JobHints(estimated_time=estimated_time), began))
        while True:
            job: Job | None = None
            now = began + time.monotonic() - tick
            try:
                # The schedule paces all polls but the last, which deserves the attempts of a single read.
                attempts = 1 if now < watch.deadline else MAX_ATTEMPTS
                job = self.get_job(job_id, attempts=attempts, redactor=redactor, patience=patience)
            except EvoLinkError as error:
                step = watch.on_error(error, now)
            else:
                if on_poll:
                    on_poll(job)
                step = watch.on_reading(job, now)
            if step.end is not None:
                return schedule.result_or_raise(job_id, step.end, job, step.error, redactor)
            time.sleep(step.delay)

    def _read(self, call: Call, read: Read[T], attempts: int = MAX_ATTEMPTS, patience: Patience | None = None) -> T:
        def attempt() -> T:
            response = exchange(self._http, call, self.settings)
            self.clock.note(response.headers)
            return read(call, response)

        if patience is None:
            return retrying(call, self.settings, attempts)(attempt)
        patiently = retrying(call, self.settings, attempts, is_left=is_throttled)
        return patience.outlast(lambda: patiently(attempt), f"EvoLink job {call.job_id}" if call.job_id else call.name)


class AsyncEvoLinkClient:
    """
    EvoLink for the triggerer: it only polls, and never blocks the loop.

    It cannot submit: a trigger runs again after a restart of the triggerer.

    :param settings: Key, hosts and timeouts.
    :param tls: A ready TLS context, built off the loop.
    """

    def __init__(self, settings: ClientSettings, tls: ssl.SSLContext) -> None:
        self.clock = ServerClock()
        self.settings = settings
        self.connections = ConnectionCount()
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE)
        self._http, self._network_errors = build_polling_client(settings, tls, limits)

    @classmethod
    async def create(cls, settings: ClientSettings) -> Self:
        """
        Return a client whose TLS context was built in a thread.

        :param settings: Key, hosts and timeouts.
        """
        return cls(settings, await asyncio.to_thread(ssl_context, settings.network))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def poll_job(self, job_id: str) -> Job | JobSnapshot:
        """
        Read one job, with one attempt; while it runs, no further than a wait needs. Free.

        :param job_id: EvoLink's id.
        """
        call = wire.read_job(job_id)
        return wire.reading_from(call, await self._exchange(call))

    async def poll_jobs(self, job_ids: Sequence[str]) -> dict[str, Job | JobSnapshot]:
        """
        Read many jobs with one attempt. Free; undocumented at EvoLink. One that is missing must be read alone.

        :param job_ids: Up to 50 of EvoLink's ids.
        """
        call = wire.read_jobs(job_ids)
        return wire.readings_from(call, await self._exchange(call))

    async def _exchange(self, call: Call) -> Response:
        request = httpx_request(call, self.settings)
        is_last, has_failed = self.connections.begin(), True
        if is_last:
            request["headers"]["Connection"] = "close"
        before = IS_OURS.set(True)
        try:
            async with (
                asyncio.timeout(request["timeout"].read),
                self._http.stream(**request) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_raw():
                    append(content, chunk)
                received = to_response(response, content, self.settings)
                self.clock.note(received.headers)
                has_failed = False
                return received
        except TimeoutError:
            raise network_error(call, httpx.ReadTimeout("")) from None
        except self._network_errors as error:
            raise network_error(call, error) from None
        finally:
            IS_OURS.reset(before)
            self.connections.end(is_last=is_last, has_failed=has_failed)
