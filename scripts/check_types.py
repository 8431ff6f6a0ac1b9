"""Type-check what users write, strictly, in mypy and in pyright: samples of the pages, example DAGs, other uses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".mypy_cache" / "uses"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFUSED = "# refused"
# Airflow's own annotation: it converts a dict, as its documentation shows, which pyright is not told.
OF_AIRFLOW = 'to parameter "params" of type "ParamsDict"'
# What a sample without imports takes for granted.
PRELUDE = """\
from airflow_provider_evolink.api.catalog import build_request
from airflow_provider_evolink.operators import *

"""


def samples(page: Path) -> Iterator[str]:
    """
    Yield the Python blocks of a page, as files of their own.

    :param page: A page in Markdown.
    """
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield block if block.startswith(("import ", "from ")) else PRELUDE + block


def write_uses(folder: Path) -> None:
    """
    Write everything that is checked into a folder.

    :param folder: An empty folder.
    """
    for page in PAGES:
        for number, sample in enumerate(samples(page)):
            name = re.sub(r"\W+", "_", str(page.relative_to(ROOT).with_suffix("")))
            folder.joinpath(f"{name}_{number}.py").write_text(sample, encoding="utf-8")
    for path in [*(ROOT / "dags").glob("*.py"), *(ROOT / "tests" / "typing").glob("*.py")]:
        shutil.copy2(path, folder)


def mypy_errors(folder: Path) -> set[tuple[str, int, str]]:
    """
    Return what mypy finds: file, line, message.

    :param folder: Where the files are.
    """
    command = ["-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE}", "--python-version=3.11"]
    files = sorted(str(path) for path in folder.glob("*.py"))
    ran = subprocess.run([sys.executable, *command, *files], cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(ran.stdout + ran.stderr)
    found = re.findall(r"^(.+?):(\d+): error: (.+)$", ran.stdout, re.MULTILINE)
    return {(Path(path).name, int(line), text) for path, line, text in found}


def pyright_errors(folder: Path) -> set[tuple[str, int, str]]:
    """
    Return what pyright finds: file, line, message.

    :param folder: Where the files are.
    """
    folder.joinpath("pyrightconfig.json").write_text(json.dumps({"pythonVersion": "3.11"}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(ran.stdout + ran.stderr)
    found = [row for row in json.loads(ran.stdout)["generalDiagnostics"] if row["severity"] == "error"]
    rows = [row for row in found if OF_AIRFLOW not in row["message"]]
    return {(Path(row["file"]).name, row["range"]["start"]["line"] + 1, row["message"]) for row in rows}


def wanted_errors(folder: Path) -> set[tuple[str, int]]:
    """
    Return the lines that a type checker must refuse.

    :param folder: Where the files are.
    """
    numbered = (
        (path, number, line)
        for path in folder.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    )
    return {(path.name, number) for path, number, line in numbered if line.endswith(REFUSED)}


def main() -> None:
    """Print what is wrong, and end with 1 if anything is."""
    with tempfile.TemporaryDirectory() as name:
        folder, wrong = Path(name), []
        write_uses(folder)
        wanted = wanted_errors(folder)
        for checker, errors in {"mypy": mypy_errors(folder), "pyright": pyright_errors(folder)}.items():
            lines = {(path, line) for path, line, _ in errors}
            wrong += [f"{checker}: {p}:{n}: {text}" for p, n, text in sorted(errors) if (p, n) not in wanted]
            wrong += [f"{checker}: {path}:{line}: is not refused" for path, line in sorted(wanted - lines)]
        checked = len(list(folder.glob("*.py")))
    print(
        "\n".join(wrong) or f"{checked} files of users type-check in mypy and pyright, {len(wanted)} lines are refused"
    )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
