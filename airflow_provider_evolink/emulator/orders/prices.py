"""What a job costs in credits: Wan 2.7 as published, some as charged to people; others at placeholder rates."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PER_SECOND = Decimal("5.44")
_HIGH_QUALITY = Decimal("1.67")
_MINIMUM = Decimal("10.88")
_PLACEHOLDER = {"image": Decimal(5), "audio": Decimal(3)}
# Charges that people have recorded: per second of 720p or 480p, and per job.
_RECORDED_PER_SECOND = {
    ("seedance-2.0-mini-image-to-video", "720p"): Decimal("2.7"),
    ("wan3.0-text-to-video", "480p"): Decimal("2.55"),
}
_RECORDED_PER_JOB = {
    "gemini-3-pro-image": Decimal("8.5156"),
    "gemini-3-pro-image-preview": Decimal("8.5156"),
    "gemini-3.1-flash-lite-image": Decimal("1.783"),
    "mj-v8.1": Decimal("5.4"),
}
_BILLED_BY_TOKENS = frozenset({"gemini-3.1-flash-lite-image"})
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
    recorded = _recorded_price(body, output_seconds)
    if recorded is not None:
        return _credits(recorded)
    if kind != "video":
        return _credits(_PLACEHOLDER[kind] * count)
    billed = Decimal(str(output_seconds)) + Decimal(str(_billed_input(str(body.get("model")), input_seconds)))
    rate = _PER_SECOND * (_HIGH_QUALITY if body.get("quality") == "1080p" else 1)
    return _credits(max(_MINIMUM, billed * rate))


def _recorded_price(body: Mapping[str, Any], seconds: float) -> Decimal | None:
    model = str(body.get("model"))
    if body.get("n") in (None, 1) and model in _RECORDED_PER_JOB:
        return _RECORDED_PER_JOB[model]
    rate = _RECORDED_PER_SECOND.get((model, str(body.get("quality", "720p"))))
    return None if rate is None else rate * Decimal(str(seconds))


def token_counts(model: str) -> dict[str, int]:
    """Return what ``usage`` states of a model that is billed by tokens; empty for all others."""
    if model not in _BILLED_BY_TOKENS:
        return {}
    names = ("image_cached_input_tokens", "image_input_tokens", "text_cached_input_tokens")
    used = {"image_output_tokens": 1120, "text_input_tokens": 57, "total_tokens": 1177}
    return dict.fromkeys(names, 0) | used


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
        "usd": float((exact / _CREDITS_PER_USD).quantize(Decimal("0.001"), ROUND_HALF_UP)),
        "cny": _credits(exact / _CREDITS_PER_CNY),
    }


def _credits(value: Decimal) -> float:
    return float(value.quantize(Decimal("0.0001"), ROUND_HALF_UP))
