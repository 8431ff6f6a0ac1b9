"""The register: a fault counts as survived only with a test of its number."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_fault_has_a_test_of_its_number() -> None:
    found = {
        int(number)
        for path in Path(__file__).parent.glob("test_*.py")
        for number in re.findall(r"^def test_f(\d\d)_", path.read_text(), re.MULTILINE)
    }
    assert found == set(range(1, 34))
