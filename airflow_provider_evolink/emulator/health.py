"""Asks a running emulator whether it is well: for the health check of a container."""

from __future__ import annotations

import http.client
import ssl

_SECONDS = 5
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def is_healthy(host: str, port: int, *, tls: bool) -> bool:
    """
    Return whether an emulator on this machine serves requests.

    :param host: The address that it listens on.
    :param port: Its port.
    :param tls: Whether it serves HTTPS. The certificate is not checked: it need not name this address.
    """
    address = _ANYWHERE.get(host, host)
    connection = _over_tls(address, port) if tls else http.client.HTTPConnection(address, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/_emulator/health", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _over_tls(address: str, port: int) -> http.client.HTTPSConnection:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(address, port, timeout=_SECONDS, context=context)
