"""The page of figures says what the results say."""

from __future__ import annotations

import importlib.util
import json
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
    for name in ("plots", "goals"):
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


def test_goals_tell_met_from_missed(report: Any, found: dict[str, Any]) -> None:
    case = {"case": "honest progress", "looks": 6.5, "delay_p95": 4.1, "best": 5.0, "seconds_mean": 124.0}
    told = report.goals.table({"rows": {}, "schedule": {"runs": [case]}}).splitlines()
    assert told[2].endswith("| met |")
    assert told[3].endswith("| **missed** |")
