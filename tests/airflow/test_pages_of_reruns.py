"""Sentences of the pages about re-runs that quote no message: each is made to happen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_evolink.compat import default_deferrable
from airflow_provider_evolink.emulator.server import EmulatorServer

DOCS = Path(__file__).parents[2] / "docs"
NAMED = {"the DAG ID": "dag_id", "the run ID": "run_id", "the task ID": "task_id", "the map index": "map_index"}


def section(page: str, title: str) -> str:
    """Return a section of a page, on one line."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert text, title
    return " ".join(text.split())


@pytest.mark.parametrize("named", NAMED)
def test_a_task_that_was_renamed_pays_again(
    stage: Any, make: Any, slow: EmulatorServer, tmp_path: Path, named: str
) -> None:
    """The old record stays, and its job can be fetched by the id."""
    page = section("what-happens-when.md", "A task or DAG is renamed")
    assert named in page
    assert "submit, and pay, again" in page
    stage.store = None
    operator = make(ledger_path=f"file://{tmp_path}")
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    setattr(stage.ti, NAMED[named], 7 if named == "the map index" else "group.renamed")
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    assert slow.books()["orders"] == 2, "one order more"
    assert len(list(tmp_path.rglob("*.json"))) == 2, "the record of the old name stays"


def test_default_deferrable_counts_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says beside the argument."""
    row = re.search(r"^\| `deferrable` .*$", (DOCS / "operators.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    variable = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
    assert f"`[operators] default_deferrable` counts only if it is set in the environment (`{variable}`)" in row[0]
    assert "not in `airflow.cfg`" in row[0]
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("airflow_provider_evolink.compat.conf.getboolean", lambda *_, **__: False)
    assert default_deferrable(), "what the file says is not read"
    monkeypatch.setenv(variable, "False")
    assert not default_deferrable()


SENTENCES = {
    "what-happens-when.md": [
        "first, a `note`: deleting the record lets the task order, and pay, again",
        "run the command in the first line on a machine with Airflow and the connection",
        "It knows when a stalled worker can no longer send anything (6 minutes",
    ],
    "errors.md": [
        "`python -m airflow_provider_evolink reconcile --model ... --ordered-at ... --conn-id ...`",
        "A retry with the same `timeout` only polls once more",
        "A wait that `execution_timeout` ends is continued by the next try, until `timeout`",
        "(`durable=False`) is not: there, a retry submits, and pays, again",
        "`is empty`, the task that gives it returned nothing",
    ],
    "timing.md": ["A retry with the same `timeout` polls once more"],
}


@pytest.mark.parametrize("page", SENTENCES)
def test_what_other_tests_make_happen_is_on_the_page(page: str) -> None:
    """By test_unknown_outcome.py, test_timeout_advice.py, test_upstream_nothing.py and test_two_copies.py."""
    text = " ".join((DOCS / page).read_text(encoding="utf-8").split())
    assert [sentence for sentence in SENTENCES[page] if sentence not in text] == []
