"""Every page is behind Airflow's own permission checks: no login, a bad one, and rights that are refused."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from airflow_rows import Run
from strict_auth import PRIVATE
from ui_samples import archived, job

from airflow_provider_evolink.plugins.server.app import media_app

ROUTES = sorted((route.path, sorted(route.methods)) for route in media_app().routes)  # type: ignore[attr-defined]
OF_A_TASK = [path for path, _ in ROUTES if "{task_id}" in path]
OF_A_DAG = [path for path, _ in ROUTES if "{dag_id}" in path]
NEEDS_XCOMS = [path for path in OF_A_DAG if not path.startswith("/state/")]
NEEDS_TASKS = [path for path in OF_A_DAG if path.startswith(("/state/", "/task/", "/run/", "/open/"))]
numbers = itertools.count()


def filled(route: str, run: Run, task_id: str = "archive") -> str:
    """Return an address of a route at which there is something to show."""
    values = {"dag_id": run.dag_id, "task_id": task_id, "map_index": "-1", "number": "0", "name": "evolink.css"}
    values |= {"run_id": run.run_id, "what": "archived"}
    return "/evolink" + re.sub(r"\{(\w+)(?::path)?\}", lambda found: values[found[1]], route)


@pytest.fixture
def run(shown: Path) -> Run:
    """Return a run of a private DAG that has an archived file."""
    run = Run(f"{PRIVATE}dag_{next(numbers)}")
    run.hands("archive", [archived(shown, run.dag_id)], operator="EvoLinkArchiveOperator")
    return run


def test_there_are_routes_and_none_changes_anything() -> None:
    """Nothing but reading, and no documentation of the app for strangers."""
    assert len(ROUTES) >= 6
    assert {method for _, methods in ROUTES for method in methods} == {"GET"}
    assert not [path for path, _ in ROUTES if "docs" in path or "openapi" in path]


@pytest.mark.parametrize("route", [path for path, _ in ROUTES])
def test_a_signed_in_user_gets_our_pages(route: str, admin: Any, run: Run) -> None:
    """The app is mounted: what responds is ours, not the page that Airflow gives for unknown addresses."""
    response = admin.get(filled(route, run), follow_redirects=False)
    assert response.status_code in (200, 302, 303, 307, 404)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert 'id="root"' not in response.text


@pytest.mark.parametrize("route", [path for path, _ in ROUTES])
@pytest.mark.parametrize("cookie", [None, "nonsense", "a.b.c"])
def test_without_a_login_there_is_nothing(route: str, cookie: str | None, browser: Any, run: Run) -> None:
    """Each route refuses, and says nothing of what is there."""
    client = browser(None)
    if cookie:
        client.cookies.set("_token", cookie)
    response = client.get(filled(route, run), follow_redirects=False)
    assert response.status_code in (401, 403)
    assert "task-1" not in response.text
    assert "paper boat" not in response.text


@pytest.mark.parametrize(
    ("user", "route"),
    [("outsider", route) for route in OF_A_DAG]
    + [("no_xcoms", route) for route in NEEDS_XCOMS]
    + [("no_tasks", route) for route in NEEDS_TASKS],
)
def test_a_user_without_the_right_gets_nothing(user: str, route: str, browser: Any, run: Run) -> None:
    """The right is per DAG and kind of thing; the body holds nothing of the run."""
    response = browser(user).get(filled(route, run), follow_redirects=False)
    assert response.status_code == 403
    assert "You have no right" in response.text
    assert "task-1" not in response.text
    assert "paper boat" not in response.text


@pytest.mark.parametrize("route", OF_A_DAG)
def test_the_rights_are_those_of_the_dag_in_the_path(route: str, browser: Any, run: Run) -> None:
    """A DAG in the query does not lend its rights."""
    address = f"{filled(route, run)}?dag_id=public&dag_id=other"
    assert browser("outsider").get(address, follow_redirects=False).status_code == 403


@pytest.mark.parametrize("route", ["/docs", "/openapi.json", "/redoc", "/static/..%2f..%2fevolink.py", "/nothing"])
def test_there_is_nothing_else(route: str, admin: Any) -> None:
    """Neither documentation nor files of the package."""
    response = admin.get(f"/evolink{route}")
    assert response.status_code == 404
    assert "import" not in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_sent(method: str, admin: Any, run: Run) -> None:
    """A page that is not Airflow's can make a browser send a request, and it changes nothing."""
    assert {admin.request(method, filled(path, run)).status_code for path, _ in ROUTES} == {405}


def test_the_state_is_for_those_who_may_read_tasks(browser: Any, run: Run) -> None:
    """It holds nothing of XComs for those without the right to them."""
    response = browser("no_xcoms").get(filled("/state/{dag_id}/{task_id}/{map_index}/{run_id:path}", run))
    assert response.json() == {"state": "success", "is_over": True, "jobs": {}}


def test_the_task_must_be_of_the_dag_in_the_path(browser: Any, run: Run) -> None:
    """Under the name of a DAG that may be read, the run of another one is not found."""
    public = Run("public_dag", run.run_id)
    client = browser("outsider")
    page = client.get(public.address("task", "archive"))
    assert page.status_code == 200
    assert "task-1" not in page.text
    assert client.get(public.address("file", "archive", number=0)).status_code == 404
    assert job()["job_id"] not in page.text
