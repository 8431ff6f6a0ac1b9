"""The built wheel, alone in a fresh environment with Airflow: nothing of the checkout, none of the extras."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]
# Airflow publishes its constraints on a host that is no package index: in their place, the pins of our environment.
CONSTRAINTS = re.compile(
    r"https://raw\.githubusercontent\.com/apache/airflow/constraints-[\d.]+/constraints-[\d.]+\.txt"
)
_SECTION = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Install\n")[2]
INSTALL = _SECTION.partition("```bash\n")[2].partition("```")[0].replace("\\\n", "").splitlines()

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [*UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(out)],
        cwd=ROOT,
        check=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install Airflow and the wheel as the page *Deploy* says; from uv's cache if it has all, else from the index."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    subprocess.run([*UV, "venv", "--quiet", "--python", str(base), str(venv)], check=True)
    env = {**os.environ, "UV_FIND_LINKS": str(wheel.parent)}
    for line in INSTALL:
        words = shlex.split(CONSTRAINTS.sub(str(ROOT / "requirements" / "dev.txt"), line))
        if words[0] == "uv":
            install = [*UV, *words[1:], "--quiet", "--python", str(venv)]
            if subprocess.run([*install, "--offline"], check=False, capture_output=True, env=env).returncode:
                subprocess.run(install, check=True, env=env)
        else:
            subprocess.run([venv / "bin" / words[0], *words[1:]], check=True)
    return venv / "bin" / "python"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the fresh Airflow a home and a connection."""
    home = tmp_path_factory.mktemp("home")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    connection = {"conn_type": "evolink", "password": "wheel-test-key"}
    return {
        **clean,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection),
    }


def run(python: Path, env: dict[str, str], *arguments: str) -> str:
    """Run the fresh Python away from the checkout and return what it printed."""
    done = subprocess.run(
        [str(python), *arguments], env=env, cwd=env["AIRFLOW_HOME"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    """The catalog, the types marker and the licence ship; tests, DAGs and docs do not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"airflow_provider_evolink/py.typed", "airflow_provider_evolink/api/catalog/models/wan.json"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airflow_provider_evolink"}


def test_the_page_installs_in_two_steps_and_shows_that_it_worked() -> None:
    """Airflow over its constraints, then the package without them; the command is in the environment."""
    assert [line.split()[0] for line in INSTALL] == ["uv", "uv", "evolink"]
    assert [bool(CONSTRAINTS.search(line)) for line in INSTALL] == [True, False, False]


def test_airflow_lists_the_provider(python: Path, env: dict[str, str]) -> None:
    """``airflow providers list`` shows it."""
    assert "airflow-provider-evolink" in run(python, env, "-m", "airflow", "providers", "list", "-o", "plain")


def test_airflow_gets_the_connection(python: Path, env: dict[str, str]) -> None:
    """``airflow connections get evolink_default`` works, and the hook takes the connection."""
    shown = json.loads(run(python, env, "-m", "airflow", "connections", "get", "evolink_default", "-o", "json"))
    assert shown[0]["conn_type"] == "evolink"
    code = "from airflow_provider_evolink.hooks import EvoLinkHook; print(EvoLinkHook().settings.base_url)"
    assert run(python, env, "-c", code).strip().endswith("https://api.evolink.ai")


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_parses(path: Path, python: Path, env: dict[str, str]) -> None:
    """Every example DAG parses with the wheel alone."""
    code = f"import runpy; print(runpy.run_path({str(path)!r})['dag'].dag_id)"
    assert run(python, env, "-c", code).strip().endswith(path.stem)


def test_importing_operators_brings_in_neither_pyav_nor_the_emulator(python: Path, env: dict[str, str]) -> None:
    """The extras are optional: nothing of them is imported, or even installed."""
    code = """
import importlib, importlib.util, pkgutil, sys
import airflow_provider_evolink.operators as operators
for found in pkgutil.iter_modules(operators.__path__, operators.__name__ + "."):
    importlib.import_module(found.name)
bad = [name for name in sys.modules if name.split(".")[0] in ("av", "PIL") or ".emulator" in name]
print(bad, importlib.util.find_spec("av"))
"""
    assert run(python, env, "-c", code).strip().splitlines()[-1] == "[] None"


def test_the_emulator_refuses_to_start_without_its_extra(python: Path, env: dict[str, str]) -> None:
    """Nothing is accepted and charged that could not be rendered: one line with the command, status 2."""
    command = [str(python), "-m", "airflow_provider_evolink.emulator", "--port", "0"]
    done = subprocess.run(
        command, env=env, cwd=env["AIRFLOW_HOME"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "pip install 'airflow-provider-evolink[emulator]'" in done.stderr
    code = "from airflow_provider_evolink.emulator.server import EmulatorServer\n"
    code += "try: EmulatorServer()\nexcept ImportError as error: print(error)"
    assert "pip install 'airflow-provider-evolink[emulator]'" in run(python, env, "-c", code)
