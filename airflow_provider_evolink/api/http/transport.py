"""How a call is sent and its response received: clients of httpx, and the deadline that cuts a connection."""

from __future__ import annotations

import functools
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import Token
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import httpx

from airflow_provider_evolink import __version__
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.http.failures import is_certificate_error, network_error
from airflow_provider_evolink.api.http.messages import MAX_BODY, Call, Response
from airflow_provider_evolink.api.http.quiet import IS_OURS
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.settings import ClientSettings

USER_AGENT = f"airflow-provider-evolink/{__version__}"
UNUSABLE = (ImportError, ValueError, httpx.InvalidURL)  # what httpx raises for an address or a proxy
H = TypeVar("H", httpx.Client, httpx.AsyncClient)


class ResponseTooLong(httpx.HTTPError):
    """The response is longer than any of EvoLink's."""

    def __init__(self) -> None:
        super().__init__("")


class Permit(Protocol):
    """The right to submit an order, which may lapse."""

    def renew(self) -> None:
        """Raise if the order may not be sent (again). Called before every attempt; may take its time."""

    def check(self) -> None:
        """Raise if the order may not be sent any more. Called right before its first byte leaves; no I/O."""


@dataclass
class Watchdog:
    """
    Cuts a connection at the deadline of a call: every single read may be in time while the response drips in.

    Meanwhile httpcore logs nothing of the call.

    :param seconds: For the whole call.
    :param permit: Checked right before the first byte of a request leaves.
    """

    seconds: float
    permit: Permit | None = None
    has_cut: bool = field(default=False, init=False)
    opens_tunnel: bool = field(default=False, init=False)  # a proxy was asked to connect, and nothing else was sent
    _socket: socket.socket | None = field(default=None, init=False)
    _timer: threading.Timer | None = field(default=None, init=False)
    _before: Token[bool] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._before = IS_OURS.set(True)
        self._timer = threading.Timer(self.seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._before is not None:
            IS_OURS.reset(self._before)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """
        Follow the steps of the call: note its connection, and ask for the permit before it is sent.

        :param event: Name of a step in httpcore.
        :param info: Its arguments or result.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            if self.has_cut:
                raise httpx.ConnectTimeout("")
            self._socket = info["return_value"].get_extra_info("socket")
        if event.endswith(".send_request_headers.started"):
            self.opens_tunnel = info["request"].method == b"CONNECT"
            if self.permit is not None:
                self.permit.check()

    def _cut(self) -> None:
        self.has_cut = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # an SSLSocket's own would break its reader


def exchange(
    http: httpx.Client,
    call: Call,
    settings: ClientSettings,
    *,
    permit: Permit | None = None,
    seconds: float | None = None,
    **options: Any,
) -> Response:
    """
    Send a call once and return the response, read in full.

    :param http: The client.
    :param call: The call.
    :param settings: The key, and the timeouts of an ordinary call.
    :param permit: Checked right before the first byte leaves.
    :param seconds: For the whole call, instead of those of the settings.
    :param options: What httpx is to send or wait for otherwise.
    :raises EvoLinkUnavailable: no response; if it was an order, it was provably not sent.
    :raises EvoLinkSubmissionUnknown: no response to an order that may have been accepted.
    """
    request = httpx_request(call, settings)
    with Watchdog(seconds or request["timeout"].read, permit) as watchdog:
        try:
            with http.stream(**request | options, extensions={"trace": watchdog.trace}) as response:
                content = bytearray()
                for chunk in response.iter_raw():
                    append(content, chunk)
                return to_response(response, content, settings)
        except httpx.HTTPError as error:
            if watchdog.opens_tunnel and not is_certificate_error(error):
                raise network_error(call, httpx.ProxyError("")) from None
            raise network_error(call, httpx.ReadTimeout("") if watchdog.has_cut else error) from None


def httpx_request(call: Call, settings: ClientSettings) -> dict[str, Any]:
    """Return a call as arguments of httpx. The whole of it may take as long as the read timeout."""
    seconds = settings.submit_timeout if call.paid else settings.read_timeout
    return {
        "method": call.method,
        "url": call.path,
        "content": call.content,
        "headers": dict(call.headers),
        "timeout": httpx.Timeout(seconds, connect=settings.connect_timeout),
    }


def append(content: bytearray, chunk: bytes) -> None:
    """
    Add a chunk to the body of a response.

    :raises ResponseTooLong: the body is over ``MAX_BODY``.
    """
    content += chunk
    if len(content) > MAX_BODY:
        raise ResponseTooLong


def to_response(response: httpx.Response, content: bytearray, settings: ClientSettings) -> Response:
    """Return what came back, without our key, should something have echoed it."""
    if response.status_code == 429 and settings.on_rate_limit is not None:
        settings.on_rate_limit()
    key = settings.api_key
    headers = {name.lower(): value.replace(key, "***") for name, value in response.headers.items()}
    return Response(response.status_code, headers, _plain(bytes(content)).replace(key.encode(), b"***"))


def _plain(content: bytes) -> bytes:
    """Return JSON without escaped ASCII, which could spell a key."""
    if b"\\u00" in content or b"\\/" in content:
        with suppress(ValueError, RecursionError):
            return json.dumps(json.loads(content)).encode()
    return content


@functools.cache
def ssl_context(network: NetworkPolicy | None = None) -> ssl.SSLContext:
    """
    Return the process's one TLS context: building it takes some 20 ms, which no event loop should spend.

    :param network: Whom to trust; by default what the environment says.
    :raises EvoLinkConfigError: its certificates cannot be read.
    """
    network = network or NetworkPolicy.from_environment()
    if not (network.ca_file or network.ca_folder):
        return httpx.create_ssl_context(trust_env=False)
    is_folder = network.ca_file is not None and Path(network.ca_file).is_dir()
    try:
        context = ssl.create_default_context(
            cafile=None if is_folder else network.ca_file, capath=network.ca_file if is_folder else network.ca_folder
        )
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        raise EvoLinkConfigError(
            f"the certificates in {network.ca_file or network.ca_folder} cannot be read ({type(error).__name__}). What "
            "to do: correct [evolink] ca_bundle in the deployment's configuration, or SSL_CERT_FILE and SSL_CERT_DIR "
            "in the environment of the worker and the triggerer"
        ) from None
    return context


@functools.lru_cache(maxsize=64)
def proxy_of(
    network: NetworkPolicy, tls: ssl.SSLContext, scheme: str, host: str, port: int | None = None
) -> httpx.Proxy | None:
    """
    Return the proxy that a call goes through, ready for httpx; ``None``: it goes directly.

    :param network: The way out.
    :param tls: A TLS context, for a proxy that is itself called over TLS.
    :param scheme: ``http`` or ``https``.
    :param host: Name or address.
    :param port: The port, where the URL has one.
    :raises EvoLinkConfigError: it cannot be used.
    """
    found = network.proxy_for(scheme, host, port)
    if found is None:
        return None
    try:
        return httpx.Proxy(found, ssl_context=tls if found.lower().startswith("https:") else None)
    except UNUSABLE:
        raise unusable_network() from None


def default_headers(settings: ClientSettings) -> dict[str, str]:
    """Return the headers of every request."""
    return {
        "Authorization": f"Bearer {settings.api_key}",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


def build_client(client: Callable[..., H], settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits) -> H:
    """
    Build a client of httpx. Redirects are never followed: they would carry the key elsewhere.

    :param client: ``httpx.Client`` or ``httpx.AsyncClient``.
    :param settings: Key and address.
    :param tls: A ready TLS context.
    :param limits: How many connections are kept.
    :raises EvoLinkConfigError: the address or a proxy of the environment cannot be used.
    """
    try:
        url = httpx.URL(settings.base_url)
        return client(
            base_url=url,
            headers=default_headers(settings),
            follow_redirects=False,
            verify=tls,
            limits=limits,
            trust_env=False,  # the settings' network policy has read it
            proxy=proxy_of(settings.network, tls, url.scheme, url.host, url.port),
        )
    except UNUSABLE:
        raise unusable_network() from None


def unusable_network() -> EvoLinkConfigError:
    """Return the error of an address or a proxy that httpx cannot use; it does not hold them."""
    return EvoLinkConfigError(
        "no client can be built: check the API base URL, [evolink] proxy in the deployment's configuration and the "
        "proxy settings in the environment (a SOCKS proxy needs the package socksio)"
    )


def build_polling_client(
    settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits
) -> tuple[PollingClient | httpx.AsyncClient, tuple[type[Exception], ...]]:
    """
    Build the cheapest client for reads in an event loop, and return it with what it raises.

    :param settings: Key and address.
    :param tls: A ready TLS context.
    :param limits: How many connections are kept.
    :raises EvoLinkConfigError: the address or a proxy of the environment cannot be used.
    """
    try:
        url = httpx.URL(settings.base_url)
        if proxy_of(settings.network, tls, url.scheme, url.host, url.port) is not None:
            return build_client(httpx.AsyncClient, settings, tls, limits), (httpx.HTTPError,)
        client = PollingClient(settings, tls, limits)
    except UNUSABLE:
        raise unusable_network() from None
    import aiohttp

    # The library itself raises UnicodeError for a reason phrase that is not text.
    return client, (httpx.HTTPError, aiohttp.ClientError, UnicodeError)


class PollingClient:
    """
    The part of an httpx client that polling needs: requests go straight to httpx's transport over aiohttp.

    That takes a quarter to a third of the processor time: httpcore asks the system for every idle connection at every
    call, and the client around a transport is for cookies, redirects and the like. It cannot distinguish a lost
    response from a request that never left, so it must not submit.

    :param settings: Key and address.
    :param tls: A ready TLS context.
    :param limits: How many connections are kept.
    """

    def __init__(self, settings: ClientSettings, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        from httpx_aiohttp.transport import AiohttpTransport

        self.is_closed = False
        self._base = str(httpx.URL(settings.base_url)).rstrip("/")
        self._headers = default_headers(settings)
        self._transport = AiohttpTransport(verify=tls, limits=limits)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: dict[str, str],
        timeout: httpx.Timeout,  # noqa: ASYNC109 - httpx's name
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield the response, its body unread. The parameters are httpx's."""
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
