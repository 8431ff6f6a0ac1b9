"""
Reads the body of a response in large pieces, straight from the socket where its length is announced.

httpx opens the connection, verifies it and reads the head. Its own reader of bodies passes 64 KiB at a time through
three layers, which costs more processor time than decrypting them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

import httpx

PIECE = 512 * 1024
PIECES = 2  # that are hashed or wait for it while the next one is filled
_PAUSE = 0.005  # seconds without a byte after which a piece is passed on: a kill costs no more than that

Bytes: TypeAlias = bytes | memoryview


def pieces(response: httpx.Response, length: int | None, timeout: float) -> Iterator[Bytes]:
    """
    Yield the body of a response. A piece stays as it is until ``PIECES`` more have been requested.

    :param response: The response, its body unread.
    :param length: Of the body, where it is announced and not chunked.
    :param timeout: For the next bytes, in seconds.
    :raises httpx.TransportError: the connection broke off.
    """
    chunks, line = response.iter_raw(), socket_of(response)
    if length is None or line is None:
        yield from chunks
        return
    left = length
    for chunk in chunks:  # all that has come with the head; behind it the socket is at the next byte of the body
        left -= len(chunk)
        yield chunk
        break
    else:
        return
    yield from _from_socket(line, left, timeout)


def socket_of(response: httpx.Response) -> socket.socket | None:
    """
    Return the socket that gives the bytes of a body; ``None`` where there is another layer, as TLS through a TLS proxy.

    :param response: The response.
    """
    stream = response.extensions.get("network_stream")
    if stream is None:
        return None
    line, tls = stream.get_extra_info("socket"), stream.get_extra_info("ssl_object")
    is_layered = isinstance(tls, ssl.SSLObject) or (tls is None) is isinstance(line, ssl.SSLSocket)
    return line if isinstance(line, socket.socket) and not is_layered else None


def _from_socket(line: socket.socket, left: int, timeout: float) -> Iterator[Bytes]:
    buffers = [memoryview(bytearray(min(PIECE, left))) for _ in range(PIECES + 1)] if left > 0 else []
    number = 0
    while left > 0:
        piece = buffers[number % len(buffers)][:left]
        count = _fill(line, piece, timeout)
        left -= count
        number += 1
        yield piece[:count]


def _fill(line: socket.socket, piece: memoryview, timeout: float) -> int:
    """Fill a piece with what comes in one go; return how many bytes that were."""
    count = _receive(line, piece, timeout)
    if not count:
        raise httpx.RemoteProtocolError("the peer closed the connection before the end of the body")
    with suppress(httpx.TransportError):  # where the connection broke off, the next call finds that again
        line.settimeout(_PAUSE)
        while count < len(piece) and (more := _receive(line, piece[count:])):
            count += more
    return count


def _receive(line: socket.socket, piece: memoryview, timeout: float | None = None) -> int:
    try:
        if timeout is not None:
            line.settimeout(timeout)
        return line.recv_into(piece)
    except TimeoutError:
        raise httpx.ReadTimeout("") from None
    except OSError as error:
        raise httpx.ReadError("") from error
