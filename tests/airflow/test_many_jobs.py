"""Many jobs in one task: fetched and archived a few at a time, and one that fails costs none of the others."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from evolink_archive_samples import PLAIN, RUN, files_in, root_of, staged
from evolink_support import MAPPED

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.transfer.side_by_side import WIDTH, side_by_side
from airflow_provider_evolink.api.http import patience
from airflow_provider_evolink.api.http.patience import Patience
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkBatchOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.storage.archive import archive_files
from airflow_provider_evolink.storage.object_store import publish

if "evolink_gateway" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("evolink_gateway", Path(__file__).with_name("gateway.py"))
    assert _spec
    assert _spec.loader
    sys.modules["evolink_gateway"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["evolink_gateway"])
gateways: Any = sys.modules["evolink_gateway"]
media = gateways.media
FILE = media.png()


class TaskTimeout(BaseException):
    """As Airflow's: no ``Exception``."""


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve jobs and media, and point the connection there."""
    server = gateways.Gateway()
    connection = {"conn_type": "evolink", "host": f"http://127.0.0.1:{server.port}", "password": "test-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))
    yield server
    server.close()


def jobs_of(gateway: Any, count: int, play: Any, results: int = 1) -> list[dict[str, Any]]:
    """Make jobs, and return them as a batch does."""
    made = []
    for number in range(count):
        links = [gateway.link(f"/{number}-{index}", play) for index in range(results)]
        made.append(gateway.job(f"task-{number}", links))
    return [
        {"job_id": job, "model": "some-model", "request": {"seed": number}, "status": "completed"}
        for number, job in enumerate(made)
    ]


def download(jobs: Any, out: Path, **given: Any) -> list[dict[str, Any]]:
    operator = EvoLinkDownloadOperator(task_id="download", job=jobs, destination=str(out), **given, **MAPPED)
    files = operator.execute({})
    assert json.loads(json.dumps(files)) == files
    return files


# downloads


@pytest.mark.parametrize(("count", "results"), [(12, 1), (4, 4)])
def test_a_download_of_many_jobs_fetches_them_side_by_side_within_a_bound(
    gateway: Any, tmp_path: Path, count: int, results: int
) -> None:
    play = gateways.Counted(FILE, 0.15)
    files = download(jobs_of(gateway, count, play, results), tmp_path)
    wanted = [(f"task-{number}", index) for number in range(count) for index in range(results)]
    assert [(file["job_id"], file["index"]) for file in files] == wanted
    assert [file["job"]["request"]["seed"] for file in files] == [int(job.partition("-")[2]) for job, _ in wanted]
    assert 3 <= play.peak <= WIDTH
    assert len(gateways.left(tmp_path)) == count * results + count


def test_job_ids_and_lists_of_a_mapped_task_name_each_job_once(gateway: Any, tmp_path: Path) -> None:
    jobs = jobs_of(gateway, 3, gateways.Counted(FILE, 0))
    files = download([[jobs[0], "task-1"], [jobs[2], jobs[0]]], tmp_path)
    assert [file["job_id"] for file in files] == ["task-0", "task-1", "task-2"]


@pytest.mark.parametrize(
    ("play", "kind"), [(media.answer(410), EvoLinkMediaError), (media.answer(200, b"<html>"), EvoLinkMediaError)]
)
def test_one_job_that_cannot_be_fetched_costs_none_of_the_others(
    gateway: Any, tmp_path: Path, play: Any, kind: type[Exception]
) -> None:
    jobs = jobs_of(gateway, 5, gateways.Counted(FILE, 0.02))
    gateway.link("/1-0", play)
    with pytest.raises(kind, match=r"1 of 5 jobs could not be fetched.*the other 4.*job 2 of 5 \(task-1\)"):
        download(jobs, tmp_path)
    names = [name for name in gateways.left(tmp_path) if name.endswith(".png")]
    assert names == [f"task-{number}-0.png" for number in (0, 2, 3, 4)]
    gateway.link("/1-0", gateways.Counted(FILE, 0))
    before = {path: len(gateway.fetched(path)) for path in ("/0-0", "/2-0", "/4-0")}
    assert len(download(jobs, tmp_path)) == 5
    assert {path: len(gateway.fetched(path)) for path in before} == before, "what is there is not fetched again"


def test_jobs_without_a_result_for_good_end_in_a_failure_without_retries(gateway: Any, tmp_path: Path) -> None:
    jobs = jobs_of(gateway, 3, gateways.Counted(FILE, 0))
    gateway.job("task-2", [], status="failed", error={"code": "content_policy_violation", "message": "no"})
    with pytest.raises(AirflowFailException, match=r"1 of 3 jobs could not be fetched"):
        download(jobs, tmp_path)
    assert len([name for name in gateways.left(tmp_path) if name.endswith(".png")]) == 2


def test_the_others_are_delivered_where_that_is_wanted(gateway: Any, tmp_path: Path) -> None:
    jobs = jobs_of(gateway, 3, gateways.Counted(FILE, 0))
    gateway.link("/0-0", media.answer(410))
    assert [file["job_id"] for file in download(jobs, tmp_path, on_missing="deliver")] == ["task-1", "task-2"]
    for number in (1, 2):
        gateway.link(f"/{number}-0", media.answer(410))
        (tmp_path / f"task-{number}-0.png").unlink()
    with pytest.raises(EvoLinkMediaError, match="3 of 3 jobs"):
        download(jobs, tmp_path, on_missing="deliver")


@pytest.mark.parametrize("refusals", [1, WIDTH])
def test_a_key_that_was_replaced_is_read_once_and_ends_no_other_reading(gateway: Any, refusals: int) -> None:
    settings = ClientSettings(api_key="test-key-0123456789", base_url=f"http://127.0.0.1:{gateway.port}")
    jobs, renewed, found = jobs_of(gateway, 12, gateways.Counted(FILE, 0)), [], []
    gateway.refusals += [media.answer(401)] * refusals

    def renew() -> ClientSettings:
        renewed.append(1)
        time.sleep(0.3)
        return settings

    with EvoLinkClient(settings, renew=renew) as client:
        side_by_side(lambda job: found.append(client.get_job(job["job_id"])), jobs)
    assert len(found) == 12
    assert len(renewed) == 1


def test_a_rejected_key_ends_them_all_at_once(gateway: Any, tmp_path: Path) -> None:
    gateway.refusals += [media.answer(401)] * 300
    with pytest.raises(AirflowFailException):
        download([f"task-{number}" for number in range(100)], tmp_path)
    assert len(gateway.requests) <= 4 * WIDTH


def test_a_timeout_of_the_task_ends_all_transfers_of_all_jobs(gateway: Any, tmp_path: Path) -> None:
    drops: list[float] = []

    def drips(connection: Any, request: Any) -> None:
        connection.sendall(media.head(200, [("ETag", '"v"'), ("Content-Length", str(len(FILE)))]))
        if len([one for one in gateway.requests if not one.path.startswith("/v1")]) == 4:
            signal.setitimer(signal.ITIMER_REAL, 0.2)  # all of them are under way
        for at in range(0, len(FILE), 10):
            connection.sendall(FILE[at : at + 10])
            time.sleep(0.05)
            drops.append(time.monotonic())

    def over(*_: Any) -> None:
        raise TaskTimeout

    jobs = jobs_of(gateway, 2, drips, results=2)
    before = signal.signal(signal.SIGALRM, over)
    try:
        with pytest.raises(TaskTimeout):
            download(jobs, tmp_path)
        ended = time.monotonic()
        time.sleep(0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert drops
    assert max(drops) < ended + 0.3, "no transfer goes on in the background"


def test_waits_at_the_same_time_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, now = Patience(), [1000.0]
    monkeypatch.setattr(
        patience, "time", SimpleNamespace(time=lambda: 0.0, monotonic=lambda: now[0], sleep=lambda _: None)
    )
    monkeypatch.setattr(patience, "random", SimpleNamespace(random=lambda: 0.0))
    for _ in range(5):
        assert allowed.wait("a call", 1, 2.0)
    assert allowed.spent == 2.0
    now[0] += 1.0
    assert allowed.wait("a call", 1, 1.5)
    assert allowed.spent == 2.5
    assert not allowed.wait("a call", 1, 2.5), "3 seconds are what a try may wait in tests"


# batches


def test_a_batch_fetches_its_results_side_by_side(
    stage: Any, make: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    play = gateways.Counted(FILE, 0.15)
    server = gateways.Gateway()
    link = server.link("/media", play)
    for on in ("read", "batch"):
        emulator.fault("patch_json", on=on, fields={"results": [link]}, times=-1)
    wanted = [{"prompt": f"clip {number}", "duration": 2} for number in range(8)]
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=wanted, destination=str(tmp_path))
    results = stage.run(batch)
    server.close()
    assert [result["request"]["prompt"] for result in results] == [one["prompt"] for one in wanted]
    assert [len(result["files"]) for result in results] == [1] * 8
    assert 3 <= play.peak <= WIDTH


@pytest.mark.parametrize("on_failed_job", ["fail_fast", "collect"])
def test_one_result_of_a_batch_that_cannot_be_fetched_costs_none_of_the_others(
    stage: Any, make: Any, emulator: EmulatorServer, tmp_path: Path, on_failed_job: str
) -> None:
    emulator.settings(estimated_time=60)
    server = gateways.Gateway()
    requests = [{"prompt": f"clip {number}", "duration": 2} for number in range(6)]
    given = {"model": "wan2.7-text-to-video", "requests": requests, "destination": str(tmp_path)}
    batch = make(EvoLinkBatchOperator, on_failed_job=on_failed_job, **given)
    with pytest.raises(TaskDeferred) as deferred:
        batch().execute(stage.context())
    bad = emulator.books()["jobs"][3]["id"]
    for on in ("read", "batch"):
        fields = {"results": [server.link("/bad", media.answer(410))]}
        emulator.fault("patch_json", on=on, path=bad if on == "read" else "", fields=fields, times=-1)
    with pytest.raises(EvoLinkMediaError, match=r"request \d of 6"):
        stage.resume(batch, deferred.value)
    server.link("/bad", media.answer(200, FILE))
    before = len(server.fetched("/bad"))
    results = stage.retry().run(batch)
    server.close()
    assert [len(result["files"]) for result in results] == [1] * 6
    assert len(emulator.books()["jobs"]) == 6
    assert len(server.fetched("/bad")) > before


# archives


def test_an_archive_of_several_files_and_jobs_copies_side_by_side_within_a_bound(
    narrow: Any, bucket: str, tmp_path: Path
) -> None:
    play = gateways.Counted(b"", 0)

    def wait() -> None:
        with play.while_open():
            time.sleep(0.15)

    narrow.before_copy = wait
    files = [in_bucket(staged(tmp_path, f"task-{job}", index), bucket) for job in range(4) for index in range(3)]
    archived = archive_files(files, root_of(f"s3://narrow@{bucket}/archive"), RUN, PLAIN)
    assert [(file["job_id"], file["index"]) for file in archived] == [(one["job_id"], one["index"]) for one in files]
    assert 3 <= play.peak <= WIDTH


def in_bucket(file: dict[str, Any], bucket: str) -> dict[str, Any]:
    path, kept = Path(file["uri"].removeprefix("file://")), {"evolink-sha256": file["sha256"]}
    target = root_of(f"s3://narrow@{bucket}/staging/{path.name}")
    publish(path, target, content_type="video/mp4", metadata=kept)
    return {**file, "uri": str(target)}


def test_one_job_that_cannot_be_archived_costs_none_of_the_others(tmp_path: Path) -> None:
    files = [staged(tmp_path / "staging", f"task-{number}") for number in range(4)]
    Path(files[2]["uri"].removeprefix("file://")).write_bytes(b"changed")
    root = root_of(tmp_path / "archive")
    with pytest.raises(EvoLinkMediaError, match=r"1 of 4 jobs could not be archived.*job 3 of 4 \(task-2\)"):
        archive_files(files, root, RUN, PLAIN)
    names = sorted(Path(name).name for name in files_in(tmp_path / "archive") if name.endswith(".mp4"))
    assert names == ["task-0-0.mp4", "task-1-0.mp4", "task-3-0.mp4"]
    before = files_in(tmp_path / "archive")
    files[2] = staged(tmp_path / "staging", "task-2")
    assert len(archive_files(files, root, RUN, PLAIN)) == 4
    assert before.items() <= files_in(tmp_path / "archive").items(), "what is archived stays as it is"


def test_of_equal_requests_archived_together_the_latest_is_found(tmp_path: Path) -> None:
    same = "f" * 32
    days = [f"2026-11-{day:02}T12:00:00+00:00" for day in range(1, 21)]
    files = [staged(tmp_path / "s", f"task-{day[8:10]}", created=day, fingerprint=same) for day in reversed(days)]
    archive_files(files, root_of(tmp_path / "archive"), RUN, PLAIN)
    (found,) = (tmp_path / "archive" / "_evolink" / "requests").rglob("*.json")
    assert json.loads(found.read_text())["job_id"] == "task-20"


def test_the_archive_operator_takes_the_files_of_many_jobs(stage: Any, gateway: Any, tmp_path: Path) -> None:
    files = download(jobs_of(gateway, 6, gateways.Counted(FILE, 0)), tmp_path / "staging")
    operator = EvoLinkArchiveOperator(
        task_id="archive", files=files, archive_path=str(tmp_path / "archive"), posters=False, **MAPPED
    )
    archived = operator.execute(stage.context())
    assert len({file["manifest"] for file in archived}) == 6
