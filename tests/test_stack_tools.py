"""``make stack`` finds PostgreSQL and Redis or names the packages; ``make test-stack`` notices who comes back early."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts" / "distributed"), str(ROOT / "tests" / "distributed")]

import rate_limit  # noqa: E402
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


@pytest.mark.parametrize(
    ("moments", "refused", "early"),
    [
        ((0, 0.1, 1.0, 1.5, 2.0), 0, 0),
        ((0, 0.1, 0.2, 3.2), 1, 0),  # comes back when it may
        ((0, 0.1, 0.2, 3.0), 1, 1),  # a fifth of a second too early
        ((0, 0.1, 0.2, 0.3, 0.4), 3, 0),  # sent before the first refusal was read
        ((0, 0.1, 0.2, 0.3, 0.9), 2, 1),  # ... which this was not, though it is let through
        ((0, 0.1, 0.2, 0.3, 3.2), 2, 1),  # the last refusal counts from its own moment
        ((0, 0.1, 0.2, 0.6, 0.75, 0.8), 3, 2),  # asking again and again is not being sent before
    ],
)
def test_a_process_that_comes_back_early_is_noticed(moments: tuple[float, ...], refused: int, early: int) -> None:
    """By the time it was given, whatever it gets."""
    with closing(rate_limit.RateLimit(0, "http://127.0.0.1:1")) as limit:
        limit._allowance = rate_limit.Allowance(100.0)
        for moment in moments:
            limit.allows(1, 100.0 + moment)
    assert (limit.refused, len(limit.early)) == (refused, early)


def test_one_process_does_not_wait_for_another(tmp_path: Path) -> None:
    """The limit is one for all, the time to come back is each one's own."""
    with closing(rate_limit.RateLimit(0, "http://127.0.0.1:1")) as limit:
        limit._allowance = rate_limit.Allowance(100.0)
        assert [limit.allows(process, 100.0) for process in (1, 2, 3)] == [True, True, False]
        assert limit.allows(2, 101.0)
    assert limit.early == []
