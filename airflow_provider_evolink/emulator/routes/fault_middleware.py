"""The outermost layer: counts requests, gives them ids, and applies queued faults to them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from airflow_provider_evolink.emulator.routes.fault_effects import FaultyRequest, apply_fault, without_results
from airflow_provider_evolink.emulator.routes.raw_transport import buffered_response, send_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_evolink.emulator.state.world import World

_OPERATION_OF_PATH = {
    "/v1/tasks/batch": "batch",
    "/v1/tasks": "list",
    "/v1/credits": "credits",
    "/v1/models": "models",
    "/api/v1/files/quota": "quota",
    "/api/v1/files/list": "files",
}
_OPERATION_OF_PREFIX = (
    ("/_emulator", "control"),
    ("/media/", "media"),
    ("/files/", "file"),
    ("/api/v1/files/upload/", "upload"),
    ("/api/v1/files/", "files"),
    ("/v1/tasks/", "read"),
)


def operation_of(path: str) -> str:
    """Return the operation of a path, such as ``submit``; ``control`` for the emulator's own routes."""
    if path in _OPERATION_OF_PATH:
        return _OPERATION_OF_PATH[path]
    if path.startswith("/v1/") and path.endswith("/generations"):
        return "submit"
    return next((name for prefix, name in _OPERATION_OF_PREFIX if path.startswith(prefix)), "other")


class FaultMiddleware:
    """
    The ASGI layer around the application.

    :param app: The emulator without faults.
    :param world: Its state.
    """

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with the next fault that matches it."""
        operation = operation_of(scope["path"]) if scope["type"] == "http" else "control"
        if operation == "control":
            await self._app(scope, receive, send)
            return
        self._count(operation, scope)
        request_id = secrets.token_hex(8)
        send = _with_request_id(send, request_id)
        fault = self._world.faults.take(operation, scope["path"])
        if fault is None:
            await self._serve(operation, scope, receive, send)
        else:
            await apply_fault(FaultyRequest(self._app, fault, operation, request_id, scope, receive, send))

    def _count(self, operation: str, scope: Scope) -> None:
        books = self._world.books
        books.requests[operation] += 1
        if operation == "media" and any(name == b"authorization" for name, _ in scope["headers"]):
            books.media_requests_with_authorization += 1

    async def _serve(self, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        if operation not in {"read", "batch"}:
            await self._app(scope, receive, send)
            return
        response = await buffered_response(self._app, scope, receive)
        if b'"status":"completed"' in response.body:
            fault = self._world.faults.take(operation, scope["path"], "result")
            if fault is not None:
                response = without_results(response, fault.params.get("as", "missing"))
        await send_response(response, send)


def _with_request_id(send: Send, request_id: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
        await send(message)

    return send_with_id
