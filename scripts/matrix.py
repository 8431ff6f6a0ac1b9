"""The Airflow versions we support: an environment for each on each Python, and the tests of ``tests/matrix`` in it."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".matrix"
# Airflow's shim comes from later than the release: older ones lack what the hook needs.
LATE = (
    "apache-airflow-providers-common-compat=2026-12-01",
    "httpx-aiohttp=2026-12-01",
    "asgiref=2026-03-20",
)


# Where version managers put Pythons that they do not put on PATH: pyenv, asdf, mise, runners of CI, manylinux.
PYTHON_FOLDERS = (
    "$PYENV_ROOT/versions/*/bin",
    "~/.pyenv/versions/*/bin",
    "~/.asdf/installs/python/*/bin",
    "~/.local/share/mise/installs/python/*/bin",
    "$RUNNER_TOOL_CACHE/Python/*/*/bin",
    "/opt/python/*/bin",
)


@dataclass(frozen=True)
class Version:
    """
    A release of Airflow with what is installed beside it.

    :param number: Its version.
    :param day: Its packages are those of this day: today's break old releases.
    :param pythons: The Pythons it runs on that we run on too.
    :param lowest: Whether our own dependencies are the oldest that ``pyproject.toml`` allows.
    """

    number: str
    day: str
    pythons: tuple[str, ...]
    lowest: bool = False

    @property
    def name(self) -> str:
        """How it is called on the command line."""
        return "lowest" if self.lowest else self.number

    @property
    def has_pages(self) -> bool:
        """Whether it has tabs and pages of plugins, and tasks that wait for people."""
        return tuple(int(part) for part in self.number.split(".")[:2]) >= (3, 1)

    @property
    def pins(self) -> Path:
        """Where its pinned requirements are."""
        return ROOT / "requirements" / ("lowest.txt" if self.lowest else f"airflow-{self.number}.txt")


@dataclass(frozen=True)
class Environment:
    """
    An installed release.

    :param version: The release.
    :param python: Its Python, such as 3.11.
    """

    version: Version
    python: str

    @property
    def name(self) -> str:
        """What its lines in the output begin with."""
        return f"{self.version.name} on {self.python}"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return CACHE / f"{self.version.name}-python{self.python}"

    @property
    def interpreter(self) -> Path:
        """Its interpreter."""
        return self.folder / "venv" / "bin" / "python"


OLD, NEW = ("3.11", "3.12"), ("3.11", "3.12", "3.13", "3.14")
VERSIONS = {
    version.name: version
    for version in (
        Version("2.11.0", "2025-06-15", OLD, lowest=True),
        Version("2.11.2", "2026-03-20", OLD),
        Version("3.0.6", "2025-09-15", OLD),
        Version("3.1.8", "2026-03-20", NEW[:3]),
        Version("3.2.2", "2026-06-20", NEW),
        Version("3.3.2", "2026-10-01", NEW),
    )
}


def environments(names: Collection[str]) -> dict[str, Environment]:
    """
    Return the environments of some releases, by name: one for each Python that the release takes and that is found.

    :param names: Of the releases; none for all.
    """
    found = pythons()
    chosen = [VERSIONS[name] for name in names or VERSIONS]
    made = [Environment(version, python) for version in chosen for python in found if python in version.pythons]
    return {environment.name: environment for environment in made}


@functools.cache
def pythons() -> tuple[str, ...]:
    """Return the Pythons of this machine, such as 3.11, on PATH or of a version manager, from 3.11 on."""
    listed = json.loads(uv("python", "list", ">=3.11", "--only-installed", "--output-format", "json"))
    found = {(each["version_parts"]["major"], each["version_parts"]["minor"]) for each in listed}
    return tuple(f"{major}.{minor}" for major, minor in sorted(found))


def python_folders() -> list[str]:
    """Return the folders of the Pythons that version managers have installed."""
    patterns = [Path(os.path.expandvars(pattern)).expanduser() for pattern in PYTHON_FOLDERS]
    return [str(folder) for pattern in patterns for folder in sorted(Path("/").glob(str(pattern).lstrip("/")))]


def lock(version: Version) -> None:
    """
    Resolve the requirements of a release as of its day, and write the pins.

    :param version: The release.
    """
    late = [word for package in LATE for word in ("--exclude-newer-package", package)]
    uv(
        *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate"),
        *("--exclude-newer", version.day, *late, "--extra", "emulator", "--extra", "s3", "pyproject.toml", "-"),
        *("--resolution", "lowest-direct" if version.lowest else "highest"),
        *("--upgrade", "--output-file", str(version.pins)),
        text=f"apache-airflow=={version.number}\n",
    )


def install(environment: Environment) -> Path:
    """
    Return the interpreter of an environment, which is made if it is not there or not up to date.

    :param environment: The environment.
    """
    ready, pins = environment.folder / ".ready", environment.version.pins
    if ready.exists() and all(one.stat().st_mtime <= ready.stat().st_mtime for one in (pins, ROOT / "pyproject.toml")):
        return environment.interpreter
    shutil.rmtree(environment.folder, ignore_errors=True)
    python = str(environment.interpreter)
    uv("venv", "--quiet", "--python", environment.python, str(environment.folder / "venv"))
    uv("pip", "sync", "--quiet", "--python", python, str(pins))
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", str(ROOT))
    ready.touch()
    return environment.interpreter


def probe(python: Path, home: Path) -> dict[str, Any]:
    """
    Return what an environment has of the package: see ``tests/matrix/probe.py``.

    :param python: Its interpreter.
    :param home: An empty folder for Airflow.
    """
    command = [str(python), str(ROOT / "tests/matrix/probe.py")]
    env = {"AIRFLOW_HOME": str(home), "PATH": str(python.parent)}
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"the package does not load in {python}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def uv(*arguments: str, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """
    Run uv, which downloads no Python, and return what it prints.

    :param arguments: Its arguments.
    :param text: Its standard input.
    :param env: Further environment.
    :raises RuntimeError: It failed; with what it says.
    """
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *python_folders()))
    system = {"UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON_PREFERENCE": "only-system", "PATH": path}
    done = subprocess.run(
        [found or "uv", *arguments],
        cwd=ROOT,
        env={**os.environ, **system, **(env or {})},
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout


def environment_of(nodeid: str) -> str:
    """
    Return the environment of a check, or the check itself if it has none.

    :param nodeid: From pytest.
    """
    found = re.search(r"\[(.+ on [0-9.]+)", nodeid)
    return found[1] if found else nodeid


class Lines:
    """A pytest plugin that prints one line per environment and check, and the sum."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.why: list[str] = []

    def pytest_collectreport(self, report: Any) -> None:
        """
        Count a file that cannot be read as a failure.

        :param report: From pytest.
        """
        if report.failed:
            self.failed += 1
            self.why.append(f"\n{report.nodeid}\n{report.longreprtext}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """
        Count a check and print its line: when it ran, or when what it needs could not be set up.

        :param report: From pytest.
        """
        if report.when != "call" and not report.failed:
            return
        self.passed += report.passed
        self.failed += not report.passed
        facts = dict(report.user_properties)
        text = f"{facts.get('airflow', environment_of(report.nodeid)):14} {facts.get('check', report.nodeid)}"
        print(f"{text:92} {'passed' if report.passed else 'FAILED'}  ({report.duration:.1f} s)", flush=True)
        if not report.passed:
            print(f"{text}: {report.longreprtext.splitlines()[-1]}", file=sys.stderr, flush=True)
            self.why.append(f"\n{text}\n{report.longreprtext}")


def main() -> int:
    """Make the environments, run the checks and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("versions", nargs="*", metavar="version", help=f"of {', '.join(VERSIONS)}; default: all")
    options.add_argument("--lock", action="store_true", help="make the pinned requirements anew instead")
    options.add_argument("-k", dest="checks", default="", help="only these checks, as with pytest")
    chosen = options.parse_args()
    if unknown := set(chosen.versions) - set(VERSIONS):
        options.error(f"unknown version: {', '.join(sorted(unknown))}")
    names = chosen.versions or list(VERSIONS)
    if chosen.lock:
        for name in names:
            lock(VERSIONS[name])
        return 0
    print(f"Pythons found: {', '.join(pythons())}", flush=True)
    import pytest

    lines = Lines()
    quiet = ["-o", "addopts=--import-mode=importlib", "-p", "no:terminalreporter", "-p", "no:xdist", "--tb=short"]
    only = ["-k", chosen.checks] if chosen.checks else []
    status = pytest.main([*quiet, *only, *(f"--airflow={name}" for name in names), str(ROOT / "tests/matrix")], [lines])
    print(*lines.why, sep="\n", file=sys.stderr, flush=True)
    print(f"{lines.passed} passed, {lines.failed} failed", flush=True)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
