"""Nothing drops out of the kill sweep or of the mutants without a failure: what they name is there."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import subprocess
import sys
from functools import cache
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
    assert sweep.not_swept(sweep.swept_files()) == []


def test_a_pattern_that_names_nothing_is_refused() -> None:
    """The sweep does not start with one."""
    with pytest.raises(LookupError, match=r"ledger/leger\.py"):
        sweep.check({**sweep.swept_files(), "ledger/leger.py": []})


@pytest.mark.parametrize("name", sweep.MET)
def test_a_sweep_that_leaves_out_a_file_is_refused(name: str) -> None:
    """Every order goes through it: patterns that do not name it are wrong."""
    left = {
        pattern: [path for path in paths if path != sweep.PACKAGE / name] or [sweep.PACKAGE / "compat.py"]
        for pattern, paths in sweep.swept_files().items()
    }
    with pytest.raises(LookupError, match=f"no pattern names {name}"):
        sweep.check(left)


@pytest.mark.parametrize("table", sorted(path.stem for path in mutants.TABLES.glob("*.toml")))
def test_every_mutation_stands_in_its_file_once(table: str) -> None:
    """A row whose text is gone breaks nothing, and one whose tests are gone catches nothing."""
    rows = [row for row in mutants.read_tables() if row.table == table]
    assert rows
    assert [f"{row.file}: {row.breaks}: {mutants.stale(row)}" for row in rows if mutants.stale(row)] == []


STALE = {
    "file": ({"file": "airflow_provider_evolink/leger.py"}, r"no such file: airflow_provider_evolink/leger\.py"),
    "test": ({"tests": ("tests/airflow/test_leger.py",)}, r"no such file: tests/airflow/test_leger\.py"),
    "no test": ({"tests": ()}, "names no tests"),
    "a test by its name": ({"k": "row_that_names_leger"}, "no such test"),
    "old text that is gone": ({"old": "no such line"}, "exactly once"),
    "old text that stands twice": ({"old": "\n"}, "exactly once"),
    "new text that breaks nothing": ({"new": "import time\n"}, "exactly once"),
}


@pytest.mark.parametrize("what", STALE)
def test_a_row_that_names_nothing_is_refused(what: str) -> None:
    """All such rows are named before the first mutation is judged."""
    change, message = STALE[what]
    tests = ("tests/test_readme.py",)
    row = mutants.Mutation("made_up", "airflow_provider_evolink/operators/batch.py", "all", "import time\n", "x", tests)
    assert mutants.refuse_stale([row]) is None
    with pytest.raises(LookupError, match=rf"made_up: all: .*{message}"):
        mutants.refuse_stale([row, dataclasses.replace(row, **change)])


def test_a_name_after_only_that_names_nothing_is_refused() -> None:
    """A typing mistake beside a right name would leave out a table without a word."""
    rows = mutants.read_tables()
    assert {row.table for row in rows} > {row.table for row in mutants.chosen(rows, ["lease"])} >= {"lease"}
    assert mutants.chosen(rows, []) == rows
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "mutants.py"), "lease", "leger"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (2, "no table and no mutation is named by 'leger'\n")


# Texts of the package that rows wait for which no `make test` runs.
WAITED_FOR = {
    "tests/chaos/chaos_rows.py": ("UNKNOWN", "COMPLETED", "KEEPS_RUNNING"),
    "tests/matrix/test_matrix.py": ("INTERRUPTED", "GIVEN_UP"),
    "scripts/screenshots.py": ("COMPLETED", "LINK"),
}


@cache
def printed() -> str:
    """Return all texts of the package, with those parts of formatted ones that do not change."""
    nodes = (node for path in sweep.PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in WAITED_FOR.items() for name in names])
def test_a_text_that_is_waited_for_is_printed(file: str, name: str) -> None:
    """A message with other words would be waited for in vain, an hour into the chaos."""
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    }
    texts = [values[name]] if isinstance(values[name], str) else list(values[name])
    assert texts
    assert [text for text in texts if text not in printed()] == []


def test_every_point_of_the_chaos_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trap is set on a function of the package by its name: one that was renamed would break every row."""
    monkeypatch.setenv("CHAOS_FOLDER", str(tmp_path))
    traps = load(str(ROOT / "tests" / "chaos" / "traps.py"))
    found = []
    for wrap in ("before", "after"):
        monkeypatch.setattr(traps, wrap, lambda owner, name, *_: found.append(callable(getattr(owner, name))))
    monkeypatch.setattr(traps, "on_the_wire", lambda *_, **__: found.append(True))
    for arm in traps.POINTS.values():
        arm(print)
    assert len(found) >= len(traps.POINTS) > 10
    assert all(found)
