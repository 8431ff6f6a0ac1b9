"""Which of EvoLink's hosts can be reached from here, by the way out that every call takes. No key is sent; free."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import httpx

from airflow_provider_evolink.api.addresses import is_local_host
from airflow_provider_evolink.api.errors import EvoLinkLinkRefused
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.http.failures import is_certificate_error
from airflow_provider_evolink.api.http.transport import USER_AGENT, ssl_context
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.settings import API_URL, FILES_URL

# Hosts of result links as recorded and as in EvoLink's examples; EvoLink documents none.
MEDIA_URLS = ("https://files.evolink.ai", "https://media.evolink.ai", "https://cdn.evolink.ai")
TIMEOUT = 5.0  # seconds to connect, and again to respond
_BY_GATEWAYS = frozenset({407, 502, 503, 504, 511})


@dataclass(frozen=True)
class HostCheck:
    """
    What came of calling one host.

    :param host: Its name.
    :param purpose: ``API``, ``files API`` or ``media``.
    :param route: ``directly`` or ``through the proxy``.
    :param fault: Why it cannot be reached; ``None``: it can.
    """

    host: str
    purpose: str
    route: str
    fault: str | None = None

    @property
    def is_failure(self) -> bool:
        """Whether calls will fail; of media hosts that is not known, since EvoLink documents none."""
        return self.fault is not None and self.purpose != "media"

    @property
    def line(self) -> str:
        """What the user reads about it."""
        name = f"{self.host} ({self.purpose})"
        if self.fault is None:
            return f"{name} can be reached {self.route}"
        level = "error" if self.is_failure else "warning"
        return f"{level}: {name} cannot be reached {self.route}: {self.fault}"


def check_network(
    network: NetworkPolicy, *, api: str | None = API_URL, files: str | None = FILES_URL, media: bool = True
) -> list[HostCheck]:
    """
    Call each host once, all at the same time: a matter of seconds.

    :param network: The way out.
    :param api: Base URL of the API; ``None`` leaves it out.
    :param files: Base URL of the files API; ``None`` leaves it out.
    :param media: Whether to call the media hosts that were seen in links.
    :raises EvoLinkConfigError: proxy or certificates of the policy cannot be used.
    """
    calls = [(url, purpose) for url, purpose in ((api, "API"), (files, "files API")) if url]
    calls += [(url, "media") for url in MEDIA_URLS if media]
    ssl_context(network)
    with ThreadPoolExecutor(len(calls) or 1) as threads:
        return list(threads.map(lambda call: _check(network, *call), calls))


def describe(checks: Sequence[HostCheck]) -> str:
    """
    Return the outcome of a check as a sentence or two.

    :param checks: What came of calling each host.
    """
    lines = [check.line for check in checks if check.fault is not None]
    reached = ", ".join(check.host for check in checks if check.fault is None)
    if reached:
        lines.insert(0, f"{reached} can be reached")
    if any(check.fault is not None for check in checks):
        lines.append(
            "What to do: let the workers and the triggerer reach these hosts, or set [evolink] proxy and ca_bundle in "
            "the deployment's configuration"
        )
    return ". ".join(lines)


def print_check(network: NetworkPolicy, *, as_json: bool) -> int:
    """
    Write the outcome of a check to the standard output, and return the exit status: 1 if calls will fail, else 0.

    :param network: The way out.
    :param as_json: Write JSON.
    """
    checks = check_network(network)
    if as_json:
        sys.stdout.write(json.dumps([asdict(check) for check in checks], indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{check.line}\n" for check in checks)
    return int(any(check.is_failure for check in checks))


def _check(network: NetworkPolicy, url: str, purpose: str) -> HostCheck:
    parsed, connector = httpx.URL(url), hosts.Connector(network=network)
    route = "directly" if connector.proxy_of(parsed) is None else "through the proxy"
    try:
        status = _status(connector, parsed, is_media=purpose == "media")
        fault = f"HTTP {status}, which a proxy or a gateway sends" if status in _BY_GATEWAYS else None
    except EvoLinkLinkRefused as error:
        fault = error.message
    except httpx.HTTPError as error:
        fault = "its certificate is not trusted" if is_certificate_error(error) else type(error).__name__
    return HostCheck(parsed.host, purpose, route, fault)


def _status(connector: hosts.Connector, url: httpx.URL, *, is_media: bool) -> int:
    direct = hosts.Target(url, (), loopback=is_local_host(url.host))
    target = connector.locate(url, seconds=TIMEOUT) if is_media else direct
    headers = {"User-Agent": USER_AGENT}
    with connector.send(target, headers=headers, timeout=httpx.Timeout(TIMEOUT)) as response:
        return response.status_code
