"""Where to call EvoLink and with which key: checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_evolink.api.addresses import compared_host, is_local_host
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.redaction import sanitize

API_URL = "https://api.evolink.ai"
FILES_URL = "https://files-api.evolink.ai"
EVOLINK_HOSTS = frozenset({"api.evolink.ai", "files-api.evolink.ai"})
_ADDRESS = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9_.:-]+")
_KEY = re.compile(r"[\x21-\x7e]{8,512}")
_AROUND = "\"'`<>\\,"  # what surrounds a key that was copied out of a file or a page


@dataclass(frozen=True)
class ClientSettings:
    """
    Settings of a client.

    :param api_key: Bearer key. Never shown by ``repr``.
    :param base_url: Base URL of the API.
    :param files_url: Base URL of the files API (another host, same key).
    :param read_timeout: Seconds for a whole read call.
    :param submit_timeout: Seconds for a whole submit call. Past it the outcome is unknown.
    :param connect_timeout: Seconds to connect. Past it nothing was sent.
    :param honors_idempotency_key: Whether EvoLink is known to respond to a repeated key with the first job.
    :param retry_wait: Maximum wait between two attempts of one call, in seconds; a longer ``Retry-After`` is raised.
    :param network: Proxy and trusted authorities of every call, uploads and downloads included; by default those of the
        environment (``HTTPS_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and so on).
    :param private_media_hosts: Hosts and ports, as :func:`check_hosts` returns them, that may have private addresses
        when results are downloaded.
    :param on_rate_limit: Called at each response with status 429, for metrics. It must neither block nor raise.
    """

    api_key: str = field(repr=False)
    base_url: str = API_URL
    files_url: str = FILES_URL
    read_timeout: float = 15.0
    submit_timeout: float = 30.0
    connect_timeout: float = 5.0
    retry_wait: float = 30.0
    honors_idempotency_key: bool = False
    network: NetworkPolicy = field(default_factory=NetworkPolicy.from_environment)
    private_media_hosts: frozenset[tuple[str, int]] = frozenset()
    on_rate_limit: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """
        Refuse a key that cannot be sent in a header. The error never holds it.

        :raises EvoLinkConfigError: missing, blank, in quotes, or with blanks, newlines or non-ASCII characters in it.
        """
        if not self.api_key or not self.api_key.strip():
            raise EvoLinkConfigError("no API key: put the EvoLink key into the connection's password (API key)")
        if self.api_key.strip()[0] in _AROUND or self.api_key.strip()[-1] in _AROUND:
            raise EvoLinkConfigError(
                "the API key begins or ends with a quote, a bracket, a comma or a backslash, so it is not sent. What "
                "to do: put the bare key into the connection's password"
            )
        if not _KEY.fullmatch(self.api_key):
            raise EvoLinkConfigError(
                "the API key has invalid characters, such as a blank or a newline, or an invalid length, so it is not "
                "sent. What to do: copy it again from the EvoLink dashboard, without quotes or line end"
            )

    @property
    def is_local(self) -> bool:
        """Whether the API runs on this machine: the emulator."""
        return is_local_host(urlsplit(self.base_url).hostname)


def check_seconds(value: object, default: float, *, field: str) -> float:
    """
    Parse a number of seconds in a connection's extra; absent or empty means the default.

    :param value: Number or text.
    :param default: Seconds if it is absent.
    :param field: Name of the extra, for the error text.
    :raises EvoLinkConfigError: not a number from 1 to 600.
    """
    if value in (None, ""):
        return default
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 600.0:
        raise EvoLinkConfigError(f"{field} must be a number of seconds from 1 to 600")
    return seconds


def check_hosts(texts: Iterable[str], *, field: str) -> frozenset[tuple[str, int]]:
    """
    Return hosts and ports of a list in the configuration; without a port, 443 is meant.

    :param texts: Each ``host`` or ``host:port``.
    :param field: Name of the setting, for the error text.
    :raises EvoLinkConfigError: one of them is something else, such as a URL.
    """
    return frozenset(_host_and_port(text, field) for text in texts)


def _host_and_port(text: str, field: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port = "", None
    if not host or port == 0 or not _HOST.fullmatch(host) or parts.netloc != text or "@" in text:
        raise EvoLinkConfigError(
            f"[evolink] {field}: {sanitize(text, 80)} is no host. What to do: write host or host:port, without "
            "https:// and path, in the deployment's configuration"
        )
    return compared_host(host), port or 443


def check_url(url: str, *, field: str, allowed_hosts: Collection[str] = ()) -> str:
    """
    Return a base URL that the key may be sent to, without a trailing slash.

    Allowed are EvoLink's own hosts and ``allowed_hosts`` over HTTPS, and loopback (the emulator) also over HTTP.

    :param url: ``https://host[:port]``, or a bare host, which means HTTPS.
    :param field: Name of the setting, for the error text.
    :param allowed_hosts: Further hosts, from the deployment's configuration.
    :raises EvoLinkConfigError: another host, another scheme, or a path, query or user name in it.
    """
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
        extra = parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/")
    except ValueError:
        host = None
    if not host or extra or not _ADDRESS.fullmatch(url):
        raise EvoLinkConfigError(f"{field} must be https://host[:port], without a path")
    if host not in EVOLINK_HOSTS | {name.lower() for name in allowed_hosts} and not is_local_host(host):
        raise EvoLinkConfigError(
            f"{field}: host {sanitize(host, 80)} is not in [evolink] allowed_hosts of the deployment's airflow.cfg; "
            "refusing to send the API key"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local_host(host)):
        raise EvoLinkConfigError(f"{field}: only https is allowed (http on this machine)")
    netloc = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port else "")
