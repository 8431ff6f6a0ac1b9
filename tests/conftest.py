"""One Airflow home per test process, set up before Airflow is imported; an emulator per test."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # of tmp_path, which is kept for a look
_HOME = Path(tempfile.mkdtemp(prefix="evolink-tests-"))
# Whatever tests, their servers and killed children leave behind goes away with the home. The short names leave room for
# sockets, whose paths are limited.
_TEMPORARY = _HOME / "t"
_TEMPORARY.mkdir()
os.environ["TMPDIR"] = tempfile.tempdir = str(_TEMPORARY)
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(_HOME / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(_HOME / "logs"),
)
(_HOME / "dags").mkdir()

from airflow_provider_evolink.api.http import patience  # noqa: E402
from airflow_provider_evolink.emulator.server import EmulatorServer  # noqa: E402

KEY = "test-key-0123456789"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long files first, so that the two processes end together."""
    long = ("test_one_host", "test_error_table")
    items.sort(key=lambda item: next((i for i, name in enumerate(long) if name in item.nodeid), len(long)))


def pytest_sessionfinish() -> None:
    """Leave nothing behind."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quick_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls that were refused by a rate limit return within moments, and give up within seconds."""
    quick = patience.PatiencePolicy(max_wait=3.0, first_window=0.05, max_window=0.2)
    monkeypatch.setattr(patience, "POLICY", quick)


@pytest.fixture
def emulator() -> Iterator[EmulatorServer]:
    """Serve a fresh local EvoLink; jobs end after two reads."""
    with EmulatorServer(polls=2, estimated_time=1, fps=6) as server:
        yield server


@pytest.fixture
def evolink_conn(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the Airflow connection ``evolink_default`` at the emulator."""
    connection = {"conn_type": "evolink", "host": emulator.url, "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))
    return "evolink_default"


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Return the home of an Airflow with a database, made once per test process."""
    from airflow.utils.db import initdb

    initdb()
    return _HOME


@pytest.fixture
def dags_folder(airflow_home: Path) -> Path:
    """Return the folder Airflow reads DAGs from."""
    return airflow_home / "dags"
