"""An EvoLink that knows finished jobs only, and their media, on raw sockets. Loaded by path: tests are no package."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = "evolink_media_server"
if NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parent.parent / "api" / "media_server.py")
    assert _spec
    assert _spec.loader
    sys.modules[NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[NAME])
media: Any = sys.modules[NAME]

Play = Callable[[socket.socket, Any], None]


class Gateway(media.MediaServer):  # type: ignore[misc, name-defined]
    """Each path has its plays: the n-th request gets the n-th of them, and the last one is repeated."""

    def __init__(self) -> None:
        self.paths: dict[str, list[Play]] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.refusals: list[Play] = []  # of the next readings of jobs
        super().__init__(self._route)

    def link(self, path: str, *plays: Play) -> str:
        """Serve something, and return its link."""
        self.paths[path] = list(plays)
        return str(self.url(path))

    def job(self, job_id: str, *results: list[str], kind: str = "video", age: float = 60, **more: Any) -> str:
        """Know a job; each reading finds the next of its lists of results."""
        start = {"id": job_id, "created": int(time.time() - age), "model": "some-model", "type": kind}
        start |= {"status": "completed", "progress": 100}
        self.jobs[job_id] = [{**start, "results": links, **more} for links in results]
        return job_id

    def fetched(self, path: str) -> list[Any]:
        """Return the requests for a path."""
        return [request for request in self.requests if request.path == path]

    def _route(self, connection: socket.socket, request: Any) -> None:
        name = request.path.rpartition("/")[2]
        if request.path.startswith("/v1/tasks/"):
            if self.refusals:
                self.refusals.pop(0)(connection, request)
                return
            readings = self.jobs[name]
            body = json.dumps(readings[min(len(self.fetched(request.path)), len(readings)) - 1]).encode()
            media.answer(200, body, [("Content-Type", "application/json"), ("Connection", "close")])(
                connection, request
            )
            return
        plays = self.paths.get(request.path, [media.answer(404)])
        plays[min(len(self.fetched(request.path)), len(plays)) - 1](connection, request)


class Counted:
    """Serves a file after a while, and counts how many lines wait for it at a time."""

    def __init__(self, file: bytes, seconds: float) -> None:
        self.file, self.seconds = file, seconds
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __call__(self, connection: Any, request: Any) -> None:
        with self.while_open():
            time.sleep(self.seconds)
            media.answer(200, self.file, [("ETag", '"1"')])(connection, request)

    @contextmanager
    def while_open(self) -> Iterator[None]:
        """Count one more."""
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        yield
        with self._lock:
            self.now -= 1


def left(folder: Path) -> list[str]:
    """Return every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
