"""A task gets the result of its own request: swapped operators, changed inputs, two orders in one try."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred
from evolink_support import MAPPED
from PIL import Image

from airflow_provider_evolink.api.http import wire
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution import submission
from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkTextToVideoOperator

Make = Callable[..., Callable[[], Any]]
MODEL = "wan2.7-text-to-video"
REQUESTS = [{"prompt": f"A paper boat, number {number}", "duration": 2} for number in range(3)]
OTHER = {"prompt": "A steam train", "duration": 2}


def orders(emulator: EmulatorServer) -> int:
    return int(emulator.books()["orders"])


def job_ids(emulator: EmulatorServer) -> list[str]:
    return [job["id"] for job in emulator.books()["jobs"]]


def single(make: Make, request: dict[str, Any], **arguments: Any) -> Callable[[], Any]:
    return make(model=MODEL, parameters=request, **arguments)


def batch(make: Make, requests: list[dict[str, Any]], **arguments: Any) -> Callable[[], Any]:
    return make(EvoLinkBatchOperator, model=MODEL, requests=requests, parameters=None, **arguments)


def interrupt(stage: Any, operator: Callable[[], Any]) -> None:
    """Run a try until its orders are out; the worker is gone after that."""
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())


@pytest.fixture(params=["task state store", "ledger folder"])
def where(request: pytest.FixtureRequest, stage: Any, tmp_path: Path) -> dict[str, Any]:
    """Where the records are: Airflow's store, or a folder alone."""
    if request.param == "task state store":
        return {}
    stage.store = None
    return {"ledger_path": f"file://{tmp_path / 'ledger'}"}


@pytest.mark.parametrize("begin", ["retry", "clear"])
@pytest.mark.parametrize("number", [0, 2])
def test_a_single_request_that_was_one_of_a_batch_gets_its_job(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], number: int, begin: str
) -> None:
    interrupt(stage, batch(make, REQUESTS, **where))
    result = getattr(stage, begin)().run(single(make, REQUESTS[number], **where))
    assert orders(slow) == 3
    assert result["request"]["prompt"] == REQUESTS[number]["prompt"]


@pytest.mark.parametrize("begin", ["retry", "clear"])
def test_a_batch_attaches_to_the_job_of_the_single_request(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], begin: str
) -> None:
    interrupt(stage, single(make, REQUESTS[1], **where))
    results = getattr(stage, begin)().run(batch(make, REQUESTS, **where))
    assert orders(slow) == 3
    assert [result["request"]["prompt"] for result in results] == [request["prompt"] for request in REQUESTS]


@pytest.mark.parametrize("begin", ["retry", "clear"])
def test_other_requests_of_a_batch_refuse_a_single_one_and_are_named(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], begin: str
) -> None:
    interrupt(stage, batch(make, REQUESTS, **where))
    with pytest.raises(AirflowFailException) as refused:
        getattr(stage, begin)().run(single(make, OTHER, **where))
    assert orders(slow) == 3
    assert all(job_id in str(refused.value) for job_id in job_ids(slow))


@pytest.mark.parametrize("begin", ["retry", "clear"])
def test_another_single_request_refuses_a_batch_and_is_named(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], begin: str
) -> None:
    interrupt(stage, single(make, OTHER, **where))
    with pytest.raises(AirflowFailException, match=job_ids(slow)[0]):
        getattr(stage, begin)().run(batch(make, REQUESTS, **where))
    assert orders(slow) == 1


def test_an_operator_that_was_swapped_and_swapped_back_pays_once(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any]
) -> None:
    interrupt(stage, single(make, REQUESTS[0], **where))
    for operator in (batch(make, REQUESTS[:1], **where), single(make, REQUESTS[0], **where)):
        with suppress(TaskDeferred):
            stage.retry()
            operator().execute(stage.context())
    first = stage.retry().run(batch(make, REQUESTS[:1], **where))[0]
    assert orders(slow) == 1
    again = stage.clear().run(single(make, REQUESTS[0], **where))
    assert orders(slow) == 2, "the result was delivered, so a clear wants a new one"
    assert again["job_id"] != first["job_id"]


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_order_that_the_other_operator_delivered_is_over_for_both(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], batch_first: bool
) -> None:
    operators = [single(make, REQUESTS[0], **where), batch(make, REQUESTS[:1], **where)]
    first, second = reversed(operators) if batch_first else operators
    interrupt(stage, first)
    stage.retry().run(second)
    assert orders(slow) == 1
    stage.clear().run(first)
    assert orders(slow) == 2, "the result was delivered, so a clear wants a new one"


def test_a_request_whose_upload_was_refused_hides_no_order_of_the_batch(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any], tmp_path: Path
) -> None:
    files = []
    for number, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (640, 360), color).save(tmp_path / f"{number}.png")
        files.append({"image_start": f"file://{tmp_path}/{number}.png", "prompt": "A boat", "duration": 2})
    which = {"model": "wan2.7-image-to-video", "parameters": None, **where}
    slow.fault("status", on="upload", status=422)
    interrupt(stage, make(EvoLinkBatchOperator, requests=files, on_failed_job="collect", **which))
    assert orders(slow) == 2
    result = stage.retry().run(make(**{**which, "parameters": files[2]}))
    assert orders(slow) == 2
    assert result["job_id"] == job_ids(slow)[1]


def test_an_order_of_unknown_outcome_is_not_paid_again_by_the_other_operator(
    stage: Any, make: Make, slow: EmulatorServer, where: dict[str, Any]
) -> None:
    slow.fault("lost_answer", on="submit")
    with pytest.raises(AirflowFailException):
        stage.run(single(make, REQUESTS[0], **where))
    for operator in (batch(make, REQUESTS, **where), batch(make, [OTHER], **where)):
        with pytest.raises(AirflowFailException):
            stage.retry().run(operator)
    assert orders(slow) == 1


@pytest.mark.parametrize("begin", ["clear", "backfill", "retry"])
def test_the_result_of_other_inputs_is_not_handed_on(
    stage: Any, make: Make, emulator: EmulatorServer, where: dict[str, Any], begin: str
) -> None:
    policies = {"clear": {"on_clear": "reuse"}, "backfill": {"on_backfill": "reuse"}, "retry": {}}[begin]
    first = stage.run(single(make, REQUESTS[0], **policies, **where))
    if begin == "backfill":
        plain = stage.context
        stage.context = lambda: plain() | {"dag_run": SimpleNamespace(run_type=SimpleNamespace(value="backfill"))}
    begin_next = stage.retry if begin == "retry" else stage.clear
    with pytest.raises(AirflowFailException, match="the inputs of this task have changed") as refused:
        begin_next().run(single(make, OTHER, **policies, **where))
    assert first["job_id"] in str(refused.value)
    assert orders(emulator) == 1
    assert begin_next().run(single(make, REQUESTS[0], **policies, **where))["job_id"] == first["job_id"]


@pytest.mark.parametrize("ended", [True, False])
def test_a_second_request_in_one_try_is_refused(
    stage: Any, make: Make, emulator: EmulatorServer, where: dict[str, Any], ended: bool
) -> None:
    if ended:
        stage.run(single(make, REQUESTS[0], **where))
    else:
        interrupt(stage, single(make, REQUESTS[0], defer_after=0, **where))
    with pytest.raises(AirflowFailException, match=r"this try has already submitted another request.*EvoLinkBatchOp"):
        stage.run(single(make, REQUESTS[1], **where))
    assert orders(emulator) == 1


@pytest.mark.parametrize("policy", ["fail", "resubmit", "replay", "reconcile"])
def test_a_second_request_after_one_of_unknown_outcome_is_refused(
    stage: Any, make: Make, emulator: EmulatorServer, policy: str
) -> None:
    emulator.fault("lost_answer", on="submit")
    with pytest.raises(AirflowFailException):
        stage.run(single(make, REQUESTS[0]))
    with pytest.raises(AirflowFailException, match="this try has already submitted another request"):
        stage.run(single(make, REQUESTS[1], on_unknown_submit=policy))
    assert orders(emulator) == 1


STRANGERS = [
    {"model": "wan2.7-image-to-video", "parameters": {"image_start": "https://example.com/a.png"}},
    {"model": "z-image-turbo", "parameters": {"prompt": "A lighthouse"}},
]


def stranger(stage: Any, make: Make, emulator: EmulatorServer, **arguments: Any) -> str:
    """Order a job in another task of the account, and return its id."""
    known = set(job_ids(emulator))
    with suppress(TaskDeferred):
        make(durable=False, **arguments)().execute({"ti": SimpleNamespace(**{**vars(stage.ti), "task_id": "theirs"})})
    (job_id,) = set(job_ids(emulator)) - known
    return job_id


def edit(stage: Any, **changes: Any) -> None:
    stage.store.set("evolink_generation", stage.store.record | changes)


@pytest.mark.parametrize("ends", ["completed", "failed"])
@pytest.mark.parametrize("theirs", STRANGERS, ids=lambda order: order["model"])
def test_a_record_that_names_a_job_of_another_model_gives_neither_its_result_nor_an_order(
    stage: Any, make: Make, slow: EmulatorServer, theirs: dict[str, Any], ends: str
) -> None:
    interrupt(stage, single(make, REQUESTS[0]))
    job_id = stranger(stage, make, slow, **theirs)
    slow.job(job_id, state=ends, **({"code": "service_error"} if ends == "failed" else {}))
    edit(stage, job_id=job_id)
    with pytest.raises(AirflowFailException, match="names a job that is not its order") as refused:
        stage.retry().run(single(make, REQUESTS[0]))
    assert job_id in str(refused.value)
    assert orders(slow) == 2


@pytest.mark.parametrize("known", [True, False])
def test_a_record_that_names_a_job_of_another_time_does_not_give_its_result(
    stage: Any, make: Make, slow: EmulatorServer, known: bool
) -> None:
    interrupt(stage, single(make, REQUESTS[0]))
    ordered_at = stage.store.record["ordered_at"] - 3 * 86400
    edit(stage, ordered_at=ordered_at, newest_job_created=ordered_at if known else 0.0)
    with pytest.raises(AirflowFailException, match="created at another time"):
        stage.retry().run(single(make, REQUESTS[0], timeout=7 * 86400))
    assert orders(slow) == 1


def test_a_worker_whose_clock_is_wrong_by_hours_still_finds_its_own_job(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    interrupt(stage, single(make, REQUESTS[0]))
    edit(stage, ordered_at=stage.store.record["ordered_at"] - 30 * 3600)
    result = stage.retry().run(single(make, REQUESTS[0], timeout=40 * 3600))
    assert (result["job_id"], orders(slow)) == (job_ids(slow)[0], 1)


@pytest.mark.parametrize("name", ["ordered_at", "newest_job_created", "order_number", "revision", "attempt"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e300, 10**20, "x", [], None])
def test_a_number_out_of_range_in_a_record_orders_nothing(
    stage: Any, make: Make, slow: EmulatorServer, name: str, value: Any
) -> None:
    interrupt(stage, single(make, REQUESTS[0]))
    edit(stage, **{name: value})
    with pytest.raises(AirflowFailException, match="not readable"):
        stage.retry().run(single(make, REQUESTS[0]))
    assert orders(slow) == 1


def test_reconcile_takes_no_job_of_another_model(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EvoLink need not know the filter by model: it is not documented."""
    monkeypatch.setattr(wire, "list_jobs", lambda model: wire.Call("job list", "GET", "/v1/tasks?page=1&page_size=50"))
    monkeypatch.setattr(submission, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    emulator.settings(idempotency=False)
    emulator.fault("status", status=500, on="submit")
    with pytest.raises(AirflowFailException):
        stage.run(single(make, REQUESTS[0]))
    stranger(stage, make, emulator, **STRANGERS[0])
    with pytest.raises(AirflowFailException, match="0 could be it"):
        stage.retry().run(single(make, REQUESTS[0], on_unknown_submit="reconcile"))
    assert orders(emulator) == 1


@pytest.mark.parametrize(
    "path",
    ["", "  ", "ledger", "./ledger", "../ledger", "file://ledger", "None", "{{ var.value.ledger }}", "s3://b/{{ ds }}"],
)
@pytest.mark.parametrize("operator", [single, batch])
def test_a_ledger_path_that_another_worker_would_read_otherwise_orders_nothing(
    stage: Any,
    make: Make,
    emulator: EmulatorServer,
    operator: Any,
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    request = REQUESTS[0] if operator is single else REQUESTS
    with pytest.raises(AirflowFailException, match="ledger_path must be an absolute path"):
        stage.run(operator(make, request, ledger_path=path, **MAPPED))
    assert emulator.books()["requests"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [str, Path, lambda path: f"file://{path}"])
def test_an_absolute_ledger_path_in_any_form_is_found_by_the_retry(
    stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    stage.store = None
    interrupt(stage, single(make, REQUESTS[0], ledger_path=kind(tmp_path)))
    assert stage.retry().run(single(make, REQUESTS[0], ledger_path=kind(tmp_path)))["job_id"] == job_ids(slow)[0]
    assert orders(slow) == 1


def test_a_ledger_path_is_a_template(make: Make, tmp_path: Path) -> None:
    operator = single(make, REQUESTS[0], ledger_path="file://{{ root }}/ledger")()
    operator.render_template_fields({"root": str(tmp_path)})
    assert operator.ledger_path == f"file://{tmp_path}/ledger"


@pytest.mark.parametrize("left", ["", "  ", None, []])
@pytest.mark.parametrize("how", ["argument", "parameters", "mapped"])
def test_media_of_which_rendering_leaves_nothing_are_refused(
    stage: Any, emulator: EmulatorServer, evolink_conn: str, how: str, left: Any
) -> None:
    """Without its sound it would be another clip, and a paid one."""

    def operator() -> Any:
        arguments: dict[str, Any] = {"prompt": "A paper boat"}
        arguments |= {"parameters": {"audio_urls": "{{ x }}"}} if how == "parameters" else {"audio_urls": "{{ x }}"}
        if how == "mapped":
            return EvoLinkTextToVideoOperator(
                **arguments | {"audio_urls": left}, task_id="t", _airflow_from_mapped=True
            )
        made = EvoLinkTextToVideoOperator(task_id="t", dag=DAG("d", render_template_as_native_obj=True), **arguments)
        made.render_template_fields({"x": left})
        return made

    with pytest.raises(AirflowFailException, match="audio_urls"):
        stage.run(operator)
    assert emulator.books()["orders"] == 0


def test_media_that_are_not_given_are_not_missed(stage: Any, emulator: EmulatorServer, evolink_conn: str) -> None:
    made = EvoLinkTextToVideoOperator(task_id="t", prompt="A paper boat", audio_urls=None, parameters={"seed": None})
    made.render_template_fields({})
    assert stage.run(lambda: made)["status"] == "completed"


def test_a_model_that_evolink_calls_otherwise_is_still_the_own_job(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    """EvoLink may answer with another known name; it is that of the order, and not of a stranger's job."""
    slow.fault("patch_json", on="submit", fields={"model": "wan2.7-image-to-video"}, times=1)
    interrupt(stage, single(make, REQUESTS[0]))
    slow.fault("patch_json", on="read", fields={"model": "wan2.7-image-to-video"}, times=-1)
    slow.fault("patch_json", on="batch", fields={"model": "wan2.7-image-to-video"}, times=-1)
    assert stage.retry().run(single(make, REQUESTS[0]))["job_id"] == job_ids(slow)[0]
    assert orders(slow) == 1
