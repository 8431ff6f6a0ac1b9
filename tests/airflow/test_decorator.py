"""``@task.evolink``: the function is asked once per order, and what it returns is sent as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred, task
from PIL import Image

from airflow_provider_evolink.api.errors import EvoLinkJobFailed
from airflow_provider_evolink.decorators.evolink import _EvoLinkDecoratedOperator
from airflow_provider_evolink.emulator.server import EmulatorServer

MODEL = "wan2.7-text-to-video"
LITERAL = "{{ ds }} {% if x %} {# no template #} xylophonist"


class Writer:
    """A function that never returns the same twice."""

    def __init__(self, **more: Any) -> None:
        self.calls = 0
        self.more = more

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return {"prompt": f"take {self.calls} {LITERAL}", "duration": 2, **self.more}


class XComs:
    """What a task instance keeps in XCom; cleared when a try begins, as Airflow does."""

    def __init__(self, ti: Any) -> None:
        self.rows: dict[str, Any] = {}
        ti.xcom_push = self._push
        ti.xcom_pull = lambda task_ids, key, map_indexes: self.rows.get(key)

    def _push(self, key: str, value: Any) -> None:
        self.rows[key] = value


@pytest.fixture
def xcoms(stage: Any) -> XComs:
    return XComs(stage.ti)


@pytest.fixture
def write() -> Writer:
    return Writer()


@pytest.fixture
def decorated(write: Writer) -> Callable[..., Callable[[], Any]]:
    """Return a maker of makers: each call of the inner one is a new operator, as in a new process."""

    def maker(function: Any = write, **given: Any) -> Callable[[], Any]:
        common = {"task_id": "task", "retries": 1, "poll_interval": 0.05, "model": MODEL}
        return lambda: _EvoLinkDecoratedOperator(python_callable=function, **{**common, **given})

    return maker


def prompts(emulator: EmulatorServer) -> list[str]:
    return [job["body"]["prompt"] for job in emulator.books()["jobs"]]


def test_airflow_knows_the_decorator() -> None:
    with DAG("dag"):

        @task.evolink(model="gpt-image-2", kind="image")
        def picture(what: str) -> dict[str, Any]:
            return {"prompt": what}

        made = picture("a boat")
    operator = made.operator
    assert isinstance(operator, _EvoLinkDecoratedOperator)
    assert (operator.task_id, operator.model, operator.kind, operator.op_args) == (
        "picture",
        "gpt-image-2",
        "image",
        ("a boat",),
    )
    assert "parameters" not in operator.template_fields
    assert {"op_args", "op_kwargs", "model", "destination"} <= set(operator.template_fields)


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_function_is_called_once_and_its_words_are_sent_as_they_are(
    stage: Any, slow: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs, deferrable: bool
) -> None:
    result = stage.run(decorated(deferrable=deferrable))

    assert write.calls == 1
    assert bool(stage.deferrals) is deferrable
    assert prompts(slow) == [f"take 1 {LITERAL}"]
    assert result["request"] == {"model": MODEL, "prompt": f"take 1 {LITERAL}", "duration": 2}


class AsyncWriter(Writer):
    """The same, as something to await."""

    async def __call__(self) -> dict[str, Any]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().__call__()


async def returns_a_list() -> Any:
    return ["prompt"]


async def raises() -> Any:
    raise LookupError("no such product")


async def yields() -> Any:
    yield {"prompt": "p"}


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_is_awaited_is_called_once_too(
    stage: Any, slow: EmulatorServer, decorated: Any, xcoms: XComs, deferrable: bool
) -> None:
    write = AsyncWriter()
    result = stage.run(decorated(write, deferrable=deferrable))
    assert (write.calls, prompts(slow)) == (1, [f"take 1 {LITERAL}"])
    assert result["request"]["prompt"] == f"take 1 {LITERAL}"
    stage.retry()
    assert stage.run(decorated(write))["job_id"] == result["job_id"]
    assert write.calls == 1


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (returns_a_list, AirflowFailException, "must return a dict of the request's fields, not list"),
        (yields, AirflowFailException, "must return a dict of the request's fields, not async_generator"),
        (raises, LookupError, "no such product"),
    ],
)
def test_an_async_function_fails_as_a_plain_one_does(
    stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs, function: Any, error: Any, text: str
) -> None:
    with pytest.raises(error, match=text):
        stage.run(decorated(function))
    assert emulator.books()["orders"] == 0


async def test_it_is_awaited_where_an_event_loop_runs_already(
    stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs
) -> None:
    """In a notebook, for instance."""
    write = AsyncWriter()
    assert decorated(write, deferrable=False)().execute(stage.context())["status"] == "completed"
    assert write.calls == 1


def test_what_is_awaited_has_the_context_variables_of_the_task(
    stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs
) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")

    async def clip() -> dict[str, Any]:
        return {"prompt": variable.get(), "duration": 2}

    variable.set("the task's own")
    stage.run(decorated(clip))
    assert prompts(emulator) == ["the task's own"]


def test_rendering_templates_leaves_the_request_alone(stage: Any, emulator: EmulatorServer, xcoms: XComs) -> None:
    with DAG("dag"):

        @task.evolink(model=MODEL, task_id="task", poll_interval=0.05, destination="{{ where }}")
        def clip(scene: str) -> dict[str, Any]:
            return {"prompt": "{{ ds }} " + scene, "duration": 2}

        operator = clip("{{ scene }}").operator
    operator.render_template_fields({"where": "", "scene": "a boat", "ds": "2026-11-21"})
    operator.execute(stage.context())

    assert prompts(emulator) == ["{{ ds }} a boat"]


@pytest.mark.parametrize("durable_try", ["waits", "resumes"])
def test_a_retry_attaches_and_does_not_call_again(
    stage: Any, slow: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs, durable_try: str
) -> None:
    slow.settings(polls=10_000, estimated_time=60)
    with pytest.raises(TaskDeferred) as deferred:
        decorated()().execute(stage.context())
    job_id = slow.books()["jobs"][0]["id"]
    slow.job(job_id, state="completed")
    if durable_try == "waits":
        stage.retry()
        xcoms.rows.clear()
        result = stage.run(decorated())
        assert result["request"] is None
    else:
        result = stage.resume(decorated(), deferred.value)
        assert result["request"]["prompt"] == f"take 1 {LITERAL}"

    assert (write.calls, result["job_id"], slow.books()["orders"]) == (1, job_id, 1)


def test_a_new_submission_calls_again(
    stage: Any, emulator: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs
) -> None:
    stage.run(decorated())
    xcoms.rows.clear()
    stage.clear().run(decorated())

    assert prompts(emulator) == [f"take 1 {LITERAL}", f"take 2 {LITERAL}"]


def test_the_next_run_calls_again_where_the_operator_is_the_same_object(
    stage: Any, emulator: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs
) -> None:
    """``dag.test()`` and the like run one object more than once in one process."""
    operator = decorated(deferrable=False)()
    stage.run(lambda: operator)
    stage.ti.run_id, stage.store.rows = "second", {}
    second = stage.run(lambda: operator)

    assert prompts(emulator) == [f"take 1 {LITERAL}", f"take 2 {LITERAL}"]
    assert second["request"]["prompt"] == f"take 2 {LITERAL}"


def test_a_failed_job_is_submitted_again_with_a_new_request(
    stage: Any, emulator: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs
) -> None:
    emulator.fault("job_fails", code="service_error")
    with pytest.raises(EvoLinkJobFailed):
        stage.run(decorated())
    xcoms.rows.clear()
    result = stage.retry().run(decorated())

    assert prompts(emulator) == [f"take 1 {LITERAL}", f"take 2 {LITERAL}"]
    assert result["request"]["prompt"] == f"take 2 {LITERAL}"


def test_without_a_memory_the_wait_does_not_call_again(
    stage: Any, slow: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs
) -> None:
    stage.run(decorated(durable=False))

    assert (write.calls, len(stage.deferrals), slow.books()["orders"]) == (1, 1, 1)


def test_an_unknown_outcome_is_never_replayed_with_another_request(
    stage: Any, emulator: EmulatorServer, decorated: Any, write: Writer, xcoms: XComs, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = f'{{"conn_type": "evolink", "host": "{emulator.url}", "password": "test-key-0123456789", '
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", facts + '"extra": {"honors_idempotency_key": true}}')
    emulator.fault("lost_answer", times=1)
    with pytest.raises(AirflowFailException):
        stage.run(decorated())
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(decorated(on_unknown_submit="replay"))

    assert (write.calls, emulator.books()["orders"]) == (2, 1)


@pytest.mark.parametrize("known", [True, False])
def test_errors_repeat_nothing_of_the_request(
    stage: Any, slow: EmulatorServer, decorated: Any, xcoms: XComs, known: bool, logs: Any
) -> None:
    slow.settings(polls=10_000, estimated_time=60)
    with pytest.raises(TaskDeferred) as deferred:
        decorated()().execute(stage.context())
    job_id = slow.books()["jobs"][0]["id"]
    slow.job(job_id, state="failed", code="invalid_parameters", message=f"bad: take 1 {LITERAL}")
    if not known:
        xcoms.rows.clear()
    with pytest.raises(AirflowFailException) as told:
        stage.resume(decorated(), deferred.value)

    assert "xylophonist" not in str(told.value) + logs.text
    assert ("bad: …" in str(told.value)) is known


def test_errors_do_not_tell_the_link_of_an_upload(
    stage: Any,
    slow: EmulatorServer,
    decorated: Any,
    xcoms: XComs,
    logs: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow.settings(polls=10_000, estimated_time=60)
    monkeypatch.setenv("AIRFLOW__EVOLINK__INPUT_ROOTS", str(tmp_path))
    frame = tmp_path / "frame.png"
    Image.new("RGB", (640, 360)).save(frame)
    operator = decorated(Writer(image_start=str(frame)), model="wan2.7-image-to-video")
    with pytest.raises(TaskDeferred) as deferred:
        operator().execute(stage.context())
    [job] = slow.books()["jobs"]
    link = job["body"]["image_start"]
    slow.job(job["id"], state="failed", code="image_processing_error", message=f"cannot decode {link}")
    with pytest.raises(AirflowFailException, match="cannot decode …") as told:
        stage.resume(operator, deferred.value)

    assert link.rpartition("/")[2] not in str(told.value) + logs.text


def test_no_link_with_its_query_is_kept(stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs) -> None:
    link = "https://example.com/a.mp3?signature=5ecre7"
    stage.run(decorated(Writer(audio_urls=[link], callback_url="https://example.com/hook")))

    assert emulator.books()["jobs"][0]["body"]["audio_urls"] == [link]
    assert xcoms.rows["evolink_request"]["audio_urls"] == ["https://example.com/a.mp3"]
    assert "callback_url" not in xcoms.rows["evolink_request"]


def test_the_function_may_name_the_model(stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs) -> None:
    result = stage.run(decorated(Writer(model=MODEL), model=""))

    assert (result["model"], stage.store.record["model"]) == (MODEL, MODEL)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("a prompt", "must return a dict of the request's fields, not str"),
        (None, "not NoneType"),
        ({1: "x"}, "not dict"),
        ({"prompt": "x", "model": "gpt-image-2"}, f"must be {MODEL} or left out"),
        ({"prompt": "x", "duration": 99}, "duration"),
    ],
)
def test_a_wrong_request_costs_nothing(
    stage: Any, emulator: EmulatorServer, decorated: Any, xcoms: XComs, made: Any, words: str
) -> None:
    with pytest.raises(AirflowFailException) as told:
        stage.run(decorated(lambda: made))

    assert words in str(told.value)
    assert emulator.books()["orders"] == 0


def test_parameters_belong_to_the_function(decorated: Any) -> None:
    with pytest.raises(TypeError, match="parameters"):
        decorated(parameters={"prompt": "x"})()


def test_xcom_trouble_does_not_fail_a_paid_job(
    stage: Any, slow: EmulatorServer, decorated: Any, xcoms: XComs, write: Writer
) -> None:
    def broken(**_: Any) -> Any:
        raise OSError

    stage.ti.xcom_pull = broken
    result = stage.run(decorated())

    assert (result["status"], result["request"], write.calls) == ("completed", None, 1)


def test_it_runs_where_nothing_can_be_pushed(stage: Any, slow: EmulatorServer, decorated: Any) -> None:
    assert isinstance(stage.ti, SimpleNamespace)
    assert stage.run(decorated(do_xcom_push=False))["status"] == "completed"
