"""One running Airflow per version, in the environment that ``scripts/matrix.py`` makes. See ``make matrix``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matrix import CACHE, VERSIONS, environment
from old_airflow import OldAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STARTED = (
    "evolink_daily_video",
    "killed_before_deferring",
    "killed_before_recording",
    "killed_on_resume",
    "given_up",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of versions."""
    parser.addoption("--airflow", action="append", choices=list(VERSIONS), help="version of Airflow; may be repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every check in every version, one version after the other."""
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", metafunc.config.getoption("airflow") or list(VERSIONS), scope="session")


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, number: str, record_property: Any) -> None:
    record_property("airflow", number)
    check = request.node.originalname.removeprefix("test_")
    if "dag_id" in request.fixturenames:
        check += f" ({request.getfixturevalue('dag_id')})"
    record_property("check", check.replace("_", " "))


@pytest.fixture(scope="session")
def python(number: str) -> str:
    """Return the interpreter of a version's environment."""
    return str(environment(VERSIONS[number]))


@pytest.fixture(scope="session")
def books(number: str) -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs take longer than any worker polls, and that knows no repeated order."""
    with EmulatorServer(mode="seconds", seconds=17, fps=6, idempotency=False) as server:
        yield server


@pytest.fixture(scope="session")
def airflow(number: str, python: str, books: EmulatorServer) -> Iterator[OldAirflow]:
    """Run a scheduler and a triggerer with all examples and the DAGs under test."""
    home = CACHE / number / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "dags_under_test.py", home / "dags")
    connection = {"conn_type": "evolink", "host": books.url, "password": "matrix-test-key"}
    with OldAirflow(home, {"AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection)}, python) as stack:
        stack.wait_up(STARTED)
        stack.start(STARTED)
        yield stack
