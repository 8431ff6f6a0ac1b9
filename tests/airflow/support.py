"""For tests: the messages that pages quote, waiting, real kills, and a scene on which to make things happen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from asgiref.sync import SyncToAsync

from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.emulator.server import EmulatorServer

_QUOTE = "<!-- said: {name} -->\n```text\n"
WIDTH = 110
# Airflow builds an operator so where its arguments come from expand(): on the worker, where none is a literal.
MAPPED = {"_airflow_from_mapped": True}


def steady(text: str) -> str:
    """Return a message on one line, without what differs from run to run and without EvoLink's own words."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"task-unified-[\w-]+", "task-unified-…", re.sub(r"af1-\w+", "af1-…", text))
    text = re.sub(r"request id \w+", "request id …", re.sub(r"http://127\.0\.0\.1:\d{2,}[^\s:]*", "https://…", text))
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)", "2026-01-31T12:00:00Z", text)
    text = re.sub(r"took \d+\.\d s", "took 11.0 s", text)
    return re.sub(r"“[^”]*”", "“…”", text)


def set_policy(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change numbers of the schedule for a test."""
    patch.setattr(schedule, "POLICY", replace(schedule.POLICY, **changes))


def replace_between(page: Path, begin: str, end: str, text: str) -> None:
    """Write a text between two marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(begin, 1)
    page.write_text(before + begin + text + end + rest.split(end, 1)[1], encoding="utf-8")


def quotes(page: Path) -> dict[str, str]:
    """Return the quoted messages of a page, each on one line, by their names."""
    found = re.findall(r"<!-- said: ([\w-]+) -->\n```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == len({name for name, _ in found}), "a name is there twice"
    return {name: " ".join(text.split()) for name, text in found}


def write_quote(page: Path, name: str, text: str) -> None:
    """Write a message into its place on a page."""
    lines = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    replace_between(page, _QUOTE.format(name=name), "```", f"{lines}\n")


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what must come, however slow the machine is."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        await asyncio.sleep(0.02)


class FileStore:
    """Airflow's task state store, in a file: it outlives a process that is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self._path.read_text()).get(key, default) if self._path.exists() else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        part = self._path.with_suffix(".part")
        rows = json.loads(self._path.read_text()) if self._path.exists() else {}
        part.write_text(json.dumps({**rows, key: value}))
        part.replace(self._path)


def killed(work: Callable[[], Any]) -> None:
    """Run something in a process of its own, which must end by SIGKILL."""
    time.sleep(0.1)  # the emulator's thread comes to rest: no lock of it is held in the copy
    child = os.fork()
    if child == 0:
        SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)  # its thread is not in the copy
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - a thread may hold the lock of the real ones
        try:
            work()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"nothing killed it: status {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: Any, **__: Any) -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Scene:
    """A task instance, a local EvoLink, and what is logged."""

    stage: Any
    make: Callable[..., Callable[[], Any]]
    emulator: EmulatorServer
    logs: Any
    patch: pytest.MonkeyPatch
    folder: Path

    @property
    def orders(self) -> int:
        return int(self.emulator.books()["orders"])

    @property
    def ledger(self) -> str:
        return self.folder.joinpath("ledger").as_uri()

    def fails(self, **given: Any) -> str:
        """Run a try that must fail, and return what Airflow shows."""
        with pytest.raises(Exception) as told:
            self.stage.run(self.make(**given))
        assert not isinstance(told.value, TaskDeferred)
        return str(told.value)

    def defers(self, **given: Any) -> TaskDeferred:
        """Run a try up to its deferral, for a job that does not end by itself."""
        self.emulator.settings(polls=10_000, estimated_time=60)
        with pytest.raises(TaskDeferred) as told:
            self.make(**given)().execute(self.stage.context())
        return told.value

    def completes(self) -> str:
        """End the one job, and return its id."""
        job_id = str(self.emulator.books()["jobs"][0]["id"])
        self.emulator.job(job_id, state="completed")
        return job_id

    def said(self, words: str) -> str:
        """Return the one line of the log with these words."""
        found = {line for line in self.logs.told if words in line}
        assert len(found) == 1, self.logs.text
        return found.pop()

    def after(self, fault: str, **more: Any) -> Scene:
        """Queue a fault of the emulator."""
        self.emulator.fault(fault, **more)
        return self

    def says_the_key_is_honoured(self) -> None:
        """Let the connection say so."""
        facts = {"conn_type": "evolink", "host": self.emulator.url, "password": "test-key-0123456789"}
        self.patch.setenv(
            "AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts | {"extra": {"honors_idempotency_key": True}})
        )

    def dies(self, at: Any, name: str, how: Callable[..., Any] = die, **given: Any) -> None:
        """Kill the worker of a try at a point."""
        self.stage.store = FileStore(self.folder / "store.json")
        with self.patch.context() as patch:
            patch.setattr(at, name, how)
            killed(lambda: self.stage.run(self.make(**given)))

    def store_fails(self, doing: str, when: Callable[[Any], bool] = bool) -> Scene:
        """Let the task state store be down for one kind of call."""
        plain = getattr(self.stage.store, doing)

        def down(key: str, value: Any = None, **more: Any) -> Any:
            if doing == "get" or when(value):
                raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500}))
            return plain(key, value, **more)

        self.patch.setattr(self.stage.store, doing, down)
        return self
