"""Who may import what, checked on the source (import-linter checks the graph); the page on it is right."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_evolink"
# Where Airflow's names may come from; what common.compat has no name for is in one module of ours.
AIRFLOW_NAMES = ("airflow.providers.common.compat", "airflow.triggers.base", "airflow.providers.openlineage.extractors")
ONLY_IN = {
    "compat.py": ("airflow.sdk.execution_time.context", "airflow.observability.stats"),
    "operators/review.py": ("airflow.providers.standard.operators.hitl",),
    "plugins/evolink.py": ("airflow", "airflow.plugins_manager"),
    # What only the API server has, and nobody promises.
    "plugins/server/airflow_core.py": (
        *("airflow.api_fastapi", "airflow.models", "airflow.utils.session", "airflow.sdk.execution_time.xcom"),
    ),
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def files(*folders: str) -> list[Path]:
    """Return the Python files of some folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("airflow_provider_evolink"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_airflow_names_come_from_one_place(path: Path) -> None:
    """``api/`` and the emulator use no Airflow; everything else takes it from common.compat."""
    used = [name for name in imports(path) if name == "airflow" or name.startswith("airflow.")]
    folder = path.relative_to(PACKAGE).parts[0]
    if folder in ("api", "emulator"):
        assert used == []
    allowed = AIRFLOW_NAMES + ONLY_IN.get(path.relative_to(PACKAGE).as_posix(), ())
    assert [name for name in used if not name.startswith(allowed)] == []


@pytest.mark.parametrize("path", files("airflow_provider_evolink/emulator"), ids=lambda path: path.name)
def test_the_emulator_imports_nothing_of_ours(path: Path) -> None:
    """If it shared our models it would share our misreadings."""
    ours = [name for name in imports(path) if name.startswith("airflow_provider_evolink")]
    assert [name for name in ours if not name.startswith("airflow_provider_evolink.emulator")] == []


@pytest.mark.parametrize("path", files("dags"), ids=lambda path: path.name)
def test_examples_use_public_names_only(path: Path) -> None:
    """An example imports from the package of the kind, never from a module inside."""
    ours = {name for name in imports(path) if name.startswith("airflow_provider_evolink")}
    assert ours <= {f"airflow_provider_evolink.{kind}" for kind in ("operators", "hooks", "triggers", "sensors")}


NEEDS_AIRFLOW_3_1 = {"EvoLinkReviewOperator"}  # so `import *` must not bring it in


@pytest.mark.parametrize("kind", ["operators", "hooks", "triggers", "sensors", "links"])
def test_public_names_are_importable_from_the_package_of_their_kind(kind: str) -> None:
    """Every public class of a kind is in ``__all__`` of its package, whatever file it lives in."""
    package = importlib.import_module(f"airflow_provider_evolink.{kind}")
    classes = {
        node.name
        for path in (PACKAGE / kind).glob("[!_]*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("EvoLink")
    }
    assert classes - NEEDS_AIRFLOW_3_1 == set(package.__all__)
    assert all(hasattr(package, name) for name in classes)


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("plugins", "operators", "arguments", "execution", "ledger", "storage", "api")


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tree_of_the_page_lists_every_module(folder: str) -> None:
    """Who looks for a module in these folders finds it on the page on architecture, and no other."""
    tree = PAGE.partition("├── " + folder + "/")[2].partition("\n├── ")[0]
    there = {path.name for path in (PACKAGE / folder).glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\b[a-z0-9_]+\.py\b", tree)) == there


def test_what_the_page_says_to_be_in_a_file_is_there() -> None:
    """Files that the page names exist, and a name that it finds in one of them is defined there."""
    files = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
    text = PAGE.partition("## From a prompt to the archive")[2]
    named = set(re.findall(r"\b(?:[a-z_]+/)+[a-z0-9_]+\.py\b", text)) - {"tests/test_architecture.py"}
    assert named
    assert named - set(files) == set()
    found = re.findall(r"((?:`[\w.]+`(?:, | and )?)+)\s+in\s+`([\w/]+\.py)`", text)
    names = [(name.partition(".")[0], path) for listed, path in found for name in re.findall(r"`([\w.]+)`", listed)]
    assert len(names) > 10
    defined = {
        path: set(re.findall(r"^(?:def|class) (\w+)", files[path].read_text(), re.MULTILINE)) for _, path in names
    }
    assert [(name, path) for name, path in names if name not in defined[path]] == []
