"""The contact sheet of a run: all of its media, each once."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from airflow_rows import Run
from ui_samples import PROMPT, archived, job, record, staged

from airflow_provider_evolink.task_failures import FAILURE

numbers = itertools.count()


@pytest.fixture
def run() -> Run:
    """Return a fresh run of a fresh DAG."""
    return Run(f"sheet_{next(numbers)}")


def sheet(client: Any, run: Run, query: str = "") -> str:
    """Return the contact sheet of a run."""
    response = client.get(f"/evolink/run/{run.dag_id}/{run.run_id}{query}")
    assert response.status_code == 200, response.text
    return str(response.text)


@pytest.fixture
def mixed(run: Run, shown: Path) -> Run:
    """Return a run with two archived clips, a downloaded picture, a failed and a running task."""
    for index in range(2):
        run.hands("generate", job(f"task-{index}"), map_index=index)
        run.hands("archive", [archived(shown, run.dag_id, f"task-{index}")], map_index=index)
    run.task("generate", state="failed", map_index=2)
    run.xcoms({("generate", 2): {"reason": "content policy; 0 credits were charged", "advice": "change it"}}, FAILURE)
    run.task("generate", state="deferred", map_index=3)
    run.record("generate", record("task-3", state="submitted"), map_index=3)
    run.hands("frames", [staged(shown, "task-p", name="p.png", content_type="image/png")])
    run.task("download", state="running", operator="EvoLinkDownloadOperator")
    run.task("other", operator="PythonOperator")
    return run


def test_each_result_is_there_once(mixed: Run, admin: Any) -> None:
    """With its frame, what it cost, and the sum; the failed one with its reason."""
    page = sheet(admin, mixed)
    assert page.count("<li class=") == 5
    assert "5 of 5 results, 3 done, 1 failed, 1 running: 81.6 credits" in page
    for index in range(2):
        assert f'src="{mixed.address("poster", "archive", map_index=index, number=0)}"' in page
    assert f'src="{mixed.address("file", "frames", number=0)}"' in page
    assert page.count('loading="lazy"') == 3
    assert "content policy; 0 credits were charged\n</div>" in page
    assert 'generate[2]: failed, content policy; 0 credits were charged"' in page  # what is shown is also spoken
    assert "What to do: change it" in page
    assert PROMPT in page
    assert mixed.address("task", "generate", map_index=3) in page


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?task=generate", 4),
        ("?task=frames", 1),
        ("?status=failed", 1),
        ("?status=done&task=generate", 2),
        ("?status=running", 1),
        ("?task=none", 0),
        ("?task=&status=", 5),
        ("?start=600", 0),
        ("?start=-5", 5),
    ],
)
def test_filters_are_links(query: str, count: int, mixed: Run, admin: Any) -> None:
    """A reload, and an address that is passed on, show the same."""
    assert sheet(admin, mixed, query).count("<li class=") == count


def test_a_filter_is_shown_as_text(mixed: Run, admin: Any) -> None:
    """Whatever is in the address."""
    page = sheet(admin, mixed, "?task=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&status=%3Cscript%3E")
    assert page.count("<script") == 1


@pytest.mark.parametrize("operator", ["PythonOperator", None])
def test_a_run_of_others_has_one_quiet_line(operator: str | None, run: Run, admin: Any) -> None:
    """The tab stands on every run of every DAG."""
    run.hands("other", {"a": 1}, operator=operator)  # type: ignore[arg-type]
    assert "No task of this run has made media" in sheet(admin, run)


def test_a_hidden_prompt_is_hidden(run: Run, admin: Any) -> None:
    """On the sheet as well, with Airflow's label of the map index, which may hold it."""
    run.hands("generate", job(request={"prompt": "sha256:" + "a" * 64}))
    page = sheet(admin, run)
    assert "prompt hidden" in page
    assert "sha256:" not in page


def test_a_batch_is_many_tiles(run: Run, admin: Any) -> None:
    """One for each request, the failed ones with their code; reused ones cost nothing."""
    failed = job("task-f", results=[], status="failed", credits=0, error="EvoLinkJobFailed", error_code="service_error")
    reused = job("task-r", reused=True)
    run.hands("batch", [failed, reused, *(job(f"task-{number}") for number in range(8))])
    page = sheet(admin, run)
    assert page.count("<li class=") == 10
    assert "9 done, 1 failed: 217.6 credits" in page
    assert "service_error" in page


def test_a_run_of_500_tasks_opens_quickly(run: Run, admin: Any) -> None:
    """One query for each kind of thing, and no file is opened."""
    run.tasks(
        [
            {"task_id": task_id, "state": "success", "map_index": index, "operator": "EvoLinkGenerateOperator"}
            for task_id in ("generate", "archive")
            for index in range(500)
        ]
    )
    files = {
        "sha256": "a" * 64,
        "size": 10**6,
        "content_type": "video/mp4",
        "index": 0,
        "manifest": "s3://c@b/manifest.json",
    }
    run.xcoms({("generate", index): job(f"task-{index}") for index in range(500)})
    run.xcoms(
        {
            ("archive", index): [{**files, "uri": f"s3://c@b/{index}.mp4", "job_id": f"task-{index}"}]
            for index in range(500)
        }
    )
    sheet(admin, Run(run.dag_id))
    start = time.monotonic()
    page = sheet(admin, run)
    assert time.monotonic() - start < 2.0
    assert page.count("<li class=") == 500
    assert "13600 credits" in re.sub(r"[\s,]", " ", page)
