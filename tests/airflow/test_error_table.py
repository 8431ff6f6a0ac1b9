"""
docs/errors.md is true: every row of it happens to a real task in Airflow, deferral and retries included.

One DAG holds one task per row, each with an emulator of its own, and runs once. After a change of a message,
``EVOLINK_WRITE_ERRORS=1 pytest tests/airflow/test_error_table.py`` writes the messages into the page.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evolink_error_cases import (
    CASES,
    HEADER,
    PAGE,
    ROWS,
    TASKS,
    Result,
    check_row,
    connection_of,
    emulators_of,
    reports,
    tables,
    write_dag,
)
from evolink_support import replace_between, set_policy, steady

from airflow_provider_evolink.api.http import patience, retries
from airflow_provider_evolink.api.jobs.failures import FAILURE_CODES

BEGIN, END = "<!-- messages -->\n", "<!-- end of messages -->"


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


@pytest.fixture(scope="module")
def results(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """Run all rows in one DAG run, and return what became of each."""
    from airflow_provider_evolink.triggers import evolink

    folder = airflow_home / "dags"
    staging = tmp_path_factory.mktemp("staging").as_uri()
    triggers: list[str] = []
    waits, run = retries.wait_before_retry, evolink.EvoLinkJobTrigger.run
    with emulators_of(list(CASES)) as emulators, pytest.MonkeyPatch.context() as patch:
        patch.setattr(evolink, "HOLD_EVENT", 0.1)
        patch.setattr(retries, "wait_before_retry", lambda *args, **facts: waits(*args, **{**facts, "jitter": -0.32}))
        set_policy(patch, confirm_failure_after=0.05, not_found_grace=1.0)
        patch.setattr(patience, "POLICY", replace(patience.POLICY, first_window=0.05, max_window=0.2))
        patch.setattr(
            evolink.EvoLinkJobTrigger, "run", lambda self: (triggers.append(self.evolink_conn_id), run(self))[1]
        )
        for row, emulator in emulators.items():
            patch.setenv(f"AIRFLOW_CONN_{TASKS[row].upper()}", connection_of(row, emulator))
        write_dag(folder, list(CASES), staging)
        started = time.monotonic()
        ran = load(folder / "error_table.py").test()
        print(f"\n{len(CASES)} rows took {time.monotonic() - started:.0f} s")
        states = {ti.task_id: str(ti.state) for ti in ran.get_task_instances()}
        found = {
            row: Result(
                told=reports(folder, row),
                state=states[TASKS[row]],
                deferrals=triggers.count(TASKS[row]),
                books=emulators[row].books(),
                faults=emulators[row].faults(),
            )
            for row in CASES
        }
        for name in ("error_table.py", "error_table.json", "error_table.jsonl"):
            (folder / name).unlink()
        if os.environ.get("EVOLINK_WRITE_ERRORS"):
            write_messages(found)
        yield found


def message(result: Result) -> str | None:
    """Return the last message of a task, without what differs from run to run."""
    texts = [line["text"] for line in result.told if line["state"] != "success"]
    if not texts:
        return None
    return steady(texts[-1])


def write_messages(found: dict[str, Result]) -> None:
    lines = ["| What happens | The log says |", "|---|---|"]
    lines += [f"| {row} | {message(result)} |" for row, result in found.items() if message(result)]
    replace_between(PAGE, BEGIN, END, "\n" + "\n".join(lines) + "\n\n")


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert sorted(ROWS) == sorted(CASES)
    assert len(tables()) == len(ROWS), "a row is there twice"
    assert all(len(row) == len(HEADER) for row in ROWS.values())


@pytest.mark.parametrize("code", FAILURE_CODES)
def test_every_documented_failure_code_has_a_row(code: str) -> None:
    assert f"job fails with `{code}`" in ROWS
    if FAILURE_CODES[code].repeatable:
        assert ROWS[f"job fails with `{code}`"][2] == "yes, submits again"
    else:
        assert ROWS[f"job fails with `{code}`"][2] == "no"


@pytest.mark.parametrize("row", CASES)
def test_what_the_page_says_is_what_happens(row: str, results: dict[str, Result]) -> None:
    check_row(row, results[row])


@pytest.mark.parametrize("row", CASES)
def test_the_messages_on_the_page_are_those_of_the_log(row: str, results: dict[str, Result]) -> None:
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    said = message(results[row])
    lines = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    assert lines == ([] if said is None else [f"| {row} | {said} |"])
