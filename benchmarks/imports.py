"""What a DAG file pays for importing operators, in a process that has what a DAG processor's child has."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Any

PLUGIN = "**EvoLink** plugin, which every worker and DAG processor loads"
TARGETS = {
    "airflow_provider_evolink.operators": "**EvoLink** operators",
    "airflow_provider_evolink.operators airflow_provider_evolink.sensors airflow_provider_evolink.triggers "
    "airflow_provider_evolink.links": "**EvoLink** operators, sensor, trigger and links",
    "airflow_provider_evolink.plugins.evolink": PLUGIN,
    "airflow.providers.standard.operators.python": "Airflow's PythonOperator",
    "airflow.providers.http.sensors.http": "HttpSensor",
    "airflow.providers.databricks.operators.databricks": "Databricks",
    "airflow.providers.openai.operators.openai": "OpenAI",
}
SCRIPT = """
import importlib, json, sys, time
import airflow.dag_processing.processor, airflow.dag_processing.manager
from airflow.sdk import DAG
with DAG("bare", schedule=None):
    pass
before, cpu, wall = set(sys.modules), time.process_time(), time.perf_counter()
for name in sys.argv[1].split():
    importlib.import_module(name)
added, spent = time.process_time() - cpu, time.perf_counter() - wall
new = sorted(set(sys.modules) - before)
roots = {name.partition(".")[0] for name in new} - set(sys.stdlib_module_names)
third = sorted(root for root in roots if root not in ("airflow", "airflow_provider_evolink") and root in sys.modules)
print(json.dumps({"ms": 1000 * added, "wall_ms": 1000 * spent, "base": cpu, "modules": len(new), "third_party": third}))
"""


def measure(rounds: int) -> list[dict[str, Any]]:
    """
    Return a row for each target and round; a first round, which compiles byte code, is not counted.

    :param rounds: How many.
    """
    rows = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(-1, rounds):
        for names, target in TARGETS.items():
            command = [sys.executable, "-c", SCRIPT, names]
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            if turn >= 0:
                rows.append({"target": target, "round": turn, **json.loads(output.splitlines()[-1])})
    return _medians(rows)


def _medians(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for target in TARGETS.values():
        mine = [row for row in rows if row["target"] == target]
        middle = {name: statistics.median(row[name] for row in mine) for name in ("ms", "wall_ms", "base")}
        ratio = statistics.median(1 + row["ms"] / 1000 / row["base"] for row in mine)
        fixed = {name: mine[0][name] for name in ("modules", "third_party")}
        found.append({"target": target, "rounds": len(mine), **middle, "ratio": ratio, **fixed})
    return found
