"""What docs/errors.md promises, row by row: how to make it happen to a real task, and what must come of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.jobs.failures import FAILURE_CODES
from airflow_provider_evolink.emulator.server import EmulatorServer

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEADER = ["What happens", "Error", "Airflow retry", "Charged", "Task", "What to do"]
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
    schedule="@once",
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
    """What became of one task; its deferrals are None where nobody counted them."""

    told: list[dict[str, Any]]
    state: str
    deferrals: int | None
    books: dict[str, Any]
    faults: list[dict[str, Any]]


def cancel(emulator: EmulatorServer, act: Callable[[EmulatorServer, str], Any], done: threading.Event) -> None:
    """Let somebody else act as soon as there is an order."""
    while not done.wait(0.1):
        for job in emulator.books()["jobs"]:
            act(emulator, job["id"])
            return


@contextmanager
def emulators_of(rows: list[str]) -> Iterator[dict[str, EmulatorServer]]:
    """Serve an emulator for each row, whose fault is set."""
    done = threading.Event()
    with ExitStack() as stack:
        stack.callback(done.set)
        found = {}
        for row in rows:
            case = CASES[row]
            settings = {"polls": 1, "estimated_time": 1, "fps": 4} | case.settings
            emulator = found[row] = stack.enter_context(EmulatorServer(**settings))
            if case.fault:
                emulator.fault(**case.fault)
            if case.meanwhile:
                threading.Thread(target=cancel, args=(emulator, case.meanwhile, done), daemon=True).start()
        yield found


def connection_of(row: str, emulator: EmulatorServer) -> str:
    """Return the connection of a row, as the environment holds it."""
    return json.dumps({"conn_type": "evolink", "host": emulator.url, "password": KEY} | CASES[row].connection)


def write_dag(folder: Path, rows: list[str], staging: str) -> None:
    """Write the DAG of some rows, with the file that its tasks report to."""
    arguments = {}
    for row in rows:
        given = {"prompt": PROMPT, "duration": 2, "poll_interval": 0.1, "evolink_conn_id": TASKS[row]} | CASES[
            row
        ].given
        arguments[TASKS[row]] = {key: staging if value == "{staging}" else value for key, value in given.items()}
    (folder / "error_table.json").write_text(json.dumps(arguments))
    (folder / "error_table.jsonl").touch()
    (folder / "error_table.py").write_text(DAG_FILE)


def reports(folder: Path, row: str) -> list[dict[str, Any]]:
    """Return what the tries of a row have reported."""
    lines = [json.loads(line) for line in (folder / "error_table.jsonl").read_text().splitlines()]
    return [line for line in lines if line["task"] == TASKS[row]]


def check_row(row: str, result: Result) -> None:
    """Compare what became of a task with the row of the page."""
    _, error, retry, charged, task, advice = ROWS[row]
    case, books, told = CASES[row], result.books, result.told
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
    assert result.deferrals is None or bool(result.deferrals) is case.deferred, context
    assert advice
