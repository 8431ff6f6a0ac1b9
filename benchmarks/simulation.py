"""Our schedule on many made-up jobs, without network or clock, beside the best that is possible."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fake_jobs import ESTIMATE
from optimum import fewest_polls

from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.pace import DurationStats, JobHints
from airflow_provider_evolink.api.jobs.schedule import PollSchedule

NOW = 1_700_000_000.0
MODEL = "wan2.7-text-to-video"
DEFERRED = 3.0  # seconds from the submit to the trigger's first poll: what a deferral takes
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
    :param progress: Returns the progress EvoLink reports, from the share of its duration that has passed.
    :param spread: Standard deviation of the logarithm of the seconds: how wrong the estimate is by chance.
    :param bias: True time over estimate: how wrong it is always.
    :param fast_share: Share of the jobs that take a quarter of the time.
    :param remembers: Jobs after which all durations are forgotten, as by a new process; 0: never.
    """

    name: str
    progress: Callable[[float, random.Random], float | None]
    spread: float = 0.25
    bias: float = 1.0
    fast_share: float = 0.0
    remembers: int = 0


CASES = (
    Case("honest progress", _honest),
    Case("honest progress, jobs twice as fast as estimated", _honest, bias=0.5),
    Case("honest progress, jobs twice as slow", _honest, bias=2.0),
    Case("honest progress, jobs much alike", _honest, spread=0.1),
    Case("honest progress, jobs very different", _honest, spread=0.5),
    Case("honest progress, every tenth job four times as fast", _honest, spread=0.1, fast_share=0.1),
    Case("honest progress, a new process after every 40 jobs", _honest, remembers=40),
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
        polls, delays, length = _simulate(case, count)
        late = delays[int(0.95 * count)]
        rows.append(
            {
                "case": case.name,
                "spread": case.spread,
                "bias": case.bias,
                "polls": sum(polls) / count,
                "polls_p95": sorted(polls)[int(0.95 * count)],
                "delay_p50": delays[count // 2],
                "delay_p95": late,
                "delay_p99": delays[int(0.99 * count)],
                "seconds_mean": length,
                "best": None if case.fast_share else fewest_polls(ESTIMATE * case.bias, case.spread, late),
            }
        )
    for late in LATENESSES:
        fixed = late / 0.95
        best = fewest_polls(ESTIMATE, 0.25, late)
        rows.append({"late": late, "best": best, "fixed": MEAN / fixed + 0.5})
    return rows


def _simulate(case: Case, count: int) -> tuple[list[int], list[float], float]:
    chance = random.Random(5)
    polls, delays, total, durations = [], [], 0.0, DurationStats()
    for number in range(count):
        if case.remembers and number % case.remembers == 0:
            durations = DurationStats()
        seconds = ESTIMATE * case.bias * math.exp(chance.gauss(0.0, case.spread))
        if case.fast_share and chance.random() < case.fast_share:
            seconds /= 4
        schedule = PollSchedule(deadline=NOW + 1e6, started=NOW, jitter=chance.random, durations=durations)
        taken, delay = _one(case, schedule, f"task-{number}", seconds, chance.random())
        polls.append(taken)
        delays.append(delay)
        total += seconds
    return polls, sorted(delays), total / count


def _one(case: Case, schedule: PollSchedule, job_id: str, seconds: float, bend: float) -> tuple[int, float]:
    """Poll one job to its end; return the number of polls and how late the end was seen."""

    def reading(age: float) -> Job:
        over = age >= seconds
        return Job.model_validate(
            {
                "id": job_id,
                "type": "video",
                "model": MODEL,
                "created": NOW,
                "status": "completed" if over else "processing",
                "results": ["https://files.example/a.mp4"] if over else [],
                "progress": 100 if over else case.progress(age / seconds, random.Random(bend)),
            }
        )

    # The estimate comes with the submit alone.
    hints = JobHints(model=MODEL, kind="video", estimated_time=float(ESTIMATE))
    polls, age = 0, DEFERRED + schedule.first_delay(hints, NOW + DEFERRED)
    while True:
        polls += 1
        decision = schedule.on_reading(reading(age), NOW + age)
        if decision.end is not None:
            return polls, max(0.0, age - seconds)
        age += decision.delay
