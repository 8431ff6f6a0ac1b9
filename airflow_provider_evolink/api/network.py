"""The one way out for every call: through which proxy, and whom it trusts. Decided here, without I/O."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_evolink.api.addresses import is_local_host, literal_address
from airflow_provider_evolink.api.errors import EvoLinkConfigError

_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_LOWER = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = (*_LOWER, *(name.upper() for name in _LOWER), "SSL_CERT_FILE", "SSL_CERT_DIR")
_EXEMPTION = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class NetworkPolicy:
    """
    How the calls of this deployment leave the machine: API, files API and media alike.

    Without arguments: directly, and only the public authorities are trusted.

    :param http_proxy: URL of the proxy for ``http://``. It may hold a password and is never shown.
    :param https_proxy: URL of the proxy for ``https://``.
    :param no_proxy: Hosts that are called directly: names with their subdomains, addresses, networks, ``*``.
    :param ca_file: File with the certificates of the authorities to trust instead of the public ones; or a folder.
    :param ca_folder: Folder of such certificates, named by their hashes as OpenSSL does. Both may be given.
    """

    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    ca_folder: str | None = None

    @staticmethod
    def from_environment(
        *, proxy: str = "", ca_bundle: str = "", environ: Mapping[str, str] | None = None
    ) -> NetworkPolicy:
        """
        Return the policy of the environment, and of a configuration that overrides it.

        Read are ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, where the lower-case name wins, and
        ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.

        :param proxy: URL of the proxy for all calls; ``NO_PROXY`` still exempts hosts.
        :param ca_bundle: File or folder with the authorities to trust, instead of those of the environment.
        :param environ: The environment, by default that of this process.
        :raises EvoLinkConfigError: ``proxy`` is not the URL of a proxy; the message does not hold it.
        """
        found = os.environ if environ is None else environ
        return _read(proxy.strip(), ca_bundle.strip(), *(found.get(name) for name in _VARIABLES))

    def proxy_for(self, scheme: str, host: str, port: int | None = None) -> str | None:
        """
        Return the proxy that a call goes through; ``None``: it goes directly, as all calls to this machine do.

        :param scheme: ``http`` or ``https``.
        :param host: Name or address, in lower case.
        :param port: The port, where the URL has one.
        """
        name, number = host.removesuffix("."), port or _PORTS.get(scheme, 0)
        if is_local_host(name) or any(exempts(entry, name, number) for entry in self.no_proxy):
            return None
        return self.https_proxy if scheme == "https" else self.http_proxy


def exempts(entry: str, host: str, port: int) -> bool:
    """
    Return whether an entry of ``NO_PROXY`` exempts a host.

    :param entry: A name, which covers its subdomains, an address or a network; with a port, only that port.
    :param host: Name or address, in lower case, without a final dot.
    :param port: The port that is called.
    """
    wanted, only = _read_exemption(entry)
    if wanted == "*":
        return True
    if only not in (None, port):
        return False
    address, network = literal_address(host), _network(wanted)
    if address is not None:
        return network is not None and address in network
    return bool(wanted) and (host == wanted or host.endswith(f".{wanted}"))


@functools.cache
def _read_exemption(entry: str) -> tuple[str, int | None]:
    """Return what an entry names, without wildcard and dots around it, and its port."""
    text = entry.strip().lower().rpartition("://")[2].rstrip("/")
    if text == "*":
        return text, None
    found = _EXEMPTION.fullmatch(text)
    if found is None:
        return text, None  # an IPv6 address without brackets
    name = (found["six"] or found["host"]).lstrip("*").strip(".")
    return name, int(found["port"]) if found["port"] else None


@functools.cache
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def check_proxy(text: str) -> str | None:
    """
    Return the URL of a proxy, or ``None`` for an empty text.

    :param text: ``[evolink] proxy`` of the configuration: a URL, or ``host:port``, which means ``http://``.
    :raises EvoLinkConfigError: it is something else; the message does not hold it, as it may hold a password.
    """
    if not text:
        return None
    url = _with_scheme(text)
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _PROXY_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or re.search(r"[\s\x00-\x1f]", url) or parts.path.strip("/") or parts.query or parts.fragment:
        raise EvoLinkConfigError(
            "[evolink] proxy must be http://host:port, https://host:port or socks5://host:port. What to do: correct it "
            "in the deployment's configuration"
        )
    return url


@functools.lru_cache(maxsize=16)
def _read(proxy: str, ca_bundle: str, *values: str | None) -> NetworkPolicy:
    """Read the texts of configuration and environment, once for all clients of a process."""
    found = {name: value for name, value in zip(_VARIABLES, values, strict=True) if value is not None}
    # A lower-case name wins even where it is empty, which switches the other off.
    low = {name: found.get(name, found.get(name.upper(), "")) for name in _LOWER}
    chosen = check_proxy(proxy)
    plain, secure = (chosen or low[name] or low["all_proxy"] for name in ("http_proxy", "https_proxy"))
    return NetworkPolicy(
        http_proxy=_with_scheme(plain) if plain else None,
        https_proxy=_with_scheme(secure) if secure else None,
        no_proxy=tuple(entry for entry in re.split(r"[,\s]+", low["no_proxy"]) if entry),
        ca_file=ca_bundle or found.get("SSL_CERT_FILE") or None,
        ca_folder=None if ca_bundle else found.get("SSL_CERT_DIR") or None,
    )


def _with_scheme(text: str) -> str:
    return text if "://" in text else f"http://{text}"
