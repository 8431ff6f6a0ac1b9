"""Waits that do not end as planned: nothing paid is lost to a triggerer without access or to changed inputs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkGenerateOperator, EvoLinkImageToVideoOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]
FAIL = ("__fail__", {"error": "Trigger timeout"})
PROMPT = "a paper boat with the secret word xylophonist"


def ends_soon(server: EmulatorServer, stage: Any) -> None:
    """Let the recorded job end in a moment."""
    job_id = stage.store.record["job_id"]
    threading.Timer(0.4, lambda: server.job(job_id, state="completed")).start()


def deferred(stage: Any, operator: Callable[[], Any]) -> TaskDeferred:
    """Run a try up to its deferral."""
    with pytest.raises(TaskDeferred) as raised:
        operator().execute(stage.context())
    return raised.value


def test_a_triggerer_that_cannot_read_is_not_used_twice(stage: Any, make: Make, slow: EmulatorServer) -> None:
    slow.settings(polls=10_000)
    first = deferred(stage, make())
    ends_soon(slow, stage)
    event = {"event": {"job_id": stage.store.record["job_id"], "status": "unreadable"}}
    assert make()().resume_execution(first.method_name, event, stage.context())["status"] == "completed"
    assert slow.books()["orders"] == 1


def test_when_the_triggerer_gives_up_before_the_deadline_the_worker_waits(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    slow.settings(polls=10_000)
    deferred(stage, make())
    ends_soon(slow, stage)
    assert make()().resume_execution(*FAIL, stage.context())["status"] == "completed"


def test_links_that_come_late_are_waited_for_when_the_triggerer_gave_up(
    stage: Any, make: Make, slow: EmulatorServer
) -> None:
    deferred(stage, make())
    slow.job(stage.store.record["job_id"], state="completed")
    slow.fault("no_results", **{"as": "empty"}, times=2)
    assert len(make()().resume_execution(*FAIL, stage.context())["results"]) == 1


@pytest.mark.parametrize("change", [{"model": None}, {"parameters": {"prompt": object()}}, {"parameters": 7}])
def test_inputs_that_break_after_the_submit_lose_nothing(
    stage: Any, make: Make, slow: EmulatorServer, change: dict[str, Any]
) -> None:
    first = deferred(stage, make())
    slow.job(stage.store.record["job_id"], state="completed")
    changed = make()()
    for name, value in change.items():
        setattr(changed, name, value)
    event = {"event": {"job_id": stage.store.record["job_id"], "status": "completed"}}
    result = changed.resume_execution(first.method_name, event, stage.context())
    assert (result["status"], result["request"]) == ("completed", None)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_job_that_repeats_the_prompt_does_not_show_it(
    stage: Any, make: Make, slow: EmulatorServer, logs: Any, deferrable: bool
) -> None:
    slow.fault("job_fails", code="content_policy_violation", message=f"refused: {PROMPT}")
    with pytest.raises(AirflowFailException) as raised:
        stage.run(make(deferrable=deferrable))
    assert "refused: …" in str(raised.value)
    assert "xylophonist" not in f"{raised.value} {raised.value.__cause__} {logs.text}"


def test_where_the_inputs_cannot_be_built_nothing_of_evolinks_words_is_shown(
    stage: Any, make: Make, slow: EmulatorServer, logs: Any
) -> None:
    slow.settings(polls=10_000)
    first = deferred(stage, make())
    job_id = stage.store.record["job_id"]
    slow.job(job_id, state="failed", code="content_policy_violation", message=f"refused: {PROMPT}")
    changed = make()()
    changed.parameters = 7
    with pytest.raises(AirflowFailException, match="“…”") as raised:
        changed.resume_execution(first.method_name, {"event": {"job_id": job_id, "status": "failed"}}, stage.context())
    assert "xylophonist" not in f"{raised.value} {logs.text}"


def test_user_names_in_links_are_not_handed_on(stage: Any, make: Make) -> None:
    link = "https://somebody:5ecre7@example.com/clip.mp4#part"
    operator = make(
        EvoLinkImageToVideoOperator,
        generation_mode="video_continuation",
        video_urls=[link],
        prompt=PROMPT,
        duration=6,
        validation="off",
    )
    assert stage.run(operator)["request"]["video_urls"] == ["https://example.com/clip.mp4"]
