"""Re-use: what is archived is not paid again, and equal requests at the same time are paid once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath, TaskDeferred

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkOrderStopped
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import reuse
from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkBatchOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.storage.archive import claims as claims_module
from airflow_provider_evolink.storage.archive.claims import Claims, ClaimState
from airflow_provider_evolink.storage.archive.index import find_request, lookup_path

Make = Callable[..., Callable[[], Any]]
SEEDED = {"prompt": "A paper boat in the rain", "duration": 2, "seed": 7}
OTHER = {**SEEDED, "seed": 8}


def orders(emulator: EmulatorServer) -> int:
    return int(emulator.books()["orders"])


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an archive on disk, or in S3."""
    if request.param == "file":
        return f"file://{tmp_path}/archive"
    return f"s3://store@{request.getfixturevalue('bucket')}/archive"


@pytest.fixture
def where(root: str) -> dict[str, Any]:
    """Return the arguments that allow re-use."""
    return {"reuse": "same_request", "archive_path": root}


@pytest.fixture
def fast(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> EmulatorServer:
    """Serve jobs that end at once, and wait little for claims."""
    emulator.settings(polls=0)
    monkeypatch.setattr(reuse, "CLAIM_PAUSE", 0.05)
    return emulator


def store(stage: Any, job: dict[str, Any], tmp_path: Path, root: str) -> list[dict[str, Any]]:
    """Download and archive a result."""
    staging = f"file://{tmp_path}/staging"
    files = EvoLinkDownloadOperator(task_id="download", job=job, destination=staging).execute(stage.context())
    archive = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=root)
    return list(archive.execute(stage.context()))


@pytest.fixture
def archived(stage: Any, make: Make, fast: EmulatorServer, tmp_path: Path, root: str) -> list[dict[str, Any]]:
    """Order a clip and archive it; the next run is another day."""
    files = store(stage, stage.run(make(parameters=SEEDED)), tmp_path, root)
    another_run(stage)
    return files


def another_run(stage: Any, name: str = "next") -> None:
    """Go on with the same task in another run, which has a ledger of its own."""
    stage.ti.run_id, stage.ti.try_number, stage.ti.max_tries = name, 1, stage.retries
    stage.store = type(stage.store)()


def test_what_is_archived_is_not_ordered_again(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    fast.fault("status", on="read", status=404, times=99)
    result = stage.run(make(parameters=SEEDED, **where))
    assert orders(fast) == 1
    assert json.loads(json.dumps(result)) == result
    assert result["reused"] is True
    assert result["results"] == [file["uri"] for file in archived]
    assert [file["sha256"] for file in result["files"]] == [file["sha256"] for file in archived]
    assert (result["job_id"], result["status"], result["kind"]) == (archived[0]["job_id"], "completed", "video")


def test_downloads_and_archives_take_a_reused_result_without_evolink(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any], tmp_path: Path
) -> None:
    result = stage.run(make(parameters=SEEDED, **where))
    fast.fault("status", on="read", status=404, times=99)
    staging = f"file://{tmp_path}/other"
    for _ in range(2):
        files = EvoLinkDownloadOperator(task_id="download", job=result, destination=staging).execute(stage.context())
        assert [file["sha256"] for file in files] == [file["sha256"] for file in archived]
        assert ObjectStoragePath(files[0]["uri"]).stat().st_size == files[0]["size"]
        assert files[0]["uri"].startswith(staging)
    again = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=where["archive_path"])
    assert [file["uri"] for file in again.execute(stage.context())] == [file["uri"] for file in archived]


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("another request", {"parameters": OTHER}),
        ("never", {"parameters": SEEDED, "reuse": "never"}),
        ("another deployment", {"parameters": SEEDED, "idempotency_namespace": "staging"}),
    ],
)
def test_another_request_is_ordered(
    stage: Any,
    make: Make,
    fast: EmulatorServer,
    archived: list[dict[str, Any]],
    where: dict[str, Any],
    change: str,
    given: dict[str, Any],
) -> None:
    result = stage.run(make(**{**where, **given}))
    assert orders(fast) == 2, change
    assert "reused" not in result


@pytest.mark.parametrize("chosen", ["argument", "setting"])
def test_deployments_of_one_name_share_what_is_archived_and_others_do_not(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str, chosen: str
) -> None:
    def order(name: str, **more: Any) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            if chosen == "setting":
                patch.setenv("AIRFLOW__EVOLINK__IDEMPOTENCY_NAMESPACE", name)
            else:
                more["idempotency_namespace"] = name
            return dict(stage.run(make(parameters=SEEDED, **more)))

    store(stage, order("production"), tmp_path, root)
    found = []
    for run, name in enumerate(("production", "staging", "")):
        another_run(stage, f"run {run}")
        found.append(order(name, **where).get("reused", False))
    assert found == [True, False, False]
    assert orders(fast) == 3


def test_without_a_seed_it_must_be_asked_for(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str
) -> None:
    unseeded = {name: value for name, value in SEEDED.items() if name != "seed"}
    store(stage, stage.run(make(parameters=unseeded)), tmp_path, root)
    another_run(stage)
    assert "reused" not in stage.run(make(parameters=unseeded, **where))
    another_run(stage, "third")
    assert stage.run(make(parameters=unseeded, reuse_unseeded=True, **where))["reused"] is True
    assert orders(fast) == 2


@pytest.mark.parametrize("harm", ["no file", "another size", "no manifest", "another request in the manifest"])
def test_a_result_that_is_not_there_in_full_is_ordered_again(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any], harm: str
) -> None:
    file, manifest = (ObjectStoragePath(archived[0][name]) for name in ("uri", "manifest"))
    if harm == "no file":
        file.unlink()
    elif harm == "another size":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fingerprint": "0" * 32}))
    assert "reused" not in stage.run(make(parameters=SEEDED, **where))
    assert orders(fast) == 2


def test_a_result_of_which_files_are_missing_is_not_reused_until_they_are_there(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str
) -> None:
    job = stage.run(make(parameters=SEEDED))
    download = EvoLinkDownloadOperator(task_id="download", job=job, destination=f"file://{tmp_path}/staging")
    (file,) = download.execute(stage.context())
    partial = {**file, "job": {**file["job"], "missing": [{"index": 1, "error": "EvoLinkLinkExpired: gone"}]}}
    EvoLinkArchiveOperator(task_id="archive", files=[partial], archive_path=root).execute(stage.context())
    another_run(stage)
    assert "reused" not in stage.run(make(parameters=SEEDED, **where))
    second = {**file, "index": 1}
    EvoLinkArchiveOperator(task_id="archive", files=[second], archive_path=root).execute(stage.context())
    another_run(stage, "third")
    assert len(stage.run(make(parameters=SEEDED, **where))["files"]) == 2


@pytest.mark.parametrize("manifest", ["../../../etc/passwd", "/etc/passwd", "", "a/../b", "./a"])
def test_an_edited_index_leads_nowhere_else(
    stage: Any,
    make: Make,
    fast: EmulatorServer,
    archived: list[dict[str, Any]],
    where: dict[str, Any],
    root: str,
    manifest: str,
) -> None:
    archive = ObjectStoragePath(root)
    path = next(iter((archive / "_evolink" / "requests").glob("*/*.json")))
    path.write_text(json.dumps({**json.loads(path.read_text()), "manifest": manifest}))
    assert "reused" not in stage.run(make(parameters=SEEDED, **where))


def test_a_clear_of_a_delivered_task_orders_anew(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str
) -> None:
    first = stage.run(make(parameters=SEEDED, **where))
    store(stage, first, tmp_path, root)
    again = stage.clear().run(make(parameters=SEEDED, **where))
    assert again["job_id"] != first["job_id"]
    assert orders(fast) == 2


def test_a_cleared_task_under_reuse_gets_its_archived_result_without_evolink(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str
) -> None:
    first = stage.run(make(parameters=SEEDED, **where))
    store(stage, first, tmp_path, root)
    again = stage.clear().run(make(parameters=SEEDED, on_clear="reuse", **where))
    assert (again["job_id"], again.get("reused")) == (first["job_id"], True)


def test_a_backfill_that_must_not_order_is_refused_first(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    plain = stage.context
    stage.context = lambda: plain() | {"dag_run": SimpleNamespace(run_type=SimpleNamespace(value="backfill"))}
    with pytest.raises(AirflowFailException, match="nothing is submitted"):
        stage.run(make(parameters=SEEDED, on_backfill="fail", **where))


def test_a_backfill_of_archived_days_orders_what_is_missing_only(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], tmp_path: Path, root: str
) -> None:
    days = [{**SEEDED, "prompt": f"A paper boat on day {day}"} for day in range(4)]
    for number, day in enumerate(days[:-1]):
        another_run(stage, f"first-{number}")
        store(stage, stage.run(make(parameters=day)), tmp_path, root)
    plain = stage.context
    stage.context = lambda: plain() | {"dag_run": SimpleNamespace(run_type=SimpleNamespace(value="backfill"))}
    for number, day in enumerate(days):
        another_run(stage, f"backfill-{number}")
        assert stage.run(make(parameters=day, on_backfill="reuse", **where))["status"] == "completed"
    assert orders(fast) == 4


def test_with_a_destination_the_files_are_copied_there(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any], tmp_path: Path
) -> None:
    result = stage.run(make(parameters=SEEDED, destination=f"file://{tmp_path}/here", **where))
    (file,) = result["files"]
    assert file["uri"].startswith(f"file://{tmp_path}/here/")
    assert ObjectStoragePath(file["uri"]).stat().st_size == file["size"]


def test_reuse_needs_an_archive(stage: Any, make: Make, fast: EmulatorServer) -> None:
    with pytest.raises((EvoLinkConfigError, AirflowFailException), match="reuse needs archive_path"):
        stage.run(make(parameters=SEEDED, reuse="same_request"))
    assert orders(fast) == 0


def test_a_batch_orders_what_is_not_archived(
    stage: Any, make: Make, fast: EmulatorServer, archived: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=[SEEDED, OTHER], parameters=None, **where)
    results = stage.run(batch)
    assert [result.get("reused", False) for result in results] == [True, False]
    assert orders(fast) == 2


def test_a_batch_that_was_deferred_keeps_what_it_reused(
    stage: Any, make: Make, archived: list[dict[str, Any]], slow: EmulatorServer, where: dict[str, Any]
) -> None:
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=[SEEDED, OTHER], parameters=None, **where)
    results = stage.run(batch)
    assert stage.deferrals
    assert [result.get("reused", False) for result in results] == [True, False]
    assert orders(slow) == 2


def test_equal_requests_of_a_batch_are_ordered_once(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any]
) -> None:
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=[SEEDED] * 3, parameters=None, **where)
    results = stage.run(batch)
    assert orders(slow) == 1
    assert len({result["job_id"] for result in results}) == 1


@pytest.mark.parametrize("first", ["batch", "single"])
def test_an_open_order_of_the_operator_that_was_replaced_comes_before_the_archive(
    stage: Any, make: Make, archived: list[dict[str, Any]], slow: EmulatorServer, where: dict[str, Any], first: str
) -> None:
    batch = make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=[SEEDED], parameters=None)
    single = make(parameters=SEEDED)
    with pytest.raises(TaskDeferred):
        (batch if first == "batch" else single)().execute(stage.context())
    assert orders(slow) == 2
    given = {"requests": [SEEDED], "parameters": None} if first == "single" else {"parameters": SEEDED}
    kind = [EvoLinkBatchOperator] if first == "single" else []
    result = stage.retry().run(make(*kind, model="wan2.7-text-to-video", **given, **where))
    (found,) = result if first == "single" else [result]
    assert "reused" not in found
    assert found["job_id"] == slow.books()["jobs"][-1]["id"] != archived[0]["job_id"]
    assert orders(slow) == 2


# Equal requests at the same time


def others(stage: Any, make: Make, number: int, **given: Any) -> Any:
    """Run the task as another task of the same DAG, with a store of its own."""
    other = type(stage)(**{**vars(stage), "store": type(stage.store)()})
    other.ti = type(stage.ti)(**{**vars(stage.ti), "map_index": number})
    return other.run(make(parameters=SEEDED, **given))


def test_equal_requests_at_once_are_ordered_once(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any]
) -> None:
    fast.settings(polls=2, estimated_time=1)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: others(stage, make, number, **where), range(8)))
    assert orders(fast) == 1
    assert len({result["job_id"] for result in results}) == 1
    assert all(result["results"] for result in results)


def claims_of(stage: Any, root: str, fingerprint: str, owner: list[Any]) -> Claims:
    return Claims(ObjectStoragePath(root), fingerprint, owner)


@pytest.fixture
def fingerprint(stage: Any, make: Make, fast: EmulatorServer) -> str:
    """Return the hash of the request, by an order in another run."""
    another_run(stage, "hash")
    found: str = stage.run(make(parameters=SEEDED))["fingerprint"]
    another_run(stage)
    return found


def test_a_claim_without_a_job_is_an_unknown_outcome_in_the_end(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], root: str, fingerprint: str
) -> None:
    claims_of(stage, root, fingerprint, ["dag", "run", "other_task", -1]).current(time.time() - 3600)
    with pytest.raises(AirflowFailException, match=r"claimed by another task .*dag run other_task") as unknown:
        stage.run(make(parameters=SEEDED, **where))
    assert "nothing is sent" in str(unknown.value)
    assert orders(fast) == 1, "the one of the fixture"


def test_a_claim_is_waited_for_until_it_names_its_job(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], root: str, fingerprint: str
) -> None:
    claims = claims_of(stage, root, fingerprint, ["dag", "run", "other_task", -1])
    claim = claims.current(time.time())
    job_id = fast.books()["jobs"][0]["id"]
    threading.Timer(0.5, lambda: claims.write(claim, ClaimState.SUBMITTED, job_id)).start()
    assert stage.run(make(parameters=SEEDED, **where))["job_id"] == job_id
    assert orders(fast) == 1


def test_the_own_claim_of_an_earlier_try_is_no_obstacle(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], root: str, fingerprint: str
) -> None:
    from airflow_provider_evolink.ledger.record import TaskIdentity

    owner = [*TaskIdentity.of(stage.context()).path]
    claims_of(stage, root, fingerprint, owner).current(time.time() - 3600)
    assert stage.retry().run(make(parameters=SEEDED, **where))["status"] == "completed"
    assert orders(fast) == 2


def test_a_refused_order_frees_its_claim(stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any]) -> None:
    fast.fault("status", on="submit", status=400)
    with pytest.raises(AirflowFailException):
        others(stage, make, 0, **where)
    assert others(stage, make, 1, **where)["status"] == "completed"
    assert orders(fast) == 1


def test_a_refused_order_frees_no_claim_that_another_try_has_just_renewed(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, written = Claims.renew, []

    def and_another_try(self: Claims, claim: Any, now: float) -> Any:
        own = renew(self, claim, now)
        written.append(renew(self, own, now + 1))
        return own

    monkeypatch.setattr(Claims, "renew", and_another_try)
    fast.fault("status", on="submit", status=400)
    with pytest.raises(AirflowFailException):
        others(stage, make, 0, **where)
    monkeypatch.setattr(reuse, "CLAIM_GRACE", -1000.0)
    with pytest.raises(AirflowFailException, match="claimed by another task"):
        others(stage, make, 1, **where)
    assert written[0].state is ClaimState.CLAIMED
    assert orders(fast) == 0


@pytest.mark.parametrize("other", ["freed", "renewed", "freed while it is renewed"])
def test_a_claim_that_another_try_has_freed_or_renewed_is_not_used(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    take, publish = reuse.Reuse._take_turn, claims_module.publish_json

    def taken(self: Any, record: Any) -> Any:
        turn = take(self, record)
        if other == "freed":
            assert self._claims.free(turn.claim)
        elif other == "renewed":
            self._claims.renew(turn.claim, turn.claim.claimed_at + 1)
        return turn

    def overtaken(value: dict[str, Any], path: Any) -> None:
        publish(value, path)
        if other == "freed while it is renewed":
            publish({**value, "state": "over"}, path)

    monkeypatch.setattr(reuse.Reuse, "_take_turn", taken)
    monkeypatch.setattr(claims_module, "publish_json", overtaken)
    with pytest.raises(EvoLinkOrderStopped, match="another try of this task has taken over or freed"):
        others(stage, make, 0, **where)
    assert orders(fast) == 0


def test_a_failed_job_frees_its_claim(stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any]) -> None:
    fast.fault("job_fails", on="submit")
    with pytest.raises(Exception, match="failed"):
        others(stage, make, 0, **where)
    assert others(stage, make, 1, **where)["status"] == "completed"
    assert orders(fast) == 2


def test_an_order_of_unknown_outcome_keeps_its_claim(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast.fault("lost_answer", on="submit")
    with pytest.raises(AirflowFailException):
        others(stage, make, 0, **where)
    monkeypatch.setattr(reuse, "CLAIM_GRACE", -1000.0)
    with pytest.raises(AirflowFailException, match="claimed by another task"):
        others(stage, make, 1, **where)
    assert orders(fast) == 1


def test_an_order_that_was_found_again_is_named_in_its_claim(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    """The try that submitted died before it could name its job; the next one attaches, and the others as well."""
    with monkeypatch.context() as dying:
        dying.setattr(reuse._OwnClaim, "settle", lambda *_: None)
        with pytest.raises(TaskDeferred):
            make(parameters=SEEDED, **where)().execute(stage.context())
    found = stage.retry().run(make(parameters=SEEDED, **where))
    assert others(stage, make, 1, **where)["job_id"] == found["job_id"]
    assert orders(slow) == 1


def test_an_attached_job_is_delivered_whatever_has_become_of_the_archive(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(TaskDeferred):
        make(parameters=SEEDED, **where)().execute(stage.context())
    (tmp_path / "file").write_text("x")
    gone = {**where, "archive_path": f"file://{tmp_path}/file/archive"}
    assert stage.retry().run(make(parameters=SEEDED, **gone))["status"] == "completed"
    assert orders(slow) == 1


READ_ONCE = {
    "a 404 shortly after the order": {"kind": "status", "on": "read", "status": 404},
    "a failure that is not confirmed": {"kind": "patch_json", "fields": {"status": "failed"}},
    "no links yet": {"kind": "no_results", "as": "empty"},
    "a server error": {"kind": "status", "on": "read", "status": 503, "times": 3},
}


@pytest.mark.parametrize("reading", READ_ONCE)
def test_one_reading_of_a_claimed_job_frees_no_claim(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], reading: str
) -> None:
    first = others(stage, make, 0, **where)
    fast.fault(**READ_ONCE[reading])
    assert others(stage, make, 1, **where)["job_id"] == first["job_id"]
    assert orders(fast) == 1


def test_a_claimed_job_that_is_gone_for_now_stops_the_others(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    others(stage, make, 0, **where)
    monkeypatch.setattr(reuse, "CLAIM_GRACE", -1000.0)
    fast.fault("status", on="read", status=404, times=-1)
    with pytest.raises(Exception, match=r"not found|does not exist|cannot be read"):
        others(stage, make, 1, **where)
    assert orders(fast) == 1


def test_an_order_of_unknown_outcome_keeps_its_claim_without_a_record_too(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast.fault("lost_answer", on="submit")
    with pytest.raises(AirflowFailException):
        others(stage, make, 0, durable=False, **where)
    monkeypatch.setattr(reuse, "CLAIM_GRACE", -1000.0)
    with pytest.raises(AirflowFailException, match="claimed by another task"):
        others(stage, make, 1, durable=False, **where)
    assert orders(fast) == 1


def test_a_refused_order_without_a_record_frees_its_claim(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any]
) -> None:
    fast.fault("status", on="submit", status=400)
    with pytest.raises(AirflowFailException):
        others(stage, make, 0, durable=False, **where)
    assert others(stage, make, 1, durable=False, **where)["status"] == "completed"
    assert orders(fast) == 1


def test_a_claim_is_not_waited_for_longer_than_an_order_takes_whatever_the_clocks_say(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], root: str, fingerprint: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(reuse, "CLAIM_GRACE", -29.0)  # of the 30 s that submitting may take
    claims_of(stage, root, fingerprint, ["dag", "run", "other_task", -1]).current(time.time() + 2400)
    with pytest.raises(AirflowFailException, match="claimed by another task"):
        stage.run(make(parameters=SEEDED, **where))


def test_a_claim_that_names_a_strangers_job_is_refused(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], root: str, fingerprint: str
) -> None:
    another_run(stage, "stranger")
    stranger = stage.run(make(model="z-image-turbo", parameters={"prompt": "A stranger"}))["job_id"]
    another_run(stage)
    claims = claims_of(stage, root, fingerprint, ["dag", "run", "other_task", -1])
    claims.write(claims.current(time.time()), ClaimState.SUBMITTED, stranger)
    with pytest.raises(AirflowFailException, match="names a job that is not of it"):
        stage.run(make(parameters=SEEDED, **where))


def test_a_joined_job_is_counted_by_the_task_that_ordered(
    stage: Any, make: Make, fast: EmulatorServer, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(
        "airflow_provider_evolink.execution.generation.count_credits", lambda _, what, job: counted.append(what)
    )
    others(stage, make, 0, **where)
    others(stage, make, 1, **where)
    assert counted == ["credits_charged"]


def test_a_lookup_of_a_request_is_one_object(archived: list[dict[str, Any]], root: str) -> None:
    archive = ObjectStoragePath(root)
    path = next(iter((archive / "_evolink" / "requests").glob("*/*.json")))
    found = find_request(archive, path.name.removesuffix(".json"))
    assert found is not None
    assert lookup_path(archive, found.fingerprint) == path


def test_a_retry_that_was_deferred_does_not_order(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any]
) -> None:
    with pytest.raises(TaskDeferred):
        make(parameters=SEEDED, **where)().execute(stage.context())
    assert stage.retry().run(make(parameters=SEEDED, **where))["status"] == "completed"
    assert orders(slow) == 1
