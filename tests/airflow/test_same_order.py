"""What counts as the same order, and which records are understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]


def test_fields_in_another_order_are_the_same_order(stage: Any, make: Make, slow: EmulatorServer) -> None:
    fields = {"prompt": "a boat", "duration": 2, "quality": "720p"}
    turned = dict(reversed(fields.items()))
    with pytest.raises(TaskDeferred):
        make(model="brand-new", parameters=fields)().execute(stage.context())
    job_id = stage.store.record["job_id"]
    assert stage.retry().run(make(model="brand-new", parameters=turned))["job_id"] == job_id
    assert slow.books()["orders"] == 1


def test_the_record_of_a_later_version_orders_nothing(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    """The package was downgraded: what the later version means by its record is not known."""
    stage.run(make())
    stage.store.set("evolink_generation", stage.store.record | {"version": 3})
    for again in (stage.retry, stage.clear):
        with pytest.raises(AirflowFailException, match="not readable, so nothing was submitted"):
            again().run(make())
    assert emulator.books()["orders"] == 1
