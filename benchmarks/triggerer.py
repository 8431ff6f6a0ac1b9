"""
Airflow's own triggerer process, with two watchmen: one stamps events, one samples how late the loop is.

Started by ``supervisor.py`` with its socket as stdin, as Airflow's supervisor starts it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.execution_time.supervisor import _configure_logs_over_json_channel

SAMPLE = 0.05  # seconds


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

    async def arun(self) -> None:
        """Run as always, and sample the loop beside it."""
        sampler = asyncio.create_task(self._sample())
        try:
            await super().arun()
        finally:
            sampler.cancel()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        """Write down what was seen, then stop as always: a loop that is blocked may take minutes to stop."""
        path = Path(os.environ["BENCH_SEEN"])
        seen = {"events": self.events.stamps, "lags": self.lags, "statuses": self.events.statuses}
        path.with_suffix(".part").write_text(json.dumps(seen))
        path.with_suffix(".part").replace(path)
        super()._handle_signal(signum, frame)

    async def _sample(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(SAMPLE)
            self.lags.append((time.time(), time.monotonic() - before - SAMPLE))


if __name__ == "__main__":
    _configure_logs_over_json_channel(int(os.environ["BENCH_LOG"]))
    WatchedRunner().run()
