"""The Containerfiles: linted, and the install line of the emulator run. `make containers` runs that of Airflow too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "containers"
FILES = {name: (FOLDER / name / "Containerfile").read_text(encoding="utf-8") for name in ("airflow", "emulator")}
UV = [sys.executable, "-m", "uv"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


def lint(text: str) -> list[str]:
    """Return the codes of the rules of hadolint that a Containerfile breaks."""
    assert HADOLINT
    done = subprocess.run([HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, check=False)
    return re.findall(r"\b((?:DL|SC)\d{4})\b", done.stdout)


def instructions(text: str) -> list[tuple[str, str]]:
    """Return keyword and arguments of each instruction."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def test_every_containerfile_is_known() -> None:
    assert sorted(path.parent.name for path in FOLDER.rglob("Containerfile")) == sorted(FILES)


needs_hadolint = pytest.mark.skipif(HADOLINT is None, reason="hadolint has no wheel for this machine")
BAD = {
    "the newest base": ("FROM python:3.13-slim-trixie", "FROM python:latest", "DL3007"),
    "a base without a tag": ("FROM apache/airflow:3.3.2", "FROM apache/airflow", "DL3006"),
    "root at the end": ("USER 10001", "USER root", "DL3002"),
    "a shell around the process, which SIGTERM does not reach": (
        'ENTRYPOINT ["python", "-m", "airflow_provider_evolink.emulator"]',
        "ENTRYPOINT python -m airflow_provider_evolink.emulator",
        "DL3025",
    ),
    "a file from the web": ("COPY dist/ /wheels/", "ADD dist/ /wheels/", "DL3020"),
    "a cache in the image": ("--no-cache-dir ", "", "DL3042"),
}


@needs_hadolint
@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name: str) -> None:
    assert lint(FILES[name]) == []


@needs_hadolint
@pytest.mark.parametrize("case", BAD)
def test_it_would_find_what_matters(case: str) -> None:
    old, new, rule = BAD[case]
    changed = [text.replace(old, new) for text in FILES.values() if old in text]
    assert changed
    assert all(rule in lint(text) for text in changed)


@pytest.mark.parametrize("name", FILES)
def test_it_runs_as_a_user_and_installs_this_version(name: str) -> None:
    found = instructions(FILES[name])
    assert [text for word, text in found if word == "USER"][-1] not in {"root", "0"}
    versions = re.findall(r"airflow-provider-evolink\[[a-z0-9,]+\]==([\w.]+)", FILES[name])
    assert versions == [PROJECT["version"]]


def test_the_page_shows_the_containerfile_of_airflow() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```dockerfile\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert instructions(shown) == instructions(FILES["airflow"])


def needed() -> set[str]:
    """Return what the extra brings, and what that needs in turn: names, without Airflow."""
    known, waiting = set(), [*map(Requirement, PROJECT["optional-dependencies"]["emulator"]), Requirement("pydantic")]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in known or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        known.add(name)
        waiting += map(Requirement, metadata.requires(name) or [])
    return known


def test_the_pins_of_the_emulator_are_those_of_the_environment_it_is_tested_in() -> None:
    pinned = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    names = needed()
    expected = [line for line in pinned if canonicalize_name(re.split(r"[=\[ ]", line)[0]) in names]
    assert (ROOT / "requirements" / "emulator.txt").read_text(encoding="utf-8").splitlines() == expected


@pytest.mark.timeout(300)
def test_the_emulator_runs_from_its_install_line_alone(tmp_path: Path) -> None:
    """As in the image: in a fresh environment without Airflow, with the wheel, and started by the entry point."""
    dist, venv, pins = tmp_path / "dist", tmp_path / "venv", ROOT / "requirements" / "emulator.txt"
    build = [*UV, "build", "--wheel", "--no-build-isolation", "--quiet", "--python", sys.executable, "--out-dir", dist]
    subprocess.run(build, cwd=ROOT, check=True)
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([*UV, "venv", "--quiet", "--python", base, venv], check=True)
    found = instructions(FILES["emulator"])
    (line,) = [text for word, text in found if word == "RUN" and text.startswith("pip install")]
    line = line.replace("/wheels", str(dist)).replace("/tmp/emulator.txt", str(pins)).replace("--no-cache-dir ", "")
    install = f"{sys.executable} -m uv {line} --quiet --python {venv}"
    if subprocess.run(f"{install} --offline", shell=True, capture_output=True, check=False).returncode:
        subprocess.run(install, shell=True, check=True)
    (entry,) = [json.loads(text) for word, text in found if word == "ENTRYPOINT"]
    (check,) = [json.loads(text.partition("CMD ")[2]) for word, text in found if word == "HEALTHCHECK"]

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EVOLINK"))}
    env = clean | {"EVOLINK_EMULATOR_PORT": "0", "PATH": f"{venv}/bin:{os.environ['PATH']}"}
    emulator = subprocess.Popen(entry, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path)
    try:
        assert emulator.stdout is not None
        env["EVOLINK_EMULATOR_PORT"] = emulator.stdout.readline().split()[3].rpartition(":")[2]
        assert subprocess.run(check, env=env, cwd=tmp_path, check=False).returncode == 0
    finally:
        emulator.terminate()
        assert emulator.wait(timeout=20) == 0
    assert subprocess.run(check, env=env, cwd=tmp_path, check=False).returncode == 1
    assert not (venv / "bin" / "airflow").exists()
