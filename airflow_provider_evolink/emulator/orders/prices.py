"""What a job costs in credits. Wan 2.7 as published in October 2026; other models at placeholder rates."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PER_SECOND = Decimal("5.44")
_HIGH_QUALITY = Decimal("1.67")
_MINIMUM = Decimal("10.88")
_PLACEHOLDER = {"image": Decimal(5), "audio": Decimal(3)}
_CREDITS_PER_USD = Decimal(68)
_CREDITS_PER_CNY = Decimal(10)
RESERVED_EDIT_SECONDS = 10.0


def price(body: Mapping[str, Any], kind: str, output_seconds: float, input_seconds: float, count: int = 1) -> float:
    """
    Return the price of one job.

    :param body: The request.
    :param kind: ``video``, ``image`` or ``audio``.
    :param output_seconds: Length of the result.
    :param input_seconds: Total length of the input videos.
    :param count: Number of files the job produces.
    """
    if kind != "video":
        return _credits(_PLACEHOLDER[kind] * count)
    billed = Decimal(str(output_seconds)) + Decimal(str(_billed_input(str(body.get("model")), input_seconds)))
    rate = _PER_SECOND * (_HIGH_QUALITY if body.get("quality") == "1080p" else 1)
    return _credits(max(_MINIMUM, billed * rate))


def _billed_input(model: str, seconds: float) -> float:
    if model == "wan2.7-reference-video":
        return min(seconds, 5.0)
    return min(seconds, 10.0) if model == "wan2.7-video-edit" else 0.0


def billing_rule(kind: str) -> str:
    """Return ``usage.billing_rule`` for a kind of media."""
    return "per_second" if kind == "video" else "per_call"


def cost(credits_used: float) -> dict[str, float]:
    """Return ``usage.cost``: credits converted to money."""
    exact = Decimal(str(credits_used))
    return {
        "credits": credits_used,
        "usd": _credits(exact / _CREDITS_PER_USD),
        "cny": _credits(exact / _CREDITS_PER_CNY),
    }


def _credits(value: Decimal) -> float:
    return float(value.quantize(Decimal("0.0001"), ROUND_HALF_UP))
