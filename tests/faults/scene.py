"""One order and what becomes of it: the real operator on the stage of tests/airflow, the emulator's books beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from evolink_stage import Stage

from airflow_provider_evolink.emulator.server import EmulatorServer

KEY = "test-key-0123456789"
GATHER = 0.1  # seconds, as in the poller
OPEN = {"intent", "unknown"}  # states of a record whose order may have been accepted


class Scene:
    """
    One task instance, its ledger and the emulator.

    :param emulator: Where it orders.
    :param make: Maker of makers of operators.
    :param connect: Points the connection elsewhere.
    """

    def __init__(self, emulator: EmulatorServer, make: Callable[..., Any], connect: Callable[..., None]) -> None:
        self.emulator, self.connect = emulator, connect
        self.stage = Stage()
        self.link = ""
        self.given: dict[str, Any] = {"deferrable": True}
        self._make = make

    @property
    def record(self) -> dict[str, Any]:
        """The ledger's record."""
        return self.stage.store.record

    @property
    def state(self) -> str:
        """How far the record says the order has come."""
        return self.record["state"]

    @property
    def orders(self) -> int:
        """Orders EvoLink has accepted, and is paid for."""
        return self.emulator.books()["orders"]

    def requests(self, operation: str) -> int:
        """Count the calls that reached the emulator."""
        return self.emulator.books()["requests"].get(operation, 0)

    def run(self, **given: Any) -> dict[str, Any]:
        """Run one try to its end and check where it waited."""
        before = len(self.stage.deferrals)
        result: dict[str, Any] = self.stage.run(self._make(**{**self.given, **given}))
        assert (len(self.stage.deferrals) > before) is self.given["deferrable"]
        return result

    def run_to_end(self, **given: Any) -> dict[str, Any]:
        """Run one try to its end, wherever it waits."""
        result: dict[str, Any] = self.stage.run(self._make(**{**self.given, **given}))
        return result

    def fails(self, kind: type[Exception], match: str | None = None, **given: Any) -> str:
        """Run one try that fails and return its message."""
        with pytest.raises(kind, match=match) as told:
            self.stage.run(self._make(**{**self.given, **given}))
        return f"{told.value}"

    def retry(self) -> Scene:
        """Begin the next try."""
        self.stage.retry()
        return self

    def met(self) -> bool:
        """Tell whether every queued fault happened as often as it should."""
        faults = self.emulator.faults()
        assert faults
        return all(fault["done"] or (fault["times"] < 0 < fault["met"]) for fault in faults)

    def delivers(self, orders: int = 1, **given: Any) -> dict[str, Any]:
        """Run one try that succeeds, and prove what was paid."""
        result = self.run(**given)
        assert (result["status"], len(result["results"])) == ("completed", 1)
        assert (self.orders, self.state) == (orders, "delivered")
        return result

    def outcome_stays_unknown(self, orders: int) -> None:
        """Run a try whose order has an unknown outcome, and a retry: neither sends a second time."""
        before = self.orders, self.requests("submit")
        text = self.fails(AirflowFailException, "EvoLinkSubmissionUnknown")
        key = self.record["key"]
        assert key in text
        assert (self.state in OPEN, self.record["job_id"]) == (True, None)
        after = before[0] + orders, self.orders_sent_after(before[1])
        self.retry().fails(AirflowFailException, "EvoLinkSubmissionUnknown")
        assert (self.orders, self.requests("submit")) == after
        assert (self.state in OPEN, self.record["key"]) == (True, key)

    def orders_sent_after(self, count: int) -> int:
        """Return how many orders reached EvoLink: one more than before at most."""
        sent = self.requests("submit")
        assert sent <= count + 1
        return sent


class Clock:
    """
    Stands in for the module ``time``, and for the sleep of ``asyncio``: waiting takes no time and is noted.

    ``later`` maps the number of a wait, from 1, to something that happens during it.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.later: dict[int, Callable[[], Any]] = {}
        self._ahead = 0.0

    def time(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._ahead += seconds
        self.later.pop(len(self.waits), lambda: None)()

    def instead_of(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """
        Return a poller's ``call_later`` that does not wait.

        :param plain: The real one; it takes over for the moment in which triggers gather.
        """

        def soon(delay: float, callback: Callable[[], None]) -> Any:
            if delay > GATHER:
                self.sleep(delay)
            return plain(min(delay, GATHER) if delay <= GATHER else 0.0, callback)

        return soon
