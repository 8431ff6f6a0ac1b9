"""What ASGI cannot express: raw bytes on the wire and dropped connections, through uvicorn's own transport."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

_TRANSPORT = "emulator.transport"
_TIME_TO_READ = 0.1  # seconds; a reset discards what the client has not read yet


class TransportProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, which hands the connection's transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Store the transport for the requests of this connection."""
        super().connection_made(transport)
        inner = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[_TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = with_transport


@dataclass
class BufferedResponse:
    """A whole response in memory, to be damaged before it is sent."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """
        Return a header.

        :param name: In lower case.
        """
        return next((value for key, value in self.headers if key == name), None)

    def set_header(self, name: str, value: str | None) -> None:
        """
        Replace or remove a header.

        :param name: Its name.
        :param value: None removes it.
        """
        self.headers = [(key, old) for key, old in self.headers if key != name.lower()]
        if value is not None:
            self.headers.append((name.lower(), value))

    def with_body(self, body: bytes) -> BufferedResponse:
        """Replace the body and its length."""
        self.body = body
        self.set_header("content-length", str(len(body)))
        return self


async def buffered_response(app: ASGIApp, scope: Scope, receive: Receive) -> BufferedResponse:
    """Let the application process a request and return its response instead of sending it."""
    response = BufferedResponse()
    chunks: list[bytes] = []

    async def keep(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = [(key.decode("latin-1"), val.decode("latin-1")) for key, val in message["headers"]]
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(scope, receive, keep)
    response.body = b"".join(chunks)
    return response


async def send_response(response: BufferedResponse, send: Send) -> None:
    """Send a response through ASGI; its content-length must be right."""
    headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def send_raw(
    scope: Scope,
    response: BufferedResponse,
    *,
    chunks: Iterable[bytes] | None = None,
    pause: float = 0,
    reset: bool = False,
) -> None:
    """
    Write a response unchecked and close the connection.

    :param scope: The request.
    :param response: Status, headers and body.
    :param chunks: What to send instead of the whole body.
    :param pause: Seconds between the chunks.
    :param reset: Close with a TCP reset.
    """
    transport = scope[_TRANSPORT]
    transport.write(_head(response))
    for chunk in [response.body] if chunks is None else chunks:
        if transport.is_closing():
            return
        transport.write(chunk)
        await asyncio.sleep(pause)
    if reset:
        await asyncio.sleep(_TIME_TO_READ)
        _reset(transport)
    transport.close()


def drop_connection(scope: Scope, *, reset: bool = False) -> None:
    """
    Close the connection without sending a byte.

    :param scope: The request.
    :param reset: Close with a TCP reset.
    """
    transport = scope[_TRANSPORT]
    if reset:
        _reset(transport)
    transport.abort()


async def drain(receive: Receive) -> None:
    """Read a request to its end."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the connection is closed, so that uvicorn does not add a response of its own."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(response: BufferedResponse) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{key}: {value}" for key, value in response.headers)]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")


def _reset(transport: Any) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
