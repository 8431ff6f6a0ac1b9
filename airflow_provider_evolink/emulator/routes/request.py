"""Small helpers the routes share: who calls, what was sent, where we are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.routes.bodies import api_error
from airflow_provider_evolink.emulator.state.world import Caller, World

if TYPE_CHECKING:
    from starlette.requests import Request

_LARGEST_BODY = 10 * 1024 * 1024


def caller_of(request: Request, world: World, operation: str) -> Caller:
    """
    Check the API key.

    :param request: The request.
    :param world: Knows which keys are accepted.
    :param operation: The call, for the right error body.
    :raises ApiError: There is no acceptable key.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    accepted = not world.settings.keys or key in world.settings.keys
    if scheme.lower() != "bearer" or not key or "expired" in key or not accepted:
        raise api_error(401, operation)
    return Caller.of(key)


def base_of(request: Request) -> str:
    """
    Return scheme, host and port as the caller sees them; links are built on it.

    :param request: The request.
    """
    return str(request.base_url).rstrip("/")


async def json_of(request: Request, largest: int = _LARGEST_BODY) -> Any:
    """
    Return the decoded JSON body.

    :param request: The request.
    :param largest: Most bytes accepted.
    :raises ApiError: The body is too large, not declared as JSON, or not JSON.
    """
    declared = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise api_error(415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise api_error(413)
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise api_error(400, message="the request body is not valid JSON") from error


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def number_from(request: Request, name: str, default: int, highest: int) -> int:
    """
    Return a positive whole number from the query.

    :param request: The request.
    :param name: The query parameter.
    :param default: If it is missing or unusable.
    :param highest: Larger ones become this.
    """
    value = request.query_params.get(name, "")
    return min(int(value), highest) if value.isascii() and value.isdigit() and int(value) > 0 else default
