"""The page of figures says what the results say."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("bench_report", BENCHMARKS / "report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("plots", "goals", "transfer_report", "contestants", "fake_jobs"):
        sys.modules.pop(name, None)


@pytest.fixture
def found() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(BENCHMARKS.joinpath("results").glob("*.json"))}


def test_page_is_written_from_the_results(report: Any, found: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "performance.md").read_text() == report.text(found), "run: python benchmarks/report.py"


def test_plots_are_drawn_from_the_results(report: Any, found: dict[str, Any]) -> None:
    drawings = report.drawings(found)
    assert drawings
    for name, drawing in drawings.items():
        assert (ROOT / "docs" / "images" / name).read_text() == drawing


def test_goals_distinguish_met_from_missed(report: Any, found: dict[str, Any]) -> None:
    case = {"case": "honest progress", "polls": 6.5, "delay_p95": 4.1, "best": 5.0, "seconds_mean": 124.0}
    told = report.goals.table({"rows": {}, "schedule": {"runs": [case]}}).splitlines()
    assert told[2].endswith("| met |")
    assert told[3].endswith("| **missed** |")


CASES = {
    "accurate progress": "honest progress",
    "distorted progress, differently for each job": "bent progress",
    "accurate progress, estimate twice too long": "honest progress, jobs twice as fast as estimated",
    "accurate progress, estimate twice too short": "honest progress, jobs twice as slow",
    "no progress (the optimum is {best:.1f} polls)": "no progress",
    "no progress, durations that differ little": "no progress, a good estimate",
    "no progress, estimate twice too long": "no progress, jobs twice as fast as estimated",
    "no progress, estimate twice too short": "no progress, jobs twice as slow",
}


def test_the_page_on_timing_has_the_figures_of_the_simulation(found: dict[str, Any]) -> None:
    runs = {run["case"]: run for run in found["schedule"]["runs"] if "case" in run}
    rows = [
        f"| {text.format(**runs[case])} | {runs[case]['polls']:.1f} | {runs[case]['delay_p95']:.1f} s "
        f"| {runs[case]['delay_p99']:.1f} s |"
        for text, case in CASES.items()
    ]
    page = (ROOT / "docs" / "timing.md").read_text()
    table = page.partition("| what EvoLink reports |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table == rows


def test_a_number_holds_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fake_jobs

    now = 1_790_000_000.0
    crowd = fake_jobs.amid(1000, 0.25, 11, now)
    for salt, job in enumerate(crowd):
        number = job.number(now - 4000.0, salt)
        again = fake_jobs.read_number(number, now - 4000.0)
        assert number < 2**63
        assert again.created == pytest.approx(job.created, abs=0.002)
        assert again.ends == pytest.approx(job.ends, abs=0.002)


def test_a_crowd_is_as_found_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fake_jobs

    now = 1_790_000_000.0
    crowd = fake_jobs.amid(4000, 0.25, 11, now)
    assert all(job.created <= now < job.ends for job in crowd)
    lengths = sum(job.seconds for job in crowd) / len(crowd)
    lives = sum(job.ends - now for job in crowd) / len(crowd)
    assert lengths == pytest.approx(120 * math.exp(1.5 * 0.25**2), rel=0.03), "long jobs are met more often"
    assert lives == pytest.approx(lengths / 2, rel=0.05)
