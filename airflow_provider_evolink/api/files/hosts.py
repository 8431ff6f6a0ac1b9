"""
Which hosts a download may contact, and how it contacts them.

A result link is remote text: it may name our own network, a cloud's metadata service or a port of this machine.
So a host is resolved once, each of its addresses is checked, and the connection goes to a checked address, while the
certificate is still verified for the name. Where the network policy names a proxy, the proxy resolves the host, often
because this machine cannot: then all is checked that name and literal address show, and the rest is the proxy's to
refuse. Only :class:`Connector` and :func:`system_resolver` do I/O.
"""

from __future__ import annotations

import functools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from airflow_provider_evolink.api.addresses import (
    compared_host,
    is_inner_name,
    is_loopback_address,
    is_machine_address,
    is_public_address,
    literal_address,
)
from airflow_provider_evolink.api.errors import EvoLinkLinkRefused, EvoLinkMediaError
from airflow_provider_evolink.api.http.transport import UNUSABLE, Watchdog, proxy_of, ssl_context, unusable_network
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.redaction import public_link, sanitize

Resolver: TypeAlias = Callable[[str, int], Sequence[str]]

_HOW_TO_LIST = "What to do: if it is the emulator of your team, list it in [evolink] private_media_hosts"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ENDS_IN_NUMBER = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)$")


@dataclass(frozen=True)
class Target:
    """
    A link whose host was checked and may be contacted.

    :param url: The link as given.
    :param addresses: Addresses of its host, all of them allowed; none where a proxy resolves it.
    :param loopback: The host is this machine.
    """

    url: httpx.URL
    addresses: tuple[str, ...]
    loopback: bool

    def request(self, headers: Mapping[str, str], timeout: httpx.Timeout, attempt: int) -> httpx.Request:
        """Build a request that goes to a checked address, another one at each attempt, with the host's own name."""
        name = _host(self.url)
        hosts = self.addresses or (name,)
        extensions: dict[str, Any] = {"timeout": timeout.as_dict()}
        if self.addresses:  # else the certificate of a proxy would have to be for this name
            extensions["sni_hostname"] = name
        return httpx.Request(
            "GET",
            self.url.copy_with(host=hosts[attempt % len(hosts)]),
            headers={"Host": self.url.netloc.decode("ascii"), **headers},
            extensions=extensions,
        )


def read_link(link: str, base: httpx.URL | None = None) -> httpx.URL:
    """Parse a link, or the ``Location`` of a redirect, which may be relative to ``base``."""
    try:
        return base.join(link) if base else httpx.URL(link)
    except (httpx.InvalidURL, TypeError):
        raise EvoLinkLinkRefused("the link is not a valid URL") from None


def check_link(url: httpx.URL, *, allow_loopback: bool = False, listed: bool = False) -> None:
    """
    Refuse what can be refused before the host is resolved.

    :param url: The link.
    :param listed: The deployment's configuration lists host and port.
    :param allow_loopback: Accept plain HTTP and any port; :func:`check_addresses` then checks the host.
    """
    host = _host(url)
    if url.scheme != "https" and not (allow_loopback and url.scheme == "http"):
        raise _refusal(url, "only HTTPS is allowed")
    if url.userinfo:
        raise _refusal(url, "it contains a user name or password")
    if literal_address(host) is None and (not _HOST_NAME.fullmatch(host) or _ENDS_IN_NUMBER.search(host)):
        raise _refusal(url, "its host is neither a host name nor an IP address")
    if url.port is not None and not ((allow_loopback or listed) and 0 < url.port < 65536):
        raise _refusal(url, f"only port 443 is allowed. {_HOW_TO_LIST}")


def check_addresses(
    url: httpx.URL, addresses: Sequence[str], *, allow_loopback: bool = False, listed: bool = False
) -> Target:
    """
    Check what a host resolved to. One bad address refuses the link: the others may be bait.

    :param url: A link that passed :func:`check_link`.
    :param addresses: All addresses of its host.
    :param allow_loopback: Accept a host all of whose addresses are this machine.
    :param listed: The deployment's configuration lists host and port: private addresses are allowed.
    """
    unique = tuple(dict.fromkeys(addresses))
    if not unique:
        raise _refusal(url, "its host has no address")
    if allow_loopback and all(map(is_loopback_address, unique)):
        return Target(url, unique, loopback=True)
    check_link(url, listed=listed)
    for address in unique:
        if not (is_public_address(address) or (listed and is_machine_address(address))):
            raise _refusal(url, f"its host is at {sanitize(address, 60)}, which is not public. {_HOW_TO_LIST}")
    return Target(url, unique, loopback=False)


def check_name(url: httpx.URL, *, listed: bool = False) -> Target:
    """
    Check a link whose host a proxy resolves: its spelling, and what name or literal address show.

    :param url: The link.
    :param listed: The deployment's configuration lists host and port.
    """
    check_link(url, listed=listed)
    host = _host(url)
    if listed:
        return Target(url, (), loopback=False)
    if is_inner_name(host):
        raise _refusal(url, "its host is the name of an internal host")
    if literal_address(host) and not is_public_address(host):
        raise _refusal(url, f"its host is at {sanitize(host, 60)}, which is not public")
    return Target(url, (), loopback=False)


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii", "replace").removesuffix(".")


def _refusal(url: httpx.URL, reason: str) -> EvoLinkLinkRefused:
    return EvoLinkLinkRefused(f"will not download from {sanitize(public_link(url))}: {reason}")


class Connector:
    """
    Opens links, hop by hop, each hop checked. Each host is resolved at most once in the life of a connector.

    Every request has a bare ``HTTPTransport`` of its own: an ``httpx.Client`` would log the signed query, keep
    cookies and add headers, and a kept connection would skip the certificate check for a second name at one address.

    :param resolver: Returns the addresses of a host name.
    :param tls: Whom to trust, instead of what the network policy says.
    :param network: The way out; by default that of the environment.
    :param allow_loopback: Accept this machine, over plain HTTP and on any port too.
    :param private_hosts: Hosts and ports of the configuration that may have private addresses, at any hop.
    :param max_redirects: Hops to follow.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        network: NetworkPolicy | None = None,
        allow_loopback: bool = False,
        private_hosts: Collection[tuple[str, int]] = (),
        max_redirects: int = 5,
    ) -> None:
        self._resolve = functools.cache(resolver or system_resolver)
        self._network = network or NetworkPolicy.from_environment()
        self._tls = tls or ssl_context(self._network)
        self._allow_loopback = allow_loopback
        self._private_hosts = private_hosts
        self._max_redirects = max_redirects

    @contextmanager
    def open(
        self,
        link: str,
        *,
        headers: Mapping[str, str],
        timeout: httpx.Timeout | Callable[[], httpx.Timeout],
        attempt: int = 0,
    ) -> Iterator[httpx.Response]:
        """
        Yield the first response that is not a redirect, with its body unread.

        :param link: A result link.
        :param headers: What to send besides ``Host``.
        :param timeout: Timeouts of each hop, or what returns them right before it.
        :param attempt: Number of the attempt, from 0.
        :raises httpx.TransportError: there was no response.
        """

        def limits_now() -> httpx.Timeout:
            return timeout if isinstance(timeout, httpx.Timeout) else timeout()

        target = self.locate(read_link(link), allow_loopback=self._allow_loopback, seconds=limits_now().connect)
        for _ in range(self._max_redirects + 1):
            limits = limits_now()
            with self.send(target, headers=headers, timeout=limits, attempt=attempt) as response:
                location = response.headers.get("location")
                if response.status_code not in _REDIRECTS or not location:
                    yield response
                    return
            # A public host must not lead to this machine, whatever is allowed for the first link.
            target = self.locate(
                read_link(location, target.url), allow_loopback=target.loopback, seconds=limits_now().connect
            )
        raise EvoLinkMediaError(f"gave up after {self._max_redirects} redirects")

    @contextmanager
    def send(
        self, target: Target, *, headers: Mapping[str, str], timeout: httpx.Timeout, attempt: int = 0
    ) -> Iterator[httpx.Response]:
        """
        Send one request and yield its response, whatever it is, with its body unread.

        :param target: Where to, as checked by :meth:`locate`.
        :param headers: What to send besides ``Host``.
        :param timeout: Timeouts of the request.
        :param attempt: Number of the attempt, from 0: the next one goes to another address of the host.
        :raises httpx.TransportError: there was no response.
        """
        with _transport(self._tls, None if target.addresses else self.proxy_of(target.url)) as transport:
            with Watchdog((timeout.connect or 0) + (timeout.read or 0)) as watchdog:
                request = target.request(headers, timeout, attempt)
                request.extensions["trace"] = watchdog.trace
                response = transport.handle_request(request)
            try:
                yield response
            finally:
                response.close()

    def proxy_of(self, url: httpx.URL) -> httpx.Proxy | None:
        """Return the proxy that a link goes through; ``None``: its host is called directly."""
        return proxy_of(self._network, self._tls, url.scheme, _host(url), url.port)

    def locate(self, url: httpx.URL, *, allow_loopback: bool = False, seconds: float | None = None) -> Target:
        """
        Check the host of a link: where it is called directly, by all its addresses, else by what its name shows.

        :param url: The link.
        :param allow_loopback: Accept this machine.
        :param seconds: What the name may take to be resolved.
        """
        host = _host(url)
        listed = (compared_host(host), url.port or 443) in self._private_hosts
        check_link(url, allow_loopback=allow_loopback, listed=listed)
        if self.proxy_of(url) is not None:
            return check_name(url, listed=listed)
        try:
            found = [host] if literal_address(host) else _within(seconds, self._resolve, host, url.port or 443)
        except (OSError, UnicodeError):
            raise httpx.ConnectError("the host name could not be resolved") from None
        return check_addresses(url, found, allow_loopback=allow_loopback, listed=listed)


def _transport(tls: ssl.SSLContext, proxy: httpx.Proxy | None) -> httpx.HTTPTransport:
    try:
        return httpx.HTTPTransport(verify=tls, trust_env=False, proxy=proxy)
    except UNUSABLE:
        raise unusable_network() from None


def _within(seconds: float | None, resolve: Resolver, host: str, port: int) -> Sequence[str]:
    """Resolve a name in a thread of its own: the system's call cannot be ended, and takes as long as it likes."""
    found: Future[Sequence[str]] = Future()

    def run() -> None:
        try:
            found.set_result(resolve(host, port))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return found.result(seconds)
    except TimeoutError:
        if found.done():  # the resolver's own
            raise
        raise httpx.ConnectTimeout("the host name was not resolved in time") from None


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return all addresses of a host, as the operating system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]
