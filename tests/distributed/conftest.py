"""One distributed Airflow for all rows, and a table of logical against paid orders at the end."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "scripts" / "distributed")]

from distributed_airflow import ARCHIVE, STAGING, DistributedAirflow  # noqa: E402
from local_airflow import free_port  # noqa: E402
from stack_programs import missing  # noqa: E402
from stack_table import HEAD, STARTED, TABLE  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Make the table, and let SIGTERM end all parts, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.stash[TABLE] = []
    config.stash[STARTED] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the table."""
    lines = [dict(zip(HEAD, HEAD, strict=True)), *config.stash[TABLE]]
    if len(lines) == 1:
        return
    widths = {name: max(len(line[name]) for line in lines) for name in HEAD}
    terminalreporter.section("stack")
    for line in lines:
        terminalreporter.write_line(" | ".join(line[name].ljust(widths[name]) for name in HEAD).rstrip())
    failed = sum(line["verdict"] != "ok" for line in lines[1:])
    for text in config.stash[STARTED]:
        terminalreporter.write_line(text)
    terminalreporter.write_line(f"{len(lines) - 1 - failed} passed, {failed} failed")


@pytest.fixture(scope="session")
def limited_port() -> int:
    """Return where the row of the rate limit listens."""
    return free_port()


@pytest.fixture(scope="session")
def airflow(limited_port: int, request: pytest.FixtureRequest) -> Iterator[DistributedAirflow]:
    """Start the stack. Its folder stays, to look into what failed."""
    if packages := missing():
        pytest.exit(f"missing packages: {', '.join(packages)}", returncode=2)
    home = ROOT / ".stack" / "tests"
    shutil.rmtree(home, ignore_errors=True)
    dags = home / "dags"
    dags.mkdir(parents=True)
    (home / "words").mkdir()
    (dags / ".airflowignore").write_text("traps.py\n")
    shutil.copy(ROOT / "tests" / "chaos" / "traps.py", dags)
    shutil.copy(HERE / "dags_of_the_stack.py", dags)
    env = {
        "CHAOS_FOLDER": str(home / "words"),
        "STACK_STAGING": f"{STAGING}/clips",
        "STACK_ARCHIVE": f"{ARCHIVE}/clips",
    }
    limited = {
        "conn_type": "evolink",
        "host": f"http://127.0.0.1:{limited_port}",
        "password": "stack-key-of-the-limit",
    }
    emulator = ("--no-idempotency", "--fps", "4", "--balance", "1000000", "--seconds", "15")
    began = time.monotonic()
    stack = DistributedAirflow(
        home,
        dags,
        ROOT / ".stack" / "venv" / "bin" / "python",
        emulator=emulator,
        connections={"evolink_limited": limited},
        env=env,
        restarts=True,
    )
    with stack:
        stack.wait_answers(180)
        stack.wait_ready("chain", 180)
        stack.wait_triggerers(2, 180)
        stack.wait_workers(180)
        request.config.stash[STARTED].append(f"started in {time.monotonic() - began:.0f} s")
        yield stack
        request.config.stash[STARTED].append(f"memory of all parts at the end: {memory(stack):.1f} GB")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        request.config.stash[STARTED].append(f"processor time of ended parts: {used.ru_utime + used.ru_stime:.0f} s")


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Prove that the stack has the provider from its wheel, and that the bare environment has it not at all."""
    found = {name: provider_file(name) for name in ("venv", "bare")}
    assert "site-packages" in found["venv"], found
    assert found["bare"] == "", found


def provider_file(name: str) -> str:
    """Return where an environment of the stack imports the provider from; empty if it cannot."""
    code = "import airflow_provider_evolink; print(airflow_provider_evolink.__file__)"
    command = [str(ROOT / ".stack" / name / "bin" / "python"), "-c", code]
    return subprocess.run(command, cwd=ROOT / ".stack", capture_output=True, text=True, check=False).stdout.strip()


def memory(airflow: DistributedAirflow) -> float:
    """Return the proportional memory of all processes of the stack, in GB."""
    total = 0
    for process in airflow.processes():
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e9
