"""What a try does with what it finds. Pure: every rule about re-runs is here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal, Self, get_args, get_type_hints

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
)
from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity

OnUnknownSubmit = Literal["fail", "replay", "reconcile", "resubmit"]
OnClear = Literal["regenerate", "reuse"]
OnBackfill = Literal["generate", "reuse", "fail"]
UnknownPrice = Literal["refuse", "order"]

# EvoLink's clients believe a repeated key for a day; we stop believing before that.
REPLAY_WITHIN = 20 * 3600.0
MOST_EXTRA_PAYMENTS = 1


class Act(StrEnum):
    """What a try does."""

    ORDER = "order"
    ATTACH = "attach"
    RESOLVE = "resolve"  # an order may or may not have been accepted
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


def decide(record: Record | None, identity: TaskIdentity, policies: Policies) -> tuple[Act, int]:
    """
    Return what to do, and the order_number of an order.

    A generation is used until its result was delivered; after that a retry still gets it, a clear wants a new one.

    :param record: What the ledger holds.
    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    refused = _orders_nothing(identity, policies)
    if record is None or record.state is State.REFUSED:
        return (Act.REFUSE if refused else Act.ORDER), record.order_number if record else 0
    if record.state in (State.INTENT, State.UNKNOWN):
        return Act.RESOLVE, record.order_number
    if not _wants_another(record, identity, policies):
        return Act.ATTACH, record.order_number
    return (Act.REFUSE if refused else Act.ORDER), record.order_number + 1


def _orders_nothing(identity: TaskIdentity, policies: Policies) -> bool:
    return identity.is_backfill and policies.on_backfill == "fail"


def _wants_another(record: Record, identity: TaskIdentity, policies: Policies) -> bool:
    """Tell whether this try begins after the result was delivered and somebody has cleared the task since."""
    if record.state is not State.DELIVERED or record.clear_count == identity.clear_count:
        return False
    # Every try empties XCom as it begins, so only the very next one can tell that the result never got there.
    if identity.had_result is False and identity.attempt <= record.attempt + 1:
        return False
    return policies.on_backfill != "reuse" if identity.is_backfill else policies.on_clear == "regenerate"


def _repeats_nothing(identity: TaskIdentity, policies: Policies) -> bool:
    return identity.is_backfill and policies.on_backfill != "generate"


def orders_again(record: Record, identity: TaskIdentity, policies: Policies, *, repeatable: bool) -> bool:
    """
    Tell whether a job that EvoLink failed is ordered anew.

    :param record: The record of the failed job.
    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    :param repeatable: Whether the same order may succeed, by the code of the failure.
    """
    if _repeats_nothing(identity, policies):
        return False
    if record.clear_count != identity.clear_count:
        return True
    most = policies.max_regenerations
    return repeatable and (most is None or record.regenerations < most)


def why_not_again(identity: TaskIdentity, policies: Policies) -> str:
    """
    Return why a failed job that is worth repeating is not ordered anew, and what to do.

    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    if _repeats_nothing(identity, policies):
        return f'on_backfill="{policies.on_backfill}" repeats nothing in a backfill: choose another to order anew'
    return "max_regenerations is used up: clear the task to order anew"


def settled_by(identity: TaskIdentity, policies: Policies) -> OnUnknownSubmit:
    """
    Return how an order of unknown outcome is settled: a backfill that must not order sends nothing.

    :param identity: Which generation is meant now.
    :param policies: What the DAG author chose.
    """
    sends = policies.on_unknown_submit in ("replay", "resubmit")
    return "fail" if sends and _orders_nothing(identity, policies) else policies.on_unknown_submit


def may_replay(record: Record, *, honored: bool, now: float) -> bool:
    """
    Tell whether an order may be sent once more with the same key.

    :param record: The record of the order.
    :param honored: Whether the connection says that EvoLink answers a repeated key with the first job.
    :param now: Epoch seconds.
    """
    return honored and 0 <= now - record.ordered_at < REPLAY_WITHIN


def may_pay_again(record: Record) -> bool:
    """
    Tell whether ``on_unknown_submit="resubmit"`` may still order.

    :param record: The record of the order whose outcome is unknown.
    """
    return record.extra_payments < MOST_EXTRA_PAYMENTS
