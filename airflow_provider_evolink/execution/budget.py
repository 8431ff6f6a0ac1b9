"""What requests may cost, before any is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.errors import EvoLinkBudgetError

if TYPE_CHECKING:
    from airflow_provider_evolink.arguments.choices import UnknownPrice


def check_budget(orders: Sequence[tuple[str, dict[str, Any]]], limit: float | None, unknown: UnknownPrice) -> None:
    """
    Refuse requests that together may cost more than allowed, by the price list of the catalog.

    :param orders: Model and body of each request.
    :param limit: Maximum credits; ``None``: no limit.
    :param unknown: What to do if a price is not known; if it is submitted all the same, it counts as nothing.
    :raises EvoLinkBudgetError: they may cost more, or a price is not known.
    """
    if limit is None:
        return
    prices = [(model, catalog.max_credits(model, body)) for model, body in orders]
    for model, price in prices:
        if price is None and unknown == "refuse":
            raise EvoLinkBudgetError(
                f"max_credits is {limit:g} and the price of this request for {model} is not known, so it is not sent. "
                'What to do: set unknown_price="order" to submit it all the same, or remove max_credits'
            )
    total = round(sum(price for _, price in prices if price is not None), 6)
    if total > limit:
        what, pronoun = ("request", "it is") if len(orders) == 1 else (f"{len(orders)} requests", "none is")
        raise EvoLinkBudgetError(
            f"the {what} may cost {total:g} credits and max_credits is {limit:g}, so {pronoun} not sent. What to do: "
            "raise max_credits, or request a shorter or smaller result"
        )
