"""What the pages show is true: Python blocks run, and the example DAG is a DAG."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from airflow_provider_evolink.api.catalog import build_request
from airflow_provider_evolink.api.errors import EvoLinkRequestError
from airflow_provider_evolink.execution.batch_item import FailedRequest
from airflow_provider_evolink.execution.results import GenerationResult
from airflow_provider_evolink.get_provider_info import get_provider_info

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


PICTURES = sorted(path.name for path in (ROOT / "docs" / "images").glob("*.[jp][pn]g"))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_small_used_and_made_again(name: str) -> None:
    """A page shows the picture with words for those who do not see it, and the script takes it."""
    shown = [words for page in PAGES for words in re.findall(rf"!\[(.*)\]\([a-z/]*{name}\)", page.read_text())]
    script = (ROOT / "scripts" / "screenshots.py").read_text()
    assert (ROOT / "docs" / "images" / name).stat().st_size <= 150_000
    assert shown
    assert all(len(words) > 10 for words in shown)
    assert f'page.picture("{name}")' in script.replace("media-{theme}", name.partition(".")[0]).replace('(f"', '("')


def test_the_reference_lists_the_keys_of_the_typed_results() -> None:
    """The table of a generation has the keys that the typed dictionaries have."""
    page = (ROOT / "docs" / "reference.md").read_text()
    table = page.partition("### Generation")[2].partition("### File")[0]
    keys = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    assert set(keys) == set(get_type_hints(GenerationResult)) | set(get_type_hints(FailedRequest))


def formats(tree: ast.AST) -> Iterator[list[str]]:
    """Yield the fixed parts of the texts of a module, whether they are formatted with ``%`` or as f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield [part.value if isinstance(part, ast.Constant) else "" for part in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.split(r"%[.\d]*[sdf]", node.value.replace("%%", "\0"))


LOGGED = re.compile(r"^(?:EvoLink job|Submitted EvoLink|Archived result|\d+ EvoLink jobs).*$", re.MULTILINE)


@cache
def log_patterns() -> list[re.Pattern[str]]:
    """Return what the lines of the log look like that name a job."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "airflow_provider_evolink").rglob("*.py"))]
    parts = [found for tree in trees for found in formats(tree)]
    texts = [[re.escape(part.replace("\0", "%")) for part in found] for found in parts if len("".join(found)) > 15]
    return [re.compile(r"[\w.:/, ()-]*?".join(part or "" for part in found)) for found in texts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_log_lines_are_those_of_the_package(page: Path) -> None:
    """A line of a log on a page has the words that are logged."""
    shown = "\n".join(re.findall(r"^```text\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    lines = [line.replace("…", "x") for line in LOGGED.findall(shown)]
    assert [line for line in lines if not any(pattern.fullmatch(line) for pattern in log_patterns())] == []


def test_the_page_on_connections_names_the_fields_of_the_form() -> None:
    """The first table has the labels of the form, and where each is stored."""
    (form,) = get_provider_info()["connection-types"]
    names = dict(form["ui-field-behaviour"]["relabeling"])
    names |= {f"extra {name}": field["label"] for name, field in form["conn-fields"].items()}
    page = (ROOT / "docs" / "connection.md").read_text().partition("| form field |")[2].partition("\n\n")[0]
    rows = [[cell.strip().replace("`", "") for cell in row.split("|")[1:3]] for row in page.splitlines()[2:]]
    assert dict(rows) == {label: name for name, label in names.items()}


OPERATORS = (ROOT / "docs" / "operators.md").read_text()


def test_the_sample_of_an_invalid_request_is_what_is_raised() -> None:
    """The page on operators shows the words of the error."""
    with pytest.raises(EvoLinkRequestError) as raised:
        build_request("wan2.7-text-to-video", {"prompt": "a boat", "duration": 20, "aspect_ration": "9:16"})
    assert f"```text\n{raised.value}\n```" in OPERATORS


def test_the_samples_of_results_have_the_keys_of_results() -> None:
    """A result and a downloaded file, as the page on operators shows them."""
    result, (file,) = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", OPERATORS, re.DOTALL | re.MULTILINE)
    ]
    page = (ROOT / "docs" / "reference.md").read_text().partition("### File")[2].partition("### Upload")[0]
    rows = [
        row.split("|")[1] for row in page.splitlines() if row.startswith("| `") and "archived files only" not in row
    ]
    of_class = [name for name in get_type_hints(GenerationResult) if name != "job_id"]
    assert list(result) == ["job_id", *(name for name in of_class if name in result)]
    assert set(result) == set(get_type_hints(FailedRequest)) - {"error", "error_code"}
    assert set(file) <= set(re.findall(r"`(\w+)`", " ".join(rows)))
