"""The table of ``make test-stack``."""

from __future__ import annotations

import pytest

TABLE = pytest.StashKey[list[dict[str, str]]]()
STARTED = pytest.StashKey[list[str]]()
HEAD = ("row", "what was done", "logical orders", "paid orders", "seconds", "attempts", "verdict", "notes")
