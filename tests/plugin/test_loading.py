"""The plugin costs workers and the DAG processor nothing, and nothing is there before Airflow 3.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOAD = """
import json, sys, time
import airflow.plugins_manager
before = set(sys.modules)
start = time.perf_counter()
import airflow
airflow.__version__ = {version!r}
from airflow_provider_evolink.plugins.evolink import EvoLinkPlugin
took = time.perf_counter() - start
new = sorted(set(sys.modules) - before)
print(json.dumps([new, took, len(EvoLinkPlugin.fastapi_apps), len(EvoLinkPlugin.external_views)]))
"""


def load(version: str) -> Any:
    """Import the plugin in a process of its own, as if Airflow had a version."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(version=version)], env=os.environ, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_it_imports_next_to_nothing() -> None:
    """Three modules: FastAPI, HTTP and pydantic come with the first request, in the API server."""
    new, took, apps, views = load("3.3.2")
    assert set(new) <= {f"airflow_provider_evolink{part}" for part in ("", ".plugins", ".plugins.evolink")}
    assert took < 0.05
    assert (apps, views > 0) == (1, True)


@pytest.mark.parametrize(("version", "apps"), [("2.11.2", 0), ("3.0.6", 0), ("3.1.0", 1), ("3.10.1", 1), ("4.0.0", 1)])
def test_it_is_there_from_airflow_3_1(version: str, apps: int) -> None:
    """Older ones have no such tabs, and hear nothing of it."""
    assert (load(version)[2], load(version)[3] > 0) == (apps, apps == 1)


def test_airflow_knows_it(admin: Any) -> None:
    """By its entry point, without an error, at an address that Airflow grants."""
    found = {plugin["name"]: plugin for plugin in admin.get("/api/v2/plugins?limit=100").json()["plugins"]}
    assert found["evolink"]["fastapi_apps"][0]["url_prefix"] == "/evolink"
    assert found["evolink"]["external_views"][0]["destination"] == "task_instance"
    assert admin.get("/api/v2/plugins/importErrors").json()["total_entries"] == 0


def test_what_this_airflow_lacks_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page, no route without a check: one line, with the name of what is missing."""
    from starlette.testclient import TestClient

    from airflow_provider_evolink.plugins.server import create_app

    for name in [name for name in sys.modules if name.startswith("airflow_provider_evolink.plugins.server.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
    response = TestClient(create_app()).get("/task/a/b/0/c")
    assert response.status_code == 503
    assert response.text.count("\n") == 1
    assert "airflow.api_fastapi.core_api.security is missing" in response.text


def test_the_files_of_the_pages_are_in_the_package() -> None:
    """Templates and static files lie beside the modules, so the wheel holds them."""
    folder = Path(__file__).parents[2] / "airflow_provider_evolink" / "plugins"
    assert {path.name for path in (folder / "static").iterdir()} == {"evolink.css", "evolink.js"}
    assert (folder / "templates" / "task.html").is_file()
