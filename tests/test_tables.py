"""Nothing drops out of the kill sweep or of the mutants without a failure: what they name is there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def load(path: str) -> ModuleType:
    """Import a file that is no part of a package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_under_test", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mutants = load("scripts/mutants.py")
sweep = load("tests/ledger/swept.py")


def test_every_pattern_of_the_kill_sweep_names_files() -> None:
    """A file that was renamed would no longer be swept, and nothing else would say so."""
    assert {pattern: len(files) for pattern, files in sweep.swept_files().items() if not files} == {}
    assert sweep.not_swept() == []


def test_a_pattern_that_names_nothing_is_refused() -> None:
    """The sweep does not start with one."""
    with pytest.raises(LookupError, match=r"ledger/leger\.py"):
        sweep.check({"ledger/leger.py": []})


@pytest.mark.parametrize("table", sorted(path.stem for path in mutants.TABLES.glob("*.toml")))
def test_every_mutation_stands_in_its_file_once(table: str) -> None:
    """A row whose text is gone breaks nothing, and one whose tests are gone catches nothing."""
    rows = [row for row in mutants.read_tables() if row.table == table]
    lost = [f"{row.file}: {row.breaks}" for row in rows if not (ROOT / row.file).exists()]
    lost += [f"{test}: {row.breaks}" for row in rows for test in row.tests if not (ROOT / test).exists()]
    assert rows
    assert lost == []
    assert [f"{row.file}: {row.breaks}" for row in rows if row.applied((ROOT / row.file).read_text()) is None] == []
