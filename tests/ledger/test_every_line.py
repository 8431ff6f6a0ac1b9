"""
Every line: a try is killed, or raises, at every line of the package that it executes; then the next tries run.

The tries are real (operator, ledger, HTTP, SIGKILL); what a process leaves behind is on disk, and what was paid for is
in the books of an emulator. A point that leaves behind exactly what an earlier one did is not followed by another try.
EVOLINK_SWEEP=every runs every plan line by line; EVOLINK_SWEEP=all follows each point as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.emulator.server import EmulatorServer

sys.path.insert(0, str(Path(__file__).parent))
from swept import MET

SWEEPER = Path(__file__).parent / "sweeper.py"
KEY = "test-key-0123456789"
MARGIN = 400  # fewer lines than this would mean that most of the way is not swept
SWEEP = os.environ.get("EVOLINK_SWEEP", "few")


@dataclass(frozen=True)
class Plan:
    """
    One sweep.

    :param how: ``kill`` or ``raise``.
    :param honored: EvoLink honors the key, with ``on_unknown_submit="replay"``; else it does not, with ``"fail"``.
    :param deferrable: Up to ``defer()``, or up to the result.
    :param store: ``state``: Airflow's task state store; ``folder``: a ledger folder alone.
    :param lost: The response to the first order is lost.
    :param step: 1: every line.
    """

    how: str
    honored: bool
    deferrable: bool
    store: str
    lost: bool = False
    step: int = 1

    @property
    def name(self) -> str:
        words = [self.how, "replay" if self.honored else "fail", "deferred" if self.deferrable else "blocking"]
        return "-".join([*words, self.store] + ["lost"] * self.lost)

    def started(self, url: str, folder: Path) -> subprocess.Popen[str]:
        """Start the process of this sweep."""
        extra = {"honors_idempotency_key": self.honored}
        connection = {"conn_type": "evolink", "host": url, "password": KEY, "extra": extra}
        plan = {
            "url": url,
            "how": self.how,
            "store": self.store,
            "step": self.step,
            "follow": "all" if SWEEP == "all" else "new",
            "operator": {"deferrable": self.deferrable, "on_unknown_submit": "replay" if self.honored else "fail"},
            "emulator": {"idempotency": self.honored},
            "faults": [{"kind": "lost_answer"}] if self.lost else [],
        }
        with (folder / "points").open("w") as points, (folder / "errors").open("w") as errors:
            return subprocess.Popen(
                [sys.executable, str(SWEEPER), json.dumps(plan), str(folder)],
                env=os.environ | {"AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(connection)},
                stdout=points,
                stderr=errors,
                text=True,
            )


FEW = [
    Plan("kill", honored=False, deferrable=True, store="folder"),
    Plan("kill", honored=True, deferrable=False, store="state", step=4),
    Plan("raise", honored=False, deferrable=False, store="state", step=9),
    Plan("raise", honored=True, deferrable=True, store="folder", step=9),
    Plan("kill", honored=True, deferrable=True, store="state", lost=True, step=15),
]
EVERY = [Plan(*one) for one in product(("kill", "raise"), (True, False), (True, False), ("state", "folder"))]
LOST = [Plan(how, True, True, store, lost=True) for how, store in product(("kill", "raise"), ("state", "folder"))]
PLANS = FEW if SWEEP == "few" else [*EVERY, *LOST]


def swept(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Run a sweep on its own emulator and return its points."""
    with EmulatorServer(polls=2, estimated_time=60) as emulator:
        process = plan.started(emulator.url, folder)
        try:
            status = process.wait(1800)
        finally:
            process.kill()
    assert status == 0, (folder / "errors").read_text()[-3000:]
    return [json.loads(line) for line in (folder / "points").read_text().splitlines()]


@pytest.mark.timeout(2000)
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_no_line_at_which_a_try_ends_pays_twice_or_loses_a_job(plan: Plan, tmp_path: Path) -> None:
    points = swept(plan, tmp_path)
    assert [point["number"] for point in points] == list(range(1, points[-1]["number"] + 1, plan.step))
    assert points[-1]["number"] > MARGIN, "the sweep ended early"
    struck = [point for point in points if point["struck"]]
    assert len(struck) == len(points) - 1
    places = " ".join(point["struck"] for point in struck)
    missed = [name for name in MET if f"{name}:" not in places]
    assert not missed or plan.step > 1
    wrong = {point["struck"]: said for point in points if (said := complaints(point, plan))}
    summary = summed_up(struck, plan)
    print(f"\n{plan.name}: {summary}")
    assert not wrong, json.dumps(wrong, indent=1)
    assert (summary["double payments"], summary["lost ids"]) == (0, 0)
    assert (summary["unknown outcomes"] == 0) is (plan.honored and not plan.lost), "the window was never struck"


def summed_up(points: list[dict[str, Any]], plan: Plan) -> dict[str, int]:
    """Return the figures of a sweep."""
    killed = [point for point in points if point["tries"][0]["end"] == "killed"]
    return {
        "points": len(points),
        "kills": len(killed),
        "exceptions": len(points) - len(killed),
        "paid before the end": sum(1 for point in points if point["state"] == "submitted"),
        "double payments": sum(1 for point in points if point["paid"] > 1),
        "lost ids": sum(1 for point in points if is_lost(point)),
        "followed to the end": sum(1 for point in points if point["followed"]),
        "unknown outcomes": sum(1 for point in points if any(is_unknown(one) for one in point["tries"])),
        "completed": sum(1 for point in points if point["tries"][-1]["end"] == "success"),
    }


def is_unknown(one: dict[str, Any]) -> bool:
    """Return whether a try stopped because the outcome of an order is unknown, and named its key."""
    return one["end"] == "stop" and "EvoLinkSubmissionUnknown" in one["text"] and "key is af1-" in one["text"]


def is_lost(point: dict[str, Any]) -> bool:
    """Return whether a paid job is neither recorded nor named nor reported as possible."""
    recorded = (point["record"] or {}).get("job_id")
    said = point["whole_log"] + " ".join(one.get("text", "") for one in point["tries"])
    unknown = any(is_unknown(one) for one in point["tries"])
    return not unknown and any(job != recorded and job not in said for job in point["jobs"])


def complaints(point: dict[str, Any], plan: Plan) -> list[str]:
    """Return what is wrong about a point."""
    first, last = point["tries"][0], point["tries"][-1]
    unknown = any(is_unknown(one) for one in point["tries"])
    wrong = []
    if point["paid"] > 1 or len(point["jobs"]) != point["paid"]:
        wrong.append(f"paid {point['paid']} times")
    if is_lost(point):
        wrong.append("a paid job is lost")
    if point["struck"] and first["end"] != "killed" and plan.how == "kill":
        wrong.append("it was not killed")
    if unknown and point["state"] not in ("intent", "unknown"):
        wrong.append(f"an unknown outcome although the record was {point['state']}")
    if not plan.honored and point["state"] == "intent" and not unknown:
        wrong.append("an intent was taken for something else")
    if not point["followed"]:
        return wrong  # an earlier point left exactly the same behind, and was followed to the end
    if plan.honored and last["end"] != "success":
        wrong.append(f"not completed: {last}")
    if last["end"] == "success" and (last["status"] != "completed" or [last["job"]] != point["jobs"]):
        wrong.append(f"a success with {last['job']}, paid were {point['jobs']}")
    if last["end"] != "success" and not unknown:
        wrong.append(f"ended with {last}")
    return wrong
