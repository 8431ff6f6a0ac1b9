"""The import rules bite: each import that they forbid, planted into a copy of the package, breaks a contract."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "airflow_provider_evolink"
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PACKAGE = "The package imports downward only, and every module has a layer"
API = "api imports downward only, and every module has a layer"
NO_AIRFLOW = "api and emulator do not import Airflow"
SHARES_NOTHING = "emulator and api do not import each other"
NOT_USED = "Nothing imports the emulator"
# What is planted, where, and the contract that is meant for it.
PLANTED = {
    "api -> ledger": ("api/http/wire.py", f"import {NAME}.ledger.record", PACKAGE),
    "api -> hooks": ("api/polling/reader.py", f"import {NAME}.hooks.evolink", PACKAGE),
    "api.jobs -> api.client": ("api/jobs/schedule.py", f"import {NAME}.api.client", API),
    "api.catalog -> api.http": ("api/catalog/rules.py", f"import {NAME}.api.http.wire", API),
    "api -> airflow": ("api/client.py", "import airflow.sdk", NO_AIRFLOW),
    "emulator -> airflow": ("emulator/server.py", "import airflow.sdk", NO_AIRFLOW),
    "hooks -> operators": ("hooks/evolink.py", f"import {NAME}.operators.generate", PACKAGE),
    "triggers -> operators": ("triggers/evolink.py", f"import {NAME}.operators.generate", PACKAGE),
    "ledger -> execution": ("ledger/ledger.py", f"import {NAME}.execution.generation", PACKAGE),
    "storage -> execution": ("storage/results.py", f"import {NAME}.execution.generation", PACKAGE),
    "execution -> operators": ("execution/request.py", f"import {NAME}.operators.generate", PACKAGE),
    "sensors -> emulator": ("sensors/evolink.py", f"import {NAME}.emulator.server", NOT_USED),
    "emulator -> api": ("emulator/orders/jobs.py", f"import {NAME}.api.jobs.job", SHARES_NOTHING),
    "api -> emulator": ("api/http/wire.py", f"import {NAME}.emulator.settings", SHARES_NOTHING),
    "a module without a layer": ("utils.py", "", PACKAGE),
    "a module of api without a layer": ("api/helpers.py", "", API),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of package and contracts, to plant imports in."""
    root = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / NAME, root / NAME, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy2(ROOT / "pyproject.toml", root)
    return root


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run ``lint-imports`` for real."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--cache-dir", str(root / ".cache")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken_contracts(root: Path) -> list[str]:
    """Return the contracts that ``lint-imports`` calls broken; it must have come to an end over all of them."""
    run = lint(root)
    verdicts = re.findall(r"^(.+?) ?(KEPT|BROKEN)$", run.stdout, re.MULTILINE)
    assert sorted(name for name, _ in verdicts) == sorted(CONTRACTS), run.stdout + run.stderr
    broken = [name for name, verdict in verdicts if verdict == "BROKEN"]
    assert run.returncode == bool(broken), run.stdout + run.stderr
    return broken


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """Give a file another text for a while, or make it for a while."""
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        path.write_text(text, encoding="utf-8")
        yield
    finally:
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    """What is there now breaks nothing."""
    assert broken_contracts(copy) == []


def test_every_contract_has_an_import_that_breaks_it() -> None:
    """A contract for which nothing is planted may be one that nothing breaks."""
    assert {contract for _, _, contract in PLANTED.values()} == set(CONTRACTS)


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_import_breaks_the_contract_meant_for_it(copy: Path, what: str) -> None:
    """One forbidden import, or one module that belongs nowhere, is enough."""
    name, line, contract = PLANTED[what]
    path = copy / NAME / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    with changed(path, f"{text}\n{line}\n"):
        assert contract in broken_contracts(copy)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_an_exception_that_matches_nothing_is_not_green(copy: Path, contract: str) -> None:
    """An ignored import that is gone stops the check: it comes to no verdict, and that is no success."""
    path = copy / "pyproject.toml"
    stale = f'ignore_imports = ["{NAME}.api.client -> {NAME}.operators.batch"]'
    named = f'name = "{contract}"'
    text = path.read_text(encoding="utf-8")
    assert named in text
    with changed(path, text.replace(named, f"{named}\n{stale}")):
        assert lint(copy).returncode != 0
        with pytest.raises(AssertionError, match="No matches for ignored import"):
            broken_contracts(copy)


def test_what_needs_no_layer_is_there() -> None:
    """A module that was renamed would leave its exception behind, for the next of that name."""
    excepted = [name for contract in CONTRACTS.values() for name in contract.get("exhaustive_ignores", ())]
    assert excepted
    assert [name for name in excepted if not list((ROOT / NAME).glob(f"{name}*"))] == []
