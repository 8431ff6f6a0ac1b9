"""``make stack`` finds PostgreSQL and Redis wherever they are, and names the packages that are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "distributed"))

import stack_programs  # noqa: E402


def program(path: Path) -> Path:
    """Make an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a machine that has nothing."""
    monkeypatch.setattr(stack_programs, "POSTGRES_FOLDERS", (f"{tmp_path}/postgresql/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_an_empty_machine_lacks_both_packages(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names them, and how to install them."""
    assert stack_programs.main() == 2
    assert "not found on this machine: postgresql, redis-server. Nothing was started." in capsys.readouterr().err


@pytest.mark.parametrize(("on_path", "lacking"), [(["redis-server"], ["postgresql"]), (["psql"], None)])
def test_only_what_is_missing_is_named(machine: Path, on_path: list[str], lacking: list[str] | None) -> None:
    """A client alone is no server."""
    for name in on_path:
        program(machine / "bin" / name)
    assert stack_programs.missing() == (lacking or ["postgresql", "redis-server"])


def test_the_newest_servers_are_used_though_the_path_has_others(machine: Path) -> None:
    """By number, not by letter; a folder without ``initdb`` has only clients."""
    for name in ("initdb", "postgres", "psql"):
        program(machine / "bin" / name)
        for version in ("9.6", "15", "16"):
            program(machine / "postgresql" / version / "bin" / name)
    program(machine / "postgresql" / "17" / "bin" / "psql")
    assert stack_programs.find("postgres") == machine / "postgresql" / "16" / "bin" / "postgres"
    assert stack_programs.find("psql") == machine / "postgresql" / "16" / "bin" / "psql"


def test_servers_on_the_path_do(machine: Path) -> None:
    """Where no folder is known."""
    for name in stack_programs.PACKAGES:
        program(machine / "bin" / name)
    assert stack_programs.main() == 0
    assert stack_programs.find("initdb") == machine / "bin" / "initdb"


@pytest.mark.parametrize("target", ["stack", "test-stack"])
def test_make_ends_before_it_starts_anything(target: str, tmp_path: Path) -> None:
    """With exit status 2, before the environment is made."""
    check = program(tmp_path / "python")
    check.write_text("#!/bin/sh\necho checked; exit 2\n")
    command = ["make", "-C", str(ROOT), target, f"PYTHON={check}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.count("checked") == 1
    assert "Setting up" not in done.stdout
