"""What the routes read from a request: the caller, the JSON body, numbers of the query."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.input_media import is_loopback_host
from airflow_provider_evolink.emulator.orders.order import Caller
from airflow_provider_evolink.emulator.routes.bodies import api_error

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_evolink.emulator.settings import Settings

_MAX_BODY = 10 * 1024 * 1024


def authenticate(request: Request, settings: Settings, operation: str) -> Caller:
    """
    Check the API key and return the caller.

    :param request: The request.
    :param settings: Hold the accepted keys.
    :param operation: Decides the form of the error body.
    :raises ApiError: There is no acceptable key.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    accepted = not settings.keys or key in settings.keys
    if scheme.lower() != "bearer" or not key or "expired" in key or not accepted:
        raise api_error(401, operation)
    return Caller.from_key(key)


def is_local(request: Request) -> bool:
    """Return whether a request was sent from this machine; only then may it make the emulator fetch from there."""
    return request.client is None or is_loopback_host(request.client.host)


def base_url(request: Request, settings: Settings) -> str:
    """
    Return scheme, host and port as the client sees them; links start with it.

    :param request: The request.
    :param settings: Hold the public address, if there is one.
    """
    return (settings.public_url or str(request.base_url)).rstrip("/")


def own_urls(request: Request, settings: Settings) -> tuple[str, ...]:
    """
    Return all that links to results and uploads of this emulator may start with.

    :param request: The request.
    :param settings: Hold the public address, if there is one.
    """
    return (base_url(request, settings), str(request.base_url).rstrip("/"))


async def read_json(request: Request, max_bytes: int = _MAX_BODY) -> Any:
    """
    Return the decoded JSON body.

    :param request: The request.
    :param max_bytes: A larger body is refused.
    :raises ApiError: The body is too large, not declared as JSON, or not JSON.
    """
    declared = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise api_error(415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise api_error(413)
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise api_error(400, message="the request body is not valid JSON") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def query_number(request: Request, name: str, default: int, maximum: int) -> int:
    """
    Return a positive integer of the query.

    :param request: The request.
    :param name: The query parameter.
    :param default: Returned if it is missing or no such number.
    :param maximum: Returned if it is larger.
    """
    value = request.query_params.get(name, "")
    return min(int(value), maximum) if value.isascii() and value.isdigit() and int(value) > 0 else default
