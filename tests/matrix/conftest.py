"""One running Airflow per version, in the environment that ``scripts/matrix.py`` makes. See ``make matrix``."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, browser
from matrix import VERSIONS, Environment, environments, install
from old_airflow import OldAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_spec = importlib.util.spec_from_file_location("evolink_error_cases", ROOT / "tests/airflow/error_cases.py")
assert _spec
assert _spec.loader
sys.modules[_spec.name] = cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

BUCKET = "clips"
CONSTRAINTS = sorted((ROOT / "requirements").glob("constraints-*.txt"))
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
    "error_table",
)
# They wait that long for EvoLink to recover.
MINUTES = {"HTTP 429 that persists", "HTTP 404: the job is gone", "HTTP 429 for more than 10 minutes"}
WITH_PAGES = ("sheet_of_thirty",)  # started where there are pages to show them


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of versions."""
    parser.addoption("--airflow", action="append", choices=list(VERSIONS), help="version of Airflow; may be repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every check in every environment, one after the other."""
    chosen = metafunc.config.getoption("airflow") or list(VERSIONS)
    if "environment" in metafunc.fixturenames:
        found = list(environments(chosen).values())
        if "page" in metafunc.fixturenames:
            found = [environment for environment in found if environment.version.has_pages]
        metafunc.parametrize("environment", found, scope="session", ids=lambda environment: environment.name)
    if "constraints" in metafunc.fixturenames:
        files = [file for file in CONSTRAINTS if any(name[:3] == version_of(file)[:3] for name in chosen)]
        metafunc.parametrize("constraints", files, ids=version_of)


def version_of(constraints: Path) -> str:
    """Return the version of Airflow that a file of constraints is for."""
    return constraints.stem.removeprefix("constraints-")


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, record_property: Any) -> None:
    named = request.node.callspec.params.get("environment")
    record_property("airflow", named.name if named else version_of(request.getfixturevalue("constraints")))
    check = request.node.originalname.removeprefix("test_")
    if "dag_id" in request.fixturenames:
        check += f" ({request.getfixturevalue('dag_id')})"
    record_property("check", check.replace("_", " "))


@pytest.fixture(scope="session")
def python(environment: Environment) -> str:
    """Return the interpreter of an environment."""
    return str(install(environment))


@pytest.fixture(scope="session")
def books(environment: Environment) -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs take longer than any worker polls, and that knows no repeated order."""
    with EmulatorServer(mode="seconds", seconds=17, fps=6, idempotency=False) as server:
        yield server


@pytest.fixture(scope="session")
def quick(environment: Environment) -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs end at once."""
    with EmulatorServer(fps=6) as server:
        yield server


@pytest.fixture(scope="session")
def s3(environment: Environment) -> Iterator[Any]:
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
def failing(environment: Environment) -> Iterator[dict[str, EmulatorServer]]:
    """Serve an EvoLink for each kind of error on docs/errors.md."""
    with cases.emulators_of(error_rows()) as emulators:
        yield emulators


def error_rows() -> list[str]:
    """Return a row of each kind: the same error, at the same cost, with the same end. Long waits are left out."""
    kinds: dict[Any, str] = {}
    for row, (_, *kind, _) in cases.ROWS.items():
        if row not in MINUTES:
            kinds.setdefault((*kind, cases.CASES[row].deferred), row)
    return list(kinds.values())


@pytest.fixture(scope="session")
def airflow(
    environment: Environment,
    python: str,
    books: EmulatorServer,
    quick: EmulatorServer,
    failing: dict[str, EmulatorServer],
    s3: Any,
) -> Iterator[OldAirflow]:
    """Run a scheduler and a triggerer with all examples and the DAGs under test."""
    home = environment.folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "dags_under_test.py", home / "dags")
    cases.write_dag(home / "dags", list(failing), f"file://{home}/staging")
    connection = {"conn_type": "evolink", "host": books.url, "password": "matrix-test-key"}
    store = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    store |= {"extra": {"endpoint_url": s3.meta.endpoint_url, "region_name": "us-east-1"}}
    env = {
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_EVOLINK_QUICK": json.dumps({**connection, "host": quick.url}),
        "AIRFLOW_CONN_STORE": json.dumps(store),
        **{
            f"AIRFLOW_CONN_{cases.TASKS[row].upper()}": cases.connection_of(row, emulator)
            for row, emulator in failing.items()
        },
        "AIRFLOW__CORE__PARALLELISM": "6",
        "AIRFLOW__EVOLINK__UI_ROOTS": f"file://{home}/archive,s3://store@{BUCKET}",
    }
    started = (*STARTED, *WITH_PAGES) if environment.version.has_pages else STARTED
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
