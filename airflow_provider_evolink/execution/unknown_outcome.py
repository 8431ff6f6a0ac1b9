"""Where nobody knows whether an order was accepted: what a person reads first, and the command that settles it."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import EvoLinkSubmissionUnknown
from airflow_provider_evolink.api.redaction import count, sanitize
from airflow_provider_evolink.ledger.decisions import CLOCK_SKEW, candidates
from airflow_provider_evolink.ledger.record import Record, State

if TYPE_CHECKING:
    from airflow_provider_evolink.api.errors import EvoLinkError
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.execution.request import OrderRequest

# Airflow's heartbeat timeout and our own timeout of a submission: after that, no stalled worker may still submit.
STALE_WORKER_SECONDS = 330.0
PROGRAM = "python -m airflow_provider_evolink"


def at_risk(record: Record, body: dict[str, Any] | None, evolink_conn_id: str) -> str:
    """
    Return the first line of an unknown outcome: what may have been charged, and the command that settles it.

    :param record: The record of the order.
    :param body: Its request body; ``None``: not known any more.
    :param evolink_conn_id: Connection of type ``evolink``.
    """
    price = catalog.max_credits(record.model, body) if body else None
    cost = "credits not known" if price is None else f"at most {price:.10g} credits"
    return (
        f"EvoLink may have accepted and charged one order of {sanitize(record.model, 80)}, {cost}. To settle it, run: "
        f"{reconcile_command(record, evolink_conn_id)}"
    )


def reconcile_command(record: Record, evolink_conn_id: str) -> str:
    """
    Return the command that lists the jobs which can be an order.

    :param record: The record of the order.
    :param evolink_conn_id: Connection of type ``evolink``.
    """
    given = ["--model", sanitize(record.model, 80), "--ordered-at", _moment(record.ordered_at)]
    if record.ordered_at - record.newest_job_created <= CLOCK_SKEW:  # an earlier job of the task could be taken for it
        given += ["--newer-than", _moment(record.newest_job_created)]
    return f"{PROGRAM} reconcile {shlex.join([*given, '--conn-id', evolink_conn_id])}"


def explained(error: EvoLinkError, record: Record, request: OrderRequest) -> EvoLinkError:
    """
    Put what is at risk before the error of an order whose response was lost.

    :param error: How it was lost.
    :param record: The record of the order.
    :param request: Its request.
    """
    return error.amended(message=f"{_head(record, request)}\nWhy: {error.message}")


def interrupted(record: Record, record_name: str, request: OrderRequest, why: str = "") -> EvoLinkSubmissionUnknown:
    """
    Return the error of a try that finds an order of unknown outcome.

    :param record: The record of the order.
    :param record_name: Its name in the task state store.
    :param request: The request of this try.
    :param why: Why the policy did not resolve it.
    """
    return EvoLinkSubmissionUnknown(
        f"{_head(record, request)}\nWhy: an earlier try was interrupted while it submitted, so a job may be running "
        "and cost credits; nothing is sent. "
        + (f"By on_unknown_submit={request.options.policies.on_unknown_submit!r}: {why}. " if why else "")
        + "What to do: run that command, or look for the job on the EvoLink dashboard (by time and model). If it is "
        f"there, fetch it with EvoLinkJobSensor and its id. If there is none, delete the record {record_name} in the "
        "Storage tab of this task instance (and its file in the ledger folder) and clear the task; its idempotency "
        f"key is {record.key}",
        idempotency_key=record.key,
    )


def _head(record: Record, request: OrderRequest) -> str:
    same = request.source.remembered() if not request.source.is_repeatable else request.same_body(record)
    return at_risk(record, same, request.options.evolink_conn_id)


# The command ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """
    What the list of an account's jobs says about an order.

    :param jobs: Those that can be it.
    :param todo: What the user can do.
    :param is_settled: Whether nothing is left to find out.
    """

    jobs: list[dict[str, Any]]
    todo: str
    is_settled: bool = False


def judge(order: Record, listed: Sequence[Job], now: float) -> Verdict:
    """
    Return which of the account's jobs can be an order. Pure.

    :param order: Model and time of the order.
    :param listed: The account's newest jobs of the model.
    :param now: Epoch seconds.
    """
    found = candidates(order, listed)
    jobs = [{"job_id": job.job_id, "status": job.status_text, "created": job.created_at} for job in found]
    if len(found) == 1:
        conf = shlex.quote(json.dumps({"job_id": found[0].job_id}))
        todo = (
            "no other listed job can be this order. Compare it with the dashboard if others use this account. To fetch "
            f"it, run: airflow dags trigger evolink_recover --conf {conf}. Then mark the task as success"
        )
        return Verdict(jobs, todo, is_settled=True)
    if found:
        return Verdict(
            jobs, "compare these jobs on the EvoLink dashboard; one of them may be this order", is_settled=False
        )
    left = order.ordered_at + STALE_WORKER_SECONDS - now
    if left > 0:
        return Verdict(
            jobs, f"wait {left:.0f} s and run this again: a stalled worker may still submit", is_settled=False
        )
    if not reaches_back(order, listed):
        return Verdict(
            jobs, "look on the EvoLink dashboard: this list does not reach back to the order", is_settled=False
        )
    todo = (
        "delete the record (its name is in the message of the task) in the Storage tab of the task instance, and its "
        "file in the ledger folder, and clear the task: that submits, and pays, again"
    )
    return Verdict(jobs, todo, is_settled=True)


def reaches_back(order: Record, listed: Sequence[Job]) -> bool:
    """
    Return whether a list holds all jobs since an order: a full page may not.

    :param order: Model and time of the order.
    :param listed: The account's newest jobs of the model.
    """
    from airflow_provider_evolink.api.http.wire import MAX_LISTED

    oldest = min((job.created or 0.0 for job in listed), default=0.0)
    return len(listed) < MAX_LISTED or oldest < order.ordered_at - CLOCK_SKEW


def print_verdict(model: str, ordered_at: float, newer_than: float, evolink_conn_id: str, *, as_json: bool) -> int:
    """
    List the jobs that can be an order whose response was lost. Submits nothing, changes nothing, is free.

    :param model: EvoLink's name of the model.
    :param ordered_at: Epoch seconds of the order.
    :param newer_than: Epoch seconds; jobs created until then are not it.
    :param evolink_conn_id: Connection of type ``evolink``.
    :param as_json: Write JSON.
    :return: Exit status: 0 if nothing is left to find out, else 1.
    :raises EvoLinkError: the account cannot be read.
    """
    from airflow_provider_evolink.hooks.evolink import EvoLinkHook

    order = Record(State.UNKNOWN, "", 0, 0, "", model, ordered_at, newest_job_created=newer_than)
    with EvoLinkHook(evolink_conn_id).get_conn() as client:
        verdict = judge(order, client.list_jobs(model), time.time())
    which = f"the order of {sanitize(model, 80)} at {_moment(ordered_at)}"
    lines = [
        f"{count(len(verdict.jobs), 'job')} of this account can be {which}",
        *(f"  {job['job_id']}, {job['status']}, created {job['created']}" for job in verdict.jobs),
        f"What to do: {verdict.todo}",
    ]
    shown = {"jobs": verdict.jobs, "todo": verdict.todo, "is_settled": verdict.is_settled}
    text = json.dumps(shown, indent=1, default=str) if as_json else "\n".join(lines)
    sys.stdout.write(f"{text}\n")
    return int(not verdict.is_settled)


def _moment(seconds: float) -> str:
    return pendulum.from_timestamp(int(seconds)).to_iso8601_string()
