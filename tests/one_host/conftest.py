"""One Airflow on one host for all tests of this folder, with an EvoLink, an S3 and a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Page, browser
from local_airflow import LocalAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

HERE = Path(__file__).parent
EXAMPLES = ("evolink_daily_video", "evolink_on_archive")
STARTED = (
    "killed_before_deferring",
    "killed_while_blocking",
    "killed_before_recording",
    "killed_on_resume",
    "killed_while_ordering",
    "archived_on_s3",
)


@pytest.fixture(scope="module")
def books() -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs take longer than any worker polls, and that knows no repeated order."""
    with EmulatorServer(mode="seconds", seconds=17, fps=6, idempotency=False) as server:
        yield server


@pytest.fixture(scope="module")
def quick() -> Iterator[EmulatorServer]:
    """Serve a local EvoLink whose jobs end at once."""
    with EmulatorServer(fps=6) as server:
        yield server


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where each kill leaves a mark."""
    return tmp_path_factory.mktemp("marks") / "kills"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Serve a local S3 with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="clips")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def airflow(
    books: EmulatorServer, quick: EmulatorServer, marks: Path, s3: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """Run an Airflow with the daily example and the DAGs under test."""
    home = tmp_path_factory.mktemp("one_host")
    dags = home / "dags"
    dags.mkdir()
    marks.mkdir()
    for name in EXAMPLES:
        shutil.copy(HERE.parents[1] / "dags" / f"{name}.py", dags)
    shutil.copy(HERE / "dags_under_test.py", dags)
    connection = {"conn_type": "evolink", "host": books.url, "password": "one-host-test-key"}
    store: dict[str, Any] = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    store |= {"extra": {"endpoint_url": s3, "region_name": "us-east-1"}}
    env = {
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_EVOLINK_QUICK": json.dumps({**connection, "host": quick.url}),
        "AIRFLOW_CONN_STORE": json.dumps(store),
        "KILL_MARKS": str(marks),
        "AIRFLOW_VAR_EVOLINK_STAGING": f"file://{home}/staging",
        "AIRFLOW_VAR_EVOLINK_ARCHIVE": f"file://{home}/archive",
        "AIRFLOW__EVOLINK__UI_ROOTS": f"file://{home}/staging,file://{home}/archive,s3://store@clips",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(home / "lineage"), "append": False}
        ),
    }
    with LocalAirflow(home / "airflow", dags, env) as stack:
        for dag_id in (*EXAMPLES, "sheet_of_thirty", *STARTED):
            stack.wait_ready(dag_id)
        stack.unpause(EXAMPLES[1])  # events of the time before are not for it
        yield stack


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return a page of a headless Chromium."""
    with browser(tmp_path_factory.mktemp("pictures")) as page:
        yield page


@pytest.fixture(scope="module")
def started(airflow: LocalAirflow) -> dict[str, str]:
    """Start a run of each DAG under test at once, so that the tests wait together."""
    return {dag_id: airflow.trigger(dag_id) for dag_id in STARTED}
