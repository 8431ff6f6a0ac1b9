"""What the pages show is true: Python blocks run, and the example DAG is a DAG."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from airflow_provider_evolink.execution.batch_item import FailedRequest
from airflow_provider_evolink.execution.generation import GenerationResult

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_python(page: Path) -> None:
    """A block that a reader copies compiles."""
    for block in blocks(page):
        compile(block, str(page), "exec")


def test_the_first_block_of_the_readme_is_a_dag_of_three_tasks() -> None:
    """The ten lines of the README parse as a DAG file does."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(blocks(ROOT / "README.md")[0], names)
    tasks = names["clip"].dag.task_dict
    assert {type(task).__name__ for task in tasks.values()} == {
        "EvoLinkTextToVideoOperator",
        "EvoLinkDownloadOperator",
        "EvoLinkArchiveOperator",
    }
    assert tasks["download"].upstream_task_ids == {"generate"}
    assert tasks["download"].downstream_task_ids == {task for task in tasks if task not in ("generate", "download")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_reference_lists_the_keys_of_the_typed_results() -> None:
    """The table of a generation has the keys that the typed dictionaries have."""
    page = (ROOT / "docs" / "reference.md").read_text()
    table = page.partition("### Generation")[2].partition("### File")[0]
    keys = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    assert set(keys) == set(get_type_hints(GenerationResult)) | set(get_type_hints(FailedRequest))
