"""Many jobs end at once: resumed tasks, downloads and sensors wait out the rate limit within the try."""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers.common.compat.sdk import DAG, AirflowSensorTimeout, AirflowTaskTimeout, TaskDeferred
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout
from evolink_support import set_policy

from airflow_provider_evolink import operators
from airflow_provider_evolink.api.errors import EvoLinkMediaError, EvoLinkRateLimited
from airflow_provider_evolink.api.files.download import DownloadLimits
from airflow_provider_evolink.api.files.download import download as fetch_link
from airflow_provider_evolink.api.http import patience
from airflow_provider_evolink.operators import EvoLinkDownloadOperator
from airflow_provider_evolink.sensors.evolink import EvoLinkJobSensor

_spec = importlib.util.spec_from_file_location("evolink_gateway", Path(__file__).with_name("gateway.py"))
assert _spec
assert _spec.loader
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)
Gateway, media = _module.Gateway, _module.media
FILE = media.png()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = Gateway()
    connection = {"conn_type": "evolink", "host": f"http://127.0.0.1:{server.port}", "password": "test-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))
    set_policy(monkeypatch, reread_after=0.05)
    yield server
    server.close()


def in_a_second() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # a date has whole seconds


def refuse(status: int, requested: str | Callable[[], str] | None = "0.3") -> Any:
    """Refuse a request as EvoLink or a media host does."""

    def play(connection: Any, request: Any) -> None:
        value = requested() if callable(requested) else requested
        headers = [("Content-Type", "application/json"), ("Connection", "close")]
        headers += [("Retry-After", value)] if value is not None else []
        body = b'{"error":{"code":"rate_limit_exceeded","message":"slow down","type":"rate_limit_error"}}'
        media.answer(status, body, headers)(connection, request)

    return play


REFUSALS = {
    "seconds": (429, "0.1", 0.1),
    "absent": (429, None, 0.0),
    "503 with a time": (503, "0.1", 0.1),
}
WHERE = ["first reading", "fresh link", "links not there", "media", "redirected media"]
ROWS = {f"{where}, {name}": (where, *row) for where in WHERE for name, row in REFUSALS.items()} | {
    f"{where}, date": (where, 429, in_a_second, 0.9) for where in ("first reading", "media")
}


def timed(gateway: Any) -> list[float]:
    """Note when each request comes."""
    route, moments = gateway.plays[0], []

    def noted(connection: Any, request: Any) -> None:
        moments.append(time.monotonic())
        route(connection, request)

    gateway.plays = [noted]
    return moments


def download(job: Any, out: Path, **given: Any) -> list[dict[str, Any]]:
    return EvoLinkDownloadOperator(task_id="download", job=job, destination=f"file://{out}", **given).execute({})


@pytest.mark.parametrize(("where", "status", "requested", "least"), ROWS.values(), ids=ROWS)
def test_a_download_waits_out_a_rate_limit_wherever_it_is(gateway, tmp_path, where, status, requested, least):
    plays = [refuse(status, requested) for _ in range(4 if least < 0.5 else 1)]  # more often than any call is repeated
    good = [media.whole(FILE)]
    link = gateway.link("/f", *(plays + good if where.endswith("media") else good))
    if where == "redirected media":
        link = gateway.link("/moved", media.moved(f"http://127.0.0.1:{gateway.port}/f"))
    if where == "fresh link":
        dead = gateway.link("/dead", media.answer(403))
        gateway.paths["/dead"] = [lambda *a: (gateway.refusals.extend(plays), media.answer(403)(*a))]
        job = gateway.job("task-herd", [dead], [link])
    elif where == "links not there":
        job = gateway.job("task-herd", [], [link])
        start = gateway.plays[0]

        def after_first(connection: Any, request: Any) -> None:
            if len(gateway.requests) == 2:
                gateway.refusals.extend(plays)
            start(connection, request)

        gateway.plays = [after_first]
    else:
        job = gateway.job("task-herd", [link])
    if where == "first reading":
        gateway.refusals.extend(plays)
    moments = timed(gateway)
    assert [file["content_type"] for file in download(job, tmp_path)] == ["image/png"]
    assert not gateway.refusals
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert sum(gap >= least for gap in gaps) >= len(plays), "never before its time"


def test_what_a_try_waits_is_logged_once_for_each_wait(gateway, tmp_path, caplog):
    caplog.set_level(logging.INFO, "airflow_provider_evolink")
    link = gateway.link("/f?sig=topsecret", refuse(429), media.whole(FILE))
    gateway.refusals.append(refuse(429))
    download(gateway.job("task-herd", [link]), tmp_path)
    lines = [record.getMessage() for record in caplog.records if "next attempt in" in record.getMessage()]
    assert len(lines) == 2
    assert "EvoLink lets nothing through now (HTTP 429): next attempt in 0." in lines[0]
    assert "/f: HTTP 429: next attempt in 0." in lines[1]
    assert "topsecret" not in caplog.text


@pytest.mark.parametrize("where", ["job", "media"])
@pytest.mark.parametrize("requested", ["0.4", "3600", None])
def test_after_ten_minutes_the_try_ends_as_transient(gateway, tmp_path, monkeypatch, where, requested):
    monkeypatch.setattr(patience, "POLICY", replace(patience.POLICY, max_wait=0.6))
    link = gateway.link("/f", *([refuse(429, requested)] if where == "media" else [media.whole(FILE)]))
    job = gateway.job("task-herd", [link])
    if where == "job":
        gateway.refusals.extend([refuse(429, requested)] * 100)
    began = time.monotonic()
    expected = EvoLinkRateLimited if where == "job" else EvoLinkMediaError
    with pytest.raises(expected, match=r"This try waited \d s for it \(1 s at most\); a retry waits again") as caught:
        download(job, tmp_path)
    assert not caught.value.permanent, "so Airflow's retries apply"
    assert caught.value.retry_after == (float(requested) if requested else None)
    assert time.monotonic() - began < 3
    gateway.refusals.clear()
    gateway.paths["/f"] = [media.whole(FILE)]
    assert len(download(job, tmp_path)) == 1


def test_the_time_of_a_try_is_shared_by_its_calls(gateway, tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "POLICY", replace(patience.POLICY, max_wait=0.5))
    gateway.refusals.append(refuse(429, "0.3"))
    job = gateway.job("task-herd", [gateway.link("/f", refuse(429, "0.3"), media.whole(FILE))])
    with pytest.raises(EvoLinkMediaError, match="HTTP 429"):
        download(job, tmp_path)


def test_a_host_that_limits_its_rate_uses_no_attempts(gateway, tmp_path):
    """Interruptions count, refusals by a rate limit do not: 30 of them and then the file."""
    plays = [refuse(429, "0"), media.ranged(FILE, cut=1000)] * 3 + [refuse(429, "0")] * 10
    link = gateway.link("/f", *plays, media.ranged(FILE))
    with fetch_link(link, expect="image", allow_loopback=True, limits=DownloadLimits(backoff=0)) as found:
        assert found.size == len(FILE)


@pytest.mark.parametrize("where", ["job", "media"])
def test_airflow_ends_a_wait_at_once(gateway, tmp_path, monkeypatch, where):
    monkeypatch.setattr(patience, "POLICY", patience.PatiencePolicy())
    link = gateway.link("/f", *([refuse(429, "60")] if where == "media" else [media.whole(FILE)]))
    if where == "job":
        gateway.refusals.append(refuse(429, "60"))
    job, began = gateway.job("task-herd", [link]), time.monotonic()
    with pytest.raises(AirflowTaskTimeout), airflow_timeout(1):
        download(job, tmp_path)
    assert time.monotonic() - began < 5


# resumed tasks and sensors


def throttled(emulator: Any, times: int, requested: str = "0.2") -> None:
    emulator.fault(
        "status", status=429, code="rate_limit_exceeded", on="read", times=times, headers={"Retry-After": requested}
    )


def test_a_resumed_task_waits_out_a_rate_limit_and_is_not_deferred_again(stage, make, emulator):
    emulator.settings(polls=10_000, estimated_time=60)
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    emulator.job(job_id, state="completed")
    throttled(emulator, 10, "0")
    event = {"job_id": job_id, "status": "over"}
    result = make()().resume_execution(deferred.value.method_name, {"event": event}, stage.context())
    assert result["status"] == "completed"
    assert emulator.books()["orders"] == 1


def test_a_resumed_task_that_was_refused_for_ten_minutes_defers_again(stage, make, emulator, monkeypatch):
    """No try is lost, and no worker slot is held."""
    monkeypatch.setattr(patience, "POLICY", replace(patience.POLICY, max_wait=0.5))
    emulator.settings(polls=10_000, estimated_time=60)
    with pytest.raises(TaskDeferred) as deferred:
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    emulator.job(job_id, state="completed")
    throttled(emulator, -1, "0.3")
    with pytest.raises(TaskDeferred):
        make()().resume_execution(
            deferred.value.method_name, {"event": {"job_id": job_id, "status": "over"}}, stage.context()
        )


def test_a_resumed_task_waits_no_longer_than_its_execution_timeout(stage, make, emulator, monkeypatch):
    """Airflow counts anew after a deferral, so the try itself keeps the limit."""
    monkeypatch.setattr(patience, "POLICY", patience.PatiencePolicy())
    stage.ti.start_date = datetime.now(UTC) - timedelta(seconds=58)
    emulator.settings(polls=10_000, estimated_time=60)
    given = {"execution_timeout": timedelta(seconds=60)}
    with pytest.raises(TaskDeferred) as deferred:
        make(**given)().execute(stage.context())
    job_id = stage.store.record["job_id"]
    emulator.job(job_id, state="completed")
    throttled(emulator, -1, "30")
    began = time.monotonic()
    event = {"job_id": job_id, "status": "timeout"}
    with pytest.raises(Exception, match="could not be read until the timeout"):
        make(**given)().resume_execution(deferred.value.method_name, {"event": event}, stage.context())
    assert time.monotonic() - began < 10


def test_with_a_destination_the_results_are_waited_for_as_well(stage, make, emulator, tmp_path):
    emulator.fault("status", status=429, on="media", times=3, headers={"Retry-After": "0.1"})
    result = stage.run(make(destination=f"file://{tmp_path}"))
    assert len(result["files"]) == 1


@pytest.mark.parametrize("status", ["over", "timeout"])
def test_a_sensor_that_continues_waits_out_a_rate_limit(stage, make, emulator, status):
    job_id = stage.run(make())["job_id"]
    throttled(emulator, 5, "0.05")
    sensor = EvoLinkJobSensor(task_id="sensor", job_id=job_id, deferrable=True)
    context = {"ti": SimpleNamespace(start_date=datetime.now(UTC))}
    assert sensor.execute_complete(context, {"job_id": job_id, "status": status})["job_id"] == job_id


def test_a_sensor_waits_no_longer_than_its_execution_timeout(stage, make, emulator, monkeypatch):
    monkeypatch.setattr(patience, "POLICY", patience.PatiencePolicy())
    job_id = stage.run(make())["job_id"]
    throttled(emulator, -1, "30")
    sensor = EvoLinkJobSensor(task_id="sensor", job_id=job_id, deferrable=True, execution_timeout=timedelta(seconds=10))
    context = {"ti": SimpleNamespace(start_date=datetime.now(UTC) - timedelta(seconds=8))}
    began = time.monotonic()
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute_complete(context, {"job_id": job_id, "status": "timeout"})
    assert time.monotonic() - began < 10


# all at once


def test_a_herd_comes_through_without_a_lost_try(gateway, tmp_path, monkeypatch):
    """16 downloads at once against 20 readings a second; without patience most of them fail."""
    monkeypatch.setattr(patience, "POLICY", patience.PatiencePolicy(max_wait=30, first_window=0.2, max_window=2.0))
    passed: list[float] = []
    guard, start = threading.Lock(), gateway.plays[0]

    def limited(connection: Any, request: Any) -> None:
        with guard:
            now = time.monotonic()
            recent = sum(now - moment < 0.25 for moment in passed)
            is_over = request.path.startswith("/v1/tasks/") and recent >= 5
            if not is_over:
                passed.append(now)
        (refuse(429, None) if is_over else start)(connection, request)

    gateway.plays = [limited]
    jobs = [gateway.job(f"task-herd-{n}", [gateway.link(f"/f{n}", media.whole(FILE))]) for n in range(16)]
    lost: list[Exception] = []

    def one(job: str) -> None:
        try:
            download(job, tmp_path / job)
        except Exception as error:
            lost.append(error)

    threads = [threading.Thread(target=one, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not lost
    assert len(list(tmp_path.rglob("*.png"))) == 16


# what the docs say


def test_the_pools_of_the_docs_can_be_made_and_used() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text().partition("### Pools\n")[2]
    commands = re.findall(r"^airflow (pools set .*)$", page, re.MULTILINE)
    made = [get_parser().parse_args(shlex.split(command)) for command in commands]
    assert [(pool.pool, pool.include_deferred) for pool in made] == [("evolink", False), ("evolink_jobs", True)]
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    with DAG("pools"):
        exec(code, {name: getattr(operators, name) for name in operators.__all__})
    assert set(re.findall(r'pool="(\w+)"', code)) == {pool.pool for pool in made}


def test_the_page_on_timing_names_the_numbers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "timing.md").read_text()
    policy = patience.PatiencePolicy()
    assert f"from {policy.first_window:g} s to {policy.max_window:g} s" in page
    assert f"{policy.max_wait / 60:g} minutes in all" in page
