"""What a try does with what it finds. Pure: every rule about re-runs is here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, Self, get_args, get_type_hints

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkContentError,
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkJobError,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
)
from airflow_provider_evolink.record import Identity, Record, State

OnUnknownSubmit = Literal["fail", "replay", "reconcile", "resubmit"]
OnClear = Literal["regenerate", "reuse"]
OnBackfill = Literal["generate", "reuse", "fail"]
UnknownPrice = Literal["refuse", "order"]
OnFailedJob = Literal["fail_fast", "collect"]

# EvoLink's clients believe a repeated key for a day; we stop believing before that.
REPLAY_WITHIN = 20 * 3600.0
LONGEST_WAIT = 365 * 86400.0  # seconds
MOST_EXTRA_PAYMENTS = 1
MOST_ACTIVE = 1000  # more would not fit into the row that Airflow keeps of a trigger on MySQL
# What is the affair of one request of a batch. Everything else, such as a refused key, would meet the others as well.
OF_ONE = (
    EvoLinkJobError,
    EvoLinkContentError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkSubmissionUnknown,
    EvoLinkMediaError,
)
AT_A_TIME = 4  # the part of its places that a batch lets become free before it orders on


class Act(StrEnum):
    """What a try does."""

    ORDER = "order"
    ATTACH = "attach"
    ASK = "ask"  # an order may or may not have been accepted
    REFUSE = "refuse"  # a backfill that must not order


@dataclass(frozen=True)
class Policies:
    """
    What the DAG author chose for re-runs.

    :param on_unknown_submit: What to do where an order may have been accepted.
    :param on_clear: What clearing a task means whose result was delivered.
    :param on_backfill: What a backfill may do.
    :param unknown_price: What to do under ``max_credits`` where nobody knows the price.
    :param max_regenerations: How often a failed job is ordered anew; ``None``: as often as the task is retried.
    """

    on_unknown_submit: OnUnknownSubmit = "fail"
    on_clear: OnClear = "regenerate"
    on_backfill: OnBackfill = "generate"
    unknown_price: UnknownPrice = "refuse"
    max_regenerations: int | None = None

    @classmethod
    def of(cls, operator: Any) -> Self:
        """
        Read them from an operator and check them.

        :param operator: A generate operator.
        :raises EvoLinkConfigError: a value that is none of the choices.
        """
        given = {field.name: getattr(operator, field.name) for field in fields(cls)}
        for name, hint in get_type_hints(cls).items():
            choices = get_args(hint)
            if name != "max_regenerations" and given[name] not in choices:
                raise EvoLinkConfigError(f"{name} must be one of {', '.join(choices)}")
        most = given["max_regenerations"]
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise EvoLinkConfigError("max_regenerations must be a whole number from 0, or None")
        return cls(**given)


def check_waits(operator: Any) -> None:
    """
    Check how long an operator is told to wait, before anything is paid.

    :param operator: A generate operator.
    :raises EvoLinkConfigError: a value that is no number of seconds.
    """
    for name in ("timeout", "poll_interval", "defer_after"):
        value = getattr(operator, name)
        if name == "timeout" and isinstance(value, timedelta):
            value = value.total_seconds()
        elif name != "timeout" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LONGEST_WAIT:
            given = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
            raise EvoLinkConfigError(
                f"{name} must be a number of seconds from 0 to {LONGEST_WAIT:.0f}, and is {given}; this try ordered "
                "nothing. What to do: correct it in the DAG file and clear the task"
            )


def decide(record: Record | None, identity: Identity, policies: Policies) -> tuple[Act, int]:
    """
    Return what to do, and the epoch of an order.

    A generation is used until its result was delivered; after that a retry still gets it, a clear wants a new one.

    :param record: What the ledger holds.
    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    refused = _orders_nothing(identity, policies)
    if record is None or record.state is State.REFUSED:
        return (Act.REFUSE if refused else Act.ORDER), record.epoch if record else 0
    if record.state in (State.INTENT, State.UNKNOWN):
        return Act.ASK, record.epoch
    if not _wants_another(record, identity, policies):
        return Act.ATTACH, record.epoch
    return (Act.REFUSE if refused else Act.ORDER), record.epoch + 1


def _orders_nothing(identity: Identity, policies: Policies) -> bool:
    return identity.is_backfill and policies.on_backfill == "fail"


def _wants_another(record: Record, identity: Identity, policies: Policies) -> bool:
    """Tell whether this try begins after the result was delivered and somebody has cleared the task since."""
    if record.state is not State.DELIVERED or record.generation == identity.generation:
        return False
    # Every try empties XCom as it begins, so only the very next one can tell that the result never got there.
    if identity.had_result is False and identity.attempt <= record.attempt + 1:
        return False
    return policies.on_backfill != "reuse" if identity.is_backfill else policies.on_clear == "regenerate"


def _repeats_nothing(identity: Identity, policies: Policies) -> bool:
    return identity.is_backfill and policies.on_backfill != "generate"


def orders_again(record: Record, identity: Identity, policies: Policies, *, repeatable: bool) -> bool:
    """
    Tell whether a job that EvoLink failed is ordered anew.

    :param record: The record of the failed job.
    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    :param repeatable: Whether the same order may succeed, by the code of the failure.
    """
    if _repeats_nothing(identity, policies):
        return False
    if record.generation != identity.generation:
        return True
    most = policies.max_regenerations
    return repeatable and (most is None or record.regenerations < most)


def why_not_again(identity: Identity, policies: Policies) -> str:
    """
    Return why a failed job that is worth repeating is not ordered anew, and what to do.

    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    if _repeats_nothing(identity, policies):
        return f'on_backfill="{policies.on_backfill}" repeats nothing in a backfill: choose another to order anew'
    return "max_regenerations is used up: clear the task to order anew"


def settled_by(identity: Identity, policies: Policies) -> OnUnknownSubmit:
    """
    Return how an order of unknown outcome is settled: a backfill that must not order sends nothing.

    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    sends = policies.on_unknown_submit in ("replay", "resubmit")
    return "fail" if sends and _orders_nothing(identity, policies) else policies.on_unknown_submit


def may_replay(record: Record, *, honoured: bool, now: float) -> bool:
    """
    Tell whether an order may be sent once more with the same key.

    :param record: The record of the order.
    :param honoured: Whether the connection says that EvoLink answers a repeated key with the first job.
    :param now: Epoch seconds.
    """
    return honoured and 0 <= now - record.ordered_at < REPLAY_WITHIN


def may_pay_again(record: Record) -> bool:
    """
    Tell whether ``on_unknown_submit="resubmit"`` may still order.

    :param record: The record of the order whose outcome is unknown.
    """
    return record.extra_payments < MOST_EXTRA_PAYMENTS


def check_batch(on_failed_job: Any, max_active: Any) -> None:
    """
    Check what a DAG author chose for a batch.

    :param on_failed_job: What a request without a result means for the others.
    :param max_active: How many jobs may run at a time.
    :raises EvoLinkConfigError: a value that is none of the choices.
    """
    if on_failed_job not in get_args(OnFailedJob):
        raise EvoLinkConfigError(f"on_failed_job must be one of {', '.join(get_args(OnFailedJob))}")
    if isinstance(max_active, bool) or not isinstance(max_active, int) or not 1 <= max_active <= MOST_ACTIVE:
        raise EvoLinkConfigError(f"max_active must be a whole number from 1 to {MOST_ACTIVE}")


def enough(running: int, waiting: int) -> int:
    """
    Return how many jobs of a batch must be over before a worker goes on with it.

    A resumption costs more than a job's place standing empty for a while, so several orders are made in one.

    :param running: How many jobs run.
    :param waiting: How many requests are still to be ordered.
    """
    return max(1, running // AT_A_TIME) if waiting else running


def ends_batch(
    failed: Mapping[int, EvoLinkError], on_failed_job: OnFailedJob, *, all_over: bool, is_last_try: bool
) -> int | None:
    """
    Return the request whose error ends a try of a batch; ``None``: the try goes on.

    Where failures are collected, those that a retry may mend are left to the retries as long as there are any.

    :param failed: The requests that gave nothing so far, and why.
    :param on_failed_job: What the DAG author chose.
    :param all_over: Whether nothing of the batch is left to wait for.
    :param is_last_try: Whether Airflow has no retry left.
    """
    lasting = [number for number, error in failed.items() if error.permanent]
    passing = [number for number, error in failed.items() if not error.permanent]
    if on_failed_job == "fail_fast":
        return next(iter(lasting + passing), None)
    return next(iter(passing), None) if all_over and not is_last_try else None
