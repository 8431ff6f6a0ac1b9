"""
What each kind of fault does to a request: one function per kind.

Faults of ``INSTEAD`` replace the response and decide whether the request is processed. Those of ``AFTERWARDS`` let it
be processed, then damage the response.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.routes.bodies import error_body
from airflow_provider_evolink.emulator.routes.raw_transport import (
    BufferedResponse,
    buffered_response,
    drain,
    drop_connection,
    send_raw,
    send_response,
    wait_for_disconnect,
)
from airflow_provider_evolink.emulator.state.links import EXPIRED_LINK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_evolink.emulator.state.faults import Fault

_HTML = "<!doctype html><html><head><title>Please wait</title></head><body><h1>One moment</h1></body></html>"
_OTHER_JOB = "task-unified-1700000000-someone0"


@dataclass(frozen=True)
class FaultyRequest:
    """
    A request and the fault that happens to it.

    :param app: The emulator without faults.
    :param fault: The fault.
    :param operation: Operation of the request, which decides the form of error bodies.
    :param request_id: For ``x-request-id``; ``send`` adds it by itself.
    """

    app: ASGIApp
    fault: Fault
    operation: str
    request_id: str
    scope: Scope
    receive: Receive
    send: Send

    def param(self, name: str, default: Any = None) -> Any:
        """Return a parameter of the fault."""
        return self.fault.params.get(name, default)

    async def process(self) -> BufferedResponse:
        """Let the emulator process the request and return its response."""
        return await buffered_response(self.app, self.scope, self.receive)


async def apply_fault(request: FaultyRequest) -> None:
    """Serve a request with its fault."""
    kind = request.fault.kind
    if kind in INSTEAD:
        await INSTEAD[kind](request)
    else:
        await AFTERWARDS[kind](request, await request.process())


async def _respond_instead(request: FaultyRequest, response: BufferedResponse) -> None:
    if request.param("processed"):
        await request.process()
    else:
        await drain(request.receive)
    await send_response(response, request.send)


async def _status(request: FaultyRequest) -> None:
    status, body = request.param("status"), request.param("body")
    if body is None:
        names = {"code": "code", "message": "message", "type": "type_", "param": "param"}
        details = {ours: request.param(name) for name, ours in names.items() if name in request.fault.params}
        body = error_body(status, request.operation, **details)
    text = body if isinstance(body, str) else json.dumps(body)
    response = BufferedResponse(status, [("content-type", "application/json")]).with_body(text.encode())
    for name, value in request.param("headers", {}).items():
        response.set_header(name, str(value))
    await _respond_instead(request, response)


async def _html(request: FaultyRequest) -> None:
    headers = [("content-type", "text/html; charset=utf-8")]
    response = BufferedResponse(request.param("status", 200), headers)
    await _respond_instead(request, response.with_body(request.param("text", _HTML).encode()))


async def _link_expired(request: FaultyRequest) -> None:
    response = BufferedResponse(403, [("content-type", "application/xml")])
    await _respond_instead(request, response.with_body(EXPIRED_LINK))


async def _redirect(request: FaultyRequest) -> None:
    headers = [("location", str(request.param("location")))]
    await _respond_instead(request, BufferedResponse(request.param("status", 302), headers).with_body(b""))


async def _ignore_range(request: FaultyRequest) -> None:
    ignored = {b"range", b"if-range"}
    headers = [(name, value) for name, value in request.scope["headers"] if name not in ignored]
    await request.app({**request.scope, "headers": headers}, request.receive, request.send)


async def _cut_before(request: FaultyRequest) -> None:
    await drain(request.receive)
    await _disconnect(request)


async def _lost_answer(request: FaultyRequest, _: BufferedResponse) -> None:
    await _disconnect(request)


async def _disconnect(request: FaultyRequest) -> None:
    drop_connection(request.scope, reset=bool(request.param("reset")))
    await wait_for_disconnect(request.receive)


async def _delay(request: FaultyRequest, response: BufferedResponse) -> None:
    await asyncio.sleep(request.param("seconds", 1))
    await send_response(response, request.send)


async def _send_raw(request: FaultyRequest, response: BufferedResponse, **how: Any) -> None:
    response.set_header("x-request-id", request.request_id)
    await send_raw(request.scope, response, **how)
    await wait_for_disconnect(request.receive)


async def _cut_body(request: FaultyRequest, response: BufferedResponse) -> None:
    length = request.param("bytes", len(response.body) // 2)
    await _send_raw(request, response, chunks=[response.body[:length]], reset=bool(request.param("reset")))


async def _wrong_length(request: FaultyRequest, response: BufferedResponse) -> None:
    true_length = int(response.header("content-length") or len(response.body))
    response.set_header("content-length", str(max(0, true_length + request.param("by", 1000))))
    await _send_raw(request, response)


async def _no_length(request: FaultyRequest, response: BufferedResponse) -> None:
    response.set_header("content-length", None)
    await _send_raw(request, response)


async def _drip(request: FaultyRequest, response: BufferedResponse) -> None:
    size = max(1, request.param("bytes", 1))
    chunks = (response.body[at : at + size] for at in range(0, len(response.body), size))
    await _send_raw(request, response, chunks=chunks, pause=request.param("seconds", 0.1))


async def _headers(request: FaultyRequest, response: BufferedResponse) -> None:
    for name, value in request.param("headers").items():
        response.set_header(name, None if value is None else str(value))
    await _send_raw(request, response)


async def _empty_body(request: FaultyRequest, response: BufferedResponse) -> None:
    await send_response(response.with_body(b""), request.send)


async def _malformed_json(request: FaultyRequest, response: BufferedResponse) -> None:
    text = request.param("text")
    body = response.body[: len(response.body) // 2] if text is None else text.encode()
    await send_response(response.with_body(body), request.send)


async def _gzip(request: FaultyRequest, response: BufferedResponse) -> None:
    bomb = request.param("bomb_bytes")
    response.set_header("content-encoding", "gzip")
    body = gzip.compress(response.body if bomb is None else bytes(bomb))
    await send_response(response.with_body(body), request.send)


async def _corrupt(request: FaultyRequest, response: BufferedResponse) -> None:
    body = bytearray(response.body)
    if body:
        body[request.param("at", len(body) // 2) % len(body)] ^= 0xFF
    await send_response(response.with_body(bytes(body)), request.send)


async def _unknown_status(request: FaultyRequest, response: BufferedResponse) -> None:
    await _change_jobs(request, response, {"status": request.param("status", "paused")})


async def _id_mismatch(request: FaultyRequest, response: BufferedResponse) -> None:
    await _change_jobs(request, response, {"id": request.param("id", _OTHER_JOB)})


async def _patch_json(request: FaultyRequest, response: BufferedResponse) -> None:
    await _change_jobs(request, response, request.param("fields"))


async def _change_jobs(request: FaultyRequest, response: BufferedResponse, changes: dict[str, Any]) -> None:
    await send_response(_patched(response, lambda job: _changed(job, changes)), request.send)


def _changed(job: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change a job; other results are not described by its ``result_data``."""
    kept = {name: value for name, value in job.items() if name != "result_data" or "results" not in changes}
    return kept | changes


def without_results(response: BufferedResponse, replacement: Any) -> BufferedResponse:
    """
    Return a response in which completed jobs have no usable results.

    :param response: Shows a job or a batch of jobs.
    :param replacement: ``missing``, ``empty``, ``null``, or any other value for ``results``.
    """
    values: dict[str, Any] = {"empty": [], "null": None}
    results = values.get(replacement, replacement) if isinstance(replacement, str) else replacement

    def change(job: dict[str, Any]) -> dict[str, Any]:
        if job.get("status") != "completed":
            return job
        changed = _changed(job, {"results": results})
        return {name: value for name, value in changed.items() if name != "results" or replacement != "missing"}

    return _patched(response, change)


def _patched(response: BufferedResponse, change: Callable[[dict[str, Any]], dict[str, Any]]) -> BufferedResponse:
    content = json.loads(response.body)
    jobs = content.get("data")
    if isinstance(jobs, list):
        content["data"] = [change(job) for job in jobs]
    else:
        content = change(content)
    return response.with_body(json.dumps(content).encode())


INSTEAD: dict[str, Callable[[FaultyRequest], Awaitable[None]]] = {
    "status": _status,
    "html": _html,
    "link_expired": _link_expired,
    "redirect": _redirect,
    "ignore_range": _ignore_range,
    "cut_before": _cut_before,
}
AFTERWARDS: dict[str, Callable[[FaultyRequest, BufferedResponse], Awaitable[None]]] = {
    "lost_answer": _lost_answer,
    "delay": _delay,
    "cut_body": _cut_body,
    "wrong_length": _wrong_length,
    "no_length": _no_length,
    "drip": _drip,
    "empty_body": _empty_body,
    "malformed_json": _malformed_json,
    "gzip": _gzip,
    "headers": _headers,
    "corrupt": _corrupt,
    "unknown_status": _unknown_status,
    "id_mismatch": _id_mismatch,
    "patch_json": _patch_json,
}
