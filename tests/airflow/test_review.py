"""Review by people: what they can choose, what they see, and that nothing is ordered without their word."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.operators import EvoLinkReviewOperator
from airflow_provider_evolink.operators import review as review_module
from airflow_provider_evolink.review.takes import (
    APPROVE,
    APPROVE_ALL,
    REJECT_ALL,
    chosen_of,
    credits_of,
    options_of,
    page_of,
    takes_of,
    time_left,
)

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def job(number: int = 1, prompt: Any = "a boat", **changes: Any) -> dict[str, Any]:
    found = {
        "job_id": f"task-unified-{number}",
        "model": "gpt-image-2",
        "kind": "image",
        "status": "completed",
        "results": [f"https://cdn.example.com/{number}.png?sig=5ecre7"],
        "outputs": [{"kind": "image"}],
        "credits": 5.0,
        "expires_at": (NOW + timedelta(hours=20)).isoformat(),
        "request": {"prompt": prompt},
    }
    return {**found, **changes}


def file(number: int = 1, content_type: str = "image/png", **changes: Any) -> dict[str, Any]:
    about = {"credits": 5.0, "request": {"prompt": "a boat"}, "created": None}
    return {
        "job_id": f"task-unified-{number}",
        "uri": f"file:///staging/{number}.png",
        "sha256": "a" * 64,
        "size": 1,
        "content_type": content_type,
        "job": about,
        **changes,
    }


# What can be chosen --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "count"),
    [
        (job(), 1),
        ([job(1), job(2)], 2),
        ([[file(1)], [file(2), file(3)]], 3),
        ({**job(), "files": [file(1), file(2)]}, 2),
        ([job(1), {"job_id": None, "status": "refused", "results": []}, file(2)], 2),
        (job(results=["https://a/1", "https://a/2"], outputs=[{"kind": "video"}, {"kind": "image"}]), 2),
    ],
)
def test_each_file_and_each_job_without_files_is_a_take(results: Any, count: int) -> None:
    takes = takes_of(results)
    assert [take.number for take in takes] == list(range(1, count + 1))
    options = options_of(takes)
    assert len(set(options)) == len(options) == (2 if count == 1 else count + 2)
    assert options[-1] == REJECT_ALL


@pytest.mark.parametrize("results", [[], None, "x", [None], {"job_id": "a", "results": []}, [job()] * 101])
def test_nothing_and_too_much_are_refused(results: Any) -> None:
    with pytest.raises(EvoLinkConfigError, match=r"results has .*What to do"):
        takes_of(results)


def test_what_is_chosen_is_handed_on_and_a_rejection_wins() -> None:
    given = [job(1), job(2), job(3)]
    takes = takes_of(given)
    one, two, three, _, _ = options_of(takes)
    assert chosen_of(takes, [three, one]) == [given[0], given[2]]
    assert chosen_of(takes, [APPROVE_ALL]) == given
    assert chosen_of(takes, [two, REJECT_ALL]) == chosen_of(takes, [APPROVE_ALL, REJECT_ALL]) == []
    assert chosen_of(takes, []) == chosen_of(takes, ["no such option"]) == []
    assert chosen_of(takes_of(given[0]), [APPROVE]) == given[:1]


def test_one_of_the_results_of_a_job_is_handed_on_with_its_number() -> None:
    takes = takes_of(job(results=["https://a/1", "https://a/2"]))
    chosen = chosen_of(takes, [takes[1].label])
    assert [one["index"] for one in chosen] == [1]


def test_credits_count_each_job_once_and_are_unknown_if_one_is() -> None:
    assert credits_of(takes_of([file(1), file(1), file(2)])) == 10
    assert credits_of(takes_of([job(1), job(2, credits=None)])) is None


# What is shown -------------------------------------------------------------------------------------------------------

HOSTILE = "![x](https://evil.example/a.png) <script>alert(1)</script> [y](javascript:z) `c` # d\n# e www.evil.example"


def page(results: Any, **given: Any) -> str:
    return page_of(takes_of(results), lambda number: f"evolink/file/d/t/-1/{number}/r", **given)


def test_the_page_shows_picture_prompt_and_credits() -> None:
    text = page([file(1), file(2, "video/mp4")], text="Look at the sky", next_credits=10.88)
    assert text.startswith("Look at the sky\n")
    assert "![1](evolink/file/d/t/-1/0/r)" in text
    assert "It plays in the tab *Media*" in text
    assert "**Spent so far**: 10 credits" in text
    assert "at most 10.88 credits for each" in text


def test_no_link_of_evolink_and_no_markup_of_a_prompt_gets_into_the_page() -> None:
    text = page([job(1, HOSTILE), job(2)])
    assert "5ecre7" not in text
    assert "cdn.example.com" not in text
    assert not re.search(r"(?<!\\)[<\[`]|(?<!\\)!(?=\\?\[)", text)
    assert not re.search(r"https?://|www\.", text)


def test_a_prompt_is_shown_once_and_as_a_whole() -> None:
    """A short one is the headline; a long one is cut there, and stands below it."""
    long = "a boat " * 20 + "at dawn"
    text = page([job(1, "a boat"), job(2, long)])
    assert text.count("a boat\n") == 1
    assert text.count(long) == 1


def test_a_hidden_prompt_is_not_shown() -> None:
    takes = takes_of([job(1, "sha256:abc"), job(2)])
    assert takes[0].label == "1: job task-unified-1"
    assert "sha256" not in page([job(1, "sha256:abc"), job(2)])


def test_equal_and_long_prompts_make_options_that_differ() -> None:
    takes = takes_of([job(1, "a boat " * 50), job(2, "a boat " * 50)])
    assert len({take.label for take in takes}) == 2
    assert all(len(take.label) < 70 for take in takes)


# How long it waits ---------------------------------------------------------------------------------------------------


def test_it_ends_before_links_expire_and_says_when() -> None:
    takes = takes_of([job(1), job(2, expires_at=(NOW + timedelta(hours=3)).isoformat())])
    assert time_left(takes, NOW, None) == timedelta(hours=2, minutes=30)
    assert time_left(takes, NOW, timedelta(hours=1)) == timedelta(hours=1)
    assert time_left(takes, NOW, timedelta(days=3)) == timedelta(hours=2, minutes=30)
    assert "expire at 2026-11-30 15:00 UTC" in page([job(2, expires_at="2026-11-30T15:00:00+00:00")])
    with pytest.raises(EvoLinkConfigError, match=r"leaves no time.*download the results first"):
        time_left(takes, NOW + timedelta(hours=2, minutes=31), None)


def test_files_wait_as_long_as_the_author_wants() -> None:
    takes = takes_of([file(1)])
    assert time_left(takes, NOW, None) is None
    assert time_left(takes, NOW, timedelta(days=30)) == timedelta(days=30)
    assert "expire" not in page([file(1)])


# The operator --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(stage: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what Airflow is told to ask, in place of its API server."""
    seen: list[dict[str, Any]] = []
    stage.ti.id = "00000000-0000-0000-0000-000000000000"
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **given: seen.append(given))
    return seen


def review(**given: Any) -> EvoLinkReviewOperator:
    return EvoLinkReviewOperator(**{"task_id": "review", "results": [file(1), file(2), file(3)], **given})


def answer(stage: Any, operator: EvoLinkReviewOperator, *chosen: str) -> Any:
    event = {
        "chosen_options": list(chosen),
        "params_input": {},
        "responded_at": NOW,
        "responded_by_user": {"id": "1", "name": "ada"},
    }
    return operator.execute_complete(stage.context(), event)


def test_it_asks_and_hands_on_what_was_chosen_in_a_new_process(stage: Any, asked: list[dict[str, Any]]) -> None:
    with pytest.raises(TaskAwaitingInput):
        review().execute(stage.context())
    (request,) = asked
    assert (request["defaults"], request["multiple"]) == ([REJECT_ALL], True)
    assert request["options"][-2:] == [APPROVE_ALL, REJECT_ALL]
    first, second, *_ = request["options"]
    assert [one["job_id"] for one in answer(stage, review(), second, first)] == ["task-unified-1", "task-unified-2"]


@pytest.mark.parametrize("chosen", [[REJECT_ALL], [APPROVE_ALL, REJECT_ALL]])
def test_a_rejection_skips_what_follows(stage: Any, chosen: list[str]) -> None:
    with pytest.raises(AirflowSkipException):
        answer(stage, review(), *chosen)


def test_an_option_that_does_not_exist_approves_nothing(stage: Any) -> None:
    with pytest.raises(ValueError, match="not in"):
        answer(stage, review(), "1: another prompt")


def test_nothing_to_review_fails_without_retries(stage: Any, asked: list[dict[str, Any]]) -> None:
    with pytest.raises(AirflowFailException, match="nothing to review"):
        review(results=[]).execute(stage.context())
    assert asked == []


def test_jobs_limit_the_time_and_the_page_says_it(stage: Any, asked: list[dict[str, Any]]) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    operator = review(results=[job(1, expires_at=soon)], response_timeout=timedelta(days=3))
    with pytest.raises(TaskAwaitingInput) as raised:
        operator.execute(stage.context())
    assert timedelta(hours=1) < raised.value.timeout <= timedelta(hours=1, minutes=30)
    assert "cannot be used after that" in asked[0]["body"]


GROUP = """
import pendulum
from airflow.providers.common.compat.sdk import DAG, task_group
from airflow_provider_evolink.operators import EvoLinkReviewOperator, EvoLinkTextToVideoOperator

with DAG("grouped", schedule=None, start_date=pendulum.datetime(2025, 1, 1)):
    @task_group
    def shot(n):
        {body}
    shot{call}
"""
PLAIN = 'EvoLinkReviewOperator(task_id="review", results=[])'
MAPPED = 'EvoLinkReviewOperator.partial(task_id="review").expand(results=[[1], [2]])'
NESTED = f"""@task_group
        def inner():
            {PLAIN}
        inner()"""


@pytest.mark.parametrize(
    ("body", "call", "is_refused"),
    [
        (PLAIN, ".expand(n=[1, 2])", True),
        (NESTED, ".expand(n=[1, 2])", True),
        (PLAIN, "(1)", False),
        (MAPPED, "(1)", False),
    ],
)
def test_a_review_in_a_mapped_task_group_is_an_import_error(
    airflow_home: Path, tmp_path: Path, body: str, call: str, is_refused: bool
) -> None:
    """There a rejection skips nothing on Airflow 3.3, and the paid task behind it runs."""
    path = tmp_path / "grouped.py"
    path.write_text(GROUP.format(body=body, call=call))
    bag = DagBag(str(tmp_path))
    assert bool(bag.import_errors) is is_refused, bag.import_errors
    if is_refused:
        assert "inside the mapped task group" in str(bag.import_errors)


def test_without_people_in_airflow_the_dag_file_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.hitl", None)
    with pytest.raises(ImportError, match=r"needs Airflow 3.1 or later.*What to do"):
        importlib.reload(review_module)
    monkeypatch.undo()
    importlib.reload(review_module)


def test_the_results_of_other_tasks_are_rendered() -> None:
    with DAG("d", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
        operator = review(results=[], next_credits="{{ params.price }}")
    assert {"results", "body", "subject", "next_credits"} <= set(operator.template_fields)
