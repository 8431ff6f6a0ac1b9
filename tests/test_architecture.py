"""Who may import what: the rooms of the design, checked on the source (import-linter checks the graph)."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_evolink"
# Where Airflow's names may come from; what common.compat has no name for is in one module of ours.
AIRFLOW_NAMES = ("airflow.providers.common.compat", "airflow.triggers.base")
ONLY_IN_COMPAT = ("airflow.sdk.execution_time.context",)


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
    """The API room and the emulator use no Airflow; the Airflow room takes it from common.compat."""
    used = [name for name in imports(path) if name == "airflow" or name.startswith("airflow.")]
    room = path.relative_to(PACKAGE).parts[0]
    if room in ("api", "emulator"):
        assert used == []
    allowed = AIRFLOW_NAMES + (ONLY_IN_COMPAT if path.name == "compat.py" else ())
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
    assert classes == set(package.__all__)
    assert all(hasattr(package, name) for name in classes)
