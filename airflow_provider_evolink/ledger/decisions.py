"""What a try does with the record it finds. Pure: every rule about retries, clears and backfills is in this module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity

if TYPE_CHECKING:
    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.arguments.choices import OnUnknownSubmit
    from airflow_provider_evolink.ledger.policies import Policies

# EvoLink's client libraries rely on a repeated key for a day; a margin keeps us clear of its end.
REPLAY_WITHIN_SECONDS = 20 * 3600.0
MAX_EXTRA_PAYMENTS = 1
CLOCK_SKEW = 900.0  # seconds that EvoLink's clock and ours may differ
SAME_MOMENT_SECONDS = 300.0  # EvoLink may report the creation of one job from several clocks


class Act(StrEnum):
    """What a try does first."""

    SUBMIT = "submit"
    ATTACH = "attach"  # wait for the job of an earlier try, or return its result
    RESOLVE = "resolve"  # find out whether an earlier order was accepted
    REFUSE = "refuse"  # a backfill that must not submit


def decide(record: Record | None, identity: TaskIdentity, policies: Policies) -> tuple[Act, int]:
    """
    Return what to do, and the number of the order it is about.

    A job is used until its result was delivered. After that a retry still gets this result; a clear submits a new
    order, as far as the policies allow.

    :param record: The record in the ledger.
    :param identity: The running try.
    :param policies: What the DAG author chose.
    """
    submit = Act.REFUSE if identity.is_backfill and policies.on_backfill == "fail" else Act.SUBMIT
    if record is None:
        return submit, 0
    if record.state is State.REFUSED:
        return submit, record.order_number
    if record.state in (State.INTENT, State.UNKNOWN):
        return Act.RESOLVE, record.order_number
    if _wants_new_result(record, identity, policies):
        return submit, record.order_number + 1
    return Act.ATTACH, record.order_number


def _wants_new_result(record: Record, identity: TaskIdentity, policies: Policies) -> bool:
    """Return whether the task was cleared after its result was delivered, and such a clear is to submit again."""
    if record.state is not State.DELIVERED or record.clear_count == identity.clear_count:
        return False
    # Each try empties XCom as it begins, so only the very next one can see that the result never reached it.
    if identity.had_result is False and identity.attempt <= record.attempt + 1:
        return False
    return policies.on_backfill != "reuse" if identity.is_backfill else policies.on_clear == "regenerate"


def _repeats_nothing(identity: TaskIdentity, policies: Policies) -> bool:
    return identity.is_backfill and policies.on_backfill != "generate"


def may_reuse(record: Record | None, identity: TaskIdentity, policies: Policies) -> bool:
    """
    Return whether an archived result may be handed on: nothing is open, and no clear wants a new result.

    :param record: The record in the ledger.
    :param identity: The running try.
    :param policies: What the DAG author chose.
    """
    act = decide(record, identity, policies)[0]
    if record is None or (record.state is State.REFUSED and record.order_number == 0):
        return act is Act.SUBMIT
    return act is Act.ATTACH and record.state is State.DELIVERED


def shares_order(record: Record | None, identity: TaskIdentity, policies: Policies) -> bool:
    """
    Return whether an order may be that of another task with the same request. A clear wants one of its own.

    :param record: The record in the ledger; of an order, or of a job that has failed.
    :param identity: The running try.
    :param policies: What the DAG author chose.
    """
    if record is None or record.job_id is None:
        return may_reuse(record, identity, policies)
    return record.state is State.SUBMITTED and record.clear_count == identity.clear_count


def resubmits_failed_job(record: Record, identity: TaskIdentity, policies: Policies, *, repeatable: bool) -> bool:
    """
    Return whether a job that EvoLink reported as failed is replaced by a new order, which is paid like any other.

    A clear always submits again. A retry does so for a failure that may not repeat, up to ``max_regenerations``.

    :param record: The record of the failed job.
    :param identity: The running try.
    :param policies: What the DAG author chose.
    :param repeatable: Whether the same request may succeed, by the error code of the job.
    """
    if _repeats_nothing(identity, policies):
        return False
    if record.clear_count != identity.clear_count:
        return True
    maximum = policies.max_regenerations
    return repeatable and (maximum is None or record.regenerations < maximum)


def why_not_resubmitted(identity: TaskIdentity, policies: Policies) -> str:
    """
    Return why a failed job that is worth repeating is not submitted again, and what to do.

    :param identity: The running try.
    :param policies: What the DAG author chose.
    """
    if _repeats_nothing(identity, policies):
        return f'on_backfill="{policies.on_backfill}" does not submit again: choose "generate" to submit again'
    return "max_regenerations is used up: clear the task to submit again"


def unknown_submit_policy(identity: TaskIdentity, policies: Policies) -> OnUnknownSubmit:
    """
    Return how to resolve an order of unknown outcome. A backfill that must not submit sends nothing here either.

    :param identity: The running try.
    :param policies: What the DAG author chose.
    """
    is_refused = decide(None, identity, policies)[0] is Act.REFUSE
    sends = policies.on_unknown_submit in ("replay", "resubmit")
    return "fail" if sends and is_refused else policies.on_unknown_submit


def misfit(record: Record, job: JobReading) -> str | None:
    """
    Return why a job cannot be the one of an order, or ``None``. A record can be edited to name any job of the account.

    What EvoLink does not report is not compared, and names that the catalog does not know only with each other.

    :param record: The record of the order.
    :param job: The job, as just polled.
    """
    ordered, found = catalog.find_spec(record.model), catalog.find_spec(job.model or "")
    if ordered and found and ordered.model != found.model:
        return f"it is a job of {found.model}"
    if ordered and not found and job.kind in ("video", "image", "audio") and job.kind != ordered.kind:
        return f"it makes {job.kind}, not {ordered.kind}"
    if not ordered and found:
        return f"it is a job of {found.model}"
    if job.created is None:
        return None
    # The response to the order gave EvoLink's own time; without it, the clock of a worker must do.
    known, tolerance = record.newest_job_created, SAME_MOMENT_SECONDS
    if not known:
        known, tolerance = record.ordered_at, REPLAY_WITHIN_SECONDS
    return None if abs(job.created - known) <= tolerance else "it was created at another time"


def candidates(record: Record, listed: Iterable[Job]) -> list[Job]:
    """
    Return the jobs that can be the one of an order whose response was lost: of its model, at its time, and no earlier
    job of the task.

    :param record: The record of the order.
    :param listed: The account's newest jobs.
    """
    order = replace(record, newest_job_created=0.0)  # its own job is younger than any that is known
    fitting = [(job, job.created or 0.0) for job in listed if not misfit(order, job)]
    younger = [(job, created) for job, created in fitting if created > record.newest_job_created]
    return [job for job, created in younger if abs(created - record.ordered_at) <= CLOCK_SKEW]


def may_replay(record: Record, *, honored: bool, now: float) -> bool:
    """
    Return whether an order may be sent again with the same idempotency key.

    :param record: The record of the order.
    :param honored: Whether the connection says that EvoLink returns the first job for a repeated key.
    :param now: Epoch seconds.
    """
    return honored and 0 <= now - record.ordered_at < REPLAY_WITHIN_SECONDS


def may_resubmit(record: Record) -> bool:
    """
    Return whether ``on_unknown_submit="resubmit"`` may still submit a second order, which may be paid twice.

    :param record: The record of the order whose outcome is unknown.
    """
    return record.extra_payments < MAX_EXTRA_PAYMENTS
