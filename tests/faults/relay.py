"""What lies between us and a server: a TCP relay on a real socket that can refuse, go silent, drip and slice."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Line:
    """One connection through the relay."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.dead = False

    def close(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                socket.socket.shutdown(end, socket.SHUT_RDWR)
            end.close()


class Relay:
    """
    Hands bytes on between a client and a port of this machine.

    ``manner`` is how answers are handed on: ``pass``, ``slice`` (1 to 3 bytes per segment) or ``drip`` (a byte at a
    time, with pauses). ``uphill`` is what clients have sent, ``met`` how often a fault of the relay was met.

    :param port: Where the server listens.
    :param tls: Certificate to show; without it plain TCP.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.manner, self.pause = "pass", 0.05
        self.silent_after: int | None = None
        self.uphill = bytearray()
        self.met = self.connections = self.failed_handshakes = 0
        self._target, self._tls, self._lines = port, tls, list[_Line]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def refuse(self) -> None:
        """Close the port and all connections: from now on they are refused."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            line.close()

    def reopen(self) -> None:
        """Listen again on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start()

    def show(self, tls: ssl.SSLContext) -> None:
        """Show another certificate from now on."""
        self._tls = tls

    def kill_silently(self) -> None:
        """Make all open connections half-open: nothing passes any more and nobody is told."""
        for line in self._lines:
            line.dead = True

    def _start(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        if self._tls:
            try:
                near = self._tls.wrap_socket(near, server_side=True)
            except OSError:
                self.failed_handshakes += 1
                near.close()
                return
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(near, socket.create_connection(("127.0.0.1", self._target)))
        self._lines.append(line)
        threading.Thread(target=self._up, args=(line,), daemon=True).start()
        self._down(line)

    def _up(self, line: _Line) -> None:
        with suppress(OSError):
            while data := line.near.recv(65536):
                if line.dead:
                    self.met += 1
                    continue
                self.uphill += data
                line.far.sendall(data)
        if not line.dead:
            line.close()

    def _down(self, line: _Line) -> None:
        passed = 0
        with suppress(OSError):
            while data := line.far.recv(65536):
                if self.silent_after is not None and passed + len(data) > self.silent_after:
                    data, line.dead, self.silent_after = data[: self.silent_after - passed], True, None
                    line.near.sendall(data)
                    self.met += 1
                    return
                passed += len(data)
                if not line.dead:
                    self._hand_on(line.near, data)
        if not line.dead:
            line.close()

    def _hand_on(self, near: socket.socket, data: bytes) -> None:
        if self.manner == "pass":
            near.sendall(data)
            return
        self.met += 1
        at, dice = 0, random.Random(1)
        while at < len(data):
            step = 1 if self.manner == "drip" else dice.randint(1, 3)
            near.sendall(data[at : at + step])
            at += step
            if self.manner == "drip":
                time.sleep(self.pause)


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port of this machine on which nobody listens and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port whose connections are neither accepted nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


class Deadend:
    """
    A server that answers each connection with the same bytes and notes what it was sent.

    :param said: The answer.
    """

    def __init__(self, said: bytes) -> None:
        self.heard = bytearray()
        self.connections = 0
        self._said = said
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self.connections += 1
                    connection.settimeout(5)
                    self.heard += connection.recv(65536)
                    connection.sendall(self._said)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
