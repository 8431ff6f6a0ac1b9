"""What orders may cost, before any is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import EvoLinkBudgetError

if TYPE_CHECKING:
    from airflow_provider_evolink.ledger.policies import UnknownPrice


def check_budget(orders: Sequence[tuple[str, dict[str, Any]]], limit: float | None, unknown: UnknownPrice) -> None:
    """
    Refuse orders that together may cost more than allowed, by the dated prices in the catalog.

    :param orders: Model and body of each.
    :param limit: The most credits; ``None``: any.
    :param unknown: What to do where nobody knows the price of one; where it is ordered, it counts nothing.
    :raises EvoLinkBudgetError: they may cost more, or nobody knows.
    """
    if limit is None:
        return
    prices = [(model, catalog.max_credits(model, body)) for model, body in orders]
    for model, price in prices:
        if price is None and unknown == "refuse":
            raise EvoLinkBudgetError(
                f"max_credits is {limit:g} and nobody knows what this order of {model} costs, so it is "
                'not sent. What to do: unknown_price="order" orders all the same; or drop max_credits'
            )
    total = round(sum(price for _, price in prices if price is not None), 6)
    if total > limit:
        what, pronoun = ("order", "it is") if len(orders) == 1 else (f"{len(orders)} orders", "none is")
        raise EvoLinkBudgetError(
            f"the {what} may cost {total:g} credits and max_credits is {limit:g}, so {pronoun} not sent. What to do: "
            "raise max_credits, or order a shorter or smaller result"
        )
