"""
Airflow's own triggerer process, with three watchmen: one stamps events, one samples how late the loop is, one notes who
held it.

Started by ``supervisor.py`` with its socket as stdin, as Airflow's supervisor starts it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.execution_time.supervisor import _configure_logs_over_json_channel

SAMPLE = 0.05  # seconds
LONG = 0.005  # seconds of the loop in one go, from which on it is noted
COLLECTION = "garbage collection"


class Stamping(deque[Any]):
    """Airflow's queue of events; keeps for each trigger the moment of its event."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: dict[int, float] = {}
        self.statuses: Counter[str] = Counter()

    def append(self, entry: Any) -> None:
        """Stamp and queue an event."""
        self.stamps[entry.trigger_id] = time.time()
        if isinstance(payload := entry.event.payload, dict):
            self.statuses[str(payload.get("status"))] += 1
        super().append(entry)


class WatchedRunner(TriggerRunner):
    """Airflow's runner, watched."""

    def __init__(self) -> None:
        super().__init__()
        self.events: Stamping = Stamping()
        self.lags: list[tuple[float, float]] = []
        self.holds: list[tuple[float, float, str]] = []

    async def arun(self) -> None:
        """Run as always, and sample the loop beside it."""
        self._note_holds()
        sampler = asyncio.create_task(self._sample())
        try:
            await super().arun()
        finally:
            sampler.cancel()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        """Write down what was seen, then stop as always: a loop that is blocked may take minutes to stop."""
        path = Path(os.environ["BENCH_SEEN"])
        seen = {"events": self.events.stamps, "lags": self.lags, "holds": self.holds, "statuses": self.events.statuses}
        path.with_suffix(".part").write_text(json.dumps(seen))
        path.with_suffix(".part").replace(path)
        super()._handle_signal(signum, frame)

    def _note_holds(self) -> None:
        """Note long steps of the loop; what Python's collection takes of one is its own, wherever it strikes."""
        run = asyncio.events.Handle._run
        began = collected = 0.0

        def note(took: float, whose: str) -> None:
            if took >= LONG:
                self.holds.append((time.time(), took, whose))

        def collecting(phase: str, _: dict[str, int]) -> None:
            nonlocal began, collected
            if phase == "start":
                began = time.monotonic()
            else:
                collected += time.monotonic() - began
                note(time.monotonic() - began, COLLECTION)

        def timed(handle: asyncio.Handle) -> None:
            whose, before, of_it = _whose(handle), time.monotonic(), collected
            run(handle)
            note(time.monotonic() - before - (collected - of_it), whose)

        gc.callbacks.append(collecting)
        asyncio.events.Handle._run = timed

    async def _sample(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(SAMPLE)
            self.lags.append((time.time(), time.monotonic() - before - SAMPLE))


def _whose(handle: asyncio.Handle) -> str:
    """Return the name of the coroutine, or else of the function, that is about to have the loop."""
    callback = handle._callback
    of = getattr(callback, "__self__", None)
    return of.get_coro().__qualname__ if isinstance(of, asyncio.Task) else getattr(callback, "__qualname__", "?")


if __name__ == "__main__":
    _configure_logs_over_json_channel(int(os.environ["BENCH_LOG"]))
    WatchedRunner().run()
