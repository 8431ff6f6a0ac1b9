"""
What the images would hold and run, without a container engine: `make containers`.

The install lines of both Containerfiles run as they stand in fresh environments, with pip, and a staging deployment on
two hosts of its own, with nothing but its configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {name: (ROOT / "containers" / name / "Containerfile").read_text() for name in ("airflow", "emulator")}
UV = [sys.executable, "-m", "uv"]
HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, as `make wheel` does."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([*UV, "build", "--quiet", "--wheel", "--out-dir", str(out)], cwd=ROOT, check=True)
    return out


def fresh(folder: Path, dist: Path, **variables: str) -> dict[str, str]:
    """Make an environment with pip, and return the variables of a shell in it."""
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([*UV, "venv", "--quiet", "--seed", "--python", base, str(folder / "venv")], check=True)
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "EVOLINK"))}
    home = {"AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    return clean | home | {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "DIST": str(dist)} | variables


def install(name: str, env: dict[str, str]) -> None:
    """Run each line of a Containerfile that installs packages, as it stands but for its folders."""
    text = re.sub(r"^#.*\n", "", FILES[name], flags=re.MULTILINE).replace("\\\n", "")
    lines = [line.removeprefix("RUN ") for line in text.splitlines() if re.match(r"RUN (\w+=\S+ )?pip install", line)]
    assert lines
    for line in lines:
        here = line.replace("/wheels", env["DIST"]).replace("/tmp/emulator.txt", "requirements/emulator.txt")
        subprocess.run(here, shell=True, check=True, env=env, cwd=ROOT)


def run(env: dict[str, str], *command: str) -> str:
    """Run a command away from the checkout, and return what it printed."""
    done = subprocess.run(command, env=env, cwd=env["DIST"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_of_airflow_has_the_provider(dist: Path, tmp_path: Path) -> None:
    base = re.search(r"^FROM apache/airflow:(\S+)$", FILES["airflow"], re.MULTILINE)
    assert base
    env = fresh(tmp_path, dist, AIRFLOW_VERSION=base[1])
    constraints = f"requirements/constraints-{base[1]}.txt"  # in the image, those of Airflow
    image = [f"apache-airflow=={base[1]}", "apache-airflow-providers-amazon[s3fs]"]  # the image has many more providers
    subprocess.run(["pip", "install", "--quiet", *image, "--constraint", constraints], check=True, env=env, cwd=ROOT)
    before = run(env, "pip", "freeze", "--exclude", "pip")
    install("airflow", env)

    assert f"apache-airflow=={base[1]}" in run(env, "pip", "freeze").splitlines()
    kept = [line for line in before.splitlines() if line.startswith("apache-airflow") and "common-compat" not in line]
    assert set(kept) <= set(run(env, "pip", "freeze").splitlines()), "no other package of Airflow moves"
    run(env, "airflow", "db", "migrate")
    providers = run(env, "airflow", "providers", "list", "--output", "plain")
    assert "airflow-provider-evolink" in providers
    assert "apache-airflow-providers-amazon" in providers
    run(env, "python", "-c", "import av, airflow_provider_evolink.operators")
    assert run(env, "evolink", "--version").strip()


def test_the_image_of_the_emulator_serves(dist: Path, tmp_path: Path) -> None:
    env = fresh(tmp_path, dist, EVOLINK_EMULATOR_PORT="0")
    install("emulator", env)
    (entry,) = [json.loads(text) for text in re.findall(r"^ENTRYPOINT (.*)$", FILES["emulator"], re.MULTILINE)]
    emulator = subprocess.Popen(entry, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path)
    try:
        assert emulator.stdout is not None
        env["EVOLINK_EMULATOR_PORT"] = emulator.stdout.readline().split()[3].rpartition(":")[2]
        (check,) = [json.loads(text) for text in re.findall(r"^ +CMD (.*)$", FILES["emulator"], re.MULTILINE)]
        run(env, *check)
    finally:
        emulator.terminate()
        assert emulator.wait(timeout=20) == 0


NAMESPACES = ["unshare", "--map-root-user", "--net", "--mount"]


@pytest.fixture
def two_hosts() -> list[str]:
    """Return the command that gives a process two hosts of its own."""
    if any(shutil.which(name) is None for name in ("unshare", "ip")):
        pytest.skip("needs unshare and ip")
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespaces")
    return [*NAMESPACES, "sh", str(HERE / "staging_hosts.sh"), sys.executable, str(HERE / "staging_scenario.py")]


LEFT_OUT = {
    "": ("success", "success"),
    "AIRFLOW__EVOLINK__PRIVATE_MEDIA_HOSTS": ("success", "failed"),
    "AIRFLOW__EVOLINK__CA_BUNDLE": ("failed", "upstream_failed"),
    "AIRFLOW__EVOLINK__ALLOWED_HOSTS": ("failed", "upstream_failed"),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_a_staging_deployment_runs_with_its_configuration_and_not_without(
    two_hosts: list[str], tmp_path: Path, left_out: str
) -> None:
    """Order, poll, download and archive over TLS, by names, at addresses that are not loopback."""
    env = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "EVOLINK"))}
    env |= {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [*two_hosts, str(tmp_path), *filter(None, [left_out])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    assert (found["states"]["generate"], found["states"]["download"]) == LEFT_OUT[left_out]
    assert len(found["clips"]) == (0 if left_out else 2)
    ordered = LEFT_OUT[left_out][0] == "success"
    assert found["asked"] == (["/frames/boat.png?X-Amz-Signature=f00d"] if ordered else [])
    assert found["log"].count(" submit ") == ordered, "it was paid once"
    assert "team-film" not in found["log"]
