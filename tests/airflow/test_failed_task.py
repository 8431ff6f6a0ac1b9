"""The screen of a failed task: three lines that say what happened, an exception without a copy, and labels."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_evolink.api.errors import (
    EvoLinkAPIError,
    EvoLinkAuthError,
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkLinkExpired,
    EvoLinkNoResults,
    EvoLinkOrderStopped,
    EvoLinkRequestError,
    EvoLinkSubmissionUnknown,
    Violation,
)
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution.batch_item import still_running
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkGenerateOperator,
    EvoLinkTextToVideoOperator,
)
from airflow_provider_evolink.task_failures import EvoLinkTaskFailed, failure_lines

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]
JOB = "task-unified-1"
LONG = "the host sent an error page " * 20
COMMAND = "python -m airflow_provider_evolink reconcile --model wan2.7-text-to-video --ordered-at 2026-01-31T12:00:00Z"

LINES: dict[str, tuple[EvoLinkError, list[str]]] = {
    "failed job": (
        EvoLinkJobFailed(
            "EvoLink reported the job as failed: “no”; 3 credits were charged. What to do: change the prompt",
            credits_charged=3,
            code="content_policy_violation",
            job_id=JOB,
        ),
        ["failed: “no” [content_policy_violation]", f"Job {JOB}: 3 credits were charged", "What to do: change the"],
    ),
    "failed job without a price": (
        EvoLinkJobFailed("EvoLink reported the job as cancelled", job_id=JOB),
        ["EvoLink reported the job as cancelled", f"Job {JOB}: EvoLink did not report a charge"],
    ),
    "wrong request": (
        EvoLinkRequestError("wan", [Violation("duration", "must be 2 to 15", "99"), Violation("ratio", "x")]),
        [
            "duration: must be 2 to 15, got 99, and 1 more problem. Nothing was",
            "Nothing was charged",
            "What to do: corr",
        ],
    ),
    "unknown outcome": (
        EvoLinkSubmissionUnknown(
            f"EvoLink may have accepted and charged one order of wan. To settle it, run: {COMMAND}\nWhy: lost. What to "
            "do: look for it"
        ),
        [
            "EvoLink may have accepted and charged one order of wan",
            "One order may have been",
            f"What to do: run {COMMAND}",
        ],
    ),
    "unknown outcome without a command": (
        EvoLinkSubmissionUnknown("the same request was claimed by another task. What to do: clear that task"),
        ["the same request was claimed", "One order may have been charged", "What to do: clear that task"],
    ),
    "timeout": (
        EvoLinkJobTimeout("the job still runs after the timeout. What to do: give a longer one", job_id=JOB),
        ["the job still runs", f"Job {JOB}: it keeps running and is still billed", "What to do: give a longer one"],
    ),
    "terminated": (
        EvoLinkOrderStopped("this worker is being terminated", job_id=JOB),
        ["this worker is being", f"Job {JOB}: it keeps running"],
    ),
    "stopped before the order": (
        EvoLinkOrderStopped("not submitted: this worker stalled. A retry submits"),
        ["not submitted", "Nothing was charged"],
    ),
    "expired link": (
        EvoLinkLinkExpired(f"{LONG}. What to do: {LONG}", job_id=JOB),
        ["the host sent", f"Job {JOB}: it is paid for; a retry submits and charges nothing", "What to do: the host"],
    ),
    "no results": (EvoLinkNoResults("no results", job_id=JOB), ["no results", f"Job {JOB}: it may have been charged"]),
    "key refused while waiting": (
        EvoLinkAuthError("job status: EvoLink refused. What to do: check the key", job_id=JOB, code="unauthorized"),
        [
            "job status: EvoLink refused [unauthorized]",
            f"Job {JOB}: it was submitted and is billed",
            "What to do: check",
        ],
    ),
    "batch": (
        EvoLinkConfigError(
            f"request 2 of 3: no{still_running([SimpleNamespace(job_id='a'), SimpleNamespace(job_id='b')])}"
        ),
        ["request 2 of 3: no", "Nothing was charged for this; 2 other jobs of this batch keep running and billed"],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_failure_is_told_in_three_short_lines(name: str) -> None:
    error, starts = LINES[name]
    lines = failure_lines(error)
    assert len(lines) == len(starts) <= 3
    assert all(start in line for start, line in zip(starts, lines, strict=True)), lines
    assert len(lines[0]) <= 110
    assert all(len(line) <= 140 or COMMAND in line for line in lines)
    assert "\n" not in "".join(lines)


def test_every_error_of_the_tree_has_its_lines() -> None:
    kinds, found = [EvoLinkError], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.append(kind)
    assert len(found) > 20
    for kind in found:
        given: tuple[Any, ...] = ("wan", [Violation("a", "b")]) if kind is EvoLinkRequestError else ("it broke",)
        assert 2 <= len(failure_lines(kind(*given))) <= 3


@pytest.mark.parametrize("permanent", [True, False])
def test_the_log_has_one_error_of_three_lines_and_the_exception_no_copy(
    stage: Any, make: Make, slow: EmulatorServer, caplog: pytest.LogCaptureFixture, permanent: bool
) -> None:
    code = "content_policy_violation" if permanent else "service_error"
    slow.fault("job_fails", code=code, message="no")
    with pytest.raises((AirflowFailException, EvoLinkJobFailed)) as raised:
        stage.run(make(poll_interval=0.05))
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [len(record.getMessage().splitlines()) for record in errors] == [3]
    assert code in errors[0].getMessage().splitlines()[0]
    assert slow.books()["jobs"][0]["id"] in errors[0].getMessage().splitlines()[1]
    assert isinstance(raised.value, EvoLinkTaskFailed) is permanent
    if permanent:
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__
    error = raised.value.error if isinstance(raised.value, EvoLinkTaskFailed) else raised.value
    assert isinstance(error, EvoLinkJobFailed)
    assert (error.code, error.credits_charged) == (code, 0)


def test_callbacks_and_other_processes_get_evolinks_error() -> None:
    failed = EvoLinkTaskFailed(EvoLinkAPIError("no", code="x", job_id=JOB, request_id="r"))
    for again in (copy.copy(failed), pickle.loads(pickle.dumps(failed))):
        assert (str(again), again.error.code, again.error.job_id) == (str(failed), "x", JOB)


# What 1440 px show of an exception: its first 95 characters ----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"duration": 99}, "duration: must be"),
        ({"duration": 99, "aspect_ratio": "1:3"}, "more problem"),
    ],
)
def test_the_first_characters_of_a_refused_request_say_which_field_and_rule(
    stage: Any, make: Make, given: dict[str, Any], what: str
) -> None:
    with pytest.raises(AirflowFailException) as raised:
        stage.run(make(EvoLinkTextToVideoOperator, prompt="a boat", **given))
    assert "EvoLinkRequestError: " in str(raised.value)[:95]
    assert what in str(raised.value).partition("\n")[0][:140]


# Labels of mapped tasks ----------------------------------------------------------------------------------------------

LABELS: dict[str, tuple[Any, Mapping[str, Any], str]] = {
    "prompt": (EvoLinkTextToVideoOperator, {"prompt": "a boat"}, "a boat"),
    "long prompt": (
        EvoLinkTextToVideoOperator,
        {"prompt": "a boat\n in  the rain " * 5},
        f"{'a boat in the rain ' * 2}a…",
    ),
    "prompt in parameters": (EvoLinkGenerateOperator, {"model": "m", "parameters": {"prompt": "a boat"}}, "a boat"),
    "no prompt": (EvoLinkGenerateOperator, {"model": "m", "parameters": {"text": 5}}, "7"),
    "prompt that is no text": (EvoLinkGenerateOperator, {"model": "m", "parameters": {"prompt": 5}}, "7"),
    "hidden prompt": (EvoLinkTextToVideoOperator, {"prompt": "a boat", "hide_prompt": True}, "7"),
    "batch": (EvoLinkBatchOperator, {"requests": [{"model": "m"}]}, "7"),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_mapped_task_is_labeled_by_its_prompt(name: str) -> None:
    kind, given, label = LABELS[name]
    clip = kind(task_id="clip", **given)
    template = clip.get_template_env().from_string(clip.map_index_template)
    assert template.render({"task": clip, "ti": SimpleNamespace(map_index=7)}) == label


def test_partial_has_the_label_unless_the_author_names_one() -> None:
    with DAG("labels", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
        plain = EvoLinkTextToVideoOperator.partial(task_id="plain").expand(prompt=["a", "b"])
        own = EvoLinkTextToVideoOperator.partial(task_id="own", map_index_template="{{ 1 }}").expand(prompt=["a", "b"])
    with DAG("d", schedule=None, start_date=pendulum.datetime(2026, 1, 1), default_args={"map_index_template": "x"}):
        by_default = EvoLinkTextToVideoOperator.partial(task_id="by_default").expand(prompt=["a", "b"])
        alone = EvoLinkTextToVideoOperator(task_id="alone", prompt="a")
    assert "map_label" in str(plain.map_index_template)
    assert [task.map_index_template for task in (own, by_default, alone)] == ["{{ 1 }}", "x", "x"]
