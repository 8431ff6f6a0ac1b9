"""Where to call EvoLink and with which key: checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_evolink.api.addresses import host_of, is_local_host
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.redaction import sanitize

API_URL = "https://api.evolink.ai"
FILES_URL = "https://files-api.evolink.ai"
EVOLINK_HOSTS = frozenset({"api.evolink.ai", "files-api.evolink.ai"})
_ADDRESS = re.compile(r"[\x21-\x7e]+")
_KEY = re.compile(r"[\x21-\x7e]{8,512}")


@dataclass(frozen=True)
class ClientSettings:
    """
    Settings of a client.

    :param api_key: Bearer key. Never shown by ``repr``.
    :param base_url: Address of the API.
    :param files_url: Address of the files API (another host, same key).
    :param read_timeout: Seconds for a whole read call.
    :param submit_timeout: Seconds for a whole order. Past it the outcome is unknown.
    :param connect_timeout: Seconds to connect. Past it nothing was sent.
    :param honors_idempotency_key: Whether EvoLink is known to answer a repeated key with the first job.
    :param retry_wait: Longest wait between two tries of one call, in seconds; a longer ``Retry-After`` is raised.
    """

    api_key: str = field(repr=False)
    base_url: str = API_URL
    files_url: str = FILES_URL
    read_timeout: float = 15.0
    submit_timeout: float = 30.0
    connect_timeout: float = 5.0
    retry_wait: float = 30.0
    honors_idempotency_key: bool = False

    def __post_init__(self) -> None:
        check_key(self.api_key)

    @property
    def is_local(self) -> bool:
        """Whether the API is on this machine: the emulator."""
        return is_local_host(host_of(self.base_url))


def check_key(key: str | None) -> str:
    """
    Return the key, or refuse one that cannot be sent in a header. The text of the error never holds it.

    :param key: What the connection has as password.
    :raises EvoLinkConfigError: missing, blank, or with blanks, newlines or non-ASCII characters in it.
    """
    if not key or not key.strip():
        raise EvoLinkConfigError("no API key: put the EvoLink key into the connection's password (API key)")
    if not _KEY.fullmatch(key):
        raise EvoLinkConfigError(
            "the API key has a blank, a newline or a character that keys do not have, or a wrong length: "
            "copy it again from the EvoLink dashboard, without quotes or line end"
        )
    return key


def check_seconds(value: object, default: float, *, field: str) -> float:
    """
    Read a number of seconds from a connection's extra; absent or empty means the default.

    :param value: Number or text.
    :param default: What absent means.
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


def check_url(url: str, *, field: str, allowed_hosts: Collection[str] = ()) -> str:
    """
    Return an API address the key may be sent to, without a trailing slash.

    Allowed are EvoLink's own hosts and ``allowed_hosts`` over HTTPS, and loopback (the emulator) also over HTTP.

    :param url: ``https://host[:port]``, or a bare host, which means HTTPS.
    :param field: Name of the setting, for the error text.
    :param allowed_hosts: Further hosts, from the deployment's configuration.
    :raises EvoLinkConfigError: another host, another scheme, or a path, query or user in the address.
    """
    wrong = EvoLinkConfigError(f"{field} must be https://host[:port] and nothing more")
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if (
        not host
        or not _ADDRESS.fullmatch(url)
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
        or parts.path.strip("/")
    ):
        raise wrong
    if host not in EVOLINK_HOSTS | {name.lower() for name in allowed_hosts} and not is_local_host(host):
        raise EvoLinkConfigError(
            f"{field}: host {sanitize(host, 80)} is not allowed to get the API key; the deployment's airflow.cfg "
            "can allow it in [evolink] allowed_hosts"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local_host(host)):
        raise EvoLinkConfigError(f"{field}: only https is allowed (http for loopback)")
    netloc = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port else "")
