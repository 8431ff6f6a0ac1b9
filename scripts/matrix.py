"""The Airflow versions we support: an environment for each, and the tests of ``tests/matrix`` in each of them."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".matrix"
# Airflow's shim comes from later than the release: older ones lack what the hook needs.
LATE = (
    "apache-airflow-providers-common-compat=2026-12-01",
    "httpx-aiohttp=2026-12-01",
    "asgiref=2026-03-20",
)


@dataclass(frozen=True)
class Version:
    """
    A release of Airflow.

    :param number: Its version.
    :param day: Its packages are those of this day: today's break old releases.
    :param pythons: The Pythons it runs on that we run on too.
    """

    number: str
    day: str
    pythons: str

    @property
    def has_pages(self) -> bool:
        """Whether it has tabs and pages of plugins, and tasks that wait for people."""
        return tuple(int(part) for part in self.number.split(".")[:2]) >= (3, 1)

    @property
    def pins(self) -> Path:
        """Where its pinned requirements are."""
        return ROOT / "requirements" / f"airflow-{self.number}.txt"

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return CACHE / self.number / "venv" / "bin" / "python"


VERSIONS = {
    version.number: version
    for version in (
        Version("2.11.2", "2026-03-20", ">=3.11,<3.13"),
        Version("3.0.6", "2025-09-15", ">=3.11,<3.13"),
        Version("3.1.8", "2026-03-20", ">=3.11,<3.14"),
        Version("3.2.2", "2026-06-20", ">=3.11,<3.15"),
        Version("3.3.2", "2026-10-01", ">=3.11,<3.15"),
    )
}


def lock(version: Version) -> None:
    """
    Resolve the requirements of a release as of its day, and write the pins.

    :param version: The release.
    """
    late = [word for package in LATE for word in ("--exclude-newer-package", package)]
    _uv(
        *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate"),
        *("--exclude-newer", version.day, *late, "--extra", "emulator", "--extra", "s3", "pyproject.toml", "-"),
        *("--upgrade", "--output-file", str(version.pins)),
        text=f"apache-airflow=={version.number}\n",
    )


def environment(version: Version) -> Path:
    """
    Return the interpreter of a release's environment, which is made if it is not there or not up to date.

    :param version: The release.
    """
    ready = CACHE / version.number / ".ready"
    sources = (version.pins, ROOT / "pyproject.toml")
    if ready.exists() and all(path.stat().st_mtime <= ready.stat().st_mtime for path in sources):
        return version.python
    shutil.rmtree(CACHE / version.number, ignore_errors=True)
    _uv("venv", "--quiet", "--python", version.pythons, str(version.python.parents[1]))
    _uv("pip", "sync", "--quiet", "--python", str(version.python), str(version.pins))
    _uv("pip", "install", "--quiet", "--python", str(version.python), "--no-deps", "--editable", str(ROOT))
    ready.touch()
    return version.python


def _uv(*arguments: str, text: str | None = None) -> None:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    system = {"UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON_PREFERENCE": "only-system"}
    done = subprocess.run(
        [found or "uv", *arguments],
        cwd=ROOT,
        env={**os.environ, **system},
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()}")


class Lines:
    """A pytest plugin that prints one line per version and check, and the sum."""

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
        text = f"{facts.get('airflow', ''):7} {facts.get('check', report.nodeid)}"
        print(f"{text:84} {'passed' if report.passed else 'FAILED'}  ({report.duration:.1f} s)", flush=True)
        if not report.passed:
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
    numbers = chosen.versions or list(VERSIONS)
    if chosen.lock:
        for number in numbers:
            lock(VERSIONS[number])
        return 0
    import pytest

    lines = Lines()
    quiet = ["-o", "addopts=--import-mode=importlib", "-p", "no:terminalreporter", "-p", "no:xdist", "--tb=short"]
    only = ["-k", chosen.checks] if chosen.checks else []
    status = pytest.main([*quiet, *only, *(f"--airflow={n}" for n in numbers), str(ROOT / "tests/matrix")], [lines])
    print(*lines.why, sep="\n", file=sys.stderr, flush=True)
    print(f"{lines.passed} passed, {lines.failed} failed", flush=True)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
