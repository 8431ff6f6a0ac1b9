"""
A process that is struck at every line: one forked try per executed line of the package, then more tries to the end.

Started by test_every_line.py with a JSON plan as its argument; prints one JSON line per point. It has one thread, so
that forking is safe, and all imports are done, so that a point costs milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import Pipe
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import structlog
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from swept import PACKAGE, check, swept_files

from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.operators import EvoLinkGenerateOperator
from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

SWEPT = check(swept_files())
FAR = 10**9
MAX_TRIES = 4


class Struck(RuntimeError):
    """The exception that a line raises if it is not killed."""


class FileStore:
    """Airflow's task state store as a file that survives the process: written atomically, like a database row."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return json.loads(self._path.read_text()).get(key, default)
        except FileNotFoundError:
            return default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert value is not None
        part = self._path.with_suffix(".part")
        with part.open("w") as file:
            file.write(json.dumps({key: value}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)


class Tracer:
    """Strikes at the n-th executed line of the swept files."""

    def __init__(self, at: int, how: str, where: int) -> None:
        self.lines = 0
        self._at, self._how, self._where = at, how, where

    def calls(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self.line if frame.f_code.co_filename in SWEPT else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                self._strike(frame)
        return self.line

    def _strike(self, frame: FrameType) -> None:
        place = f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_lineno} {frame.f_code.co_name}"
        os.write(self._where, place.encode())
        if self._how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise Struck(place)


class Sweep:
    """
    All points of one plan.

    :param plan: url, how (kill, raise), store (state, folder), operator (arguments), emulator (settings), faults.
    """

    def __init__(self, plan: dict[str, Any], folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._seen: set[str] = set()
        host, _, port = plan["url"].removeprefix("http://").partition(":")
        self._address = host, int(port)

    def run(self) -> None:
        """Go through all points until a first try reaches its end."""
        self._warm_up()
        self._hire()
        for number in count(1, self._plan.get("step", 1)):
            point = self.point(number)
            print(json.dumps(point), flush=True)
            if not point["struck"]:
                return

    def point(self, number: int) -> dict[str, Any]:
        """Strike the first try at a line, then let the next tries run, as Airflow would."""
        shutil.rmtree(self._folder / "task", ignore_errors=True)
        (self._folder / "task").mkdir()
        self._ask("POST", "reset")
        self._ask("POST", "settings", self._plan["emulator"])
        for fault in self._plan["faults"]:
            self._ask("POST", "faults", fault)
        ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1, try_number=1, max_tries=3)
        tries = [self._struck(ti, number)]
        facts = {"number": number, "struck": (self._folder / "task/where").read_text()}
        facts |= {"state": self._state(), "log": self._log()}
        facts["followed"] = self._is_news(facts)
        if facts["followed"]:
            self._go_on(ti, tries)
        books = self._ask("GET", "books")
        ids = [job["id"] for job in books["jobs"]]
        kept = {"after": self._state(), "record": self._record(), "jobs": ids, "paid": books["orders"]}
        return facts | kept | {"tries": tries, "whole_log": self._log()}

    def _go_on(self, ti: Any, tries: list[dict[str, Any]]) -> None:
        """Let the next tries run: retries after a kill or an error, one clear where Airflow would not retry."""
        cleared = False
        while tries[-1]["end"] in ("killed", "error", "stop") and len(tries) < MAX_TRIES:
            if tries[-1]["end"] == "stop":
                if cleared:
                    return
                ti.max_tries, cleared = ti.try_number + 3, True
            ti.try_number += 1
            tries.append(self._left_alone(ti))

    def _is_news(self, facts: dict[str, Any]) -> bool:
        """
        Return whether the next try is worth running: not if an earlier point left exactly the same behind.

        This holds before the intent and once the ID is recorded; between the two an order may still be in flight.
        """
        if self._plan["follow"] == "all" or facts["state"] in ("intent", "unknown"):
            return True
        books, record = self._ask("GET", "books"), self._record() or {}
        left = [record | {"ordered_at": 0, "key": ""}, facts["log"], books["orders"], books["requests"].get("submit")]
        said = json.dumps(left).replace(record.get("job_id") or "-", "").replace(record.get("key", "-"), "")
        new = said not in self._seen
        self._seen.add(said)
        return new

    def _warm_up(self) -> None:
        """Run one try to its end in this process, so that no child has to import and build what it needs."""
        (self._folder / "task").mkdir()
        self._ask("POST", "settings", self._plan["emulator"])
        ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1, try_number=1, max_tries=3)
        assert self._try(ti, Tracer(FAR, "", -1), deferrable=False)["end"] == "success"
        for timer in threading.enumerate()[1:]:
            timer.join(5)
        assert threading.active_count() == 1, "a process with threads must not fork"
        gc.collect()
        gc.freeze()

    def _hire(self) -> None:
        """Start the process of all tries that are left alone: it is warm, and it alone may have threads."""
        self._desk, desk = Pipe()
        if os.fork() == 0:
            self._desk.close()
            with suppress(EOFError):
                while True:
                    desk.send(self._try(desk.recv(), Tracer(FAR, "", -1)))
            os._exit(0)
        desk.close()

    def _left_alone(self, ti: Any) -> dict[str, Any]:
        """Run a try in the other process, to its end."""
        self._desk.send(ti)
        found: dict[str, Any] = self._desk.recv()
        return found

    def _struck(self, ti: Any, at: int) -> dict[str, Any]:
        """Run a try in a process of its own, that is struck at a line; what it leaves in memory goes with it."""
        result = self._folder / "task/result"
        pid = os.fork()
        if pid == 0:
            with self._where() as where:
                result.write_text(json.dumps(self._try(ti, Tracer(at, self._plan["how"], where))))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return {"end": "killed", "signal": os.WTERMSIG(status)}
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    @contextmanager
    def _where(self) -> Iterator[int]:
        fd = os.open(self._folder / "task/where", os.O_CREAT | os.O_WRONLY)
        try:
            yield fd
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            os.close(fd)

    def _try(self, ti: Any, tracer: Tracer, **given: Any) -> dict[str, Any]:
        with collected_log(self._folder / "task/log"):
            return self._ended(ti, tracer, given)

    def _ended(self, ti: Any, tracer: Tracer, given: dict[str, Any]) -> dict[str, Any]:
        context = {"ti": ti}
        if self._plan["store"] == "state":
            context["task_state_store"] = FileStore(self._folder / "task/state")
        try:
            result = self._to_the_end(context, tracer, given)
        except AirflowFailException as error:
            return {"end": "stop", "text": str(error), "lines": tracer.lines}
        except Exception as error:
            return {"end": "error", "text": f"{type(error).__name__}: {error}", "lines": tracer.lines}
        return {"end": "success", "job": result["job_id"], "status": result["status"], "lines": tracer.lines}

    def _to_the_end(self, context: dict[str, Any], tracer: Tracer, given: dict[str, Any]) -> Any:
        try:
            operator = self._operator(**given)
            sys.settrace(tracer.calls)
            try:
                return operator.execute(context)
            finally:
                sys.settrace(None)
        except TaskDeferred as deferred:
            path, kwargs = deferred.trigger.serialize()
            trigger = EvoLinkJobTrigger(**json.loads(json.dumps(kwargs | {"hold": 0.0})))
            assert path.endswith("EvoLinkJobTrigger")
            event = {"event": asyncio.run(first(trigger))}
            return self._operator().resume_execution(deferred.method_name, event, context)

    def _operator(self, **more: Any) -> EvoLinkGenerateOperator:
        plain = {"task_id": "task", "retries": 3, "poll_interval": 0.01, "model": "wan2.7-text-to-video"}
        given = {**plain, "parameters": {"prompt": "a paper boat", "duration": 2}, **self._plan["operator"], **more}
        if self._plan["store"] == "folder":
            given["ledger_path"] = f"file://{self._folder}/task/ledger"
        return EvoLinkGenerateOperator(**given)

    def _record(self) -> dict[str, Any] | None:
        if self._plan["store"] == "state":
            return FileStore(self._folder / "task/state").get("evolink_generation")
        files = [path for path in (self._folder / "task").rglob("*.json") if not path.name.startswith(".")]
        return json.loads(files[0].read_text())["record"] if files else None

    def _state(self) -> str | None:
        record = self._record()
        return record["state"] if record else None

    def _log(self) -> str:
        path = self._folder / "task/log"
        return path.read_text() if path.exists() else ""

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        connection.request(method, f"/_emulator/{path}", json.dumps(body), {"Connection": "close"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


async def first(trigger: EvoLinkJobTrigger) -> Any:
    """Run a trigger to its event."""
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


@contextmanager
def collected_log(path: Path) -> Iterator[None]:
    """Write every log line of this process to a file at once, unbuffered, as a task's log survives its process."""
    fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def take(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
        args = event.get("positional_args") or ()
        os.write(fd, f"{level} {event['event'] % tuple(args) if args else event['event']}\n".encode())
        raise structlog.DropEvent

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            os.write(fd, f"{record.levelname} {record.getMessage()}\n".encode())

    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    ours = logging.getLogger("airflow_provider_evolink")
    ours.handlers, ours.propagate, ours.disabled = [Lines()], False, False
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        os.close(fd)


def hurry() -> None:
    """Shorten the polls on the worker."""
    delays = schedule.worker_poll_delays
    schedule.worker_poll_delays = lambda *args: tuple(wait / 1000 for wait in delays(*args))  # type: ignore[assignment]


if __name__ == "__main__":
    hurry()
    Sweep(json.loads(sys.argv[1]), Path(sys.argv[2])).run()
