"""
Count the cases by which results, inputs and responses are tried, kind by kind: collects the tests and runs none.

    make cases
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
KINDS = {
    "containers": ("api/test_judge.py", "api/test_judge_limits.py", "api/test_containers.py"),
    "measures": ("api/test_judge_measures.py", "airflow/test_measuring.py"),
    "headers": ("api/test_download_headers.py", "api/test_download_response.py", "api/test_download.py"),
    "responses of EvoLink": (
        *("api/test_result_shapes.py", "api/test_status_words.py", "api/test_wrapped_orders.py", "api/test_outputs.py"),
        "faults/test_words_of_the_end.py",
    ),
    "inputs": ("airflow/test_inputs.py", "airflow/test_input_limits.py", "airflow/test_input_origins.py"),
    "results over tries": ("airflow/test_results.py", "airflow/test_download_kills.py"),
    "stores": ("airflow/test_stores.py", "airflow/test_paying.py", "airflow/test_folders.py"),
    "ways out and hosts": ("api/test_network.py", "api/test_download_hosts.py", "faults/test_network.py"),
    "leaks": ("api/test_nothing_leaks.py",),
}
FILE_OF_KIND = re.compile(r"\[(whole|[a-z -]+): ")


class Counting:
    """A plugin that keeps the ids of what was collected."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep them."""
        self.ids = [item.nodeid for item in session.items]


def main() -> int:
    """Print a count for each kind, and for each kind of file among the containers."""
    counting = Counting()
    files = [str(TESTS / name) for names in KINDS.values() for name in names]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = pytest.main(["--collect-only", "-q", "-n0", *files], plugins=[counting])
    if code:
        print(out.getvalue())
        return int(code)
    total = 0
    for kind, names in KINDS.items():
        found = [test for test in counting.ids if any(f"tests/{name}::" in test for name in names)]
        total += len(found)
        parts = Counter(match[1] for test in found if (match := FILE_OF_KIND.search(test)))
        print(f"{kind:22} {len(found):5}  {', '.join(f'{count} {part}' for part, count in parts.items())}".rstrip())
    print(f"{'all':22} {total:5}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
