"""Our schedule on many made-up jobs, without network or clock, beside the best that is possible."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fake_jobs import ESTIMATE
from optimum import fewest_looks

from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.schedule import PollSchedule

NOW = 1_700_000_000.0
DEFERRED = 3.0  # seconds from the order to the trigger's first look: what a deferral takes
MEAN = ESTIMATE * math.exp(0.25**2 / 2)
LATENESSES = (2.0, 3.0, 4.75, 7.0, 10.0, 15.0, 30.0)


def _honest(part: float, _: random.Random) -> float | None:
    return math.floor(100 * part)


def _none(_part: float, _: random.Random) -> float | None:
    return None


def _bent(part: float, chance: random.Random) -> float | None:
    return math.floor(100 * part ** math.exp(chance.gauss(0.0, 0.3)))


def _stuck(part: float, _: random.Random) -> float | None:
    return min(30.0, math.floor(100 * part))


@dataclass(frozen=True)
class Case:
    """
    One sort of jobs.

    :param name: As shown.
    :param progress: Returns what a job says of itself, from the part of its time that is over.
    :param spread: Standard deviation of the logarithm of the seconds: how wrong the estimate is by chance.
    :param bias: True time over estimate: how wrong it is always.
    """

    name: str
    progress: Callable[[float, random.Random], float | None]
    spread: float = 0.25
    bias: float = 1.0


CASES = (
    Case("honest progress", _honest),
    Case("honest progress, jobs twice as fast as estimated", _honest, bias=0.5),
    Case("honest progress, jobs twice as slow", _honest, bias=2.0),
    Case("bent progress", _bent),
    Case("bent progress, jobs twice as slow", _bent, bias=2.0),
    Case("progress stuck at 30 %", _stuck),
    Case("no progress", _none),
    Case("no progress, a good estimate", _none, spread=0.1),
    Case("no progress, jobs twice as fast as estimated", _none, bias=0.5),
    Case("no progress, jobs twice as slow", _none, bias=2.0),
)


def measure(count: int) -> list[dict[str, Any]]:
    """
    Return a row for each sort of jobs, and the curve of the best that is possible.

    :param count: Jobs of each sort.
    """
    rows: list[dict[str, Any]] = []
    for case in CASES:
        looks, delays, length = _simulate(case, count)
        late = delays[int(0.95 * count)]
        rows.append(
            {
                "case": case.name,
                "spread": case.spread,
                "bias": case.bias,
                "looks": sum(looks) / count,
                "looks_p95": sorted(looks)[int(0.95 * count)],
                "delay_p50": delays[count // 2],
                "delay_p95": late,
                "seconds_mean": length,
                "best": fewest_looks(ESTIMATE * case.bias, case.spread, late),
            }
        )
    for late in LATENESSES:
        fixed = late / 0.95
        best = fewest_looks(ESTIMATE, 0.25, late)
        rows.append({"late": late, "best": best, "fixed": MEAN / fixed + 0.5})
    return rows


def _simulate(case: Case, count: int) -> tuple[list[int], list[float], float]:
    chance = random.Random(5)
    looks, delays, total, memory = [], [], 0.0, _memory()
    for number in range(count):
        seconds = ESTIMATE * case.bias * math.exp(chance.gauss(0.0, case.spread))
        watch = PollSchedule(deadline=NOW + 1e6, started=NOW, jitter=chance.random, **memory)
        taken, delay = _one(case, watch, f"task-{number}", seconds, chance.random())
        looks.append(taken)
        delays.append(delay)
        total += seconds
    return looks, sorted(delays), total / count


def _memory() -> dict[str, Any]:
    """Return what the watches of one process share, if they share anything: the jobs come one after another."""
    if "times" not in inspect.signature(PollSchedule).parameters:
        return {}
    from airflow_provider_evolink.api.jobs.pace import DurationStats

    return {"times": DurationStats()}


def _one(case: Case, watch: PollSchedule, job_id: str, seconds: float, bend: float) -> tuple[int, float]:
    """PollSchedule one job to its end and return how often it was looked at and how late its end was seen."""

    def told(age: float) -> Job:
        over = age >= seconds
        return Job.model_validate(
            {
                "id": job_id,
                "type": "video",
                "model": "wan2.7-text-to-video",
                "created": NOW,
                "status": "completed" if over else "processing",
                "results": ["https://files.example/a.mp4"] if over else [],
                "progress": 100 if over else case.progress(age / seconds, random.Random(bend)),
                "task_info": {} if age else {"estimated_time": ESTIMATE},  # told with the order alone
            }
        )

    age, taken = DEFERRED, 0
    if first := getattr(watch, "first", None):
        age += first(told(0.0), NOW + age)
    while True:
        taken += 1
        step = watch.saw(told(age), NOW + age)
        if step.end is not None:
            return taken, max(0.0, age - seconds)
        age += step.delay
