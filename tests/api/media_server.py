"""A media host on a raw socket, so that it can cut, lie and drip. Loaded by path: tests are no package."""

from __future__ import annotations

import array
import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    server_name: str | None

    @property
    def start(self) -> int:
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


Play = Callable[[socket.socket, Request], None]


class MediaServer:
    """Answers the n-th connection with the n-th play; the last one is repeated."""

    def __init__(self, *plays: Play, tls: ssl.SSLContext | None = None) -> None:
        self.plays = list(plays)
        self.requests: list[Request] = []
        self._tls = tls
        self._names: list[str | None] = []
        if tls:
            tls.sni_callback = lambda _socket, name, _context: self._names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/out/clip.bin?sig=topsecret", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(10)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                request = self._read(connection)
                self.requests.append(request)
                self.plays[min(len(self.requests), len(self.plays)) - 1](connection, request)

    def _read(self, connection: socket.socket) -> Request:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            if not part:
                raise ConnectionError
            head += part
        first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        headers = dict(_pair(line) for line in lines)
        return Request(first.split()[1], headers, self._names[-1] if self._names else None)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def head(status: int, headers: Headers = ()) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def say(data: bytes) -> Play:
    """Send these bytes and hang up."""
    return lambda connection, _: connection.sendall(data)


def answer(status: int, body: bytes = b"", headers: Headers = ()) -> Play:
    return say(head(status, [*headers, ("Content-Length", str(len(body)))]) + body)


def moved(location: str, status: int = 302) -> Play:
    return answer(status, b"see there", [("Location", location), ("Set-Cookie", "session=1; Path=/")])


def whole(body: bytes, *, headers: Headers = (), cut: int | None = None, length: int | None = None) -> Play:
    """Send a file from its first byte, whatever was asked."""
    announced = len(body) if length is None else length
    return say(head(200, [*headers, ("Content-Length", str(announced))]) + body[:cut])


def ranged(body: bytes, *, cut: int | None = None, etag: str = '"v1"', stamp: str | None = None) -> Play:
    """Send a file as a good server does; ``cut`` is the number of body bytes after which it hangs up."""
    mark = ("Last-Modified", stamp) if stamp else ("ETag", etag)

    def play(connection: socket.socket, request: Request) -> None:
        if not request.start or request.headers.get("if-range") != mark[1]:
            whole(body, headers=[mark], cut=cut)(connection, request)
            return
        part = body[request.start :]
        answer_head = head(206, [mark, content_range(request.start, len(body)), ("Content-Length", str(len(part)))])
        connection.sendall(answer_head + part[:cut])

    return play


def content_range(start: int, total: int) -> tuple[str, str]:
    return "Content-Range", f"bytes {start}-{total - 1}/{total}"


def chunked(body: bytes, *, ended: bool = True, headers: Headers = (), step: int = 50_000) -> Play:
    data = head(200, [*headers, ("Transfer-Encoding", "chunked")])
    for start in range(0, len(body), step):
        part = body[start : start + step]
        data += f"{len(part):x}\r\n".encode() + part + b"\r\n"
    return say(data + (b"0\r\n\r\n" if ended else b""))


def dripping(data: bytes, step: int, pause: float) -> Play:
    """Send a few bytes at a time."""

    def play(connection: socket.socket, _: Request) -> None:
        for start in range(0, len(data), step):
            connection.sendall(data[start : start + step])
            time.sleep(pause)

    return play


def mp4(size: int = 300_000) -> bytes:
    """Return a clip of this length, whole in all its tables; each of its bytes has its own place."""
    room = size - len(_movie(0, 0)) - 8
    samples = -(-room // (_SAMPLE + 4))
    room -= 4 * samples
    start = _movie(room, samples)
    return start + _box(b"mdat", _counted(room))


def _counted(length: int) -> bytes:
    """Return bytes without two equal stretches."""
    counted = array.array("I", range(length // 4 + 1))
    counted.byteswap()
    return counted.tobytes()[:length]


_SAMPLE = 50_000


def _movie(room: int, samples: int) -> bytes:
    """Return the boxes before the media data: one track of pictures, in one chunk."""
    sizes = [_SAMPLE] * (samples - 1) + [room - _SAMPLE * (samples - 1)] if samples else []
    ftyp = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    matrix = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    entry = _box(b"mp4v", _numbers(0, 1) + bytes(16) + _numbers(320 << 16 | 240) + bytes(50))
    at = 8 + len(ftyp) + 640 + 4 * samples
    table = (
        _box(b"stsd", _numbers(0, 1) + entry),
        _box(b"stts", _numbers(0, 1, samples, 100)),
        _box(b"stsc", _numbers(0, 1, 1, samples, 1)),
        _box(b"stsz", _numbers(0, 0, samples, *sizes)),
        _box(b"stco", _numbers(0, 1, at)),
    )
    url = _box(b"dinf", _box(b"dref", _numbers(0, 1) + _box(b"url ", _numbers(1))))
    media = _box(b"minf", _box(b"vmhd", _numbers(1, 0, 0)) + url + _box(b"stbl", b"".join(table)))
    clock = _box(b"mdhd", _numbers(0, 0, 0, 1000, 100 * samples, 0))
    handler = _box(b"hdlr", _numbers(0, 0) + b"vide" + bytes(13))
    head = _box(b"tkhd", _numbers(1, 0, 0, 1, 0, 100 * samples) + bytes(16) + matrix + _numbers(320 << 16, 240 << 16))
    track = _box(b"trak", head + _box(b"mdia", clock + handler + media))
    movie = _box(
        b"mvhd", _numbers(0, 0, 0, 1000, 100 * samples, 1 << 16) + bytes(12) + matrix + bytes(24) + _numbers(2)
    )
    moov = _box(b"moov", movie + track)
    return ftyp + moov + _box(b"free", bytes(at - 16 - len(ftyp) - len(moov)))


def _numbers(*numbers: int) -> bytes:
    return b"".join(n.to_bytes(4, "big") for n in numbers)


def _box(name: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + name + content


def png(seed: int = 1, side: int = 316) -> bytes:
    """Return a picture of noise, about 300 kB; those of other seeds have the same length."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in chunks
    )
