"""What running an example again costs: the table of the page names every example, with the policies of its code."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.operators import EvoLinkGenerateOperator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "what-happens-when.md"
EXAMPLES = sorted((ROOT / "dags").glob("*.py"))
SAMPLES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
# What each example orders, as `test_dags.py` counts it in Airflow.
_COUNTED = Path(__file__).with_name("test_dags.py").read_text().partition("EXPECTED = ")[2].partition("\n}\n")[0]
ORDERED: dict[str, Any] = ast.literal_eval(_COUNTED + "}")
NEVER = "0: it never submits"
REUSE = '0, by `on_backfill="reuse"`'


def rows() -> dict[str, list[str]]:
    """Return the rows of the table by the name of the example."""
    table = PAGE.read_text().partition("### What running an example again costs")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    return {re.findall(r"`(\w+)`", first)[0]: rest for first, *rest in cells[1:]}


def dag_of(path: Path) -> Any:
    """Import a DAG file and return its DAG."""
    spec = importlib.util.spec_from_file_location(f"rerun_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


def samples() -> Iterator[Any]:
    """Yield the DAGs that pages print."""
    for page in SAMPLES:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            if "with DAG(" in block:
                names: dict[str, Any] = {"__name__": "sample"}
                exec(block, names)
                yield names["clip"].dag


def policy(task: Any, name: str, default: str) -> str:
    """Return a policy of a task, mapped or not."""
    given = getattr(task, "partial_kwargs", {})
    return str(getattr(task, name, given.get(name, default)))


def ordering(dag: Any) -> list[Any]:
    """Return the tasks that order."""
    return [
        task for task in dag.tasks if issubclass(getattr(task, "operator_class", type(task)), EvoLinkGenerateOperator)
    ]


def schedule_of(dag: Any) -> str:
    """Return the schedule as a page writes it."""
    if isinstance(dag.schedule, list):
        return ", ".join(f"`{asset.name}` (asset)" for asset in dag.schedule)
    return "none" if dag.schedule is None else f"`{dag.schedule}`"


def check(dag: Any, row: list[str]) -> None:
    """Compare a row with the code."""
    schedule, clear, backfill = row
    tasks = ordering(dag)
    assert schedule == schedule_of(dag)
    assert {policy(task, "on_clear", "regenerate") for task in tasks} <= {"regenerate"}
    assert int(clear.split()[0].rstrip(",:")) == ORDERED.get(dag.dag_id, [len(tasks)])[0]
    if not isinstance(dag.schedule, str):
        assert backfill == "cannot run"
        return
    if not tasks:
        assert backfill == NEVER
        return
    assert {policy(task, "on_backfill", "generate") for task in tasks} == {"reuse"}, "one click pays for every day"
    assert backfill == REUSE


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_its_row(path: Path) -> None:
    assert path.stem in rows(), "say what a clear and a backfill cost"
    check(dag_of(path), rows()[path.stem])


def test_every_row_has_its_example() -> None:
    assert set(rows()) == {path.stem for path in EXAMPLES} | {dag.dag_id for dag in samples()}


def test_the_samples_of_the_pages_have_their_row() -> None:
    found = list(samples())
    assert len(found) == len(SAMPLES)
    for dag in found:
        check(dag, rows()[dag.dag_id])
