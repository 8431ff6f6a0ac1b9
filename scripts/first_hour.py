"""
The first hour: do what the README says, word for word, on a machine that has Python and nothing else.

    make first-hour              with uv, as the README says; three minutes
    make first-hour ARGS=--pip   with pip in the place of uv

The commands and the DAG are taken from the text of the README, and run in one shell in an empty home. Then the archive
must hold the clip, whole, with its manifest, paid for once. Exit status 1: it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parent.parent
HEADING = "## Try it in an Airflow of your own\n"
PORT = 8765  # the emulator's, and the README's
SECONDS = 600
STEP = re.compile(
    r"^```bash\n(?P<commands>.*?)^```|Save the DAG at the top of this page as `(?P<path>[^`]+)`",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Steps:
    """
    What a reader does, as one shell script.

    :param script: The commands of the page in their order, and a copy of the DAG where the page says to save it.
    :param dag: The first Python block of the page.
    """

    script: str
    dag: str


def steps_of(page: str, dag_file: str) -> Steps:
    """
    Take the steps out of a page.

    :param page: The text of the README.
    :param dag_file: Where the DAG is copied from.
    """
    dag = page.partition("```python\n")[2].partition("```")[0]
    section = page.partition(HEADING)[2].partition("\n## ")[0]
    steps = [step["commands"] or f'cp "{dag_file}" "{step["path"]}"\n' for step in STEP.finditer(section)]
    if not dag or len(steps) < 4:
        raise SystemExit(f"README.md has no steps under {HEADING.strip()!r}")
    return Steps("".join(steps), dag)


def bare_environment(home: Path) -> dict[str, str]:
    """
    Return the environment of somebody who has just logged in: neither this checkout's Python nor an Airflow.

    :param home: The empty home. Caches and installer settings of the real one still count.
    """
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if not path.startswith(str(ROOT))]
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))
    }
    real = Path.home()
    return {
        "XDG_CACHE_HOME": str(real / ".cache"),
        "XDG_CONFIG_HOME": str(real / ".config"),
        **env,
        "HOME": str(home),
        "PATH": os.pathsep.join([str(python), *paths]),
    }


def run(script: str, home: Path) -> str:
    """
    Run the steps in one shell, end all that they started, and return what they printed.

    :param script: The commands.
    :param home: The empty home.
    """
    began, output = time.monotonic(), home / "output.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail -m\nPS4='+ '\nset -x\n{script}"],
            cwd=ROOT,
            env=bare_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            stop_session(process.pid)
    printed = output.read_text(errors="replace")
    if status:
        print(printed)
        raise SystemExit(f"the steps of the README failed with status {status} after {time.monotonic() - began:.0f} s")
    return printed


def stop_session(leader: int) -> None:
    """
    End every process of a session, as closing the terminal does.

    :param leader: The shell, which leads it; with job control its jobs are groups of their own.
    """
    for found in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = found.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                os.kill(int(found.parent.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue


def check(home: Path, printed: str) -> None:
    """
    Check that one clip was paid for and is archived, whole, with its manifest.

    :param home: The home in which the steps ran.
    :param printed: What they printed; holds the emulator's log.
    """
    orders = len(re.findall(r" submit +task-", printed))
    archive = home / "evolink" / "archive"
    files = sorted(path for path in archive.rglob("*") if path.is_file() and "_evolink" not in path.parts)
    files = [path for path in files if not path.name.endswith(".poster.jpg")]
    rows = list((archive / "_evolink" / "rows").rglob("*.json"))
    manifests = [path for path in files if path.name == "manifest.json"]
    clips = [path for path in files if path.suffix == ".mp4"]
    if (orders, len(manifests), len(clips), len(files), len(rows)) != (1, 1, 1, 2, 1):
        raise SystemExit(f"{orders} orders; the archive holds {[str(path) for path in files]}")
    (row,) = json.loads(manifests[0].read_text())["files"]
    content = clips[0].read_bytes()
    with av.open(str(clips[0])) as media:
        frames = sum(1 for _ in media.decode(video=0))
        seconds = float(media.duration or 0) / 1_000_000
    whole = row["sha256"] == hashlib.sha256(content).hexdigest() and row["size"] == len(content)
    if not whole or frames < 5 * 20 or abs(seconds - 5) > 0.2:
        raise SystemExit(f"the clip is not the one of the manifest: {len(content)} bytes, {frames} frames, {seconds} s")
    if str(clips[0]) not in printed:
        raise SystemExit("the last step of the README does not show the clip")
    print(f"Archived: {clips[0].relative_to(home)}, {frames} frames, {seconds:.1f} s, SHA-256 matches; 1 order")


def port_is_free() -> bool:
    """Return whether the emulator can have the port that the README names."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return False
    return True


def on_another_port(script: str) -> str:
    """
    Move the emulator, where somebody else has its port.

    :param script: The steps.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    moved = script.replace("airflow_provider_evolink.emulator ", f"airflow_provider_evolink.emulator --port {port} ")
    return moved.replace(f":{PORT}", f":{port}")


def main() -> int:
    """Do what the README says, and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pip", action="store_true", help="install with pip instead of uv")
    pip, began = options.parse_args().pip, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="evolink-first-hour-", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve() / "home"
        home.mkdir(mode=0o700)
        steps = steps_of((ROOT / "README.md").read_text(), f"{folder}/dag.py")
        (Path(folder) / "dag.py").write_text(steps.dag)
        script = steps.script.replace("\nuv pip install", "\npip install") if pip else steps.script
        printed = run(script if port_is_free() else on_another_port(script), home)
        check(home, printed)
    print(f"The README works as printed, from an empty folder to the archive: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
