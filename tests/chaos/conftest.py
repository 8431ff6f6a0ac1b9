"""One Airflow and one EvoLink for all rows; rows that disturb nobody run at the same time; a table at the end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from airflow_processes import AirflowProcesses  # noqa: E402
from chaos_rows import Row, Seen, World  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

from airflow_provider_evolink.emulator.server import EmulatorServer  # noqa: E402

TABLE = pytest.StashKey[list[dict[str, str]]]()
HEAD = ("row", "what was done", "final task state", "logical orders", "paid orders", "expected", "verdict")


def pytest_configure(config: pytest.Config) -> None:
    """Make the table."""
    config.stash[TABLE] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write the verdict beside what was seen."""
    report = yield
    row = row_of(item)
    if row and (report.when == "call" or report.failed):
        seen = item.stash.get(SEEN, None)
        state, paid = (f"{seen.state} (try {seen.tries})", str(len(seen.paid))) if seen else ("-", "-")
        verdict = "ok" if report.passed else "FAILED"
        cells = (row.name, row.done, state, str(row.logical), paid, row.expected, verdict)
        line = dict(zip(HEAD, cells, strict=True))
        item.config.stash[TABLE].append(line)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the table."""
    lines = config.stash[TABLE]
    if not lines:
        return
    widths = {name: max(len(line[name]) for line in [dict(zip(HEAD, HEAD, strict=True)), *lines]) for name in HEAD}
    terminalreporter.section("chaos")
    for line in [dict(zip(HEAD, HEAD, strict=True)), *lines]:
        terminalreporter.write_line(" | ".join(line[name].ljust(widths[name]) for name in HEAD).rstrip())
    failed = sum(line["verdict"] != "ok" for line in lines)
    terminalreporter.write_line(f"{len(lines) - failed} passed, {failed} failed")


SEEN = pytest.StashKey[Seen]()
AT_ONCE = 16


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """Return the rows that were chosen."""
    return [row for item in request.session.items if (row := row_of(item))]


def row_of(item: pytest.Item) -> Row | None:
    """Return the row of a test; None if it has none, as those of the pages."""
    callspec = getattr(item, "callspec", None)
    row = callspec.params.get("row") if callspec else None
    return row if isinstance(row, Row) else None


@pytest.fixture(scope="session")
def books() -> Iterator[EmulatorServer]:
    """Serve an EvoLink whose jobs take longer than any worker polls, and that knows no repeated order."""
    with EmulatorServer(mode="seconds", seconds=20, fps=4, idempotency=False) as server:
        yield server


@pytest.fixture(scope="session")
def short_books() -> Iterator[EmulatorServer]:
    """Serve an EvoLink of short jobs."""
    with EmulatorServer(mode="seconds", seconds=4, fps=4, idempotency=False, balance=100_000) as server:
        yield server


@pytest.fixture(scope="session")
def endless_books() -> Iterator[EmulatorServer]:
    """Serve an EvoLink whose jobs end when told."""
    with EmulatorServer(polls=10_000_000, estimated_time=600, fps=4, idempotency=False, balance=1_000_000) as server:
        yield server


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Serve an S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def world(
    rows: list[Row],
    books: EmulatorServer,
    short_books: EmulatorServer,
    endless_books: EmulatorServer,
    s3_address: str,
) -> Iterator[World]:
    """Start Airflow with the DAGs of the chosen rows. Its folder stays, to look into what failed."""
    home = HERE.parents[1] / ".chaos"
    shutil.rmtree(home, ignore_errors=True)
    dags = home / "dags"
    dags.mkdir(parents=True)
    (dags / ".airflowignore").write_text("traps.py\n")
    shutil.copy(HERE / "traps.py", dags)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.name if row.late else row.source, []).append(row)
    for name, members in groups.items():
        shutil.copy(HERE / f"{members[0].source}_under_chaos.py", dags / f"chaos_{name}.py")
        given = {row.name: row.arguments for row in members} | {
            name: arguments for row in members for name, arguments in row.beside.items()
        }
        (dags / f"chaos_{name}.json").write_text(json.dumps(given))
    env = {
        "CHAOS_FOLDER": str(home),
        "AIRFLOW_VAR_CHAOS_FOLDER": str(home),
        "AIRFLOW_CONN_EVOLINK_DEFAULT": connection(books),
        "AIRFLOW_CONN_EVOLINK_MAPPED": connection(short_books),
        "AIRFLOW_CONN_EVOLINK_MANY": connection(endless_books),
        "AIRFLOW_CONN_STORE": s3_connection(s3_address),
        "AIRFLOW_CONN_EVOLINK_RECOVERED": connection(short_books, "chaos-other-account-key"),
    }
    with AirflowProcesses(home / "airflow", dags, env) as airflow:
        airflow.wait_ready(next((row.name for row in rows if not row.late), rows[0].name))
        yield World(airflow, books, home)


def connection(server: EmulatorServer, key: str = "chaos-test-key") -> str:
    """Return a connection as Airflow reads it from the environment."""
    return json.dumps({"conn_type": "evolink", "host": server.url, "password": key})


def s3_connection(address: str) -> str:
    """Return a connection to an S3."""
    given = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    return json.dumps({**given, "extra": {"endpoint_url": address, "region_name": "us-east-1"}})


@pytest.fixture(scope="session")
def together(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[str]]]:
    """Do all chosen rows that disturb nobody, some at once: more would lock Airflow out of SQLite."""
    items = [item for item in request.session.items if "quiet" not in getattr(item, "fixturenames", ())]
    chosen = [row for item in items if (row := row_of(item))]
    pool = ThreadPoolExecutor(max_workers=AT_ONCE)
    yield {row.name: pool.submit(row.act, world, row) for row in chosen}
    pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, Airflow goes away under those still waiting


@pytest.fixture
def quiet(world: World, together: dict[str, Future[str]]) -> World:
    """Return the world when no other row is under way."""
    wait(together.values())
    return world


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Any:
    """Return what notes, for the table, what has come of a row."""

    def take(seen: Seen) -> Seen:
        request.node.stash[SEEN] = seen
        return seen

    return take
