"""For the tests of the client: a local server that answers what a test gives it, and keeps what it was asked."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings

sys.path.insert(0, str(Path(__file__).parent))  # helper modules of this folder


class AnswerServer:
    """Serve ``answers`` in turn, the last one for ever: status, a JSON value or bytes, and headers if any."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self._answers: list[Any] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server.seen.append((self.command, self.path, body))
                status, given, *more = server.next_answer()
                content = given if isinstance(given, bytes) else json.dumps(given).encode()
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @property
    def answers(self) -> list[Any]:
        return self._answers

    @answers.setter
    def answers(self, given: list[Any]) -> None:
        self._answers, self.seen = list(given), []

    def next_answer(self) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def __enter__(self) -> AnswerServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(scope="session")
def answer_server() -> Iterator[AnswerServer]:
    """Serve what a test gives; one server for all."""
    with AnswerServer() as running:
        yield running


@pytest.fixture
def answer_client(answer_server: AnswerServer) -> Iterator[EvoLinkClient]:
    """Return a client of that server."""
    settings = ClientSettings("test-key-0123456789", base_url=answer_server.url, retry_wait=0.01)
    with EvoLinkClient(settings) as client:
        yield client
