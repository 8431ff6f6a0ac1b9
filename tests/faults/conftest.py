"""The stage of tests/airflow, and what faults need besides: relays, certificates, short time-outs, a clock."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def _load(name: str, path: Path) -> ModuleType:
    """Load a file of helpers once per process: tests are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


_load("evolink_stage", HERE.parent / "airflow" / "conftest.py")
_load("evolink_media_server", HERE.parent / "api" / "media_server.py")
_load("fault_relay", HERE / "relay.py")
_load("fault_certificates", HERE / "certificates.py")
_load("fault_network", HERE / "network.py")
_load("fault_scene", HERE / "scene.py")

from evolink_stage import _server, emulator, hurry, logs, make, slow  # noqa: E402, F401 - fixtures for the tests here
from fault_certificates import Authority, make_authority  # noqa: E402
from fault_relay import Deadend, Relay  # noqa: E402
from fault_scene import KEY, Clock, Scene  # noqa: E402

from airflow_provider_evolink.api.http import transport  # noqa: E402
from airflow_provider_evolink.emulator.server import EmulatorServer  # noqa: E402
from airflow_provider_evolink.hooks import evolink as hook  # noqa: E402

Connect = Callable[..., None]


@pytest.fixture
def connect(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Connect:  # noqa: F811
    """Return a function that points the connection somewhere; it points at the emulator already."""
    monkeypatch.setenv("AIRFLOW__EVOLINK__IDEMPOTENCY_NAMESPACE", "tests")

    def point(url: str = emulator.url, key: str = KEY) -> None:
        connection = {"conn_type": "evolink", "host": url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))

    point()
    return point


@pytest.fixture
def scene(
    connect: Connect,
    slow: EmulatorServer,  # noqa: F811
    make: Callable[..., Callable[[], Any]],  # noqa: F811
    hurry: None,  # noqa: F811
) -> Scene:
    """Return a task instance on its first try whose job is deferred and ends after four reads."""
    return Scene(slow, make, connect)


@pytest.fixture(params=["trigger", "worker"])
def waiting(request: pytest.FixtureRequest, scene: Scene) -> Scene:
    """Return the scene twice: the wait is the trigger's, or the worker's own."""
    scene.given["deferrable"] = request.param == "trigger"
    return scene


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that shortens the time-outs of every client a connection gives."""
    made = hook.settings_of

    def shorten(**seconds: float) -> None:
        monkeypatch.setattr(hook, "settings_of", lambda *facts: replace(made(*facts), **seconds))

    return shorten


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock for all waits between looks: they take no time and are noted."""
    from airflow_provider_evolink.api import client
    from airflow_provider_evolink.api.jobs.pace import DurationStats
    from airflow_provider_evolink.api.polling import poller
    from airflow_provider_evolink.execution import job_tracker, task_run
    from airflow_provider_evolink.operators import generate

    clock = Clock()
    for module in (client, poller, job_tracker, task_run, generate):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(poller, "DURATIONS", DurationStats())
    monkeypatch.setattr(poller, "call_later", clock.instead_of(poller.call_later))
    return clock


@pytest.fixture
def relay(emulator: EmulatorServer) -> Iterator[Relay]:  # noqa: F811
    """Return a relay in front of the emulator."""
    relay = Relay(emulator.port)
    yield relay
    relay.refuse()


@pytest.fixture
def deadend() -> Iterator[Callable[[bytes], Deadend]]:
    """Return a maker of servers that always say the same."""
    made: list[Deadend] = []

    def make_one(said: bytes) -> Deadend:
        made.append(Deadend(said))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority for certificates."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """Let the API clients trust the authority, as a deployment does: by the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    transport.ssl_context.cache_clear()
    yield authority
    transport.ssl_context.cache_clear()
