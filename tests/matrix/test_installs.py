"""The two steps of the page *Deploy* over constraints of Airflow, in an environment of their own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from matrix import ROOT, probe, uv
from packaging.version import Version

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Install\n")[2]
FIRST, SECOND, _ = PAGE.partition("```bash\n")[2].partition("```")[0].replace("\\\n", "").splitlines()
PACKAGE, COMPAT = "airflow-provider-evolink", "apache-airflow-providers-common-compat"
SHOWN = "3.3.2"  # the version on the page

pytestmark = pytest.mark.timeout(600)


def step(command: str, version: str, venv: Path, **env: str) -> None:
    """Run a line of the page for another version of Airflow."""
    words = shlex.split(command.replace(f"apache-airflow=={SHOWN}", f"apache-airflow=={version}"))
    assert words[:3] == ["uv", "pip", "install"]
    uv(*words[1:], "--python", str(venv / "bin" / "python"), env=env)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    out = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(out))
    return out


def installed(python: Path) -> dict[str, Version]:
    """Return the versions of all packages of an environment."""
    lines = uv("pip", "freeze", "--python", str(python)).splitlines()
    return {name: Version(version) for name, _, version in (line.partition("==") for line in lines) if version}


def test_the_package_installs_over_the_constraints(constraints: Path, wheels: Path, tmp_path: Path) -> None:
    """Airflow stays where it is, the provider loads whole, and nothing that is installed contradicts another."""
    version, venv = constraints.stem.removeprefix("constraints-"), tmp_path / "venv"
    python = venv / "bin" / "python"
    uv("venv", "--quiet", "--python", "3.11", str(venv))
    first, at, _ = FIRST.partition("--constraint")
    assert at
    step(f"{first} 'apache-airflow-providers-amazon[s3fs]' --constraint {constraints}", version, venv)
    before = installed(python)
    step(SECOND.replace(PACKAGE, f"'{PACKAGE}[s3,emulator]'"), version, venv, UV_FIND_LINKS=str(wheels))

    after, facts = installed(python), probe(python, tmp_path)
    assert str(after["apache-airflow"]) == version
    assert before[COMPAT] < Version("1.22") <= after[COMPAT]
    assert {name for name in before if name.startswith("apache-airflow") and after[name] != before[name]} == {COMPAT}
    assert facts["hook"] == "airflow_provider_evolink.hooks.evolink.EvoLinkHook"
    assert facts["broken"] == {}
    uv("pip", "check", "--python", str(python))


def test_one_step_over_the_constraints_fails(constraints: Path, wheels: Path, tmp_path: Path) -> None:
    """They pin an older common-compat than the package needs; the error names it."""
    version, venv = constraints.stem.removeprefix("constraints-"), tmp_path / "venv"
    uv("venv", "--quiet", "--python", "3.11", str(venv))
    with pytest.raises(RuntimeError, match=COMPAT):
        step(f"{SECOND} --dry-run --constraint {constraints}", version, venv, UV_FIND_LINKS=str(wheels))
