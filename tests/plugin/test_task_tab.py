"""What the tab *Media* of a task instance shows."""

from __future__ import annotations

import itertools
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow_rows import Run
from ui_samples import CONTENT, PROMPT, archived, job, record, staged

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkJobFailed, EvoLinkSubmissionUnknown
from airflow_provider_evolink.review.takes import file_address
from airflow_provider_evolink.task_failures import FAILURE, failure_note

numbers = itertools.count()
HOSTILE = "</p><script>alert('1')</script>\"'..%2e%2e{{191*191}}"


@pytest.fixture
def run() -> Run:
    """Return a fresh run of a fresh DAG."""
    return Run(f"tab_{next(numbers)}")


def tab(client: Any, run: Run, task_id: str = "generate", **given: Any) -> str:
    """Return the tab of a task instance."""
    response = client.get(run.address("task", task_id, **given))
    assert response.status_code == 200, response.text
    return str(response.text)


def policy(client: Any, run: Run, task_id: str = "generate") -> str:
    """Return the policy of a tab."""
    return str(client.get(run.address("task", task_id)).headers["content-security-policy"])


def test_a_job_with_a_link_waits_for_the_user(admin: Any, run: Run) -> None:
    """All that is known of it, a clock, and the link in the policy: but nothing is loaded before play is pressed."""
    run.hands("generate", job())
    page = tab(admin, run, map_index="{MAP_INDEX}")
    for text in (PROMPT, "wan2.7-text-to-video", "27.2 credits", "task-1", "duration", 'class="clock"', "submitted"):
        assert text in page
    assert 'data-link="https://results.example.com/task-1.mp4?signature=abc"' in page
    assert ' src="https://results' not in page
    rules = policy(admin, run)
    assert "media-src 'self' https://results.example.com;" in rules
    assert "script-src 'self';" in rules
    assert "unsafe" not in rules
    assert not re.search(r"<script(?! src)|<style|\son\w+=|\sstyle=", page)


def test_an_expired_link_leads_nowhere(admin: Any, run: Run) -> None:
    """And the tab says so; its host is not in the policy any more."""
    run.hands("generate", job(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat()))
    page = tab(admin, run)
    assert "has expired" in page
    assert "results.example.com" not in page
    assert "results.example.com" not in policy(admin, run)


def test_the_archived_file_is_shown_on_every_task_of_its_run(admin: Any, run: Run, shown: Path) -> None:
    """Generate, download and archive show the file that stays, also when the link has expired."""
    run.hands("generate", job(expires_at=(datetime.now(UTC) - timedelta(days=9)).isoformat()))
    run.hands("download", [staged(shown)], operator="EvoLinkDownloadOperator")
    run.hands("to_archive", [archived(shown, run.dag_id)], operator="EvoLinkArchiveOperator")
    address = run.address("file", "to_archive", number=0)
    for task_id in ("generate", "download", "to_archive"):
        page = tab(admin, run, task_id)
        assert f'src="{address}"' in page
        assert run.address("manifest", "to_archive", number=0) in page
        for text in (PROMPT, "1280 \u00d7 720", "video/mp4", "10.2 kB", "27.2 credits", "archived</b> 20"):
            assert text in page, (task_id, text)
    assert admin.get(address).content == CONTENT


def test_a_link_whose_file_is_there_is_not_used(admin: Any, run: Run, shown: Path) -> None:
    """Its host is not in the policy, since nothing is loaded from it."""
    run.hands("generate", job())
    run.hands("archive", [archived(shown, run.dag_id)], operator="EvoLinkArchiveOperator")
    assert "lives until" in tab(admin, run)
    assert "results.example.com" not in tab(admin, run)
    assert "results.example.com" not in policy(admin, run)


def test_files_of_a_generate_task_with_a_destination(admin: Any, run: Run, shown: Path) -> None:
    """They are in its own value."""
    run.hands("generate", job(files=[staged(shown)]))
    run.record("generate", record())
    assert f'src="{run.address("file", "generate", number=0)}"' in tab(admin, run)
    assert admin.get(run.address("file", "generate", number=0)).content == CONTENT


def test_a_batch_shows_each_request_and_pages(admin: Any, run: Run) -> None:
    """Twelve on a page; a request without a result says why."""
    failed = job("task-f", results=[], status="failed", credits=0, error="EvoLinkJobFailed", error_code="service_error")
    run.hands("generate", [failed, *(job(f"task-{number}") for number in range(29))], operator="EvoLinkBatchOperator")
    page = tab(admin, run)
    assert page.count("<article") == 12
    assert "30 results, 788.8 credits in all" in page
    assert "No result: service_error" in page
    last = admin.get(run.address("task", "generate") + "?start=24").text
    assert last.count("<article") == 6
    assert "task-28" in last


def test_a_job_that_made_a_name_lost_nothing(admin: Any, run: Run) -> None:
    """Some jobs make a voice or an element, which later requests name."""
    run.hands("generate", job(results=[], outputs=[], made={"voice_id": "voice-7"}))
    page = tab(admin, run)
    assert "made: voice_id" in page
    assert "voice-7" in page
    assert "has expired" not in page
    assert "No result" not in page


def test_a_mapped_task_shows_its_own(admin: Any, run: Run) -> None:
    """The map index of the address counts."""
    for index in range(2):
        run.hands("generate", job(f"task-{index}"), map_index=index)
    assert "task-0" in tab(admin, run, map_index=0)
    assert "task-0" not in tab(admin, run, map_index=1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        [],
        [[1]],
        {"status": "done"},
        {"job_id": "task-1", "uri": "file:///etc/passwd"},
        {"results": 7, "status": [], "credits_reserved": {}, "job_id": {"a": 1}, "request": [1], "expires_at": "soon"},
        {"results": [{"a": 1}, None, "javascript:alert(1)"], "status": "completed", "credits_reserved": None},
        {**job(), "expires_at": 10**40, "created": -1, "credits": "many", "files": {"uri": 1}},
        {**job(), "request": {"prompt": {"deep": [1]}, "a": None}},
        [job()] * 3,
        json.loads("[" * 200 + "]" * 200),
    ],
    ids=range(13),
)
def test_a_value_of_any_shape_gives_a_page(value: Any, admin: Any, run: Run) -> None:
    """XComs can be edited, and tasks of others hand on anything."""
    run.hands("generate", value)
    page = tab(admin, run)
    assert "javascript:" not in page
    assert "passwd" not in page


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https://a.example.com; script-src *",
        "https://a.example.com;script-src https://evil.example.com/x",
        "https://user:secret@a.example.com/x",
        "https://*.example.com/x",
        "https://*/x",
        "//evil.example.com/x",
        "https://",
        "https://a.example.com\r\nX: y",
        "https://[::1/x",
        "https://a.example.com\\@evil.example.com/",
        "ftp://a.example.com/x",
    ],
)
def test_a_link_cannot_change_the_policy(link: str, admin: Any, run: Run) -> None:
    """What is no plain link to a host is not offered, and no word of it is in the policy."""
    run.hands("generate", job(results=[link]))
    rules = policy(admin, run)
    assert "media-src 'self';" in rules
    assert "example.com" not in rules
    assert "data-link" not in tab(admin, run)


def test_whatever_stands_in_a_value_is_shown_as_text(admin: Any, run: Run, shown: Path) -> None:
    """Prompts, parameters, models, names of files, map indexes, task IDs."""
    request = {"prompt": HOSTILE, HOSTILE: HOSTILE, "list": [HOSTILE]}
    run.hands("generate", job(model=HOSTILE, request=request, results=[f"https://a.example.com/{HOSTILE}"]))
    run.xcoms({("generate", -1): {"reason": HOSTILE, "advice": HOSTILE, "job_id": HOSTILE}}, FAILURE)
    run.hands("archive", [{**archived(shown, run.dag_id), "uri": f"file://{shown}/{HOSTILE}.mp4", "model": HOSTILE}])
    for task_id in ("generate", "archive"):
        page = tab(admin, run, task_id)
        assert "<script>alert" not in page
        assert "36481" not in page
    assert "<script>alert" not in admin.get(f"/evolink/task/{run.dag_id}/{HOSTILE}/0/{run.run_id}").text
    assert "<script>alert" not in admin.get(f"/evolink/task/{HOSTILE}/a/{HOSTILE}/{HOSTILE}").text


@pytest.mark.parametrize("run_id", ["a/b/c", "scheduled__2026-01-01T00:00:00+00:00", "a b#c?d%e", "ä✓"])
def test_any_run_id_is_found(run_id: str, admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow's UI writes it into the address: encoded."""
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", ".+")
    run = Run(f"tab_{next(numbers)}", run_id)
    run.hands("generate", job())
    response = admin.get(f"/evolink/task/{run.dag_id}/generate/-1/{quote(run_id, safe='')}")
    assert PROMPT in response.text


def test_a_hidden_prompt_is_shown_nowhere(admin: Any, run: Run, shown: Path) -> None:
    """With ``hide_prompt`` the values hold checksums, and the tab says that it is hidden."""
    hidden = {"prompt": "sha256:" + "a" * 64, "lyrics": "sha256:" + "b" * 64}
    run.hands("generate", job(request=hidden))
    run.hands("download", [{**staged(shown), "job": {"request": hidden}}])
    for task_id in ("generate", "download"):
        page = tab(admin, run, task_id)
        assert "The prompt is hidden" in page
        assert "sha256:" not in page


def test_what_one_task_hides_no_other_shows(admin: Any, run: Run, shown: Path) -> None:
    """By re-use a hidden order may be given a file whose own words are not hidden."""
    run.hands("generate", job(request={"prompt": "sha256:" + "a" * 64}, reused=True))
    run.hands("download", [{**staged(shown), "job": {"request": {"prompt": PROMPT}}}])
    run.hands("archive", [archived(shown, run.dag_id)])
    for task_id in ("generate", "download", "archive"):
        assert PROMPT not in tab(admin, run, task_id)
        assert "The prompt is hidden" in tab(admin, run, task_id)
    assert PROMPT not in admin.get(f"/evolink/run/{run.dag_id}/{run.run_id}").text


def test_a_task_of_others_has_one_quiet_line(admin: Any, run: Run) -> None:
    """The tab stands on every task of every DAG."""
    run.hands("other", {"rows": 7}, operator="PythonOperator")
    page = tab(admin, run, "other")
    assert "is not one of EvoLink" in page
    assert page.count("<p ") + page.count("<p>") == 2  # the line, and the hidden one about sessions
    assert "not one of EvoLink" in tab(admin, run, "never_there")


def test_a_failed_job_says_why_what_it_cost_and_what_to_do(admin: Any, run: Run) -> None:
    """In two lines, from what the operator has kept of its error."""
    error = EvoLinkJobFailed(
        "EvoLink reported the job as failed: “no”; 3 credits were charged. What to do: change the prompt",
        repeatable=False,
        code="content_policy_violation",
        job_id="task-9",
        credits_charged=3,
    )
    run.task("generate", state="failed")
    run.xcoms({("generate", -1): failure_note(error)}, FAILURE)
    page = tab(admin, run)
    assert "EvoLink reported the job as failed: “no”; 3 credits were charged." in page
    assert page.count("credits were charged") == 1
    assert "<b>What to do:</b> change the prompt</p>" in page
    assert "task-9" in page


def test_a_review_shows_what_it_offers(admin: Any, run: Run, shown: Path) -> None:
    """While people think, and afterwards all of it, under the numbers that its page names."""
    takes = [archived(shown, run.dag_id, f"task-{number}", content=CONTENT + bytes([number])) for number in range(3)]
    run.task("review", state="awaiting_input", operator="EvoLinkReviewOperator")
    run.xcoms({("review", -1): [job("task-mere"), *takes]}, "evolink_review")
    assert admin.get("/" + file_address(run.dag_id, "review", -1, 2, run.run_id)).content == CONTENT + b"\x02"
    run.xcoms({("review", -1): takes[1:2]})
    assert admin.get("/" + file_address(run.dag_id, "review", -1, 2, run.run_id)).content == CONTENT + b"\x02"
    page = tab(admin, run, "review")
    assert page.count("<article") == 4
    assert page.count("<video") == 3
    assert "respond under <i>Required Actions</i>" in page


def test_a_command_can_be_copied(admin: Any, run: Run) -> None:
    """The one that settles an unknown outcome, whole and without a full stop."""
    lost = EvoLinkSubmissionUnknown(
        "EvoLink may have charged one order. To settle it, run: evolink reconcile --model m\nWhy: it was lost"
    )
    run.task("generate", state="failed")
    run.xcoms({("generate", -1): failure_note(lost)}, FAILURE)
    page = tab(admin, run)
    assert 'data-copy="evolink reconcile --model m"' in page
    assert "one order may have been charged" in page


def test_a_note_without_advice(admin: Any, run: Run) -> None:
    """As of a request that breaks a rule of its model: the reason is all there is to know."""
    run.task("generate", state="failed")
    run.xcoms({("generate", -1): failure_note(EvoLinkConfigError("duration: must be an integer."))}, FAILURE)
    page = tab(admin, run)
    assert "duration: must be an integer; nothing was charged for this.<" in page
    assert "mend this, then clear the task" in page


def test_a_failure_without_a_note_leads_to_the_log(admin: Any, run: Run) -> None:
    """As after a killed worker."""
    run.task("generate", state="failed")
    run.record("generate", record(state="submitted"))
    page = tab(admin, run)
    assert "the log of this task has the reason" in page
    assert "task-1" in page


def test_a_note_of_an_earlier_try_is_not_shown_on_a_success(admin: Any, run: Run) -> None:
    """What counts is the state of the task."""
    run.hands("generate", job())
    run.xcoms({("generate", -1): failure_note(EvoLinkConfigError("no key. What to do: add one"))}, FAILURE)
    assert "no key" not in tab(admin, run)


def test_a_running_job_is_followed(admin: Any, run: Run) -> None:
    """The tab knows the job from the record, and polls the state by a small route."""
    run.task("generate", state="deferred")
    run.record("generate", record(state="submitted"))
    page = tab(admin, run)
    assert "task-1" in page
    assert "1 min" in page
    state = re.search(r'data-url="([^"]+)" data-state="deferred"', page)
    assert state
    assert admin.get(state[1]).json() == {"state": "deferred", "is_over": False, "jobs": {}}


@pytest.mark.parametrize("value", [{"state": "odd"}, {"job_id": 7}, [], 1])
def test_a_damaged_record_is_passed_over(value: Any, admin: Any, run: Run) -> None:
    """It is the task's to complain about."""
    run.task("generate", state="running")
    run.record("generate", value)
    assert "renews itself" in tab(admin, run)


def test_a_run_of_500_tasks_opens_quickly(admin: Any, run: Run) -> None:
    """One query for each kind of thing."""
    run.tasks(
        [
            {"task_id": "generate", "state": "success", "map_index": index, "operator": "EvoLinkGenerateOperator"}
            for index in range(500)
        ]
    )
    run.xcoms({("generate", index): job(f"task-{index}") for index in range(500)})
    tab(admin, run, map_index=0)
    start = time.monotonic()
    tab(admin, run, map_index=499)
    assert time.monotonic() - start < 2.0
