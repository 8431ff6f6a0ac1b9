"""The outermost layer: counts requests, names them, and lets queued faults happen to them."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.routes.bodies import error_body
from airflow_provider_evolink.emulator.routes.raw_transport import (
    Answer,
    answer_of,
    cut,
    drain,
    send_answer,
    send_raw,
    until_closed,
)
from airflow_provider_evolink.emulator.state.links import EXPIRED_LINK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_evolink.emulator.state.faults import Fault
    from airflow_provider_evolink.emulator.state.world import World

_HTML = "<!doctype html><html><head><title>Please wait</title></head><body><h1>One moment</h1></body></html>"
_FIXED = {
    "/v1/tasks/batch": "batch",
    "/v1/tasks": "list",
    "/v1/credits": "credits",
    "/v1/models": "models",
    "/api/v1/files/quota": "quota",
    "/api/v1/files/list": "files",
}
_PREFIXES = (
    ("/_emulator", "control"),
    ("/media/", "media"),
    ("/files/", "file"),
    ("/api/v1/files/upload/", "upload"),
    ("/api/v1/files/", "files"),
    ("/v1/tasks/", "read"),
)


def operation_of(path: str) -> str:
    """
    Name the call a path stands for.

    :param path: Path of the request.
    """
    if path in _FIXED:
        return _FIXED[path]
    if path.startswith("/v1/") and path.endswith("/generations"):
        return "submit"
    return next((name for prefix, name in _PREFIXES if path.startswith(prefix)), "other")


class Misbehave:
    """
    The ASGI layer around the application.

    :param app: The well-behaved emulator.
    :param world: Its state.
    """

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with the fault that waits for it if there is one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        operation = operation_of(scope["path"])
        if operation == "control":
            await self._app(scope, receive, send)
            return
        self._count(operation, scope)
        named = _with_request_id(send)
        fault = self._world.faults.take(operation, scope["path"])
        if fault is None:
            await self._serve(operation, scope, receive, named)
        else:
            await _Incident(self._app, fault, operation, (scope, receive, named)).happen()

    def _count(self, operation: str, scope: Scope) -> None:
        books = self._world.books
        books.requests[operation] += 1
        if operation == "media" and any(name == b"authorization" for name, _ in scope["headers"]):
            books.media_requests_with_authorization += 1

    async def _serve(self, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        if operation not in {"read", "batch"}:
            await self._app(scope, receive, send)
            return
        answer = await answer_of(self._app, scope, receive)
        if b'"status":"completed"' in answer.body:
            fault = self._world.faults.take(operation, scope["path"], "result")
            if fault is not None:
                answer = _patched(answer, lambda job: _without_results(job, fault.params.get("as", "missing")))
        await send_answer(answer, send)


class _Incident:
    """One fault happening to one request."""

    def __init__(self, app: ASGIApp, fault: Fault, operation: str, asgi: tuple[Scope, Receive, Send]) -> None:
        self._app = app
        self._kind = fault.kind
        self._params = fault.params
        self._operation = operation
        self._scope, self._receive, self._send = asgi

    async def happen(self) -> None:
        if self._kind in _BEFORE:
            await _BEFORE[self._kind](self)
            return
        answer = await answer_of(self._app, self._scope, self._receive)
        await _AFTER[self._kind](self, answer)

    async def _instead(self, answer: Answer) -> None:
        if self._params.get("processed"):
            await answer_of(self._app, self._scope, self._receive)
        else:
            await drain(self._receive)
        await send_answer(answer, self._send)

    async def status(self) -> None:
        status, given = self._params["status"], self._params.get("body")
        names = {"code": "code", "message": "message", "type": "type_", "param": "param"}
        details = {ours: self._params[name] for name, ours in names.items() if name in self._params}
        content = error_body(status, self._operation, **details) if given is None else given
        body = content if isinstance(content, str) else json.dumps(content)
        answer = Answer(status, [("content-type", "application/json")]).with_body(body.encode())
        for name, value in self._params.get("headers", {}).items():
            answer.put(name, str(value))
        await self._instead(answer)

    async def html(self) -> None:
        body = self._params.get("text", _HTML).encode()
        status = self._params.get("status", 200)
        await self._instead(Answer(status, [("content-type", "text/html; charset=utf-8")]).with_body(body))

    async def link_expired(self) -> None:
        await self._instead(Answer(403, [("content-type", "application/xml")]).with_body(EXPIRED_LINK))

    async def redirect(self) -> None:
        head = [("location", str(self._params["location"]))]
        await self._instead(Answer(self._params.get("status", 302), head).with_body(b""))

    async def ignore_range(self) -> None:
        unwanted = {b"range", b"if-range"}
        headers = [(name, value) for name, value in self._scope["headers"] if name not in unwanted]
        await self._app({**self._scope, "headers": headers}, self._receive, self._send)

    async def cut_before(self) -> None:
        await drain(self._receive)
        cut(self._scope, reset=bool(self._params.get("reset")))
        await until_closed(self._receive)

    async def lost_answer(self, _: Answer) -> None:
        cut(self._scope, reset=bool(self._params.get("reset")))
        await until_closed(self._receive)

    async def delay(self, answer: Answer) -> None:
        await asyncio.sleep(self._params.get("seconds", 1))
        await send_answer(answer, self._send)

    async def _raw(self, answer: Answer, **how: Any) -> None:
        answer.put("x-request-id", _new_request_id())
        await send_raw(self._scope, answer, **how)
        await until_closed(self._receive)

    async def cut_body(self, answer: Answer) -> None:
        first = self._params.get("bytes", len(answer.body) // 2)
        await self._raw(answer, pieces=[answer.body[:first]], reset=bool(self._params.get("reset")))

    async def wrong_length(self, answer: Answer) -> None:
        true_length = int(answer.get("content-length") or len(answer.body))
        answer.put("content-length", str(max(0, true_length + self._params.get("by", 1000))))
        await self._raw(answer)

    async def no_length(self, answer: Answer) -> None:
        answer.put("content-length", None)
        await self._raw(answer)

    async def drip(self, answer: Answer) -> None:
        size = max(1, self._params.get("bytes", 1))
        pieces = (answer.body[at : at + size] for at in range(0, len(answer.body), size))
        await self._raw(answer, pieces=pieces, pause=self._params.get("seconds", 0.1))

    async def empty_body(self, answer: Answer) -> None:
        await send_answer(answer.with_body(b""), self._send)

    async def malformed_json(self, answer: Answer) -> None:
        text = self._params.get("text")
        broken = answer.body[: len(answer.body) // 2] if text is None else text.encode()
        await send_answer(answer.with_body(broken), self._send)

    async def gzip(self, answer: Answer) -> None:
        bomb = self._params.get("bomb_bytes")
        answer.put("content-encoding", "gzip")
        await send_answer(answer.with_body(gzip.compress(answer.body if bomb is None else bytes(bomb))), self._send)

    async def headers(self, answer: Answer) -> None:
        for name, value in self._params["headers"].items():
            answer.put(name, None if value is None else str(value))
        await self._raw(answer)

    async def corrupt(self, answer: Answer) -> None:
        body = bytearray(answer.body)
        if body:
            body[self._params.get("at", len(body) // 2) % len(body)] ^= 0xFF
        await send_answer(answer.with_body(bytes(body)), self._send)

    async def change_job(self, answer: Answer) -> None:
        await send_answer(_patched(answer, lambda job: job | self._changes()), self._send)

    def _changes(self) -> dict[str, Any]:
        if self._kind == "unknown_status":
            return {"status": self._params.get("status", "paused")}
        if self._kind == "id_mismatch":
            return {"id": self._params.get("id", "task-unified-1700000000-someone0")}
        return dict(self._params["fields"])


_BEFORE: dict[str, Callable[[_Incident], Awaitable[None]]] = {
    "status": _Incident.status,
    "html": _Incident.html,
    "link_expired": _Incident.link_expired,
    "redirect": _Incident.redirect,
    "ignore_range": _Incident.ignore_range,
    "cut_before": _Incident.cut_before,
}
_AFTER: dict[str, Callable[[_Incident, Answer], Awaitable[None]]] = {
    "lost_answer": _Incident.lost_answer,
    "delay": _Incident.delay,
    "cut_body": _Incident.cut_body,
    "wrong_length": _Incident.wrong_length,
    "no_length": _Incident.no_length,
    "drip": _Incident.drip,
    "empty_body": _Incident.empty_body,
    "malformed_json": _Incident.malformed_json,
    "gzip": _Incident.gzip,
    "headers": _Incident.headers,
    "corrupt": _Incident.corrupt,
    "unknown_status": _Incident.change_job,
    "id_mismatch": _Incident.change_job,
    "patch_json": _Incident.change_job,
}


def _patched(answer: Answer, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Answer:
    content = json.loads(answer.body)
    jobs = content.get("data")
    if isinstance(jobs, list):
        content["data"] = [change(job) for job in jobs]
    else:
        content = change(content)
    return answer.with_body(json.dumps(content).encode())


def _without_results(job: dict[str, Any], how: Any) -> dict[str, Any]:
    if job.get("status") != "completed":
        return job
    if how == "missing":
        return {name: value for name, value in job.items() if name != "results"}
    return job | {"results": {"empty": [], "null": None}.get(how, how) if isinstance(how, str) else how}


def _with_request_id(send: Send) -> Send:
    name = b"x-request-id", _new_request_id().encode()

    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), name]
        await send(message)

    return named


def _new_request_id() -> str:
    return secrets.token_hex(8)
