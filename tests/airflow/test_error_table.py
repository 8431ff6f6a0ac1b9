"""
docs/errors.md is true: every row of it happens to a real task in Airflow, deferral and retries included.

One DAG holds one task per row, each with an emulator of its own, and runs once. After a change of a message,
``EVOLINK_WRITE_ERRORS=1 pytest tests/airflow/test_error_table.py`` writes the messages into the page.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from evolink_support import replace_between, set_policy, steady

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.http import patience, retries
from airflow_provider_evolink.api.jobs.failures import FAILURE_CODES
from airflow_provider_evolink.emulator.server import EmulatorServer

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEADER = ["What happens", "Error", "Airflow retry", "Charged", "Task", "What to do"]
BEGIN, END = "<!-- messages -->\n", "<!-- end of messages -->"
KEY = "test-key-0123456789"
PROMPT = "a paper boat with the secret word xylophonist"
PRICE = 10.88
FOR_EVER = 1_000_000

DAG_FILE = """
import json
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import EvoLinkTextToVideoOperator

HERE = Path(__file__).parent


def tell(state):
    def callback(context):
        error = context.get("exception")
        told = {
            "task": context["ti"].task_id,
            "try": context["ti"].try_number,
            "state": state,
            "error": type(error).__name__,
            "cause": type(getattr(error, "error", None)).__name__,
            "text": str(error),
        }
        with (HERE / "error_table.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\\n")

    return callback


with DAG(
    "error_table",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={
        "retries": 1,
        "retry_delay": timedelta(0),
        "on_retry_callback": tell("retry"),
        "on_failure_callback": tell("failed"),
        "on_success_callback": tell("success"),
    },
) as dag:
    for name, given in json.loads((HERE / "error_table.json").read_text()).items():
        EvoLinkTextToVideoOperator(task_id=name, **given)
"""


@dataclass
class Case:
    """
    How to make the thing of one row happen.

    :param fault: Fault of the emulator.
    :param settings: Its knobs.
    :param given: Arguments of the operator.
    :param connection: What differs in the Airflow connection.
    :param orders: Orders that EvoLink accepted in the end.
    :param sent: Whether anything was sent to EvoLink at all.
    :param meanwhile: Done by somebody else as soon as there is an order.
    """

    fault: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    connection: dict[str, Any] = field(default_factory=dict)
    orders: int = 0
    sent: bool = True
    deferred: bool = False
    meanwhile: Callable[[EmulatorServer, str], Any] | None = None


def order_fails(status: int, code: str, **more: Any) -> Case:
    return Case({"kind": "status", "on": "submit", "status": status, "code": code, "times": -1, **more})


def job_fails(code: str) -> Case:
    row = FAILURE_CODES.get(code)
    return Case({"kind": "job_fails", "code": code, "times": 1}, orders=2 if row and row.repeatable else 1)


def while_waiting(kind: str, **more: Any) -> Case:
    """Let the worker's look pass, and let the fault happen to the trigger, more often than one call is repeated."""
    fault = {"kind": kind, "on": "read", "after": 1, "times": 4, **more}
    return Case(fault, settings={"polls": 3, "estimated_time": 60}, orders=1, deferred=True)


LONG: dict[str, Any] = {"polls": FOR_EVER, "estimated_time": 60}
CASES: dict[str, Case] = {
    # the order
    "HTTP 401: key rejected": order_fails(401, "unauthorized"),
    "HTTP 402: out of credits, or a limit of the key reached": order_fails(402, "insufficient_quota"),
    "HTTP 403: key has no access to the model": order_fails(403, "model_access_denied"),
    "HTTP 400: request invalid": order_fails(400, "invalid_request", param="duration"),
    "HTTP 400 with a content code": order_fails(400, "content_policy_violation"),
    "HTTP 429, `Retry-After` up to 30 s": Case(
        {
            "kind": "status",
            "on": "submit",
            "status": 429,
            "code": "rate_limit_exceeded",
            "headers": {"Retry-After": "1"},
        },
        orders=1,
    ),
    "HTTP 429 that persists": order_fails(429, "rate_limit_exceeded", headers={"Retry-After": "60"}),
    "HTTP 500 on submit": order_fails(500, "internal_error"),
    "HTML page on submit": Case({"kind": "html", "on": "submit"}),
    "connection closed before the response": Case({"kind": "cut_before", "on": "submit"}),
    "request accepted, response lost": Case({"kind": "lost_answer", "on": "submit"}, orders=1),
    "connection refused": Case(connection={"host": "http://127.0.0.1:1"}, sent=False),
    # nothing is sent
    "request breaks a rule of the model": Case(given={"duration": 99}, sent=False),
    "key with a trailing newline": Case(connection={"password": f"{KEY}\n"}, sent=False),
    "key in quotes": Case(connection={"password": f'"{KEY}"'}, sent=False),
    "host that is not allowed": Case(connection={"host": "https://evolink.example.com"}, sent=False),
    "destination that cannot be opened": Case(given={"destination": "nowhere://bucket/videos"}, sent=False),
    "destination that takes no files": Case(given={"destination": "file:///dev/null/videos"}, sent=False),
    # waiting
    "HTTP 500 while waiting": while_waiting("status", status=500, code="internal_error"),
    "HTTP 429 while waiting": while_waiting(
        "status", status=429, code="rate_limit_exceeded", type="evo_api_error", headers={"Retry-After": "1"}
    ),
    "HTML page while waiting": while_waiting("html"),
    "connection closed while waiting": while_waiting("cut_before"),
    "unknown status": while_waiting("unknown_status", status="paused", times=2),
    "HTTP 401 while waiting": Case(
        {"kind": "status", "on": "read", "status": 401, "code": "unauthorized", "after": 1, "times": -1},
        settings=LONG,
        orders=1,
        deferred=True,
    ),
    "HTTP 404: the job is gone": Case(
        {"kind": "status", "on": "read", "status": 404, "code": "task_not_found", "after": 1, "times": -1},
        settings=LONG,
        orders=1,
        deferred=True,
    ),
    "job still running after the task's `timeout`": Case(settings=LONG, given={"timeout": 3}, orders=1, deferred=True),
    # the job's end
    **{f"job fails with `{code}`": job_fails(code) for code in FAILURE_CODES},
    "job fails with an undocumented code": job_fails("quantum_foam"),
    "job is `cancelled`": Case(
        settings=LONG, orders=1, meanwhile=lambda emulator, job_id: emulator.job(job_id, state="cancelled")
    ),
    "job is `completed`, without results": Case({"kind": "no_results", "times": -1}, orders=1),
    # the results
    "link has expired, and so has the fresh one": Case(
        {"kind": "link_expired", "times": -1}, given={"destination": "{staging}"}, orders=1
    ),
    "HTML page instead of the media": Case(
        {"kind": "html", "on": "media", "times": -1}, given={"destination": "{staging}"}, orders=1
    ),
    "HTTP 429 once the job has ended": Case(
        {"kind": "status", "on": "media", "status": 429, "times": 7, "headers": {"Retry-After": "0.1"}},
        given={"destination": "{staging}"},
        orders=1,
    ),
    "HTTP 429 for more than 10 minutes": Case(
        {"kind": "status", "on": "media", "status": 429, "times": -1, "headers": {"Retry-After": "900"}},
        given={"destination": "{staging}"},
        orders=1,
    ),
}
TASKS = {row: f"row_{number:02}" for number, row in enumerate(CASES)}


def tables() -> list[list[str]]:
    """Return the rows of the tables of the page."""
    rows: list[list[str]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("| ") else []
        if cells == HEADER:
            inside = True
        elif inside and cells:
            rows.append(cells)
        elif not line.startswith("|"):
            inside = False
    return rows


ROWS = {row[0]: row for row in tables()}


@dataclass
class Result:
    """What became of one task."""

    told: list[dict[str, Any]]
    state: str
    deferrals: int
    books: dict[str, Any]
    faults: list[dict[str, Any]]


def cancel(emulator: EmulatorServer, act: Callable[[EmulatorServer, str], Any], done: threading.Event) -> None:
    while not done.wait(0.1):
        for job in emulator.books()["jobs"]:
            act(emulator, job["id"])
            return


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
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(evolink, "HOLD_EVENT", 0.1)
        patch.setattr(retries, "wait_before_retry", lambda *args, **facts: waits(*args, **{**facts, "jitter": -0.32}))
        set_policy(patch, confirm_failure_after=0.05, not_found_grace=1.0)
        patch.setattr(patience, "POLICY", replace(patience.POLICY, first_window=0.05, max_window=0.2))
        patch.setattr(
            evolink.EvoLinkJobTrigger, "run", lambda self: (triggers.append(self.evolink_conn_id), run(self))[1]
        )
        emulators: dict[str, EmulatorServer] = {}
        arguments: dict[str, dict[str, Any]] = {}
        done = threading.Event()
        stack.callback(done.set)
        for row, case in CASES.items():
            settings = {"polls": 1, "estimated_time": 1, "fps": 4} | case.settings
            emulator = emulators[row] = stack.enter_context(EmulatorServer(**settings))
            if case.fault:
                emulator.fault(**case.fault)
            if case.meanwhile:
                threading.Thread(target=cancel, args=(emulator, case.meanwhile, done), daemon=True).start()
            connection = {"conn_type": "evolink", "host": emulator.url, "password": KEY} | case.connection
            patch.setenv(f"AIRFLOW_CONN_{TASKS[row].upper()}", json.dumps(connection))
            given = {"prompt": PROMPT, "duration": 2, "poll_interval": 0.1, "evolink_conn_id": TASKS[row]} | case.given
            arguments[TASKS[row]] = {name: staging if value == "{staging}" else value for name, value in given.items()}
        (folder / "error_table.json").write_text(json.dumps(arguments))
        (folder / "error_table.py").write_text(DAG_FILE)
        (folder / "error_table.jsonl").touch()
        started = time.monotonic()
        ran = load(folder / "error_table.py").test()
        print(f"\n{len(CASES)} rows took {time.monotonic() - started:.0f} s")
        states = {ti.task_id: str(ti.state) for ti in ran.get_task_instances()}
        told = [json.loads(line) for line in (folder / "error_table.jsonl").read_text().splitlines()]
        found = {
            row: Result(
                told=[line for line in told if line["task"] == TASKS[row]],
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
    _, error, retry, charged, task, advice = ROWS[row]
    case, result = CASES[row], results[row]
    books, told = result.books, result.told
    context = json.dumps([told, {**books, "jobs": len(books["jobs"])}, result.faults], indent=1)

    # end state and tries
    assert result.state == told[-1]["state"] == task, context
    assert len(told) == told[-1]["try"] == (2 if retry.startswith("yes") else 1), context
    assert retry in {"yes", "yes, submits again", "no", "not needed"}
    assert (retry == "not needed") is (error == "none")

    # the error, by its class
    failures = [line for line in told if line["state"] != "success"]
    assert bool(failures) is (error != "none"), context
    for line in failures:
        name = error.strip("`")
        if getattr(errors, name).permanent or retry == "no":
            assert (line["error"], line["cause"]) == ("EvoLinkTaskFailed", name), context
            assert line["text"].startswith(f"{name}: ")
        else:
            assert line["error"] == name, context
        plain = name in {"EvoLinkRequestError", "EvoLinkConfigError"} or "nothing was sent" in line["text"]
        assert plain or "What to do: " in line["text"], context
        assert KEY not in line["text"]
        assert "xylophonist" not in line["text"]

    # the money
    assert books["orders"] == case.orders, context
    spent, held = books["credits_spent"], books["credits_reserved"]
    expected = {
        "nothing": (0, 0.0, 0.0),
        "unknown": (case.orders, 0.0, case.orders * PRICE),
        "refunded": (1, 0.0, 0.0),
        "the job": (1, PRICE, 0.0),
        "the new job": (2, PRICE, 0.0),
        "reserved, keeps running": (1, 0.0, PRICE),
    }[charged]
    assert (books["orders"], spent, held) == expected, context
    assert books["media_requests_with_authorization"] == 0

    # it really happened, where it was meant to happen
    assert all(fault["met"] for fault in result.faults), context
    assert all(fault["done"] or fault["times"] < 0 for fault in result.faults), context
    assert (books["requests"] == {}) is (not case.sent), context
    assert bool(result.deferrals) is case.deferred, context
    assert advice


@pytest.mark.parametrize("row", CASES)
def test_the_messages_on_the_page_are_those_of_the_log(row: str, results: dict[str, Result]) -> None:
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    said = message(results[row])
    lines = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    assert lines == ([] if said is None else [f"| {row} | {said} |"])
