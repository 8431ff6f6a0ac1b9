"""Headers never overrule bytes that prove themselves: a table of wrong ones, over real sockets."""

from __future__ import annotations

import gzip
import importlib.util
import socket
import sys
import time
import zlib
from pathlib import Path

import pytest

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.download import DownloadLimits, download
from airflow_provider_evolink.api.files.download_response import OVERLAP

_spec = importlib.util.spec_from_file_location("evolink_media_server", Path(__file__).with_name("media_server.py"))
media = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = media
_spec.loader.exec_module(media)

FILE = media.png()
N, HALF = len(FILE), len(FILE) // 2
STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"
LIMITS = DownloadLimits(connect_timeout=2, read_timeout=2, total_timeout=20, backoff=0)


@pytest.fixture
def host():
    """Start media hosts."""
    started = []

    def start(*plays):
        started.append(media.MediaServer(*plays))
        return started[-1]

    yield start
    for server in started:
        server.close()


def read(server, limits=LIMITS, expect=None):
    with download(server.url(), expect=expect, allow_loopback=True, limits=limits) as found:
        return found.path.read_bytes()


def framed(body, step=70_000):
    """Frame a body as a signed upload."""
    frames = b"".join(
        f"{len(body[at : at + step]):x};chunk-signature={'0' * 64}\r\n".encode() + body[at : at + step] + b"\r\n"
        for at in range(0, len(body), step)
    )
    return frames + b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n"


WHOLE_RANGE = media.content_range(0, N)
PLAIN = [
    *("aws-chunked", "none", "identity", "utf-8", "UTF-8", "binary", "8bit", "gzip", "br", "zstd", "deflate", ""),
    *("aws-chunked,gzip", "identity, identity", "br\x1b[0m", "x-unknown"),
]
TYPES = ["", "text/html; charset=x", "application/json", "application/xml", "text/plain", "image/png", "x", "image/png"]
ENCODED = {
    "gzip": gzip.compress(FILE),
    "x-gzip": gzip.compress(FILE, 1),
    "gzip, gzip": gzip.compress(gzip.compress(FILE)),
    "deflate": zlib.compress(FILE),
    "not declared": gzip.compress(FILE),
    "members": gzip.compress(FILE[:HALF]) + gzip.compress(FILE[HALF:]),
    "padded": gzip.compress(FILE) + bytes(100),
    "aws-chunked": framed(FILE),
}
CASES = {
    **{
        f"plain bytes, Content-Encoding {name!r}": media.whole(FILE, headers=[("Content-Encoding", name)])
        for name in PLAIN
    },
    **{f"Content-Type {name!r}": media.whole(FILE, headers=[("Content-Type", name)]) for name in TYPES},
    **{
        f"encoded, {name}": media.whole(body, headers=[] if name == "not declared" else [("Content-Encoding", name)])
        for name, body in ENCODED.items()
    },
    **{f"encoded in chunks, {name}": media.chunked(body) for name, body in ENCODED.items()},
    **{f"status {status}": media.answer(status, FILE) for status in (200, 201, 203)},
    "202 with a picture": media.answer(202, FILE, [("Content-Type", "image/png")]),
    "206, the whole range": media.answer(206, FILE, [WHOLE_RANGE]),
    "206, total not known": media.answer(206, FILE, [("Content-Range", f"bytes 0-{N - 1}/*")]),
    "206, no range": media.answer(206, FILE),
    "206, invalid range": media.answer(206, FILE, [("Content-Range", "bytes */*")]),
    "206, chunked": media.say(
        media.head(206, [WHOLE_RANGE, ("Transfer-Encoding", "chunked")])
        + f"{N:x}\r\n".encode()
        + FILE
        + b"\r\n0\r\n\r\n"
    ),
    "HTTP/1.0 to the close": media.say(b"HTTP/1.0 200 OK\r\n\r\n" + FILE),
    "no length": media.say(media.head(200) + FILE),
    "no length, wrong type": media.say(media.head(200, [("Content-Type", "text/html")]) + FILE),
    "no length, gzip": media.say(media.head(200, [("Content-Encoding", "gzip")]) + gzip.compress(FILE)),
    "chunks and a length that is too small": media.chunked(FILE, headers=[("Content-Length", "10")]),
    "chunks and a length that is too large": media.chunked(FILE, headers=[("Content-Length", str(N + 10))]),
    "chunks that are never ended": media.chunked(FILE, ended=False),
    "a length that is too large": media.whole(FILE, length=N + 5),
    "one length twice": media.whole(FILE, headers=[("Content-Length", str(N))]),
    "a checksum of something else": media.whole(FILE, headers=[("Content-MD5", "AAAA"), ("x-amz-checksum-crc32", "x")]),
    "attachment of another name": media.whole(
        FILE, headers=[("Content-Disposition", 'attachment; filename="../x.exe"')]
    ),
    "ranges not accepted": media.whole(FILE, headers=[("Accept-Ranges", "none")]),
}


@pytest.mark.parametrize("play", CASES.values(), ids=CASES)
def test_a_whole_file_comes_under_any_header(host, play):
    assert read(host(play)) == FILE


CUT = {
    "gzip": gzip.compress(FILE)[:-100],
    "deflate": zlib.compress(FILE)[:-100],
    "aws-chunked": framed(FILE)[:-200_000],
    "not gzip": b"\x1f\x8b\x08" + bytes(5000),
    "not frames": framed(FILE)[:70_082] + b"what is this?" + bytes(100),
}


@pytest.mark.parametrize("body", CUT.values(), ids=CUT)
def test_what_came_encoded_and_is_cut_or_damaged_is_refused(host, body):
    with pytest.raises(EvoLinkMediaError, match=r"cut|damaged"):
        read(host(media.whole(body)))


def test_a_small_body_that_stands_for_a_large_file_is_refused_early(host):
    bomb = gzip.compress(bytes(50 * 1024**2), 1)
    assert len(bomb) < 10**6
    start = time.monotonic()
    with pytest.raises(EvoLinkMediaError, match="larger than the 1000000 bytes allowed"):
        read(host(media.whole(bomb)), DownloadLimits(max_bytes=10**6))
    assert time.monotonic() - start < 5


# bytes that do not prove their end


@pytest.mark.parametrize("body", [FILE[:-1], FILE[:HALF], FILE[:30], b"ID3" + bytes(2000)])
def test_without_a_length_only_a_file_that_proves_its_end_is_taken(host, body):
    with pytest.raises(EvoLinkMediaError, match="gave up at byte"):
        read(host(media.say(media.head(200) + body)))


# resumes


class Cutting:
    """A host that hangs up after some bytes, whatever is requested."""

    def __init__(self, etags=(), stamp=None, step=70_000, conditional=False, body=FILE, ranges=True):
        self.etags, self.stamp, self.step = list(etags), stamp, step
        self.conditional, self.body, self.ranges = conditional, body, ranges
        self.count = 0

    def __call__(self, connection, request):
        etag = self.etags[self.count % len(self.etags)] if self.etags else None
        self.count += 1
        marks = [("ETag", etag)] if etag else []
        marks += [("Last-Modified", self.stamp)] if self.stamp else []
        condition = request.headers.get("if-range")
        fits = not self.conditional or condition in (None, etag, self.stamp)
        start = request.start if fits and self.ranges else 0
        headers = [*marks, ("Content-Length", str(len(self.body) - start))]
        if start:
            headers.append(media.content_range(start, len(self.body)))
        connection.sendall(media.head(206 if start else 200, headers) + self.body[start : start + self.step])


HOSTS = {
    "weak ETag and Last-Modified": Cutting(['W/"1"'], STAMP),
    "weak ETag and Last-Modified, If-Range honored": Cutting(['W/"1"'], STAMP, conditional=True),
    "weak ETag": Cutting(['W/"1"']),
    "strong ETag": Cutting(['"1"'], conditional=True),
    "Last-Modified": Cutting(stamp=STAMP, conditional=True),
    "no validator": Cutting(),
    "no validator, short lines": Cutting(step=20_000),
    "two nodes": Cutting(['"a"', '"b"']),
    "two nodes, If-Range honored": Cutting(['"a"', '"b"'], conditional=True),
    "three nodes, If-Range honored": Cutting(['"a"', '"b"', 'W/"c"'], conditional=True),
    "a new ETag each time": Cutting([f'"{n}"' for n in range(100)]),
    "a new ETag each time, If-Range honored": Cutting([f'"{n}"' for n in range(100)], conditional=True),
    "nodes with and without ETag": Cutting(['"a"', None], STAMP),
    "one node without Last-Modified": Cutting(['W/"a"', 'W/"b"'], STAMP),
    "bare ETag": Cutting(["bare"]),
}


@pytest.mark.parametrize("play", HOSTS.values(), ids=HOSTS)
def test_a_host_that_hangs_up_again_and_again_is_resumed(host, play):
    server = host(play)
    assert read(server) == FILE
    fetched = sum(min(play.step, N - request.start) for request in server.requests)
    assert fetched <= N + 3 * play.step + len(server.requests) * OVERLAP


OTHER = media.png(seed=2)


@pytest.mark.parametrize(
    "marks", [(['"a"'], ['"b"']), (['W/"a"'], ['W/"b"']), ([], [])], ids=["strong", "weak", "none"]
)
@pytest.mark.parametrize("conditional", [True, False])
def test_two_files_are_never_mixed(host, marks, conditional):
    """The file behind the link changes to one of the same length."""
    first, then = (
        Cutting(etags, conditional=conditional, body=body) for etags, body in zip(marks, (FILE, OTHER), strict=True)
    )
    assert read(host(first, then)) == OTHER


def test_a_range_that_nobody_requested_is_gone_on_with(host):
    start = media.answer(206, FILE[:HALF], [("Content-Range", f"bytes 0-{HALF - 1}/{N}"), ("ETag", '"1"')])
    server = host(start, media.ranged(FILE, etag='"1"'))
    assert read(server) == FILE
    assert server.requests[1].start == HALF


def test_parts_that_are_smaller_than_requested_are_put_together(host):
    def play(connection, request):
        end = min(request.start + 90_000, N)
        mark = [("ETag", '"1"'), ("Content-Range", f"bytes {request.start}-{end - 1}/{N}")]
        media.answer(206, FILE[request.start : end], mark)(connection, request)

    server = host(play)
    assert read(server) == FILE
    assert [request.start for request in server.requests] == [0, 90_000, 180_000, 270_000]


def test_a_length_that_was_too_large_is_found_out_by_416(host):
    server = host(
        media.whole(FILE, headers=[("ETag", '"1"')], length=N + 7),
        media.answer(416, b"", [("Content-Range", f"bytes */{N}")]),
    )
    assert read(server) == FILE
    assert len(server.requests) == 2


# time


def dripping_extension(connection: socket.socket, _: media.Request) -> None:
    start = media.head(200, [("Transfer-Encoding", "chunked"), ("ETag", '"1"')]) + f"{HALF:x}\r\n".encode()
    connection.sendall(start + FILE[:HALF] + b"\r\n10;x=")
    for _ in range(2000):
        connection.sendall(b"y")
        time.sleep(0.01)


def dripping_trailer(connection: socket.socket, _: media.Request) -> None:
    start = media.head(200, [("Transfer-Encoding", "chunked"), ("ETag", '"1"')]) + f"{N:x}\r\n".encode()
    connection.sendall(start + FILE + b"\r\n0\r\nX: ")
    for _ in range(2000):
        connection.sendall(b"y")
        time.sleep(0.01)


@pytest.mark.parametrize("play", [dripping_extension, dripping_trailer])
def test_what_drips_outside_of_the_body_is_cut_and_resumed(host, play):
    limits = DownloadLimits(min_rate=10**5, rate_window=0.3, backoff=0, read_timeout=2)
    start = time.monotonic()
    assert read(host(play, media.ranged(FILE, etag='"1"')), limits) == FILE
    assert time.monotonic() - start < 5


def test_the_total_time_ends_what_drips_outside_of_the_body(host):
    start = time.monotonic()
    with pytest.raises(EvoLinkMediaError, match=r"longer than 0\.5 s"):
        read(host(dripping_extension), DownloadLimits(total_timeout=0.5, backoff=0))
    assert time.monotonic() - start < 3


def test_a_trailer_that_always_drips_does_not_lose_a_whole_file(host):
    limits = DownloadLimits(min_rate=10**5, rate_window=0.2, backoff=0, max_resumes=1)
    assert read(host(dripping_trailer), limits) == FILE


def test_the_total_time_holds_over_redirects(host):
    def hop(connection, request):
        time.sleep(0.4)
        media.moved("/next")(connection, request)

    server, start = host(hop), time.monotonic()
    with pytest.raises(EvoLinkMediaError, match=r"longer than 0\.6 s"):
        read(server, DownloadLimits(total_timeout=0.6, backoff=0))
    assert time.monotonic() - start < 1.5
    assert len(server.requests) == 2
