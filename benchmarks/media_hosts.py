"""
Hosts for transfers, in TLS on loopback: one that gives a file and knows the job it is of, and a bucket.

The bucket drops the bytes and remembers names, sizes and metadata, so that no disk of the store is measured.

    python benchmarks/media_hosts.py PORT-FILE CERTIFICATE SIZE [RATE]
"""

from __future__ import annotations

import json
import re
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

BLOCK = bytes(1024 * 1024)
FILES = 10  # results of the job of several
LOCK = threading.Lock()
OBJECTS: dict[str, dict[str, Any]] = {}
OPEN: dict[str, dict[str, int]] = {}
COUNTS = {"received": 0, "sent": 0, "requests": 0}


def wav_head(size: int) -> bytes:
    """Return the head of a WAV file of a size."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 2, 48000, 192000, 4, 16)
    return head + struct.pack("<4sI", b"data", size - 44)


class Handler(BaseHTTPRequestHandler):
    """Serves ``/media/<n>``, ``/v1/tasks/<id>``, ``/count`` and everything else as a bucket."""

    protocol_version = "HTTP/1.1"
    rbufsize = 256 * 1024

    def setup(self) -> None:
        """Make room for what is dropped."""
        super().setup()
        self.room = memoryview(bytearray(len(BLOCK)))

    size = 0
    rate = 0.0
    base = ""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Give a file, a job, the counts, or a small object."""
        path = urlsplit(self.path).path
        if path.startswith("/media/"):
            self._media()
        elif path.startswith("/v1/tasks/"):
            self._answer(200, json.dumps(self._job(path.rpartition("/")[2])).encode())
        elif path == "/count":
            self._answer(200, json.dumps({**COUNTS, "open": len(OPEN)}).encode())
        elif path in OBJECTS:
            self._answer(200, OBJECTS[path].get("body", b""), **self._kept(path))
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        """Say what is known of an object."""
        path = urlsplit(self.path).path
        if path not in OBJECTS:
            self._answer(404, b"")
        else:
            self._head(200, {**self._kept(path), "Content-Length": str(OBJECTS[path]["size"])})

    def do_POST(self) -> None:
        """Start or complete a multipart upload."""
        address = urlsplit(self.path)
        query = parse_qs(address.query, keep_blank_values=True)
        self._drop()
        if "uploads" in query:
            upload = f"upload-{len(OPEN)}-{time.time_ns()}"
            with LOCK:
                OPEN[upload] = {}
            OBJECTS[f"open:{upload}"] = {"size": 0, "kept": self._metadata()}
            self._answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
            return
        upload = query["uploadId"][0]
        with LOCK:
            size = sum(OPEN.pop(upload).values())
        OBJECTS[address.path] = {"size": size, "kept": OBJECTS.pop(f"open:{upload}")["kept"]}
        self._answer(200, b'<R><ETag>"whole"</ETag></R>')

    def do_DELETE(self) -> None:
        """Abort an upload, or delete an object."""
        address = urlsplit(self.path)
        for upload in parse_qs(address.query).get("uploadId", []):
            OPEN.pop(upload, None)
        self._answer(204, b"")

    def do_PUT(self) -> None:
        """Take an object or a part, or copy one."""
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        source = self.headers.get("x-amz-copy-source")
        size, body = self._drop()
        if source:
            self._copy("/" + source.lstrip("/"), address.path)
        elif "uploadId" in query:
            OPEN[query["uploadId"][0]][query["partNumber"][0]] = size
            self._answer(200, b"", ETag='"part"')
        else:
            OBJECTS[address.path] = {"size": size, "kept": self._metadata(), "body": body}
            self._answer(200, b"", ETag='"whole"')

    def _copy(self, source: str, target: str) -> None:
        import base64

        found = OBJECTS[source]
        OBJECTS[target] = {**found, "kept": self._metadata()}
        sha256 = found["kept"].get("x-amz-meta-evolink-sha256", "")
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        text = f'<CopyObjectResult><ETag>"whole"</ETag><ChecksumSHA256>{checksum}</ChecksumSHA256></CopyObjectResult>'
        self._answer(200, text.encode())

    def _media(self) -> None:
        found = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        start, left = int(found[1]) if found else 0, self.size
        headers = {"ETag": '"1"', "Content-Length": str(left - start), "Content-Type": "audio/wav"}
        if found:
            headers["Content-Range"] = f"bytes {start}-{left - 1}/{left}"
        self._head(206 if found else 200, headers)
        head, begun, sent = wav_head(self.size)[start:], time.monotonic(), 0
        self.connection.sendall(head)
        left -= start + len(head)
        while left > 0:
            count = min(left, len(BLOCK))
            self.connection.sendall(memoryview(BLOCK)[:count])
            left, sent = left - count, sent + count
            if self.rate and (ahead := sent / self.rate - (time.monotonic() - begun)) > 0:
                time.sleep(ahead)
        self.close_connection = True

    def _job(self, job_id: str) -> dict[str, Any]:
        count = FILES if job_id.startswith("task-many") else 1
        links = [f"{self.base}/media/{number}" for number in range(count)]
        start = {"id": job_id, "created": int(time.time() - 60), "model": "some-model", "type": "audio"}
        return {**start, "status": "completed", "progress": 100, "results": links}

    def _metadata(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def _kept(self, path: str) -> dict[str, str]:
        return {**OBJECTS[path]["kept"], "ETag": '"whole"'}

    def _drop(self) -> tuple[int, bytes]:
        """Read a body; return its length and, of a small one, what it is."""
        known = self.headers.get("x-amz-decoded-content-length")
        size, kept = 0, b""
        for length in self._lengths():
            kept += self._read(length, keep=length < len(BLOCK) and size < len(BLOCK))
            size += length
        with LOCK:
            COUNTS["received"] += size
            COUNTS["requests"] += 1
        return int(known or size), kept

    def _lengths(self) -> Iterator[int]:
        """Yield the lengths of the pieces of a body, whether it comes whole or in chunks."""
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            yield int(self.headers.get("content-length") or 0)
            return
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            yield length
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, left: int, *, keep: bool) -> bytes:
        kept = b""
        while left > 0 and (count := self.rfile.readinto1(self.room[: min(left, len(self.room))])):
            kept += bytes(self.room[:count]) if keep else b""
            left -= count
        return kept

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)
        with LOCK:
            COUNTS["sent"] += len(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Shakes hands in the thread of each connection."""

    daemon_threads = True
    tls: ssl.SSLContext

    def finish_request(self, request: Any, address: Any) -> None:
        """Put TLS on a connection and serve it."""
        line = self.tls.wrap_socket(request, server_side=True, suppress_ragged_eofs=True)
        self.RequestHandlerClass(line, address, self)  # type: ignore[arg-type]

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


def main() -> None:
    """Serve until the end."""
    server = Server(("127.0.0.1", 0), Handler)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(sys.argv[2])
    Handler.size, Handler.rate = int(sys.argv[3]), float(sys.argv[4] if len(sys.argv) > 4 else 0)
    Handler.base = f"https://127.0.0.1:{server.server_port}"
    Path(sys.argv[1]).write_text(str(server.server_port))
    server.serve_forever()


if __name__ == "__main__":
    main()
