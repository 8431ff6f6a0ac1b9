"""What a try does with what it finds. Pure: every rule about re-runs is here, and nowhere else."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_provider_evolink.ledger.record import Record, State, TaskIdentity

if TYPE_CHECKING:
    from airflow_provider_evolink.ledger.policies import OnUnknownSubmit, Policies

# EvoLink's clients believe a repeated key for a day; we stop believing before that.
REPLAY_WITHIN = 20 * 3600.0
MOST_EXTRA_PAYMENTS = 1


class Act(StrEnum):
    """What a try does."""

    ORDER = "order"
    ATTACH = "attach"
    RESOLVE = "resolve"  # an order may or may not have been accepted
    REFUSE = "refuse"  # a backfill that must not order


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
