"""What must work in every version of Airflow: its real scheduler and triggerer, real deferrals, real kills."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from evolink_error_cases import TASKS, Result, check_row, reports
from matrix import ROOT, Environment, probe
from old_airflow import PATIENCE, OldAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

DAILY = "evolink_daily_video"
INTERRUPTED = "an earlier try was interrupted while it submitted"
GIVEN_UP = "Airflow ended the wait in the triggerer"

pytestmark = pytest.mark.timeout(1800)


def orders(books: EmulatorServer, words: str) -> list[dict[str, Any]]:
    """Return the orders whose prompt ends with, or begins with, some words."""
    prompts = [(job, job["body"]["prompt"]) for job in books.books()["jobs"]]
    return [job for job, prompt in prompts if prompt.endswith(words) or prompt.startswith(words)]


@pytest.fixture(scope="session")
def facts(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a process of that environment tells of the package."""
    return probe(Path(python), tmp_path_factory.mktemp("probe"))


def test_all_modules_import(environment: Environment, facts: dict[str, Any]) -> None:
    """Nothing of the package needs a newer Airflow to be imported, but the review and the pages, which need 3.1."""
    assert facts["airflow"] == environment.version.number
    assert facts["broken"] == {}


def test_airflow_knows_hook_and_link(facts: dict[str, Any]) -> None:
    """The provider info of this release is understood: connection type, its test, the extra link."""
    assert facts["hook"] == "airflow_provider_evolink.hooks.evolink.EvoLinkHook"
    assert facts["testable"] is True
    names = ("ArchivedFile", "Manifest", "Result")
    assert sorted(facts["links"]) == [f"airflow_provider_evolink.links.evolink.EvoLink{name}Link" for name in names]


def test_all_examples_parse(environment: Environment, airflow: OldAirflow) -> None:
    """Every file in ``dags/`` gives its DAGs, without an import error; the review says that it needs Airflow 3.1."""
    names = {
        word.value.value
        for path in (ROOT / "dags").glob("*.py")
        for word in ast.walk(ast.parse(path.read_text()))
        if isinstance(word, ast.keyword) and word.arg == "dag_id" and isinstance(word.value, ast.Constant)
    }
    query = "SELECT dag_id FROM dag"
    refused = set() if environment.version.has_pages else {"evolink_review"}
    wanted = names - refused
    airflow.wait_until(
        PATIENCE, "not all examples were read", lambda: wanted <= {dag for (dag,) in airflow.rows(query)}
    )
    errors = {Path(name).stem: text for name, text in airflow.rows("SELECT filename, stacktrace FROM import_error")}

    assert DAILY in names
    assert set(errors) == refused
    assert all("needs Airflow 3.1 or later" in text for text in errors.values())


def test_connection_has_a_form(environment: Environment, facts: dict[str, Any], airflow: OldAirflow) -> None:
    """The form calls the password "API key": by the method in 2.x, through the UI's API later. 3.0 has a plain form."""
    if environment.version.number.startswith("2."):
        assert facts["form"]["relabeling"]["password"] == "API key"
        return
    form = airflow.form("evolink")
    assert form["hook_name"] == "EvoLink"
    if not environment.version.number.startswith("3.0."):
        assert form["standard_fields"]["password"]["title"] == "API key"


def test_daily_clip_is_generated_and_downloaded_and_archived(airflow: OldAirflow, books: EmulatorServer) -> None:
    """One order, a wait in the triggerer, one archived file whose checksum is that of its manifest."""
    tasks = airflow.finish(DAILY)
    (manifest,) = airflow.archive.rglob("manifest.json")
    (row,) = json.loads(manifest.read_text())["files"]
    file = manifest.parent / row["name"]

    assert {name: state for name, (state, _) in tasks.items()} == dict.fromkeys(
        ("generate", "download", "archive"), "success"
    )
    assert "deferred" in airflow.seen[DAILY, "generate"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
    assert file.read_bytes()[4:8] == b"ftyp"
    assert len(orders(books, "A paper boat")) == 1


@pytest.mark.parametrize("dag_id", ["killed_before_deferring", "killed_on_resume"])
def test_killed_worker_costs_one_job(dag_id: str, airflow: OldAirflow, books: EmulatorServer) -> None:
    """SIGKILL after the order: the retry attaches to that job and returns it. Needs the ledger in object storage."""
    tasks = airflow.finish(dag_id)
    paid = orders(books, dag_id)

    assert airflow.was_killed(dag_id)
    assert tasks == {"generate": ("success", 2)}
    assert [job["id"] for job in paid] == [airflow.returned(dag_id, "generate")["job_id"]]


def test_worker_killed_before_it_recorded_the_job_pays_once(airflow: OldAirflow, books: EmulatorServer) -> None:
    """SIGKILL between answer and record: the retry stops and orders nothing. Needs the ledger in object storage."""
    tasks = airflow.finish("killed_before_recording")

    assert airflow.was_killed("killed_before_recording")
    assert tasks == {"generate": ("failed", 2)}
    assert len(orders(books, "killed_before_recording")) == 1
    assert INTERRUPTED in airflow.logs("killed_before_recording")


def test_wait_that_airflow_gives_up_goes_on_on_the_worker(airflow: OldAirflow, books: EmulatorServer) -> None:
    """A deferral that Airflow times out ends with the job, in the same try. Needs the ledger in object storage."""
    tasks = airflow.finish("given_up")

    assert GIVEN_UP in airflow.logs("given_up")
    assert tasks == {"generate": ("success", 1)}
    assert len(orders(books, "given_up")) == 1


def test_clip_on_s3_is_downloaded_and_archived(airflow: OldAirflow, books: EmulatorServer, s3: Any) -> None:
    """The archived object is the one of its manifest, and lies in the bucket of the connection."""
    tasks = airflow.finish("archived_on_s3")
    assert {state for state, _ in tasks.values()} == {"success"}
    (file,) = airflow.returned("archived_on_s3", "archive")
    content = s3.get_object(Bucket="clips", Key=file["uri"].removeprefix("s3://store@clips/"))["Body"].read()

    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert len(orders(books, "A clip that is archived_on_s3")) == 1


def test_batch_returns_all_in_order(airflow: OldAirflow, books: EmulatorServer) -> None:
    """Ten requests, five at a time: ten orders, and the results in the order of the requests."""
    tasks = airflow.finish("batched")
    paid = {job["body"]["prompt"]: job["id"] for job in orders(books, "that is batched")}

    assert tasks == {"generate": ("success", 1)}
    assert len(orders(books, "that is batched")) == 10
    assert [job["job_id"] for job in airflow.returned("batched", "generate")] == [
        paid[f"Clip {number} that is batched"] for number in range(10)
    ]


def test_sensor_waits_for_the_job_of_another_task(airflow: OldAirflow, books: EmulatorServer) -> None:
    """It orders nothing, and returns what the generate task has returned."""
    tasks = airflow.finish("sensed")
    (job,) = orders(books, "A clip that is sensed")

    assert {state for state, _ in tasks.values()} == {"success"}
    assert airflow.returned("sensed", "wait")["job_id"] == job["id"]


def test_decorated_function_is_mapped(airflow: OldAirflow, books: EmulatorServer) -> None:
    """What the function returns is ordered, once for each value."""
    airflow.finish("decorated")
    jobs = {job["body"]["prompt"]: job["id"] for job in orders(books, "that is decorated")}

    assert [job["job_id"] for job in airflow.all_returned("decorated")] == [
        jobs[f"{subject} that is decorated"] for subject in ("A boat", "A cat", "A tree")
    ]
    assert len(orders(books, "that is decorated")) == 3


def test_errors_are_those_of_the_table(airflow: OldAirflow, failing: dict[str, EmulatorServer]) -> None:
    """One of each kind on docs/errors.md: class, tries, cost and end of the task."""
    tasks = airflow.finish("error_table", 480)
    for row, emulator in failing.items():
        told, (state, _) = reports(airflow.dag_folder, row), tasks[TASKS[row]]
        check_row(row, Result(told, state, None, emulator.books(), emulator.faults()))
