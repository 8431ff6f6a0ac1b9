"""A distributed Airflow whose parts are killed, stopped and emptied: every order is paid once, and none is lost."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

import pytest
from distributed_airflow import DistributedAirflow
from rows_of_the_stack import ROWS, Row
from scene import Scene, restore
from stack_table import HEAD, TABLE

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(3600)]
BARE = Path(__file__).parents[2] / ".stack" / "bare" / "bin" / "python"
MORE = 3  # attempts of a row that has failed once


class PaidWrongly(AssertionError):
    """More or fewer orders were paid than tasks are asked for: no further attempt excuses that."""


def attempt(
    row: Row, airflow: DistributedAirflow, port: int, number: int
) -> tuple[Scene, int, int, BaseException | None]:
    """Do a row once; return its scene, logical and paid orders, and what failed."""
    scene = Scene(airflow, f"{row.name}-{number}", number, BARE, port)
    logical, failure = 0, None
    try:
        restore(airflow)
        logical = row.act(scene)
    except Exception as error:
        traceback.print_exc()
        failure = error
    paid = [job["body"]["prompt"] for job in scene.paid()] if airflow.books.runs() else []
    twice = len(paid) - len(set(paid))
    if twice > scene.repeated or (failure is None and len(paid) != logical):
        failure = PaidWrongly(f"{row.name}: {logical} logical orders, {len(paid)} paid, {twice} of them again")
    return scene, logical, len(paid), failure


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_order_is_paid_once(
    row: Row, airflow: DistributedAirflow, limited_port: int, request: pytest.FixtureRequest
) -> None:
    """Whatever fails, logical and paid orders are the same, and the tasks end as the row says."""
    began = time.monotonic()
    scene, logical, paid, failure = attempt(row, airflow, limited_port, 1)
    seconds, failures, attempts = time.monotonic() - began, [failure] if failure else [], 1
    while failures and attempts <= MORE and not any(isinstance(one, PaidWrongly) for one in failures):
        attempts += 1
        scene, logical, paid, failure = attempt(row, airflow, limited_port, attempts)
        failures += [failure] if failure else []
    lost = bool(failures) and (len(failures) > 1 or isinstance(failures[0], PaidWrongly))
    cells = (row.name, row.done, str(logical), str(paid), f"{seconds:.0f}", f"{attempts - len(failures)} of {attempts}")
    verdict = "FAILED" if lost else "ok"
    line = (*cells, verdict, "; ".join(scene.notes))
    request.config.stash[TABLE].append(dict(zip(HEAD, line, strict=True)))
    assert not lost, failures
