"""A batch of 300 goes on at once: from a try or a resumption to its first order or its deferral, with slow stores."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkBatchOperator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]
COUNT, ACTIVE = 300, 200
LIMIT = 3.0  # seconds, imports apart
STORE, FOLDER = 0.015, 0.02  # seconds a call
S3 = Path(__file__).parents[1] / "airflow" / "narrow_s3.py"


class SlowStore:
    """Airflow's task state store, which responds to one call after the other."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, key: str, default: Any = None) -> Any:
        with self._lock:
            time.sleep(STORE)
            return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        with self._lock:
            time.sleep(STORE)
            self.rows[key] = json.dumps(value)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a slow S3 and return the URI of a folder in it."""
    import boto3

    spec = importlib.util.spec_from_file_location("evolink_narrow_s3", S3)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["evolink_narrow_s3"] = module
    spec.loader.exec_module(module)
    s3 = module.NarrowS3()
    s3.denied = set()
    connection = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    connection |= {"extra": {"endpoint_url": s3.url, "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_SLOW_S3", json.dumps(connection))
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=s3.url, **keys).create_bucket(Bucket="ledger")
    s3.after = lambda: time.sleep(FOLDER)
    yield "s3://slow_s3@ledger/records"
    s3.stop()


@pytest.mark.parametrize("stores", ["both", "task state store"])
def test_a_batch_of_300_goes_on_within_seconds(folder: str, monkeypatch: pytest.MonkeyPatch, stores: str) -> None:
    ti = SimpleNamespace(dag_id="dag", run_id=stores, task_id="task", map_index=-1, try_number=1, max_tries=3)
    context: Any = {"ti": ti, "task_state_store": SlowStore()}
    requests = [{"prompt": f"clip {number}", "duration": 2} for number in range(COUNT)]
    given: dict[str, Any] = {"task_id": "task", "retries": 3, "model": "wan2.7-text-to-video", "requests": requests}
    given |= {"max_active": ACTIVE, "ledger_path": folder if stores == "both" else None}
    first: list[float] = []
    submit = EvoLinkClient.submit

    def timed(self: EvoLinkClient, *args: Any, **kwargs: Any) -> Any:
        first.append(time.monotonic())
        return submit(self, *args, **kwargs)

    monkeypatch.setattr(EvoLinkClient, "submit", timed)

    def seconds(act: Callable[[EvoLinkBatchOperator], Any]) -> tuple[float, TaskDeferred]:
        first.clear()
        operator, began = EvoLinkBatchOperator(**given), time.monotonic()
        with pytest.raises(TaskDeferred) as raised:
            act(operator)
        return min([*first, time.monotonic()]) - began, raised.value

    with EmulatorServer() as emulator:
        emulator.settings(polls=3, estimated_time=600, balance=1e6)
        account = {"conn_type": "evolink", "password": "emulator-key", "host": emulator.url}
        monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(account))
        _, wait = seconds(lambda operator: operator.execute(context))  # imports
        spent = []
        for _ in range(2):
            ti.try_number += 1
            took, wait = seconds(lambda operator: operator.execute(context))
            spent.append(took)
            jobs = [job[0] for job in wait.trigger.jobs]
            event = {"event": {"running": jobs[40:], "without_result": {}, "state": wait.trigger.state}}
            took, wait = seconds(lambda operator: operator.resume_execution("execute_complete", event, context))  # noqa: B023 - called at once
            spent.append(took)
        assert max(spent) <= LIMIT, spent
        assert set(Counter(job["body"]["prompt"] for job in emulator.books()["jobs"]).values()) == {1}
