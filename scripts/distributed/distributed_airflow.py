"""An Airflow as teams deploy it: workers without the database, two of each part, everything in one object store."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
from airflow_processes import API, PROCESSOR, TRIGGERERS, AirflowProcesses
from local_airflow import free_port
from stack_hosts import PART
from stack_services import Emulator, ObjectStore, Postgres, Redis, start_all, stop_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
SCHEDULERS = ("scheduler-1", "scheduler-2")
WORKERS = ("worker-1", "worker-2")
PARTS = (API, *SCHEDULERS, PROCESSOR, *TRIGGERERS, *WORKERS)
LOST_AFTER = 30  # seconds without a heartbeat; Airflow's default is 300 for tasks
SLOTS = 6  # of each worker
KEY = "stack-key-costs-nothing"
# What a worker gets where the others have the address of the database: any use of it fails.
NO_DATABASE = "postgresql+psycopg2://nobody@database.invalid/workers-have-none"
TEMPORARY = "/tmp"  # noqa: S108 - every user may enter it
STORE = "store"  # the connection of all object storage
LEDGER, STAGING, ARCHIVE, XCOM = (f"s3://{STORE}@evolink-{name}" for name in ("ledger", "staging", "archive", "xcom"))


def settings(folder: Path) -> dict[str, str]:
    """
    Return the settings that all parts share.

    :param folder: Where the files of the secrets backend are.
    """
    return {
        "PYTHONPATH": str(HERE),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": XCOM,
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "stack_hosts.host_name",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__CORE__PARALLELISM": "16",  # of each scheduler: what is queued longer counts as stuck
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__EVOLINK__LEDGER_PATH": f"{LEDGER}/ledger",
        "AIRFLOW__EVOLINK__UI_ROOTS": f"{STAGING},{ARCHIVE}",
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "32",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LOST_AFTER),
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(LOST_AFTER),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(LOST_AFTER),
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "90",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": backend(folder / "connections.json", folder / "variables.json"),
    }


def backend(connections: Path, variables: Path) -> str:
    """
    Return the arguments of the secrets backend.

    :param connections: Its file of connections.
    :param variables: Its file of variables.
    """
    return json.dumps({"connections_file_path": str(connections), "variables_file_path": str(variables)})


class DistributedAirflow(AirflowProcesses):
    """
    Two schedulers, two triggerers, two workers, a DAG processor and an API server, with all they need.

    A context manager: it stops all that it started, and removes the data of the services.

    :param home: Folder of settings and logs.
    :param dags: Folder of the DAGs.
    :param python: Interpreter of the environment that Airflow and the provider's wheel are installed in.
    :param emulator: Options of the emulator's command line.
    :param connections: Further connections, by id.
    :param env: Further environment of all parts.
    :param restarts: Whether a part that ends by itself is started again, as a restart policy does.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        python: Path,
        *,
        emulator: Sequence[str] = (),
        connections: Mapping[str, dict[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        restarts: bool = False,
    ) -> None:
        self._secrets = home / "secrets"
        super().__init__(home, dags, {**settings(self._secrets), **(env or {})}, str(python))
        # Where we are root, PostgreSQL runs as another user, who must be able to enter.
        self._folder = Path(tempfile.mkdtemp(prefix="evolink-stack-", dir=TEMPORARY if os.geteuid() == 0 else None))
        self._folder.chmod(0o711)
        self.postgres = Postgres(home, self._folder / "postgres")
        self.redis = Redis(home, self._folder / "redis")
        self.store = ObjectStore(home, python)
        self.books = Emulator(home, python, emulator)
        self.other: dict[str, tuple[str, dict[str, str]]] = {}
        self._before: dict[str, int] = {}  # bytes in the log of a part before its last start
        self.fallen: list[str] = []
        self._restarts = restarts
        self._given = connections or {}
        self._jwt = secrets.token_hex(32)

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._write_secrets()
            self.postgres.prepare()
            start_all(self._services(), (self.postgres.create, self.store.create))
            self._migrate()
            for part in PARTS:
                self.start(part)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        stop_all(self._services(), self._folder)

    @property
    def python(self) -> str:
        """Interpreter of the environment of all parts."""
        return self._python

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        for part in self.ended() if self._restarts else ():
            self.fallen.append(part)
            self.kill(part)  # what it has left behind
            self.start(part)
        return super()._ask(method, path, body)

    def runs(self, part: str) -> bool:
        """
        Return whether a part runs.

        :param part: Its name.
        """
        return part in self._parts and self._parts[part].poll() is None

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the parts, and the services."""
        leaders = {process.pid for process in self._parts.values()}
        leaders |= {service.pid for service in self._services() if service.pid}
        return [one for one in psutil.process_iter() if _session(one.pid) in leaders]

    def _services(self) -> tuple[Postgres, Redis, ObjectStore, Emulator]:
        return self.postgres, self.redis, self.store, self.books

    def _migrate(self) -> None:
        with (self.home / "migrate.log").open("wb") as log:
            command = [self._python, "-m", "airflow", "db", "migrate"]
            given = {"env": self._environment(API), "cwd": self.home}
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True, **given)

    def _write_secrets(self) -> None:
        self._secrets.mkdir(parents=True, exist_ok=True)
        store = {"endpoint_url": self.store.address, "region_name": "us-east-1"}
        connections = {
            "evolink_default": {"conn_type": "evolink", "host": self.books.url, "password": KEY},
            STORE: {"conn_type": "aws", "login": "key", "password": "secret-key", "extra": store},
            **self._given,
        }
        variables = {"evolink_staging": f"{STAGING}/clips", "evolink_archive": f"{ARCHIVE}/clips"}
        for name, content in (("connections", connections), ("variables", variables)):
            (self._secrets / f"{name}.json").write_text(json.dumps(content))

    def start(self, part: str, python: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """
        Start a part, or start it again.

        :param part: One of ``PARTS``.
        :param python: Another interpreter, whose environment may lack something.
        :param env: Further environment of this part.
        """
        self.other[part] = (str(python or self._python), dict(env or {}))
        log = self._log(part)
        self._before[part] = log.stat().st_size if log.exists() else 0
        super().start(part)

    def _command(self, part: str) -> list[str]:
        name = part.rstrip("-12")
        words = {"worker": ("celery", "worker", "--celery-hostname", f"{part}@stack")}.get(name, (name,))
        return [self.other[part][0], "-m", "airflow", *words]

    def _environment(self, part: str) -> dict[str, str]:
        database = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.address,
            "AIRFLOW__API_AUTH__JWT_SECRET": self._jwt,
        }
        none = {"AIRFLOW_HOME": str(self.home / "workers"), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": NO_DATABASE}
        return {
            **self._env,
            PART: part,
            "AIRFLOW__CELERY__BROKER_URL": f"{self.redis.address}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"{self.redis.address}/1",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port()),
            **(none if part in WORKERS else database),
            **self.other.get(part, ("", {}))[1],
        }

    def _log(self, part: str) -> Path:
        return self.home / f"{part}.log"

    def wait_workers(self, seconds: float = 120.0) -> None:
        """
        Wait until both workers take tasks.

        :param seconds: Patience.
        """
        for _ in self._until(seconds, f"the workers do not come up; see {self.home}"):
            if all(b"ready." in self._log(part).read_bytes()[self._before[part] :] for part in WORKERS):
                return

    def end(self, part: str, seconds: float = 60.0) -> int:
        """
        End a part in an orderly way, as a restart of its host does, and return its exit status.

        :param part: Its name.
        :param seconds: Patience; then it is killed.
        """
        process = self._parts[part]
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout=seconds)
        except psutil.TimeoutExpired:
            self.kill(part)
            raise
        self.kill(part)  # what it has left behind
        return int(status or 0)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
