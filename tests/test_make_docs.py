"""``make docs`` does not depend on what an earlier build left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = 'project = "p"\nhtml_theme = "basic"\nhtml_use_index = False\n'


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the recipe of the Makefile on the small documentation of a folder."""
    command = ["make", "-f", str(ROOT / "Makefile"), "-o", "env", "docs", f"RUN={sys.executable}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_build_that_was_interrupted_does_not_break_the_next(tmp_path: Path) -> None:
    """Half a pickle, a folder in place of a file, a page of a source that is gone."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text(CONF)
    (docs / "index.rst").write_text("Title\n=====\n\n.. toctree::\n\n   page\n")
    (docs / "page.rst").write_text("Page\n====\n")
    left = docs / "_build"
    (left / "page.html").mkdir(parents=True)
    (left / ".doctrees").mkdir()
    (left / ".doctrees" / "environment.pickle").write_bytes(b"\x80\x05")
    (left / "gone.html").write_text("an old page")
    again = build(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Page" in (left / "page.html").read_text()
    assert not (left / "gone.html").exists()
