"""Finds the programs of ``make stack`` that pip cannot install, before anything starts. Standard library only."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

# Where packages put PostgreSQL's servers when they do not put them on PATH: Debian, Red Hat, Homebrew.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
PACKAGES = {"initdb": "postgresql", "postgres": "postgresql", "psql": "postgresql", "redis-server": "redis-server"}


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(folder)))


def folders() -> list[Path]:
    """Return the folders with servers of PostgreSQL, the newest first."""
    found = [path for pattern in POSTGRES_FOLDERS for path in Path("/").glob(pattern.lstrip("/"))]
    return sorted(found, key=_version, reverse=True)


def find(name: str) -> Path | None:
    """
    Return where a program is, or ``None``.

    The programs of PostgreSQL come from one folder, so that their versions are the same.

    :param name: As in ``PACKAGES``.
    """
    if PACKAGES[name] == "postgresql":
        for folder in folders():
            if (folder / "initdb").exists() and (folder / name).exists():
                return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def missing() -> list[str]:
    """Return the Debian packages whose programs were not found."""
    return sorted({package for name, package in PACKAGES.items() if find(name) is None})


def main() -> int:
    """Name what is missing and return the exit status: 2 if anything is."""
    packages = missing()
    if packages:
        sys.stderr.write(
            f"make stack: not found on this machine: {', '.join(packages)}. Nothing was started. "
            f"What to do: install the packages (Debian, Ubuntu: apt-get install {' '.join(packages)}) and try again.\n"
        )
    return 2 if packages else 0


if __name__ == "__main__":
    sys.exit(main())
