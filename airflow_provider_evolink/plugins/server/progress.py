"""How far running jobs are, where the API server has their connection: one read in ten seconds for all viewers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from airflow_provider_evolink.api.http.wire import MAX_BATCH
from airflow_provider_evolink.api.jobs.snapshot import JobReading
from airflow_provider_evolink.api.polling.reader import read_all
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two reads with a connection
PAUSE = 60.0  # more seconds after a read without a response: an API server without a way out stays so
VIEWED = 30.0  # seconds that a job is read on after somebody viewed it
PATIENCE = 5.0  # seconds for a read; a viewer waits for it
ReadJobs = Callable[[str, list[str]], Mapping[str, JobReading]]


class ProgressBoard:
    """
    What EvoLink last reported of running jobs.

    :param read: Reads jobs with a connection.
    :param now: Seconds that never go back.
    """

    def __init__(self, read: ReadJobs, now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._viewed: dict[str, dict[str, float]] = {}
        self._known: dict[str, Mapping[str, JobReading]] = {}

    def of(self, conn_id: str, job_ids: Iterable[str]) -> dict[str, JobReading]:
        """
        Return what is known of jobs. What is not, will be with a later read: it is asked for together with others.

        :param conn_id: Their connection.
        :param job_ids: The jobs.
        """
        wanted = list(job_ids)
        if due := self._due(conn_id, wanted):
            found = self._known[conn_id] = self._read(conn_id, due)
            if not found:
                self._began[conn_id] += PAUSE
        known = self._known.get(conn_id, {})
        return {job_id: known[job_id] for job_id in wanted if job_id in known}

    def _due(self, conn_id: str, job_ids: list[str]) -> list[str]:
        """Return the jobs that this viewer reads for all; none while the last read is young."""
        now = self._now()
        with self._lock:
            viewed = {**self._viewed.get(conn_id, {}), **dict.fromkeys(job_ids, now)}
            self._viewed[conn_id] = {job_id: at for job_id, at in viewed.items() if now - at < VIEWED}
            if not job_ids or now - self._began.get(conn_id, -EVERY) < EVERY:
                return []
            self._began[conn_id] = now
            return sorted(self._viewed[conn_id], key=viewed.__getitem__)[-MAX_BATCH:]


def read_jobs(conn_id: str, job_ids: list[str]) -> Mapping[str, JobReading]:
    """
    Read jobs. Where the API server has no such connection, or EvoLink does not respond, nothing is known.

    :param conn_id: The connection.
    :param job_ids: The jobs.
    """

    async def read() -> Mapping[str, JobReading]:
        return await asyncio.wait_for(read_all(load, job_ids), PATIENCE)

    async def load() -> ClientSettings:
        return settings

    try:
        settings = EvoLinkHook(conn_id).settings
        return asyncio.run(read())
    except Exception as error:  # noqa: BLE001 - the page is as good without
        log.info("How far jobs are cannot be read here (%s)", type(error).__name__)
        return {}


BOARD = ProgressBoard(read_jobs)
