"""The import rules bite: each import that they forbid, planted into a copy of the package, breaks a contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "airflow_provider_evolink"
PLANTED = {
    "api -> ledger": ("api/http/wire.py", f"import {NAME}.ledger.record"),
    "api -> hooks": ("api/polling/reader.py", f"import {NAME}.hooks.evolink"),
    "api.jobs -> api.client": ("api/jobs/schedule.py", f"import {NAME}.api.client"),
    "api.catalog -> api.http": ("api/catalog/rules.py", f"import {NAME}.api.http.wire"),
    "api -> airflow": ("api/client.py", "import airflow.sdk"),
    "hooks -> operators": ("hooks/evolink.py", f"import {NAME}.operators.generate"),
    "triggers -> operators": ("triggers/evolink.py", f"import {NAME}.operators.generate"),
    "ledger -> execution": ("ledger/ledger.py", f"import {NAME}.execution.generation"),
    "storage -> execution": ("storage/results.py", f"import {NAME}.execution.generation"),
    "execution -> operators": ("execution/request.py", f"import {NAME}.operators.generate"),
    "sensors -> emulator": ("sensors/evolink.py", f"import {NAME}.emulator.server"),
    "emulator -> api": ("emulator/orders/jobs.py", f"import {NAME}.api.jobs.job"),
    "a module without a floor": ("utils.py", ""),
    "a module of api without a floor": ("api/helpers.py", ""),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of package and contracts, to plant imports in."""
    root = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / NAME, root / NAME, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy2(ROOT / "pyproject.toml", root)
    return root


def broken_contracts(root: Path) -> list[str]:
    """Run ``lint-imports`` for real, and return the contracts it calls broken."""
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [str(lint), "--cache-dir", str(root / ".cache")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    broken = [line.removesuffix(" BROKEN") for line in run.stdout.splitlines() if line.endswith(" BROKEN")]
    assert (run.returncode == 0) == ("Contracts: " in run.stdout and not broken), run.stdout + run.stderr
    return broken


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    """What is there now breaks nothing."""
    assert broken_contracts(copy) == []


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_import_breaks_a_contract(copy: Path, what: str) -> None:
    """One forbidden import, or one module that belongs nowhere, is enough."""
    name, line = PLANTED[what]
    path = copy / NAME / name
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        path.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
        assert broken_contracts(copy) != []
    finally:
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")
