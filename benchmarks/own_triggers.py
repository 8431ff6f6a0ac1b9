"""Two triggers to compare with: one that does nothing, and what is written when nobody thinks about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class IdleTrigger(BaseTrigger):
    """
    Sleep until a job is over, without a poll: what Airflow itself costs.

    :param ends: Epoch seconds of the job's end.
    """

    def __init__(self, ends: float) -> None:
        super().__init__()
        self.ends = ends

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger."""
        return ("own_triggers.IdleTrigger", {"ends": self.ends})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep."""
        await asyncio.sleep(max(0.0, self.ends - time.time()))
        yield TriggerEvent("over")


class NaiveTrigger(BaseTrigger):
    """
    A client for each trigger and a fixed interval.

    :param url: Of the job.
    :param poll_interval: Seconds between polls.
    """

    def __init__(self, url: str, poll_interval: float) -> None:
        super().__init__()
        self.url = url
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds this trigger."""
        return ("own_triggers.NaiveTrigger", {"url": self.url, "poll_interval": self.poll_interval})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll, sleep, poll."""
        import httpx

        async with httpx.AsyncClient(headers={"Authorization": "Bearer key"}) as client:
            while (await client.get(self.url)).json()["status"] != "completed":
                await asyncio.sleep(self.poll_interval)
        yield TriggerEvent("over")
