"""Tasks without a scheduler: a fake context around real operators, real triggers and a real emulator."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_evolink.api import client as api_client
from airflow_provider_evolink.api.http import retries
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

PROMPT = "a paper boat with the secret word xylophonist"

for _name, _file in (
    ("evolink_archive_samples", "archive_samples.py"),
    ("evolink_error_cases", "error_cases.py"),
    ("evolink_forker", "forker.py"),
    ("evolink_support", "support.py"),
):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(_file))
    assert _spec
    assert _spec.loader
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])


class DictStore:
    """Airflow's task state store, in memory: plain JSON only, as the real one."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.writes: list[Any] = []
        self.retentions: list[Any] = []

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert value is not None
        self.rows[key] = json.dumps(value)
        self.writes.append(json.loads(self.rows[key]))
        self.retentions.append(retention)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    @property
    def record(self) -> dict[str, Any]:
        return self.get("evolink_generation")


@dataclass
class Stage:
    """One task instance: what Airflow would keep of it, and what Airflow would do with it."""

    retries: int = 1
    store: Any = field(default_factory=DictStore)
    ti: Any = field(default_factory=SimpleNamespace)
    deferrals: list[TaskDeferred] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        start = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1, "try_number": 1}
        self.ti = SimpleNamespace(**start, max_tries=self.retries)

    def context(self) -> dict[str, Any]:
        found = {"ti": self.ti, "task_instance": self.ti}
        return found if self.store is None else {**found, "task_state_store": self.store}

    def retry(self) -> Stage:
        """Begin the next try, as Airflow does after a failure."""
        self.ti.try_number += 1
        return self

    def clear(self) -> Stage:
        """Begin the next try, as Airflow does when somebody clears the task."""
        self.ti.max_tries = self.ti.try_number + self.retries
        self.ti.try_number += 1
        return self

    def run(self, make: Callable[[], Any]) -> Any:
        """Run one try to its end: every resumption gets a new operator, as no attribute survives a deferral."""
        try:
            return make().execute(self.context())
        except TaskDeferred as deferred:
            return self.resume(make, deferred)

    def resume(self, make: Callable[[], Any], deferred: TaskDeferred) -> Any:
        while True:
            self.deferrals.append(deferred)
            self.events.append(fire(deferred.trigger))
            try:
                return make().resume_execution(deferred.method_name, {"event": self.events[-1]}, self.context())
            except TaskDeferred as again:
                deferred = again


def rebuild(trigger: Any) -> Any:
    """Send a trigger through its serialization, as Airflow does, and return the copy."""
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(**json.loads(json.dumps(kwargs)))


def fire(trigger: Any) -> dict[str, Any]:
    """Run a trigger to its event."""

    async def first() -> Any:
        async for event in rebuild(trigger).run():
            return event.payload
        raise AssertionError("no event")

    return json.loads(json.dumps(asyncio.run(first())))


class Collector(logging.Handler):
    """Every line that passes a logger, with its arguments and traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())
        self.lines.append(f"{record.name} {record.levelname} {logging.Formatter().format(record)}")

    def take(self, _: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
        """Collect a line of structlog, which operators, triggers and hooks write to."""
        self.told.append(str(event["event"]))
        self.lines.append(f"{level} {event}")
        raise structlog.DropEvent

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(scope="session")
def _server() -> Iterator[EmulatorServer]:
    with EmulatorServer(polls=2, estimated_time=1, fps=6) as server:
        yield server


@pytest.fixture
def emulator(_server: EmulatorServer) -> EmulatorServer:
    """Return a local EvoLink that knows of nothing yet; jobs end after two reads."""
    _server.reset()
    return _server


@pytest.fixture
def logs() -> Iterator[Collector]:
    """Collect everything that is logged, ours at DEBUG, whatever Airflow has set up."""
    collector = Collector()
    names = ("", "airflow", "airflow.task", "airflow_provider_evolink", "httpx", "httpcore")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.addHandler(collector)
        logger.setLevel(logging.DEBUG)
        logger.propagate = logger.disabled = False
    settings = structlog.get_config()
    structlog.configure(
        processors=[collector.take],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    yield collector
    structlog.configure(**settings)
    for logger, level, propagate, disabled in before:
        logger.removeHandler(collector)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits that are only there to be polite: between tries, polls, and before an event."""
    between_tries, delays = retries.wait_before_retry, schedule.worker_poll_delays
    monkeypatch.setattr(
        retries, "wait_before_retry", lambda *args, **facts: between_tries(*args, **{**facts, "jitter": -0.32})
    )
    monkeypatch.setattr(schedule, "worker_poll_delays", lambda *args: tuple(delay / 10 for delay in delays(*args)))
    monkeypatch.setattr("airflow_provider_evolink.triggers.evolink.HOLD_EVENT", 0.05)
    sys.modules["evolink_support"].set_policy(monkeypatch, confirm_failure_after=0.05)
    monkeypatch.setattr("airflow_provider_evolink.ledger.ledger.SUBMITTED_RETRY_SECONDS", 1.0)
    monkeypatch.setattr("airflow_provider_evolink.ledger.ledger.SECOND_COPY_RETRY_SECONDS", 0.5)


@pytest.fixture
def stage(evolink_conn: str, hurry: None) -> Stage:
    """Return a task instance on its first try, with ``retries=1``."""
    return Stage()


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of all clients that are made for triggers."""
    made: list[Any] = []
    create = api_client.AsyncEvoLinkClient.create.__func__  # type: ignore[attr-defined]

    async def noted(cls: Any, settings: Any, **given: Any) -> Any:
        made.append(await create(cls, settings, **given))
        return made[-1]

    monkeypatch.setattr(api_client.AsyncEvoLinkClient, "create", classmethod(noted))
    return made


@pytest.fixture
def slow(emulator: EmulatorServer) -> EmulatorServer:
    """Serve jobs that say they take a minute, so that they are deferred, and end after four reads."""
    emulator.settings(polls=4, estimated_time=60)
    return emulator


@pytest.fixture
def make() -> Callable[..., Callable[[], EvoLinkGenerateOperator]]:
    """Return a maker of makers: each call of the inner one is a new operator, as in a new process."""

    def maker(kind: type[EvoLinkGenerateOperator] = EvoLinkGenerateOperator, /, **given: Any) -> Callable[[], Any]:
        plain = {"model": "wan2.7-text-to-video", "parameters": {"prompt": PROMPT, "duration": 2}}
        common = {"task_id": "task", "retries": 1, "poll_interval": 0.05, "deferrable": True}
        start = plain if kind is EvoLinkGenerateOperator else {}
        return lambda: kind(**{**common, **start, **given})

    return maker


@pytest.fixture
def scene(
    stage: Stage, make: Any, emulator: EmulatorServer, logs: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    """Return a task instance, a local EvoLink and a log on which nothing has happened yet; nobody waits for quiet."""
    monkeypatch.setattr(submission, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    return sys.modules["evolink_support"].Scene(stage, make, emulator, logs, monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def forker() -> Iterator[Any]:
    """Start a process whose children are killed, once: importing takes longer than all that they do."""
    started = sys.modules["evolink_forker"].Forker()
    yield started
    started.close()


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Start one S3 for the whole run: Airflow keeps a store it opened, by connection id, as long as the process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of a local S3 that tasks reach through the Airflow connection ``store``."""
    import boto3

    facts = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    facts |= {"extra": {"endpoint_url": s3_address, "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(facts))
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key"}
    return boto3.client("s3", endpoint_url=s3_address, region_name="us-east-1", **keys)


@pytest.fixture
def bucket(s3: Any) -> str:
    """Return a fresh bucket."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def contents(s3: Any, bucket: str) -> Callable[[], list[str]]:
    """Return a function that returns what is in the bucket, open multipart uploads included."""

    def found() -> list[str]:
        keys = [row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return keys + [f"open: {row['Key']}" for row in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    return found


@pytest.fixture(scope="session")
def _narrow_s3(s3_address: str) -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("evolink_narrow_s3", Path(__file__).with_name("narrow_s3.py"))
    assert spec
    assert spec.loader
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    gate = module.NarrowS3()
    yield gate
    gate.stop()


@pytest.fixture
def narrow(s3: Any, _narrow_s3: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the gate to the buckets of ``s3`` that tasks reach through the connection ``narrow``: put and get."""
    facts = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    facts |= {"extra": {"endpoint_url": _narrow_s3.url, "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_NARROW", json.dumps(facts))
    _narrow_s3.reset()
    return _narrow_s3
