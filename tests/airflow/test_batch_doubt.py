"""What a batch knows of its orders may be old or in part: that costs reads, and never a job that was paid for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from PIL import Image

from airflow_provider_evolink.api.errors import EvoLinkJobFailed
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import batch_records
from airflow_provider_evolink.ledger.batch_index import FolderIndex, StateIndex
from airflow_provider_evolink.operators import EvoLinkBatchOperator

Batch = Callable[..., Callable[[], Any]]
COUNT = 8


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    """Return a picture for each request."""
    found = [tmp_path / f"frame{number}.png" for number in range(COUNT)]
    for number, path in enumerate(found):
        Image.new("RGB", (640, 640), (number * 20, 9, 9)).save(path)
    return found


@pytest.fixture
def batch(
    make: Any, tmp_path: Path, emulator: EmulatorServer, frames: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Batch:
    """Return a function that makes a batch of eight long jobs, large enough for an index, with both stores."""
    monkeypatch.setattr(batch_records, "INDEX_FROM", 2)
    monkeypatch.setattr(batch_records, "INDEX_EVERY", 2)
    emulator.settings(polls=50, estimated_time=600, idempotency=False)
    requests = [{"prompt": f"clip {n}", "duration": 2, "image_start": str(path)} for n, path in enumerate(frames)]
    given = {"model": "wan2.7-image-to-video", "parameters": None, "ledger_path": f"file://{tmp_path}/ledger"}
    return lambda **more: make(EvoLinkBatchOperator, **{"requests": requests, **given, **more})


def wait_of(stage: Any, operator: Callable[[], Any]) -> TaskDeferred:
    """Run a try until its jobs are waited for."""
    with pytest.raises(TaskDeferred) as raised:
        operator().execute(stage.context())
    return raised.value


def resume(stage: Any, operator: Callable[[], Any], wait: TaskDeferred, running: list[str]) -> Any:
    """Resume after all but some jobs have ended."""
    event = {"running": running, "without_result": {}, "state": json.loads(json.dumps(wait.trigger.state))}
    return operator().resume_execution(wait.method_name, {"event": event}, stage.context())


def jobs_of(wait: TaskDeferred) -> list[str]:
    """Return the jobs that a wait is about."""
    return [job[0] for job in wait.trigger.jobs]


@pytest.mark.parametrize("where", ["folder", "state"])
def test_an_index_that_names_the_job_before_the_last_does_not_end_a_batch(
    stage: Any, batch: Batch, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A job fails, the next try orders another, and the index, written at best effort, still has the first."""
    operator = batch(**({} if where == "folder" else {"ledger_path": None}))
    emulator.fault("job_fails", code="service_error", after=1)
    with pytest.raises(EvoLinkJobFailed):
        stage.run(operator)
    for index in (FolderIndex, StateIndex):
        monkeypatch.setattr(index, "write", lambda *_: None)
    stage.retry()
    wait = wait_of(stage, operator)
    orders, jobs = emulator.books()["orders"], jobs_of(wait)
    with pytest.raises(TaskDeferred) as again:
        resume(stage, operator, wait, jobs[-6:])
    assert jobs_of(again.value) == jobs[-6:]
    assert emulator.books()["orders"] == orders


LOST: dict[str, Callable[[Any, Path], Any]] = {
    "nothing": lambda *_: None,
    "the files of the folder": lambda _, folder: [path.unlink() for path in folder.rglob("*.json")],
    "the entries of the task state store": lambda stage, _: stage.store.rows.clear(),
}


@pytest.mark.parametrize("wrong", ["files are gone", "the budget is used up"])
@pytest.mark.parametrize("lose", LOST.values(), ids=list(LOST))
def test_what_is_wrong_now_holds_back_no_job_that_was_ordered(
    stage: Any,
    batch: Batch,
    emulator: EmulatorServer,
    frames: list[Path],
    tmp_path: Path,
    lose: Callable[[Any, Path], Any],
    wrong: str,
) -> None:
    jobs = jobs_of(wait_of(stage, batch()))
    lose(stage, tmp_path / "ledger")
    more: dict[str, Any] = {}
    if wrong == "files are gone":
        for frame in frames:
            frame.unlink()
    else:
        more = {"max_credits": 1}
    stage.retry()
    assert jobs_of(wait_of(stage, batch(**more))) == jobs
    assert emulator.books()["orders"] == len(jobs)


@pytest.mark.parametrize("are_gone", [False, True])
def test_an_index_keeps_what_this_worker_has_not_read_and_the_next_try_finds_all(
    stage: Any, batch: Batch, emulator: EmulatorServer, frames: list[Path], tmp_path: Path, are_gone: bool
) -> None:
    operator = batch(max_active=6)
    wait = wait_of(stage, operator)
    jobs = jobs_of(wait)
    for job in jobs[1:]:
        emulator.job(job, state="completed")
    emulator.fault("status", on="submit", status=429, times=-1)
    for _ in range(2):
        with pytest.raises(TaskDeferred) as raised:
            resume(stage, operator, wait, jobs[:1])
        wait = raised.value
    (index,) = tmp_path.rglob("*.batch.json")
    assert sorted(map(int, json.loads(index.read_text())["records"])) == list(range(6))
    document = json.loads(index.read_text())
    index.write_text(json.dumps({**document, "records": {"0": document["records"]["0"]}}))  # an old one
    for frame in frames[:6] if are_gone else ():
        frame.unlink()
    stage.retry()
    wait = wait_of(stage, batch(max_active=1))
    assert jobs_of(wait) == jobs[:1]
    assert wait.trigger.state["waiting"] == [6, 7]
    assert emulator.books()["orders"] == 6


@pytest.mark.parametrize("count", [COUNT - 3, COUNT + 3])
def test_requests_that_became_more_or_fewer_during_the_wait_are_an_error_that_says_so(
    stage: Any, batch: Batch, emulator: EmulatorServer, frames: list[Path], count: int
) -> None:
    wait = wait_of(stage, batch())
    requests = [{"prompt": f"clip {n}", "duration": 2, "image_start": str(frames[0])} for n in range(count)]
    with pytest.raises(AirflowFailException, match=f"there were {COUNT} requests .* and there are {count} now"):
        resume(stage, batch(requests=requests), wait, [])
    assert emulator.books()["orders"] == COUNT
