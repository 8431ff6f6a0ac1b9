"""
Runs downloads, archives and folds in processes of their own that can be killed. Everything is imported once, before
any thread is started.

As a script it reads a line of JSON for each process, prints its id, and then how it ended.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

RUN = {"ti": SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1)}
PACKAGE = "airflow_provider_evolink"


class Forker:
    """A process that has imported all and forks for each task."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while self._read() != "ready":
            pass

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the forker is gone"
        return line.strip()

    def start(self, **given: Any) -> int:
        """Start a task with the variables of Airflow and the temporary folder of this process; return its id."""
        assert self._process.stdin
        names = [name for name in os.environ if name.startswith("AIRFLOW_") or name == "TMPDIR"]
        given["environment"] = {name: os.environ[name] for name in names}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """Return how the task ended."""
        return int(self._read())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=20)


class Lines:
    """
    Counts the lines of the package that a function executes, and kills this process at one of them.

    :param at: Number of the line, from 1; 0: none.
    """

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def calls(self, frame: FrameType, event: str, arg: object) -> Any:
        """Follow what belongs to the package, and helpers such as context managers for what they call."""
        return self.lines if PACKAGE in frame.f_code.co_filename else None

    def lines(self, frame: FrameType, event: str, arg: object) -> Any:
        """Count a line."""
        self.count += event == "line"
        if event == "line" and self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.lines

    def around(self, module: str, name: str) -> None:
        """Trace a function, by the name that a module has for it."""
        place = importlib.import_module(f"{PACKAGE}.{module}")
        function = getattr(place, name)

        def traced(*args: Any, **given: Any) -> Any:
            before = sys.gettrace()
            sys.settrace(self.calls)
            try:
                return function(*args, **given)
            finally:
                sys.settrace(before)

        setattr(place, name, traced)


def act(given: dict[str, Any]) -> Any:
    """Do what a task does."""
    from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
    from airflow_provider_evolink.storage.archive.fold import fold
    from airflow_provider_evolink.storage.object_store import open_folder

    if "fold" in given:
        return fold(open_folder(given["fold"]))
    kind = EvoLinkArchiveOperator if "files" in given else EvoLinkDownloadOperator
    return kind(task_id="task", **given).execute(RUN)  # type: ignore[arg-type]


def child(given: dict[str, Any]) -> None:
    """Do it, and report its result and how many lines were counted."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ.update(given.pop("environment"))
    tempfile.tempdir = None
    report, lines = Path(given.pop("report")), Lines(given.pop("at", 0))
    for place, value in given.pop("limits_of_modules", {}).items():
        module, _, name = place.rpartition(".")
        setattr(importlib.import_module(f"{PACKAGE}.{module}"), name, value)
    for place in given.pop("traced", []):
        module, _, name = place.rpartition(".")
        lines.around(module, name)
    result = act(given)
    report.write_text(json.dumps(result))
    report.with_suffix(".lines").write_text(str(lines.count))


def warm_up() -> None:
    """Archive and fold a picture, so that no child imports anything."""
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.png")
        path.write_bytes(out.getvalue())
        file = {
            "uri": f"file://{path}",
            "sha256": hashlib.sha256(out.getvalue()).hexdigest(),
            "size": len(out.getvalue()),
        }
        file |= {"content_type": "image/png", "index": 0, "job_id": "warm", "model": "m"}
        file |= {"job": {"created": "2026-11-03T12:00:00Z"}}
        act({"files": [file], "archive_path": f"file://{folder}/archive"})
        act({"fold": f"file://{folder}/archive"})


def main() -> None:
    import s3fs  # noqa: F401
    from airflow.providers.amazon.aws.fs import s3 as _

    from airflow_provider_evolink.hooks import evolink  # noqa: F401
    from airflow_provider_evolink.operators import EvoLinkArchiveOperator  # noqa: F401
    from airflow_provider_evolink.storage import archive, results  # noqa: F401
    from airflow_provider_evolink.storage.archive import fold

    fold.arrow_or_raise()
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            code = 1
            try:
                child(given)
                code = 0
            finally:
                os._exit(code)


if __name__ == "__main__":
    main()
