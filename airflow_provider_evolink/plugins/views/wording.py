"""Numbers and moments as people read them. Pure."""

from __future__ import annotations

from datetime import datetime


def size_text(size: int | None) -> str:
    """
    Return a size in the unit that fits.

    :param size: In bytes.
    """
    if size is None:
        return ""
    value, units = float(size), ["bytes", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" or value >= 100 else f"{value:.1f} {units[0]}"


def seconds_text(seconds: float | None) -> str:
    """
    Return a length of time.

    :param seconds: Its seconds.
    """
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment_text(moment: datetime | None) -> str:
    """
    Return a moment in UTC, to the second.

    :param moment: The moment, UTC.
    """
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def credits_text(amount: float | None) -> str:
    """
    Return an amount of credits.

    :param amount: The amount.
    """
    return "" if amount is None else f"{amount:g} credit{'' if amount == 1 else 's'}"
