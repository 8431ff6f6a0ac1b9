"""What ASGI cannot say: raw bytes on the wire and cut connections, through uvicorn's own transport."""

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
_HEAD_START = 0.1  # seconds; a reset overtakes what the client has not read yet


class OpenProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, handing the connection's transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """
        Remember the transport for the requests of this connection.

        :param transport: The connection.
        """
        super().connection_made(transport)
        inner = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[_TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = with_transport


@dataclass
class Answer:
    """A whole response in memory, to be damaged before it is sent."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """
        Return a header.

        :param name: In lower case.
        """
        return next((value for key, value in self.headers if key == name), None)

    def put(self, name: str, value: str | None) -> None:
        """
        Replace or remove a header.

        :param name: Its name.
        :param value: None removes it.
        """
        self.headers = [(key, old) for key, old in self.headers if key != name.lower()]
        if value is not None:
            self.headers.append((name.lower(), value))

    def with_body(self, body: bytes) -> Answer:
        """
        Replace the body and its length.

        :param body: The new body.
        """
        self.body = body
        self.put("content-length", str(len(body)))
        return self


async def answer_of(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """
    Let the application process a request and keep its answer here.

    :param app: The application.
    :param scope: The request.
    :param receive: Its body.
    """
    answer = Answer()
    parts: list[bytes] = []

    async def keep(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(key.decode("latin-1"), val.decode("latin-1")) for key, val in message["headers"]]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    answer.body = b"".join(parts)
    return answer


async def send_answer(answer: Answer, send: Send) -> None:
    """
    Send an answer properly.

    :param answer: The answer; its length header must be right.
    :param send: ASGI's send.
    """
    headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def send_raw(
    scope: Scope, answer: Answer, *, pieces: Iterable[bytes] | None = None, pause: float = 0, reset: bool = False
) -> None:
    """
    Write an answer as it is, right or wrong, and end the connection.

    :param scope: The request.
    :param answer: Status, headers and body.
    :param pieces: What to send instead of the whole body.
    :param pause: Seconds between the pieces.
    :param reset: End with a reset instead of an ordinary close.
    """
    transport = scope[_TRANSPORT]
    transport.write(_head(answer))
    for piece in [answer.body] if pieces is None else pieces:
        if transport.is_closing():
            return
        transport.write(piece)
        await asyncio.sleep(pause)
    if reset:
        await asyncio.sleep(_HEAD_START)
        _reset(transport)
    transport.close()


def cut(scope: Scope, *, reset: bool = False) -> None:
    """
    End the connection without a byte.

    :param scope: The request.
    :param reset: End with a reset instead of an ordinary close.
    """
    transport = scope[_TRANSPORT]
    if reset:
        _reset(transport)
    transport.abort()


async def drain(receive: Receive) -> None:
    """
    Read a request to its end.

    :param receive: ASGI's receive.
    """
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def until_closed(receive: Receive) -> None:
    """
    Wait until the connection is gone, so that uvicorn does not add an answer of its own.

    :param receive: ASGI's receive.
    """
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(answer: Answer) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{key}: {value}" for key, value in answer.headers)]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")


def _reset(transport: Any) -> None:
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
