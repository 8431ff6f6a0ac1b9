"""What Airflow stands on in ``make stack``: PostgreSQL, Redis, an object store and the emulator, on free ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from local_airflow import free_port
from stack_programs import find

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUCKETS = ("evolink-ledger", "evolink-staging", "evolink-archive", "evolink-xcom")
STOP_PATIENCE = 10.0  # seconds
START_PATIENCE = 60.0


class Service:
    """
    A server that can be stopped and started again at the same address.

    :param name: Of its log.
    :param home: Folder of the logs.
    """

    stop_signal = signal.SIGTERM

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return the command that serves in the foreground."""
        raise NotImplementedError

    def responds(self) -> bool:
        """Return whether it serves. By default: whether it accepts a connection."""
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def options(self) -> dict[str, Any]:
        """Return further options of its process. Its working directory holds no package that it could import."""
        return {"cwd": self.home}

    def start(self) -> None:
        """Start it, without waiting."""
        with (self.home / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **self.options(),
            )

    @property
    def pid(self) -> int:
        """Its process, which leads its session; 0 if it does not run."""
        return self._process.pid if self._process else 0

    def runs(self) -> bool:
        """Return whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """
        Wait until it serves.

        :raises RuntimeError: It has ended, or does not serve in time.
        """
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline and self.runs():
            if self.responds():
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not serve; see {self.home / f'{self.name}.log'}")

    def stop(self, number: signal.Signals | None = None) -> None:
        """
        Stop it, at the latest by SIGKILL.

        :param number: The signal; by default its own for an orderly end.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number or self.stop_signal)
        try:
            process.wait(timeout=STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Postgres(Service):
    """
    A PostgreSQL with one database ``airflow``, whose owner needs no password on this machine.

    :param folder: For its data: a short path, since it holds a socket, which other users may enter.
    """

    stop_signal = signal.SIGINT  # closes all connections and ends
    away_signal = signal.SIGQUIT  # ends at once, as a lost host does

    def __init__(self, home: Path, folder: Path) -> None:
        super().__init__("postgres", home)
        self._folder = folder
        self._data = folder / "data"

    @property
    def address(self) -> str:
        """The address for SQLAlchemy."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/airflow"

    def options(self) -> dict[str, Any]:
        """Return another user where we are root, whom PostgreSQL refuses to serve."""
        if os.geteuid() != 0:
            return super().options()
        user = next(user for user in pwd.getpwall() if user.pw_name == _unprivileged())
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}

    def prepare(self) -> None:
        """Make the folder of its data."""
        self._folder.mkdir(parents=True, exist_ok=True)
        given = self.options()
        if given:
            os.chown(self._folder, given["user"], given["group"])
        command = [str(find("initdb")), "-D", str(self._data), "-U", "airflow", "-A", "trust", "-E", "UTF8"]
        with (self.home / "initdb.log").open("wb") as log:
            subprocess.run(
                [*command, "--no-locale", "--no-sync"], stdout=log, stderr=subprocess.STDOUT, check=True, **given
            )

    def command(self) -> Sequence[str]:
        """Return the command."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
            "max_connections": "200",
            "fsync": "off",  # a killed server keeps everything; only a killed machine would not
        }
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (str(find("postgres")), "-D", str(self._data), "-p", str(self.port), *given)

    def responds(self) -> bool:
        """Return whether it answers queries."""
        return self._psql("postgres", "SELECT 1").returncode == 0

    def create(self) -> None:
        """Make the database."""
        self._psql("postgres", "CREATE DATABASE airflow").check_returncode()

    def rows(self, query: str) -> list[list[str]]:
        """
        Return the rows of a query, as text.

        :param query: In SQL.
        """
        done = self._psql("airflow", query)
        done.check_returncode()
        return [line.split("\t") for line in done.stdout.splitlines()]

    def _psql(self, database: str, query: str) -> subprocess.CompletedProcess[str]:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "airflow", "-d", database]
        command = [str(find("psql")), "-X", "-q", "-A", "-t", "-F", "\t", "-w", *where, "-c", query]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _unprivileged() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Redis(Service):
    """
    A Redis that keeps nothing on disk: after a restart it is empty.

    :param folder: Where it runs.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        super().__init__("redis", home)
        self._folder = folder

    @property
    def address(self) -> str:
        """The address without a database."""
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the command."""
        self._folder.mkdir(parents=True, exist_ok=True)
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        return (str(find("redis-server")), *where, "--save", "", "--appendonly", "no")


class ObjectStore(Service):
    """
    An S3, in memory.

    :param python: Interpreter of the environment of moto.
    """

    def __init__(self, home: Path, python: Path) -> None:
        super().__init__("s3", home)
        self._python = python

    @property
    def address(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the command."""
        return (str(self._python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))

    def create(self) -> None:
        """Make the buckets."""
        for bucket in BUCKETS:
            httpx.put(f"{self.address}/{bucket}", timeout=30, trust_env=False).raise_for_status()


class Emulator(Service):
    """
    An EvoLink that knows no repeated order, so that its books show every one that is paid twice.

    :param python: Interpreter of the environment of the provider.
    :param options: Of its command line.
    """

    def __init__(self, home: Path, python: Path, options: Sequence[str]) -> None:
        super().__init__("emulator", home)
        self._python = python
        self._options = options

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the command."""
        module = (str(self._python), "-m", "airflow_provider_evolink.emulator")
        return (*module, "--port", str(self.port), "--quiet", *self._options)

    def books(self) -> dict[str, Any]:
        """Return orders, jobs, credits and counts of requests."""
        return self._call("GET", "books")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """
        Change settings.

        :param changes: Names and new values.
        """
        return self._call("POST", "settings", changes)

    def fault(self, kind: str, **details: Any) -> dict[str, Any]:
        """
        Queue a fault.

        :param kind: See the README of the emulator.
        :param details: Of the kind.
        """
        return self._call("POST", "faults", {"kind": kind} | details)

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._call("DELETE", "faults")

    def job(self, job_id: str, **changes: Any) -> dict[str, Any]:
        """
        Change one job.

        :param job_id: The job.
        :param changes: ``state``, ``release``, ...
        """
        return self._call("POST", f"jobs/{job_id}", changes)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        response = httpx.request(method, f"{self.url}/_emulator/{path}", json=body, timeout=60, trust_env=False)
        found: dict[str, Any] = response.raise_for_status().json()
        return found


def start_all(services: Sequence[Service], then: Sequence[Callable[[], None]]) -> None:
    """
    Start services at the same time, and go on when all serve.

    :param services: Which.
    :param then: What makes their databases and buckets.
    """
    for service in services:
        service.start()
    for service in services:
        service.wait()
    for make in then:
        make()


def stop_all(services: Sequence[Service], folder: Path) -> None:
    """
    Stop services, the last one first, and remove their data.

    :param services: Which.
    :param folder: Of their data.
    """
    for service in reversed(services):
        service.stop()
    shutil.rmtree(folder, ignore_errors=True)
