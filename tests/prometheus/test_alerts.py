"""The four alerts of docs/operate.md, evaluated by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from airflow_provider_evolink.metrics import METRICS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = ROOT / "docs" / "prometheus" / "evolink.rules.yml"
CASES = HERE / "evolink.tests.yml"
PROMTOOL = shutil.which("promtool")
# What statsd_exporter makes of a name: points become underscores.
NAMES = {"airflow_" + name.replace(".", "_"): metric for name, metric in METRICS.items()}
BROKEN = {
    "the first unknown outcome": ("or (airflow_evolink_unknown_outcome unless", "or (vector(0) unless"),
    "later unknown outcomes": ("increase(airflow_evolink_unknown_outcome[1h]) > 0", "vector(0) > 0"),
    "an old unknown outcome": ("outcome offset 1h", "outcome offset 1w"),
    "not archived": ("not_archived > 0", "not_archived > 3"),
    "the first sample of a series": ("min_over_time(airflow_evolink_credits_reserved[1d])", "vector(0)"),
    "the day of credits": (" unless airflow_evolink_credits_reserved offset 1d", ""),
    "the limit of credits": ("> 5000", "> 50"),
    "each component": ("sum by (component)", "sum"),
    "the limit of refusals": ("> 0.5", "> 0.2"),
}


def evaluated(folder: Path, rules: str) -> subprocess.CompletedProcess[str]:
    """Return what promtool says of the cases under some rules."""
    folder.joinpath("rules.yml").write_text(rules)
    folder.joinpath("cases.yml").write_text(CASES.read_text().replace("RULES", "rules.yml"))
    command = [str(PROMTOOL), "test", "rules", str(folder / "cases.yml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of the package prometheus")
def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    done = evaluated(tmp_path, RULES.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of the package prometheus")
@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=list(BROKEN))
def test_the_cases_notice_a_wrong_rule(tmp_path: Path, old: str, new: str) -> None:
    assert RULES.read_text().count(old) == 1
    done = evaluated(tmp_path, RULES.read_text().replace(old, new))
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


def test_rules_and_cases_have_the_names_and_tags_that_are_sent() -> None:
    assert set(re.findall(r"airflow_\w+", RULES.read_text())) <= set(NAMES)
    series = [one["series"] for case in yaml.safe_load(CASES.read_text())["tests"] for one in case["input_series"]]
    for one in series:
        name, _, labels = one.partition("{")
        assert set(re.findall(r"(\w+)=", labels)) == set(NAMES[name].tags), one
