"""The trip of one order, from ``execute()`` to the first byte of its POST, stays short enough to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "trace_order.py"


def test_an_order_passes_few_functions_never_the_operators_again_and_is_validated_once() -> None:
    """A process of its own, so that no other test has warmed its caches or set a profiler."""
    run = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    assert "validated 1 time" in run.stdout
