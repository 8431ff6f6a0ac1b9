"""Which files of the package the kill sweep goes through, and which of them it must have met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "airflow_provider_evolink"
PATTERNS = (
    "ledger/*.py",
    "execution/*.py",
    "storage/object_store.py",
    "operators/generate.py",
    "api/client.py",
    "api/http/*.py",
)
# An order goes through each of these, so a sweep that killed nothing there did not see it.
MET = (
    "ledger/ledger.py",
    "ledger/record.py",
    "ledger/decisions.py",
    "ledger/lease.py",
    "operators/generate.py",
    "execution/generation.py",
    "execution/submission.py",
    "execution/request.py",
    "execution/job_tracker.py",
    "execution/options.py",
    "execution/metrics.py",
    "api/client.py",
    "api/http/wire.py",
    "api/http/transport.py",
)


def swept_files() -> dict[str, list[Path]]:
    """Return the files that each pattern names."""
    return {pattern: sorted(PACKAGE.glob(pattern)) for pattern in PATTERNS}


def not_swept(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the files that must be met and are not among those that are swept."""
    swept = {path for paths in files.values() for path in paths}
    return [name for name in MET if PACKAGE / name not in swept]


def check(files: Mapping[str, Sequence[Path]]) -> frozenset[str]:
    """
    Return all files, or refuse a pattern that names none, and patterns that leave out a file that must be met.

    :raises LookupError: a pattern names nothing, for instance since a file was renamed.
    """
    if empty := [pattern for pattern, paths in files.items() if not paths]:
        raise LookupError(f"no file of the package is named by {', '.join(empty)}")
    if missed := not_swept(files):
        raise LookupError(f"no pattern names {', '.join(missed)}")
    return frozenset(str(path) for paths in files.values() for path in paths)
