"""Runs the emulator: in a thread for tests, or in the foreground for the command line."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_evolink.emulator.packages import require_packages
from airflow_provider_evolink.emulator.settings import Settings
from airflow_provider_evolink.emulator.state.world import World

if TYPE_CHECKING:
    from types import TracebackType

    import uvicorn

_START_SECONDS = 10
_FILES = 65536


def listen(host: str, port: int) -> socket.socket:
    """
    Bind an address, so that a port in use is noticed before anything starts.

    :param host: Address.
    :param port: 0 for a free one.
    :raises OSError: The address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets that name their protocol
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(512)
    except OSError:
        bound.close()
        raise
    return bound


def raise_file_limit() -> None:
    """Allow as many open connections as this process may have: the usual 1,024 files are too few for a team."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def build_server(settings: Settings, folder: Path, pair: tuple[Path, Path] | None = None) -> uvicorn.Server:
    """
    Build the server around a new state.

    :param settings: The settings at the start.
    :param folder: For uploads and results.
    :param pair: PEM files of certificate and key, to serve HTTPS.
    :raises MissingPackages: A package of the extra ``emulator`` is missing.
    :raises ModelFileError: A model file is wrong.
    """
    require_packages()
    import uvicorn

    from airflow_provider_evolink.emulator.routes.app import build_app
    from airflow_provider_evolink.emulator.routes.raw_transport import TransportProtocol

    certificate, key = pair or (None, None)
    config = uvicorn.Config(
        build_app(World(settings, folder)),
        http=TransportProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    return uvicorn.Server(config)


class EmulatorServer:
    """
    An emulator in a thread of this process, on a free port. Use it as a context manager.

    Unless other settings are given, a job finishes at its third poll, so that tests need not sleep.

    :param settings: See :class:`~airflow_provider_evolink.emulator.settings.Settings`.
    :raises MissingPackages: A package of the extra ``emulator`` is missing.
    """

    def __init__(self, **settings: Any) -> None:
        require_packages()
        self._settings = Settings().changed({"mode": "polls"} | settings)
        self._folder = tempfile.TemporaryDirectory(prefix="evolink-emulator-", ignore_cleanup_errors=True)
        self._socket = listen("127.0.0.1", 0)
        self._server = build_server(self._settings, Path(self._folder.name))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start, and wait until requests are served."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the emulator did not start")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop, and delete uploads and results."""
        self._server.should_exit = True
        self._thread.join(timeout=_START_SECONDS)
        self._socket.close()
        self._folder.cleanup()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """
        Change settings, and return all of them.

        :param changes: Names and new values.
        """
        return self._call("POST", "settings", changes)

    def fault(self, kind: str, **details: Any) -> dict[str, Any]:
        """
        Queue a fault.

        :param kind: See the README of the emulator.
        :param details: ``on``, ``times``, ``after``, ``path`` and parameters of the kind.
        """
        return self._call("POST", "faults", {"kind": kind} | details)

    def faults(self) -> list[dict[str, Any]]:
        """Return all faults, with how often each was ``met`` and whether it is ``done``."""
        found: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return found

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._call("DELETE", "faults")

    def books(self) -> dict[str, Any]:
        """Return orders, jobs, credits and counts of requests."""
        return self._call("GET", "books")

    def reset(self) -> None:
        """Forget everything and restore the settings of the start."""
        self._call("POST", "reset")

    def job(self, job_id: str, **changes: Any) -> dict[str, Any]:
        """
        Return one job, changed if there are changes.

        :param job_id: The job.
        :param changes: ``state``, ``code``, ``message``, ``expire_links``, ``vanish``, ``release``.
        """
        return self._call("POST" if changes else "GET", f"jobs/{job_id}", changes)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = json.dumps(body) if method == "POST" else None
            headers = {"Connection": "close", "Content-Type": "application/json"}
            connection.request(method, f"/_emulator/{path}", content, headers)
            response = connection.getresponse()
            found: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(found["error"])
        return found
