"""One running Airflow per version, in the environment that ``scripts/matrix.py`` makes. See ``make matrix``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, browser
from matrix import CACHE, VERSIONS, environment
from old_airflow import OldAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUCKET = "clips"
STARTED = (
    "evolink_daily_video",
    "killed_before_deferring",
    "killed_before_recording",
    "killed_on_resume",
    "given_up",
    "archived_on_s3",
    "batched",
    "sensed",
    "decorated",
)
WITH_PAGES = ("sheet_of_thirty",)  # started where there are pages to show them


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of versions."""
    parser.addoption("--airflow", action="append", choices=list(VERSIONS), help="version of Airflow; may be repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every check in every version, one version after the other."""
    if "number" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("airflow") or list(VERSIONS)
        if "page" in metafunc.fixturenames:
            chosen = [number for number in chosen if VERSIONS[number].has_pages]
        metafunc.parametrize("number", chosen, scope="session")


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
def quick(number: str) -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs end at once."""
    with EmulatorServer(fps=6) as server:
        yield server


@pytest.fixture(scope="session")
def s3(number: str) -> Iterator[Any]:
    """Serve a local S3 with one bucket; lend a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


@pytest.fixture(scope="session")
def airflow(number: str, python: str, books: EmulatorServer, quick: EmulatorServer, s3: Any) -> Iterator[OldAirflow]:
    """Run a scheduler and a triggerer with all examples and the DAGs under test."""
    home = CACHE / number / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "dags_under_test.py", home / "dags")
    connection = {"conn_type": "evolink", "host": books.url, "password": "matrix-test-key"}
    store = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    store |= {"extra": {"endpoint_url": s3.meta.endpoint_url, "region_name": "us-east-1"}}
    env = {
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_EVOLINK_QUICK": json.dumps({**connection, "host": quick.url}),
        "AIRFLOW_CONN_STORE": json.dumps(store),
        "AIRFLOW__CORE__PARALLELISM": "6",
        "AIRFLOW__EVOLINK__UI_ROOTS": f"file://{home}/archive,s3://store@{BUCKET}",
    }
    started = (*STARTED, *WITH_PAGES) if VERSIONS[number].has_pages else STARTED
    with OldAirflow(home, env, python) as stack:
        stack.wait_up(started)
        stack.start(started)
        yield stack


@pytest.fixture(scope="session")
def page(airflow: OldAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return a page of a headless Chromium, signed in: before 3.2 that leads to the home page."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    with browser(tmp_path_factory.mktemp("pictures")) as page:
        page.open(airflow.url)
        page.wait_for_text("Welcome", seconds=90)
        yield page
