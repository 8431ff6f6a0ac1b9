"""The lease: which clocks it uses, and that it starts again before a second attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.api.errors import EvoLinkOrderStopped
from airflow_provider_evolink.api.http import transport
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger import lease
from airflow_provider_evolink.ledger.ledger import FolderStore
from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkGenerateOperator

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


def slow_writes(stage: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int = 10**6) -> None:
    """Let the store take its time for the first intents."""
    set_, left = stage.store.set, [times]

    def slowly(key: str, value: Any, **more: Any) -> None:
        set_(key, value, **more)
        if value.get("state") == "intent" and left[0] > 0:
            left[0] -= 1
            time.sleep(seconds)

    monkeypatch.setattr(stage.store, "set", slowly)


def test_a_worker_that_stalls_while_it_writes_its_intent_does_not_submit(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    with monkeypatch.context() as patch:
        slow_writes(stage, patch, 0.6)
        with pytest.raises(EvoLinkOrderStopped, match=r"writing to the task state store took 0\.\d s, or .* stalled"):
            stage.run(make())
    assert "submit" not in emulator.books()["requests"]
    assert stage.retry().run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_an_order_that_was_late_once_goes_out_in_the_same_try(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    slow_writes(stage, monkeypatch, 0.6, times=1)
    assert stage.run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1
    assert stage.ti.try_number == 1


def test_one_late_write_does_not_end_a_batch(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    slow_writes(stage, monkeypatch, 0.6, times=1)
    requests = [{"prompt": f"A paper boat, number {number}", "duration": 2} for number in range(3)]
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=requests, parameters=None)
    assert [result["status"] for result in stage.run(batch)] == ["completed"] * 3
    assert emulator.books()["orders"] == 3


def test_a_store_that_is_slow_in_every_call_lets_an_order_out(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together the calls take longer than any single one may."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.8)
    slow_writes(stage, monkeypatch, 0.5)
    get = stage.store.get
    monkeypatch.setattr(stage.store, "get", lambda *key: time.sleep(0.5) or get(*key))
    assert stage.run(make())["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_a_late_order_is_not_repeated_where_another_try_has_taken_over(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder lets a stale try write; the record of the other try stands, and nothing is paid twice."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    stage.store = None
    kept = partial(make, ledger_path=f"file://{tmp_path}")
    other, set_, began = type(stage)(store=None), FolderStore.set, []
    other.ti.try_number = 2

    def meanwhile(store: Any, value: Any) -> None:
        set_(store, value)
        if value["state"] == "intent" and not began:
            began.append(True)
            with pytest.raises(AirflowFailException, match="EvoLinkSubmissionUnknown"):
                other.run(kept())
            time.sleep(0.6)

    monkeypatch.setattr(FolderStore, "set", meanwhile)
    with pytest.raises(EvoLinkOrderStopped):
        stage.run(kept())
    assert emulator.books()["orders"] == 0


def test_a_worker_that_stalls_while_it_connects_does_not_submit(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look at the clock is right before the first byte."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    request = transport.httpx_request

    def slowly(call: Any, settings: Any) -> Any:
        time.sleep(0.6 if call.paid else 0.0)
        return request(call, settings)

    monkeypatch.setattr(transport, "httpx_request", slowly)
    with pytest.raises(EvoLinkOrderStopped, match="connecting to EvoLink took"):
        stage.run(make())
    assert "submit" not in emulator.books()["requests"]


def test_a_late_write_that_hides_the_order_of_another_try_is_not_repeated(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without Airflow's store nothing rejects a stale write: it goes over the record of the try that has followed."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    stage.store = None
    kept = partial(make, ledger_path=f"file://{tmp_path}")
    stage.run(kept())
    other, set_, began = type(stage)(store=None), FolderStore.set, []
    other.ti = SimpleNamespace(**{**vars(stage.clear().ti), "try_number": stage.ti.try_number + 1})

    def meanwhile(store: Any, value: Any) -> None:
        if value["state"] == "intent" and not began:
            began.append(True)
            assert other.run(kept())["status"] == "completed"
            time.sleep(0.6)
        set_(store, value)

    monkeypatch.setattr(FolderStore, "set", meanwhile)
    with pytest.raises(EvoLinkOrderStopped):
        stage.run(kept())
    assert emulator.books()["orders"] == 2


def test_an_order_that_was_throttled_for_longer_than_the_lease_is_submitted(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    emulator.fault("status", on="submit", status=429, code="rate_limit_exceeded", headers={"Retry-After": "3"})
    assert stage.run(make())["status"] == "completed"
    assert emulator.books()["requests"]["submit"] == 2
    assert emulator.books()["orders"] == 1
    assert not any("once more in this try" in line for line in logs.told), "the wait was not held against it"
