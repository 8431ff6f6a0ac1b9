"""What a person reads first where nobody knows whether an order was accepted, and the command that settles it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_evolink.__main__ import check_network, reconcile
from airflow_provider_evolink.api.catalog.cli import main
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution.unknown_outcome import judge
from airflow_provider_evolink.ledger.record import Record, State
from airflow_provider_evolink.operators import EvoLinkBatchOperator

PROGRAM = "python -m airflow_provider_evolink "
IMAGE = {"model": "gpt-image-2", "kind": "image", "parameters": {"prompt": "p"}}
HEAD = re.compile(
    r"(request \d of \d: )?EvoLink may have accepted and charged one order of (?P<model>[\w.-]+), (?P<cost>[^.]+\.?\d*"
    r"[^.]*)\. To settle it, run: (?P<command>python -m airflow_provider_evolink reconcile .+)"
)
Settle = Callable[[str], tuple[int, str]]


@pytest.fixture
def settle(capsys: pytest.CaptureFixture[str]) -> Settle:
    """Run a command that a message names, word for word, and return its exit status and what it prints."""

    def run(command: str) -> tuple[int, str]:
        program, _, arguments = command.partition(PROGRAM)
        assert program == ""
        capsys.readouterr()
        status = main(shlex.split(arguments), check_network=check_network, reconcile=reconcile)
        told = capsys.readouterr()
        return status, told.out + told.err

    return run


def first_line(stage: Any, operator: Any, begins: str = "EvoLinkSubmissionUnknown: ") -> re.Match[str]:
    """Run a try that must fail, and return the first line of what Airflow shows."""
    with pytest.raises(Exception, match=r"af1-") as told:
        stage.run(operator)
    line = str(told.value).splitlines()[0].removeprefix(begins)
    found = HEAD.fullmatch(line)
    assert found, line
    return found


ORDERS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "one order": (lambda make: make(), "wan2.7-text-to-video", "at most 10.88 credits"),
    "one without a known price": (lambda make: make(**IMAGE), "gpt-image-2", "credits not known"),
    "one on the worker": (lambda make: make(deferrable=False), "wan2.7-text-to-video", "at most 10.88 credits"),
    "one of a batch": (
        lambda make: make(EvoLinkBatchOperator, requests=[{"model": "wan2.7-text-to-video", "prompt": "p"}]),
        "wan2.7-text-to-video",
        "at most 27.2 credits",
    ),
}


@pytest.mark.parametrize("what", ORDERS)
@pytest.mark.parametrize("fault", ["lost_answer", "cut_before", "html", "status"])
def test_the_first_line_says_what_is_at_risk_and_how_to_settle_it(
    stage: Any, make: Any, emulator: EmulatorServer, settle: Settle, what: str, fault: str
) -> None:
    """In the try that lost the response, and in those after it; the command is complete, and finds what was paid."""
    operator, model, cost = ORDERS[what]
    more = {"processed": True, "status": 500} if fault == "status" else {}
    emulator.fault(fault, on="submit", **more)
    lost = first_line(stage, operator(make))
    assert (lost["model"], lost["cost"]) == (model, cost)
    later = first_line(stage.retry(), operator(make))
    assert later.groupdict() == lost.groupdict()
    books = emulator.books()
    status, told = settle(lost["command"])
    if books["orders"]:
        job_id = books["jobs"][0]["id"]
        assert status == 0
        assert f'airflow dags trigger evolink_recover --conf \'{{"job_id": "{job_id}"}}\'' in told
    else:
        assert status == 1, told
        assert re.search(r"wait \d+ s and run this again: a stalled worker may still submit", told)
    assert emulator.books()["orders"] == books["orders"], "the command orders nothing"


def test_an_earlier_job_of_the_task_is_not_taken_for_the_lost_one(
    stage: Any, make: Any, emulator: EmulatorServer, settle: Settle
) -> None:
    stage.run(make())
    emulator.fault("cut_before", on="submit")
    found = first_line(stage.clear(), make())
    assert "--newer-than" in found["command"]
    assert "0 jobs of this account can be" in settle(found["command"])[1]


def test_inputs_that_cannot_be_built_any_more_leave_the_price_unknown(
    stage: Any, make: Any, emulator: EmulatorServer
) -> None:
    emulator.fault("lost_answer")
    first_line(stage, make())
    assert first_line(stage.retry(), make(parameters={}))["cost"] == "credits not known"


NOW = 1_790_000_000.0
ORDER = Record(State.UNKNOWN, "af1-x", 0, 0, "", "wan2.7-text-to-video", NOW)


def job(number: int, age: float, model: str = "wan2.7-text-to-video") -> Job:
    """Return a job of the account, as a list of them shows it."""
    row = {"id": f"task-unified-1790000000-demo{number:04}", "created": NOW - age, "status": "processing"}
    return Job.model_validate({**row, "model": model})


@pytest.mark.parametrize(
    ("listed", "seconds_later", "is_settled", "words"),
    [
        ([job(1, 5)], 10, True, "no other listed job can be this order"),
        ([job(1, 5), job(2, 5, "gpt-image-2"), job(3, 2000)], 10, True, "no other listed job can be this order"),
        ([job(1, 5), job(2, -60)], 10, False, "compare these jobs"),
        ([], 10, False, "wait 320 s and run this again"),
        ([], 331, True, "that submits, and pays, again"),
        ([job(number, 4000) for number in range(50)], 331, True, "that submits, and pays, again"),
        ([job(number, -1000) for number in range(50)], 9999, False, "does not reach back to the order"),
    ],
)
def test_what_a_list_says_about_an_order(listed: list[Job], seconds_later: float, is_settled: bool, words: str) -> None:
    verdict = judge(ORDER, listed, NOW + seconds_later)
    assert verdict.is_settled == is_settled
    assert words in verdict.todo


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("--model m --ordered-at 2026-01-31T12:00:00Z --conn-id nobody", 2, "nobody"),
        ("--model m --ordered-at 2026-01-31T12:00:00", 0, "0 jobs of this account can be the order of m at 2026-01-31"),
        ("--model m --ordered-at 2026-01-31T12:00:00+02:00 --json", 0, '"jobs": []'),
    ],
)
@pytest.mark.usefixtures("evolink_conn", "emulator")
def test_the_command_says_what_is_wrong(settle: Settle, arguments: str, status: int, words: str) -> None:
    found, told = settle(f"{PROGRAM}reconcile {arguments}")
    assert found == status
    assert words in told


def test_a_key_that_is_refused_settles_nothing(
    emulator: EmulatorServer, settle: Settle, evolink_conn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"conn_type": "evolink", "host": emulator.url, "password": "my-expired-key"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{evolink_conn.upper()}", json.dumps(given))
    status, told = settle(f"{PROGRAM}reconcile --model m --ordered-at 2026-01-31T12:00:00Z")
    assert (status, "EvoLinkAuthError" in told) == (2, True)
    assert "my-expired-key" not in told


def test_a_time_that_is_none_is_refused(settle: Settle) -> None:
    with pytest.raises(SystemExit) as ended:
        settle(f"{PROGRAM}reconcile --model m --ordered-at yesterday")
    assert ended.value.code == 2
