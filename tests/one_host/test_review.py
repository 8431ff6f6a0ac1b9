"""Reviews in a real Airflow: what people choose is ordered, what they reject or leave alone is not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_airflow import LocalAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

pytestmark = [pytest.mark.one_host, pytest.mark.timeout(400)]
DAGS = """
from datetime import timedelta
import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_evolink.operators import *
from airflow_provider_evolink.operators import EvoLinkReviewOperator

for name, given in {"reviewed": {}, "unanswered": {"response_timeout": timedelta(seconds=4)}}.items():
    with DAG(name, schedule=None, start_date=pendulum.datetime(2025, 1, 1), is_paused_upon_creation=False) as dag:
        frames = EvoLinkBatchOperator(
            task_id="frames",
            model="gpt-image-2",
            requests=[{"prompt": f"picture {n} of " + name + " {{ run_id }}"} for n in range(5)],
        )
        review = EvoLinkReviewOperator(task_id="review", results=frames.output, next_credits=10.88, **given)
        EvoLinkImageToVideoOperator.partial(task_id="clip", prompt="it moves, {{ run_id }}", duration=2).expand(
            image_start=review.output
        )
    globals()[name] = dag
"""


@pytest.fixture(scope="module")
def books() -> Iterator[EmulatorServer]:
    """Serve an EvoLink whose jobs end at once."""
    with EmulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(books: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """Run an Airflow with the DAGs under review."""
    home = tmp_path_factory.mktemp("review")
    dags = home / "dags"
    dags.mkdir()
    Path(dags, "reviews.py").write_text(DAGS)
    connection = {"conn_type": "evolink", "host": books.url, "password": "one-host-test-key"}
    env = {"AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection)}
    with LocalAirflow(home / "airflow", dags, env) as stack:
        stack.wait_ready("unanswered")
        yield stack


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow) -> dict[str, str]:
    """Start all runs at once, so that the tests wait together."""
    return {
        "approved": airflow.trigger("reviewed"),
        "rejected": airflow.trigger("reviewed"),
        "unanswered": airflow.trigger("unanswered"),
    }


def request_of(airflow: LocalAirflow, run: str) -> dict[str, Any]:
    """Wait until people are asked, and return what they see."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        tasks = {task["task_id"]: task for task in airflow.tasks("reviewed", run)}
        if tasks.get("review", {}).get("state") in ("awaiting_input", "deferred"):
            return dict(airflow.get(address("reviewed", run)))
        time.sleep(0.5)
    raise AssertionError(f"nobody was asked: {tasks}")


def address(dag_id: str, run: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/review/-1/hitlDetails"


def respond(airflow: LocalAirflow, run: str, *options: str) -> None:
    time.sleep(5)  # nobody is faster; Airflow fails a task that resumes before its executor has noted the pause
    airflow.patch(address("reviewed", run), {"chosen_options": list(options), "params_input": {}})


def clips(books: EmulatorServer, run: str) -> list[dict[str, Any]]:
    jobs = books.books()["jobs"]
    return [job for job in jobs if job["body"]["model"] == "wan2.7-image-to-video" and run in job["body"]["prompt"]]


def test_exactly_what_people_approve_is_ordered(
    airflow: LocalAirflow, books: EmulatorServer, runs: dict[str, str]
) -> None:
    asked = request_of(airflow, runs["approved"])
    takes = asked["options"][:5]
    assert "Spent so far**: 25 credits" in asked["body"]
    assert asked["task_instance"]["state"] in ("awaiting_input", "deferred")
    respond(airflow, runs["approved"], takes[4], takes[0], takes[2])
    states = list(airflow.watch("reviewed", runs["approved"]))[-1]
    chosen = airflow.xcom("reviewed", runs["approved"], "review")
    ordered = clips(books, runs["approved"])

    assert set(states.values()) == {"success"}
    assert [one["request"]["prompt"].split()[1] for one in chosen] == ["0", "2", "4"]
    assert len(ordered) == 3
    links = {link.partition("?")[0] for one in chosen for link in one["results"]}
    assert {job["body"]["image_start"].partition("?")[0] for job in ordered} == links


def test_a_rejection_orders_nothing(airflow: LocalAirflow, books: EmulatorServer, runs: dict[str, str]) -> None:
    asked = request_of(airflow, runs["rejected"])
    respond(airflow, runs["rejected"], asked["options"][0], "Reject all")
    states = list(airflow.watch("reviewed", runs["rejected"]))[-1]
    assert {name.partition("[")[0]: state for name, state in states.items()} == {
        "frames": "success",
        "review": "skipped",
        "clip": "skipped",
    }
    assert clips(books, runs["rejected"]) == []


def test_no_response_in_time_orders_nothing(airflow: LocalAirflow, books: EmulatorServer, runs: dict[str, str]) -> None:
    states = list(airflow.watch("unanswered", runs["unanswered"]))[-1]
    assert states["review"] == "skipped"
    assert clips(books, runs["unanswered"]) == []
