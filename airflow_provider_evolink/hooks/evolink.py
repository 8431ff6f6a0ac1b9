"""Turn an Airflow connection into an EvoLink client."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook, conf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.files.network_check import HostCheck
    from airflow_provider_evolink.api.jobs.credits import Credits
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.api.network import NetworkPolicy
    from airflow_provider_evolink.api.settings import ClientSettings


class EvoLinkHook(BaseHook):
    """
    Connect to EvoLink with the API key of an Airflow connection.

    The key is the connection's password. The host is optional; it must be EvoLink's own, loopback (the emulator), or
    listed in ``[evolink] allowed_hosts`` of the deployment's configuration, so that someone who edits a connection
    cannot send the key elsewhere. Extras: ``files_host``, ``timeout``, ``submit_timeout`` (seconds),
    ``honors_idempotency_key`` (for ``on_unknown_submit="replay"``).

    :param evolink_conn_id: Connection of type ``evolink``.
    """

    conn_name_attr = "evolink_conn_id"
    default_conn_name = "evolink_default"
    conn_type = "evolink"
    hook_name = "EvoLink"

    def __init__(self, evolink_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.evolink_conn_id = evolink_conn_id

    def __getstate__(self) -> dict[str, Any]:
        """Leave the settings, which hold the key, out of pickles and copies: a copy reads the connection itself."""
        return {name: value for name, value in self.__dict__.items() if name != "settings"}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form for Airflow before 3.2; later versions read it from the provider metadata."""
        from airflow_provider_evolink.get_provider_info import get_provider_info

        form = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in form.items()}

    @functools.cached_property
    def settings(self) -> ClientSettings:
        """
        Checked settings of the connection. Sends nothing.

        :raises EvoLinkConfigError: the key or the host is unusable; the message never holds the key.
        """
        connection = self.get_connection(self.evolink_conn_id)
        return settings_of(connection, connection.extra_dejson)

    @classmethod
    async def aget_settings(cls, evolink_conn_id: str) -> ClientSettings:
        """
        Return checked settings without blocking the triggerer's event loop.

        :param evolink_conn_id: Connection of type ``evolink``.
        """
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        connection = await get_async_connection(evolink_conn_id)
        return settings_of(connection, await get_async_extra_dejson(connection))

    def get_conn(self) -> EvoLinkClient:
        """Return a new client; close it, or use it in ``with``."""
        from airflow_provider_evolink.api.client import EvoLinkClient

        return EvoLinkClient(self.settings, renew=self._reload_settings)

    def _reload_settings(self) -> ClientSettings:
        self.__dict__.pop("settings", None)
        return self.settings

    def get_job(self, job_id: str) -> Job:
        """
        Read one job. Free of charge; a completed job comes with fresh links.

        :param job_id: EvoLink's id.
        """
        with self.get_conn() as client:
            return client.get_job(job_id)

    def get_credits(self) -> Credits:
        """Read the balance of account and key. Free of charge."""
        with self.get_conn() as client:
            return client.get_credits()

    def test_connection(self) -> tuple[bool, str]:
        """
        Read the balance and check the network, for the *Test* button of a connection. Free of charge.

        A media host that cannot be reached is only a warning: EvoLink documents none.
        """
        from airflow_provider_evolink.api.errors import EvoLinkError
        from airflow_provider_evolink.api.files.network_check import describe
        from airflow_provider_evolink.api.jobs.credits import credits_text

        try:
            credits_ = self.get_credits()
            checks = check_other_hosts(self.settings)
        except EvoLinkError as error:
            return False, str(error)
        text = f"EvoLink accepts the key: {credits_text(credits_.available)} left"
        return not any(check.is_failure for check in checks), ". ".join(filter(None, (text, describe(checks))))


def settings_of(connection: Connection, extra: Mapping[str, Any]) -> ClientSettings:
    """
    Turn a connection into checked settings. Unknown extras are ignored.

    :param connection: Connection of type ``evolink``.
    :param extra: Its extra, as a dict.
    :raises EvoLinkConfigError: a field is unusable; the message names it.
    """
    from airflow_provider_evolink.api import settings as api
    from airflow_provider_evolink.api.addresses import is_local_host
    from airflow_provider_evolink.metrics import count_rate_limit

    # The deployment's configuration, not the connection, says who else may receive the key.
    allowed = _listed("allowed_hosts")
    base_url = api.check_url(_base_url(connection) or api.API_URL, field="host", allowed_hosts=allowed)
    local = is_local_host(urlsplit(base_url).hostname)
    files_url = str(extra.get("files_host") or (base_url if local else api.FILES_URL))
    return api.ClientSettings(
        api_key=connection.password or "",
        base_url=base_url,
        files_url=api.check_url(files_url, field="files_host", allowed_hosts=allowed),
        read_timeout=api.check_seconds(extra.get("timeout"), 15.0, field="timeout"),
        submit_timeout=api.check_seconds(extra.get("submit_timeout"), 30.0, field="submit_timeout"),
        honors_idempotency_key=str(extra.get("honors_idempotency_key", "")).lower() in ("true", "1"),
        network=network_policy(),
        private_media_hosts=api.check_hosts(_listed("private_media_hosts"), field="private_media_hosts"),
        on_rate_limit=count_rate_limit,
    )


def _listed(option: str) -> list[str]:
    return str(conf.get("evolink", option, fallback="") or "").replace(",", " ").split()


def check_other_hosts(settings: ClientSettings) -> list[HostCheck]:
    """
    Check whether the hosts can be reached that reading the balance does not touch.

    :param settings: Settings of the connection; the emulator serves all from one host, so it has no others.
    """
    from airflow_provider_evolink.api.files.network_check import check_network

    files = settings.files_url if settings.files_url != settings.base_url else None
    return check_network(settings.network, api=None, files=files, media=not settings.is_local)


def network_policy() -> NetworkPolicy:
    """
    Return the way out of this deployment: its environment, overridden by ``[evolink] proxy`` and ``ca_bundle``.

    A connection has no say in it: whoever edits one could otherwise send the key elsewhere.

    :raises EvoLinkConfigError: ``[evolink] proxy`` is not the URL of a proxy.
    """
    from airflow_provider_evolink.api.network import NetworkPolicy

    proxy, ca_bundle = (conf.get("evolink", name, fallback="") or "" for name in ("proxy", "ca_bundle"))
    return NetworkPolicy.from_environment(proxy=str(proxy), ca_bundle=str(ca_bundle))


def _base_url(connection: Connection) -> str | None:
    """Combine host, port and scheme of a connection, whichever fields they were entered in."""
    host = (connection.host or "").strip()
    if not host or "://" in host:
        return host or None
    from airflow_provider_evolink.api.addresses import is_local_host

    scheme = connection.schema or ("http" if is_local_host(host) else "https")
    return f"{scheme}://{host}" + (f":{connection.port}" if connection.port else "")
