"""A company's network on loopback: a CONNECT proxy that alone resolves names, and EvoLink's hosts behind TLS."""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest


class Listener:
    """Accepts connections on a free port, each in a thread of its own; over TLS, if it has a certificate."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._start, args=(connection,), daemon=True).start()

    def _start(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.settimeout(20)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self.serve(connection)


class Front(Listener):
    """
    EvoLink's hosts over TLS in front of an emulator, which makes its links with the name of a media host.

    :param target: Port of the emulator.
    :param tls: Certificate to show.
    :param links_host: Host of the links; by default the one that is called.
    """

    def __init__(self, target: int, tls: ssl.SSLContext, links_host: str | None = None) -> None:
        self.asked: list[tuple[str, str]] = []  # host and first line of each request
        self.moved: dict[str, str] = {}  # where a path redirects to
        self._target, self._links_host = target, links_host
        super().__init__(tls)

    def serve(self, connection: socket.socket) -> None:
        head, rest = read_head(connection)
        if not head:
            return
        host = re.search(r"(?im)^host: *(\S+)", head)[1]  # type: ignore[index]
        self.asked.append((host, head.splitlines()[0]))
        location = self.moved.get(head.split()[1].partition("?")[0])
        if location:
            connection.sendall(
                f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            return
        added = f"Host: {self._links_host or host}\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n"
        head = re.sub(r"(?im)^(host|connection):.*\r\n", "", head).replace("\r\n", f"\r\n{added}", 1)
        with socket.create_connection(("127.0.0.1", self._target)) as far:
            far.sendall(head.encode("latin-1") + rest)
            join(connection, far)


class Proxy(Listener):
    """
    A CONNECT proxy. It resolves names by a table of ports on this machine, and nothing else.

    :param table: Port by ``host:port``.
    :param tls: Certificate to show, for a proxy that is called over TLS.
    :param login: What it wants to be told, as ``user:password``.
    """

    def __init__(self, table: dict[str, int], tls: ssl.SSLContext | None = None, login: str | None = None) -> None:
        self.asked: list[str] = []
        self.uphill = bytearray()
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self._table, self._login = table, login
        self._scheme = "https" if tls else "http"
        super().__init__(tls)

    def url(self, login: str | None = None) -> str:
        return f"{self._scheme}://{login + '@' if login else ''}127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        head, _ = read_head(connection)
        self.uphill += head.encode("latin-1")
        if not head.startswith("CONNECT "):
            connection.sendall(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append(head.split()[1])
        wanted = base64.b64encode((self._login or "").encode()).decode()
        if self._login and f"Basic {wanted}" not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        port = self._table.get(self.asked[-1])
        if port is None:
            connection.sendall(b"HTTP/1.1 502 Name not known\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as far:
            connection.sendall(self.answer)
            join(connection, far)


def read_head(connection: socket.socket) -> tuple[str, bytes]:
    """Return the head of a request and what came with it; an empty head where the peer hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return "", b""
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1") + "\r\n\r\n", rest


def join(near: socket.socket, far: socket.socket) -> None:
    """
    Hand bytes on in both directions until the far end has said all.

    In one thread: a socket of TLS must not be read and written at the same time.
    """
    open_ends = [near, far]
    while ready := [near] if has_rest(near) and near in open_ends else select.select(open_ends, [], [], 20)[0]:
        for end in ready:
            data = read_now(end)
            if data is None:
                continue
            if data:
                (far if end is near else near).sendall(data)
            elif end is near:
                open_ends.remove(near)
                with suppress(OSError):
                    far.shutdown(socket.SHUT_WR)
            else:
                with suppress(OSError):
                    socket.socket.shutdown(near, socket.SHUT_WR)
                return


def has_rest(end: socket.socket) -> bool:
    """Return whether bytes are decrypted already, which select does not see."""
    return isinstance(end, ssl.SSLSocket) and end.pending() > 0


def read_now(end: socket.socket) -> bytes | None:
    """Return what is there; ``None``: nothing yet, as of TLS what arrives need not be data."""
    end.settimeout(0.1)
    try:
        return end.recv(65536)
    except (TimeoutError, ssl.SSLWantReadError):
        return None
    finally:
        end.settimeout(20)


def without_dns(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]] | None = None) -> list[str]:
    """
    Take DNS away from this process: only literal addresses resolve, and the names of a table.

    :return: The names that were looked up nevertheless.
    """
    asked: list[str] = []
    real: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo

    def resolve(host: str | bytes, port: object, *args: object, **options: object) -> list[tuple[object, ...]]:
        name = host.decode() if isinstance(host, bytes) else host
        if name in ("127.0.0.1", "localhost", "::1"):
            return real(name, port, *args, **options)
        asked.append(name)
        if table and name in table:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[name]]
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked
