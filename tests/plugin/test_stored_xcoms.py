"""XComs that a backend keeps in an object store are read as Airflow reads them, or the tab says that it cannot."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from airflow_rows import Run
from ui_samples import CONTENT, PROMPT, archived, job

numbers = itertools.count()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn the backend of common.io on, as a deployment does; return its folder."""
    from airflow.providers.common.io.xcom import backend
    from airflow.sdk.execution_time import xcom

    folder = tmp_path / "xcoms"
    folder.mkdir()
    name = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", name)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", f"file://{folder}")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "0")
    for setting in (backend._get_base_path, backend._get_threshold, backend._get_compression):
        setting.cache_clear()
    monkeypatch.setattr(xcom, "XCom", backend.XComObjectStorageBackend)
    return folder


def stored(folder: Path, value: Any) -> str:
    """Store a value as the backend does, and return what the database holds."""
    path = folder / f"{next(numbers)}.json"
    path.write_text(json.dumps(value))
    return f"file://{path}"


def test_a_stored_value_is_read(kept: Path, shown: Path, admin: Any) -> None:
    """On the tab of its task, and the file that it hands on."""
    run = Run(f"stored_{next(numbers)}")
    run.hands("generate", stored(kept, job()))
    run.hands("archive", stored(kept, [archived(shown, run.dag_id)]), operator="EvoLinkArchiveOperator")
    page = admin.get(run.address("task", "generate")).text
    assert PROMPT in page, page
    assert "<video" in page
    assert admin.get(run.address("file", "archive", number=0)).content == CONTENT


def test_a_stored_value_that_cannot_be_read_is_one_line(kept: Path, admin: Any) -> None:
    """Neither the tab nor a file is an error of ours."""
    run = Run(f"stored_{next(numbers)}")
    run.hands("generate", f"file://{kept}/gone.json")
    page = admin.get(run.address("task", "generate"))
    assert page.status_code == 200
    assert "object store that cannot be read here" in page.text
    assert admin.get(run.address("file", "generate", number=0)).status_code == 404


def test_many_stored_values_are_not_read_one_by_one(kept: Path, admin: Any) -> None:
    """The contact sheet reads some, and says how many it leaves out; the tab of a task reads its own first."""
    run = Run(f"stored_{next(numbers)}")
    for index in range(25):
        run.hands("generate", stored(kept, job(f"task-{index}")), map_index=index)
    page = admin.get(f"/evolink/run/{run.dag_id}/{run.run_id}").text
    assert page.count("<li class=") == 20
    assert "5 values lie in an object store" in page
    assert "task-24" in admin.get(run.address("task", "generate", map_index=24)).text


def test_a_text_is_no_reference_without_such_a_backend(tmp_path: Path, admin: Any) -> None:
    """A value that looks like one opens nothing."""
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(job("task-secret")))
    run = Run(f"stored_{next(numbers)}")
    run.hands("generate", f"file://{secret}")
    assert "task-secret" not in admin.get(run.address("task", "generate")).text


def test_an_edited_reference_leads_nowhere_else(kept: Path, tmp_path: Path, admin: Any) -> None:
    """The backend reads below its own folder only, and so do we."""
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(job("task-secret")))
    run = Run(f"stored_{next(numbers)}")
    run.hands("generate", f"file://{kept}/../secret.json")
    run.hands("other", f"file://{secret}")
    for task_id in ("generate", "other"):
        assert "task-secret" not in admin.get(run.address("task", task_id)).text


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_a_value_is_read_however_often_it_was_written_as_text(times: int, admin: Any) -> None:
    """Airflow 3.1 writes a value that somebody edited as the text of a text."""
    run = Run(f"text_{times}")
    value: Any = job("task-9")
    for _ in range(times):
        value = json.dumps(value)
    run.hands("generate", value)
    assert "task-9" in admin.get(run.address("task", "generate")).text
