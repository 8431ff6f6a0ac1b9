"""
Random lives of a task: retries, clears, backfills, kills, stopped workers, lost answers and lost records.

The code under test is the package's (operator, generation, submission, ledger, lease, decisions); EvoLink, the stores
and the clock are in memory. EVOLINK_STEPS sets how many steps there are, a hundred thousand in each test. Hypothesis
makes the programs; a failing one is reduced to the steps that matter and printed as a story.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from evolink_world import ANSWERS, OPERATOR, OPS, STEP, Setting, World

from airflow_provider_evolink.api import client
from airflow_provider_evolink.execution import generation, job_tracker, submission, task_run
from airflow_provider_evolink.ledger import lease, ledger

STEPS = 100_000
LIVES = max(1, int(os.environ.get("EVOLINK_STEPS", "0")) // STEPS)
LENGTH = 80
FIXED = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
FIXED |= {"phases": [Phase.generate]}
MUST_HAPPEN = {"killed", "unknown", "delivered", "a stale worker woke up", "EvoLinkOrderStopped", "EvoLinkLedgerError"}


class Log:
    """The task's log: its lines are kept, as a shipped log would be."""

    def _keep(self, line: str, *args: Any) -> None:
        World.current.said.append(line % args if args else line)

    debug = info = warning = error = _keep


class WorldTime:
    """The clock of the present world, where the package asks the module ``time``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(World.current.clock, name)


@pytest.fixture(autouse=True)
def _seams(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ledger, lease, client, submission, generation, job_tracker, task_run, tenacity, tenacity.nap):
        if hasattr(module, "time"):
            monkeypatch.setattr(module, "time", WorldTime())
    assert isinstance(job_tracker.time, WorldTime), "the waits of a try would take real time"
    assert isinstance(task_run.time, WorldTime)
    hook = SimpleNamespace(get_conn=lambda: World.current.client())  # noqa: PLW0108 - the world of then
    monkeypatch.setattr(generation, "EvoLinkHook", lambda conn_id: hook)
    monkeypatch.setattr(ledger, "FolderStore", lambda root, identity: World.current.folder)
    monkeypatch.setattr(ledger, "log", Log())
    for module, name in ((generation, "count_decision"), (generation, "count_credits"), (submission, "count_credits")):
        monkeypatch.setattr(module, name, lambda *args: None)
    monkeypatch.setattr(type(OPERATOR), "log", Log())


def lived(program: bytes) -> tuple[World, AssertionError | None]:
    """Run one life."""
    world = World(Setting.of(program[0], program[1]))
    try:
        world.run(program[2:])
    except AssertionError as error:
        return world, error
    return world, None


def cut_down(program: bytes, kind: str) -> bytes:
    """Leave out every step without which the same promise is still broken."""
    steps = [program[at : at + STEP] for at in range(2, len(program), STEP)]
    changed = True
    while changed:
        changed = False
        for at in reversed(range(len(steps))):
            shorter = steps[:at] + steps[at + 1 :]
            if str(lived(program[:2] + b"".join(shorter))[1]).startswith(kind):
                steps, changed = shorter, True
    return program[:2] + b"".join(steps)


def lives(first: int, count: int) -> tuple[int, set[str]]:
    """Run so many random lives and return how many steps they had and what happened in them."""
    steps, seen = 0, set()

    @seed(first)
    @settings(max_examples=count, **FIXED)
    @given(st.binary(min_size=LENGTH * STEP + 2, max_size=LENGTH * STEP + 2))
    def live(program: bytes) -> None:
        nonlocal steps
        world, error = lived(program)
        steps += world.steps
        seen.update(world.seen)
        if error is not None:
            world, error = lived(cut_down(program, str(error)[:6]))
            pytest.fail(f"{error}\n{world.setting}\n" + "\n".join(world.story), pytrace=False)

    live()
    return steps, seen


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(LIVES))
def test_no_life_of_a_task_pays_twice_or_loses_a_job_or_reports_a_falsehood(first: int) -> None:
    steps, seen = lives(first, STEPS * 13 // 10 // LENGTH)
    print(f"\n{steps} steps, {len(seen)} kinds of events")
    assert steps >= STEPS
    expected = MUST_HAPPEN | set(ANSWERS) | (set(OPS) - {"nothing"})
    assert expected <= seen, expected - seen
