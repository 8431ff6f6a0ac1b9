"""What both clients need of httpx: how they are built, what a call looks like, and when it is cut off."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, Self, TypeVar
from urllib.request import getproxies

import httpx

from airflow_provider_evolink import __version__
from airflow_provider_evolink.api.addresses import host_of, is_local_host
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.http.messages import Call, Response
from airflow_provider_evolink.api.settings import ClientSettings

USER_AGENT = f"airflow-provider-evolink/{__version__}"
H = TypeVar("H", httpx.Client, httpx.AsyncClient)


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return the process's one TLS context: building it takes some 20 ms, which no event loop should spend."""
    return httpx.create_ssl_context()


class TooLong(httpx.HTTPError):
    """The answer is longer than any of EvoLink's."""

    def __init__(self) -> None:
        super().__init__("")


class Watchdog:
    """
    Cuts a connection at the deadline of a call: every single read may be in time while the answer drips in.

    :param patience: Seconds for the whole call.
    """

    def __init__(self, patience: float) -> None:
        self.has_cut = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(patience, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """
        Take note of the call's connection.

        :param event: Name of a step in httpcore.
        :param info: Its arguments or result.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            if self.has_cut:
                raise httpx.ConnectTimeout("")
            self._socket = info["return_value"].get_extra_info("socket")

    def _cut(self) -> None:
        self.has_cut = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # an SSLSocket's own would break its reader


class Permit(Protocol):
    """The right to send an order, which may lapse."""

    def renew(self) -> None:
        """Raise if the order may not be sent (again). Called before every sending; may take its time."""

    def check(self) -> None:
        """Raise if the order may not be sent any more. Called as its first byte is about to leave; no I/O."""


def traced(watchdog: Watchdog, permit: Permit | None) -> Callable[[str, Mapping[str, Any]], None]:
    """
    Return what httpcore calls at each step of a call.

    :param watchdog: Takes note of the connection.
    :param permit: Is asked as the first byte is about to leave.
    """

    def step(event: str, info: Mapping[str, Any]) -> None:
        watchdog.trace(event, info)
        if permit is not None and event.endswith(".send_request_headers.started"):
            permit.check()

    return step


def headers_for(settings: ClientSettings) -> dict[str, str]:
    """
    Return what every request carries.

    :param settings: Key, hosts and time-outs.
    """
    return {
        "Authorization": f"Bearer {settings.api_key}",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


def build(client: Callable[..., H], settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits) -> H:
    """
    Build either client. Redirects are never followed: they would carry the key elsewhere.

    :param client: ``httpx.Client`` or ``httpx.AsyncClient``.
    :param settings: Key, hosts and time-outs.
    :param tls: A ready TLS context.
    :param limits: What connections are kept.
    :raises EvoLinkConfigError: the address or a proxy of the environment cannot be used.
    """
    try:
        return client(
            base_url=settings.base_url,
            headers=headers_for(settings),
            follow_redirects=False,
            verify=tls,
            limits=limits,
            trust_env=not is_local_host(host_of(settings.base_url)),  # no proxy between us and this machine
        )
    except (ImportError, ValueError, httpx.InvalidURL):
        raise EvoLinkConfigError(
            "no client can be built: check the API address, and the proxy settings in the environment "
            "(a SOCKS proxy needs the package socksio)"
        ) from None


class Reading:
    """
    What a poller needs of an httpx client: requests go straight to httpx's transport over aiohttp's connections.

    That takes a quarter to a third of the processor time: httpcore asks the system for every idle connection at every
    call, and the client around a transport is for cookies, redirects and the like.

    :param settings: Key, hosts and time-outs.
    :param tls: A ready TLS context.
    :param limits: What connections are kept.
    """

    def __init__(self, settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        from httpx_aiohttp.transport import AiohttpTransport

        self.is_closed = False
        self._base = str(httpx.URL(settings.base_url)).rstrip("/")
        self._headers = headers_for(settings)
        self._transport = AiohttpTransport(verify=tls, limits=limits)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: dict[str, str],
        timeout: httpx.Timeout,  # noqa: ASYNC109 - httpx's word
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield the answer, its body unread. The parameters are httpx's."""
        extensions = {"timeout": timeout.as_dict()}
        request = httpx.Request(
            method, self._base + url, headers=self._headers | headers, content=content, extensions=extensions
        )
        response = await self._transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        self.is_closed = True
        await self._transport.aclose()


def reading(
    settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits
) -> tuple[Reading | httpx.AsyncClient, tuple[type[Exception], ...]]:
    """
    Return the cheapest way to read in an event loop, and what it raises. Proxies of the environment are left to httpx.

    :param settings: Key, hosts and time-outs.
    :param tls: A ready TLS context.
    :param limits: What connections are kept.
    """
    if not is_local_host(host_of(settings.base_url)) and getproxies().keys() & {"http", "https", "all"}:
        return build(httpx.AsyncClient, settings, tls, limits), (httpx.HTTPError,)
    import aiohttp

    # A reason phrase that is no text is what the library itself stumbles over.
    return Reading(settings, tls, limits), (httpx.HTTPError, aiohttp.ClientError, UnicodeError)


def seconds_for(call: Call, settings: ClientSettings) -> float:
    """
    Return the seconds a whole call may take.

    :param call: The call.
    :param settings: Key, hosts and time-outs.
    """
    return settings.submit_timeout if call.paid else settings.read_timeout


def request(call: Call, settings: ClientSettings) -> dict[str, Any]:
    """
    Put a call into httpx's words.

    :param call: The call.
    :param settings: Key, hosts and time-outs.
    """
    return {
        "method": call.method,
        "url": call.path,
        "content": call.content,
        "headers": dict(call.headers),
        "timeout": httpx.Timeout(seconds_for(call, settings), connect=settings.connect_timeout),
    }


def answer(response: httpx.Response, content: bytearray, settings: ClientSettings) -> Response:
    """
    Hand on what came back, without our key, should something have echoed it.

    :param response: Status and headers.
    :param content: The whole body.
    :param settings: Key, hosts and time-outs.
    """
    key = settings.api_key
    headers = {name.lower(): value.replace(key, "***") for name, value in response.headers.items()}
    return Response(response.status_code, headers, bytes(content).replace(key.encode(), b"***"))
