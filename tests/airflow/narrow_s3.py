"""For tests: an S3 whose role has the rights that a test gives it, and that answers as S3 does to such a role."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer  # noqa: F401 - it sets up what the application needs
from werkzeug.serving import make_server

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret words of the store</Message></Error>"
CONDITIONS = {"match": "HTTP_IF_MATCH", "none-match": "HTTP_IF_NONE_MATCH"}

Environ = dict[str, Any]


@dataclass
class NarrowS3:
    """
    S3 before its backend: a gate with the rights of a role, and with faults.

    :param denied: Rights that the role has not: put, get, list, delete, abort.
    :param ignored: Conditions of writes that the store does not know and passes over: match, none-match.
    :param unknown: Those that it does not know and refuses.
    :param fails: Called for each request; returns the code of an error, or ``None``. ``lost`` does what was asked and
        loses the response; ``cut`` sends half of it.
    :param copies_fail: The error of every copy of an object; empty: they work.
    :param has_checksums: Whether the store makes checksums of objects and returns them.
    :param before_copy: Called before an object is copied.
    :param after: Called when a request was done, before it is responded to.
    :param carried: Bytes of bodies, sent and received.
    :param seconds: How long the store takes to respond to what is put.
    """

    denied: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    fails: Callable[[str, str], str | None] = lambda _, __: None
    seconds: float = 0.0
    copies_fail: str = ""
    has_checksums: bool = True
    before_copy: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    carried: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        """Give the role the rights to put and get, as the pages promise that they suffice."""
        self.denied, self.ignored, self.unknown, self.seen = {"list", "delete", "abort"}, set(), set(), []
        self.fails, self.after, self.seconds = lambda _, __: None, lambda: None, 0.0
        self.copies_fail, self.has_checksums, self.before_copy, self.carried = "", True, lambda: None, 0

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()

    def __call__(self, environ: Environ, start: Any) -> Iterable[bytes]:
        right, key = self._right(environ), environ["PATH_INFO"]
        self.seen.append((right, key))
        failure = self.fails(right, key)
        if failure and failure not in ("lost", "cut"):
            return self._refuse(environ, start, failure)
        if right in self.denied:
            return self._refuse(environ, start, "403 AccessDenied")
        if "HTTP_X_AMZ_COPY_SOURCE" in environ and (refused := self._prepare_copy(environ)):
            return self._refuse(environ, start, refused)
        if right == "put" and any(CONDITIONS[condition] in environ for condition in self.unknown):
            return self._refuse(environ, start, "501 NotImplemented")
        for condition in self.ignored:
            environ.pop(CONDITIONS[condition], None)
        status, headers, body = self._asked(environ)
        self.after()
        time.sleep(self.seconds if right == "put" else 0)
        if failure == "lost":
            return self._refuse({**environ, "CONTENT_LENGTH": 0}, start, "503 SlowDown")
        if status.startswith("404") and right == "get" and "list" in self.denied and b"NoSuchBucket" not in body:
            return self._refuse(environ, start, "403 AccessDenied")
        if not self.has_checksums:
            headers = [row for row in headers if not row[0].lower().startswith("x-amz-checksum")]
            body = re.sub(rb"<Checksum[A-Z0-9]+>[^<]*</Checksum[A-Z0-9]+>", b"", body)
            headers = [
                row if row[0].lower() != "content-length" or not body else (row[0], str(len(body))) for row in headers
            ]
        self.carried += len(body) + int(environ.get("CONTENT_LENGTH") or 0)
        start(status, headers)
        return [body[: len(body) // 2]] if failure == "cut" else [body]

    def _prepare_copy(self, environ: Environ) -> str:
        """Return the error of a copy; the condition on its source is one that the backend does not know."""
        self.before_copy()
        if self.copies_fail:
            return self.copies_fail
        source = unquote("/" + environ["HTTP_X_AMZ_COPY_SOURCE"].lstrip("/"))
        asks = {name: value for name, value in environ.items() if "AMZ_COPY" not in name}
        asks |= {"REQUEST_METHOD": "HEAD", "PATH_INFO": source, "RAW_URI": source, "REQUEST_URI": source}
        _, headers, _ = self._asked({**asks, "QUERY_STRING": "", "CONTENT_LENGTH": "0"})
        etag = {name.lower(): value for name, value in headers}.get("etag")
        return "" if environ.get("HTTP_X_AMZ_COPY_SOURCE_IF_MATCH") == etag else "412 PreconditionFailed"

    def _asked(self, environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
        got: list[Any] = []
        body = b"".join(self._app(environ, lambda status, headers, _=None: got.append((status, headers))))
        return got[0][0], got[0][1], body

    @staticmethod
    def _right(environ: Environ) -> str:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        method, is_object = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").count("/") > 0
        if method == "DELETE":
            return "abort" if "uploadId" in query else "delete"
        if method in ("GET", "HEAD"):
            return "get" if is_object and "uploadId" not in query else "list"
        return "put"

    @staticmethod
    def _refuse(environ: Environ, start: Any, failure: str) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, code = failure.split(" ")
        start(f"{status} {code}", [("Content-Type", "application/xml")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [ERROR.format(code=code).encode()]
