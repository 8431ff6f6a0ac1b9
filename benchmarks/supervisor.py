"""The parent of the triggerer: hands triggers over as Airflow's supervisor does, and reads what the process costs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import messages
from airflow.models.trigger import Trigger
from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Triggerer:
    """
    A triggerer process under test.

    :param folder: For what it writes at its end.
    :param environment: Of the process.
    :param finished: Called with the numbers of triggers that have ended; returns triggers to start instead.
    :param at_once: Triggers that are handed over at a call, of which there is one a second. Airflow's default is 50.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        finished: Callable[[list[int]], Iterable[RunTrigger]] = lambda _: (),
        at_once: int = 50,
    ) -> None:
        self._at_once = at_once
        self._seen, self._finished = folder / f"seen-{uuid.uuid4().hex}.json", finished
        self._waiting: deque[RunTrigger] = deque()
        self.messages: Counter[str] = Counter()
        self.failures: list[Any] = []
        self.log_lines = self.syncs = 0
        self.alarms: list[str] = []
        ours, theirs = socket.socketpair()
        log_read, log_write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "triggerer.py")],
            stdin=theirs,
            pass_fds=(log_write,),
            env={**environment, "BENCH_LOG": str(log_write), "BENCH_SEEN": str(self._seen)},
        )
        theirs.close()
        os.close(log_write)
        self._socket = ours
        self._send(0, messages.StartTriggerer().model_dump())
        for work, given in ((self._serve, ours), (self._count_lines, log_read)):
            threading.Thread(target=work, args=(given,), daemon=True).start()

    def hand_over(self, triggers: Iterable[RunTrigger]) -> None:
        """Give triggers to the process, some at each of its calls."""
        self._waiting.extend(triggers)

    def wait_until_made(self, patience: float) -> None:
        """Wait until all that was handed over is made."""
        end = time.monotonic() + patience
        while self._waiting and time.monotonic() < end and self._process.poll() is None:
            time.sleep(0.02)
        self.wait_for_syncs(1, patience)

    def wait_for_syncs(self, count: int, patience: float) -> None:
        """Wait until it has called so many times more: it calls a second after all given triggers were made."""
        end, goal = time.monotonic() + patience, self.syncs + count
        while self.syncs < goal:
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("the triggerer does not call")
            time.sleep(0.02)

    def cpu(self) -> float:
        """Return its CPU-seconds, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self) -> float:
        """Return its resident memory in bytes."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE

    def end(self) -> dict[str, Any]:
        """End it and return what its watchmen saw."""
        self._process.send_signal(signal.SIGTERM)
        try:
            while not self._seen.exists() and self._process.poll() is None:
                time.sleep(0.05)
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        return (
            dict(json.loads(self._seen.read_text()))
            if self._seen.exists()
            else {"events": {}, "lags": [], "statuses": {}}
        )

    def _send(self, number: int, body: dict[str, Any] | None) -> None:
        self._socket.sendall(_ResponseFrame(id=number, body=body).as_bytes())

    def _serve(self, ours: socket.socket) -> None:
        decoder, stream = msgspec.msgpack.Decoder(_RequestFrame), ours.makefile("rb")
        with suppress(OSError, ValueError):
            while length := stream.read(4):
                frame = decoder.decode(stream.read(int.from_bytes(length, "big")))
                body = frame.body or {}
                kind = body.get("type", "")
                self.messages[kind] += 1
                self._send(frame.id, self._sync(body) if kind == "TriggerStateChanges" else None)

    def _sync(self, body: dict[str, Any]) -> dict[str, Any]:
        self.failures += body.get("failures") or []
        self._waiting.extend(self._finished(body.get("finished") or []))
        given = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
        self.syncs += 1
        return messages.TriggerStateSync(to_create=given, to_cancel=set()).model_dump()

    def _count_lines(self, log_read: int) -> None:
        with os.fdopen(log_read, "rb") as lines:
            for line in lines:
                self.log_lines += 1
                if b'"error"' in line or b"was blocked" in line:
                    self.alarms.append(line.decode(errors="replace").strip()[:2000])


def workload(number: int, classpath: str, arguments: dict[str, Any]) -> RunTrigger:
    """
    Put a trigger into the words of Airflow's supervisor.

    :param number: Of the trigger.
    :param classpath: Of its class.
    :param arguments: For its constructor.
    """
    instance = TaskInstanceDTO(
        id=uuid.uuid4(),
        dag_version_id=uuid.uuid4(),
        task_id="generate",
        dag_id="bench",
        run_id="manual__bench",
        try_number=1,
        map_index=number,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    return RunTrigger(id=number, classpath=classpath, encrypted_kwargs=Trigger.encrypt_kwargs(arguments), ti=instance)
