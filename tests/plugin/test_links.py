"""The links of the operators: addresses of pages that look when they are clicked."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.common.compat.sdk import XCom
from airflow_rows import Run
from ui_samples import CONTENT, PROMPT, archived, job

from airflow_provider_evolink.links import evolink as links
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
)

numbers = itertools.count()
MAKERS: dict[str, Any] = {
    "generate": lambda: EvoLinkGenerateOperator(task_id="generate", model="m"),
    "batch": lambda: EvoLinkBatchOperator(task_id="batch", model="m", requests=[{"prompt": "a"}]),
    "download": lambda: EvoLinkDownloadOperator(task_id="download", job="task-1", destination="s3://b/x"),
    "archive": lambda: EvoLinkArchiveOperator(task_id="archive", files=[], archive_path="s3://b/x"),
}


def addresses(task_id: str, run: Run, map_index: int = -1) -> dict[str, str]:
    """Return the links of a task, as a worker computes them at its end."""
    key = TaskInstanceKey(run.dag_id, task_id, run.run_id, 1, map_index)
    operator = MAKERS[task_id]()
    return {link.name: link.get_link(operator, ti_key=key) for link in operator.operator_extra_links}


@pytest.mark.parametrize("task_id", list(MAKERS))
def test_each_operator_has_three_links(task_id: str, admin: Any, shown: Path) -> None:
    """They are relative, and lead to a page before and after the archive has run, for mapped tasks as well."""
    run = Run(f"links_{next(numbers)}", "scheduled__2026-01-01T00:00:00+00:00")
    run.hands(task_id, job(), map_index=3)
    found = addresses(task_id, run, 3)
    assert list(found) == ["Open result", "Archived file", "Manifest"]
    assert all(address.startswith("evolink/open/") for address in found.values())
    assert PROMPT in admin.get(f"/{found['Open result']}").text
    for name in ("Archived file", "Manifest"):
        response = admin.get(f"/{found[name]}")
        assert (response.status_code, "No task of this run has archived" in response.text) == (404, True)
    run.hands("archive_later", [archived(shown, run.dag_id)])
    assert admin.get(f"/{found['Archived file']}").content == CONTENT
    assert "&#34;job_id&#34;: &#34;task-1&#34;" in admin.get(f"/{found['Manifest']}").text


def test_a_failed_task_has_links_too(admin: Any) -> None:
    """They say what there is."""
    run = Run(f"links_{next(numbers)}")
    run.task("generate", state="failed")
    found = addresses("generate", run)
    assert "The task failed" in admin.get(f"/{found['Open result']}").text


def test_the_page_says_until_when_a_link_lives(admin: Any) -> None:
    """A link cannot."""
    run = Run(f"links_{next(numbers)}")
    until = datetime.now(UTC) + timedelta(hours=3)
    run.hands("generate", job(expires_at=until.isoformat()))
    text = admin.get(f"/{addresses('generate', run)['Open result']}").text
    assert f"lives until {until:%Y-%m-%d %H:%M:%S} UTC" in text


@pytest.mark.parametrize("what", ["other", "..", "%2e%2e", "<script>"])
def test_there_are_no_other_pages(what: str, admin: Any) -> None:
    """Whatever the address says."""
    assert admin.get(f"/evolink/open/{what}/dag/task/-1/run").status_code == 404


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (job(results=["https://a.example.com/x.mp4"]), "https://a.example.com/x.mp4"),
        (job(results=["javascript:alert(1)"]), ""),
        (job(results=[]), ""),
        ([job()], ""),
        (None, ""),
    ],
)
def test_without_pages_there_is_what_a_browser_can_open(value: Any, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Airflow 3.1: EvoLink's own link to the first result, and no link to files."""
    monkeypatch.setattr(links, "AIRFLOW_V_3_1_PLUS", False)
    monkeypatch.setattr(XCom, "get_value", lambda **_: value)
    assert addresses("generate", Run(f"links_{next(numbers)}")) == {
        "Open result": link,
        "Archived file": "",
        "Manifest": "",
    }
