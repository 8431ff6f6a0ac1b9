"""The plugin costs workers and the DAG processor nothing, and nothing is there before Airflow 3.1."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VERSIONS = {"2.11.2": False, "3.0.6": False, "3.1.0": True, "3.3.2": True, "3.10.1": True, "4.0.0": True}
CHART = "48444a82d4edcb5bec0f1965faacdde18d9c17db3063d042abada2f705c9f54a"
MISSING = "airflow.api_fastapi.core_api.security"
SCRIPT = f"""
import json, sys, time
import airflow, airflow.plugins_manager
NAME = "airflow_provider_evolink.plugins.evolink"
found = {{}}
for version in {list(VERSIONS)!r}:
    airflow.__version__ = version
    for name in (NAME, "airflow_provider_evolink.plugins"):
        sys.modules.pop(name, None)
    before, start = set(sys.modules), time.perf_counter()
    from airflow_provider_evolink.plugins.evolink import EvoLinkPlugin as plugin
    took = time.perf_counter() - start
    found[version] = [sorted(set(sys.modules) - before), took, len(plugin.fastapi_apps), len(plugin.external_views)]
sys.modules[{MISSING!r}] = None
from starlette.testclient import TestClient
response = TestClient(plugin.fastapi_apps[0]["app"]).get("/task/a/b/0/c")
print(json.dumps([found, response.status_code, response.text]))
"""


@pytest.fixture(scope="module")
def loaded() -> Any:
    """Import the plugin in a process of its own, as if Airflow had each version, at last one that lacks a module."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("version", "is_there"), VERSIONS.items())
def test_it_is_there_from_airflow_3_1(version: str, is_there: bool, loaded: Any) -> None:
    """Older ones have no such tabs, and hear nothing of it."""
    _, _, apps, views = loaded[0][version]
    assert (apps, views > 0) == (int(is_there), is_there)


def test_it_imports_next_to_nothing(loaded: Any) -> None:
    """Three modules: FastAPI, HTTP and pydantic come with the first request, in the API server."""
    for new, took, _, _ in loaded[0].values():
        assert set(new) <= {f"airflow_provider_evolink{part}" for part in ("", ".plugins", ".plugins.evolink")}
        assert took < 0.05


def test_what_this_airflow_lacks_is_said_in_one_line(loaded: Any) -> None:
    """No page, no route without a check: one line, with the name of what is missing."""
    _, status, text = loaded
    assert status == 503
    assert text.count("\n") == 1
    assert f"{MISSING} is missing" in text


def test_airflow_knows_it(admin: Any) -> None:
    """By its entry point, without an error, at an address that Airflow grants."""
    found = {plugin["name"]: plugin for plugin in admin.get("/api/v2/plugins?limit=100").json()["plugins"]}
    assert found["evolink"]["fastapi_apps"][0]["url_prefix"] == "/evolink"
    assert {view["destination"] for view in found["evolink"]["external_views"]} == {"task_instance", "dag_run", "nav"}
    assert admin.get("/api/v2/plugins/importErrors").json()["total_entries"] == 0


def test_the_files_of_the_pages_are_in_the_package() -> None:
    """Templates and static files lie beside the modules, so the wheel holds them."""
    folder = Path(__file__).parents[2] / "airflow_provider_evolink" / "plugins"
    scripts = {"evolink.js", "overview.js", "chart.umd.min.js"}
    names = {path.name for path in (folder / "static").iterdir()}
    assert names == {"evolink.css", "chart.LICENSE.md", *scripts}
    assert (folder / "templates" / "task.html").is_file()


def test_the_library_is_the_published_one() -> None:
    """Chart.js 4.5.1 as npm has it, with its license. No script makes code of text, and ours ask no other host."""
    folder = Path(__file__).parents[2] / "airflow_provider_evolink" / "plugins" / "static"
    content = (folder / "chart.umd.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == CHART
    assert b"eval(" not in content
    assert b"new Function" not in content
    assert "MIT License" in (folder / "chart.LICENSE.md").read_text()
    for name in ("evolink.js", "overview.js"):
        assert not re.search(r"https?://|innerHTML|eval\(|insertAdjacentHTML", (folder / name).read_text())
