"""The lease: which clocks it uses, and that it starts again before a second attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_evolink.api.errors import EvoLinkOrderStopped
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger import lease
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


@pytest.mark.parametrize(("monotonic", "wall", "stopped"), [(3600, 0, True), (0, 3600, True), (9, 9, False)])
def test_either_clock_shows_that_the_worker_stalled(
    monkeypatch: pytest.MonkeyPatch, monotonic: float, wall: float, stopped: bool
) -> None:
    """A machine that sleeps may stop one clock, and a person may set the other back."""
    now = SimpleNamespace(monotonic=lambda: 100.0, time=lambda: 1e9)
    monkeypatch.setattr(lease, "time", now)
    right = lease.Lease(lambda: False, lambda: True)
    right.renew()
    now.monotonic, now.time = lambda: 100.0 + monotonic, lambda: 1e9 + wall
    if stopped:
        with pytest.raises(EvoLinkOrderStopped, match="stalled"):
            right.check()
    else:
        right.check()


def test_a_worker_that_stalls_while_it_writes_its_intent_does_not_submit(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    set_ = stage.store.set

    def slowly(key: str, value: Any, **more: Any) -> None:
        set_(key, value, **more)
        if value["state"] == "intent":
            time.sleep(2.5)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "set", slowly)
        with pytest.raises(EvoLinkOrderStopped, match="stalled"):
            stage.run(make())
    assert "submit" not in emulator.books()["requests"]
    assert stage.retry().run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_an_order_that_was_throttled_for_longer_than_the_lease_is_submitted(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    emulator.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "3"})
    assert stage.run(make())["status"] == "completed"
    assert emulator.books()["requests"]["submit"] == 2
    assert emulator.books()["orders"] == 1
