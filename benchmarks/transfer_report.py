"""The tables and goals of transfers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import plots

Row = dict[str, Any]
Goal = tuple[str, str, str, bool | None]
MB = 1024 * 1024
PEAKS = {"disk": 16, "S3": 48}  # MB
NAMES = {
    "curl": "`curl -o`",
    "disk": "**EvoLink**, to a disk",
    "curl, aws": "`curl -o`, then `aws s3 cp`",
    "aws start": "of it, `aws --version` alone",
    "S3": "**EvoLink**, to S3",
    "archive": "**EvoLink**, archive in the same S3",
    "ten, alone": "**EvoLink**, ten jobs, one after the other, to a disk",
    "ten, disk": "**EvoLink**, ten results, to a disk",
    "ten, S3": "**EvoLink**, ten results, to S3",
}


def medians(runs: list[Row]) -> dict[tuple[str, int], Row]:
    """
    Return the medians of the rounds, by key and size in MB; of peaks the maximum.

    :param runs: Rows of all rounds.
    """
    grouped: dict[tuple[str, int], list[Row]] = {}
    for run in runs:
        grouped.setdefault((run["key"], run["megabytes"]), []).append(run)
    return {each: _middle(group) for each, group in grouped.items()}


def _middle(group: list[Row]) -> Row:
    row = {name: statistics.median(run[name] for run in group) for name in ("seconds", "cpu")}
    row |= {name: max(run[name] for run in group) for name in ("mb", "wire") if name in group[0]}
    return {**row, "rounds": group}


def _ratio(over: Row, under: Row, name: str) -> float:
    """Return the median of the ratios within a round: what else runs on the machine changes from one to the next."""
    pairs = zip(over["rounds"], under["rounds"], strict=True)
    return statistics.median(one[name] / other[name] for one, other in pairs)


def table(runs: list[Row]) -> str:
    """
    Return the figures, as Markdown.

    :param runs: Rows of all rounds.
    """
    lines = ["| transfer | MB | seconds | MB/s | CPU-s | CPU-s/GB | peak, MB | bytes over the wire |"]
    lines.append("| --- " * 8 + "|")
    for (key, size), row in sorted(medians(runs).items(), key=lambda each: (each[0][1], list(NAMES).index(each[0][0]))):
        moves = key not in ("archive", "aws start")
        cells = [NAMES[key], f"{size}", f"{row['seconds']:.2f}", plots.short(size / row["seconds"]) if moves else "-"]
        cells += [f"{row['cpu']:.2f}", plots.short(row["cpu"] * 1000 / size) if moves else "-", f"{row['mb']:.1f}"]
        lines.append(f"| {' | '.join(cells)} | {row.get('wire', '-')} |")
    return "\n".join(lines)


def goals(runs: list[Row]) -> Iterator[Goal]:
    """
    Yield what the figures should be, and are.

    :param runs: Rows of all rounds.
    """
    found = medians(runs)
    for size in sorted({size for key, size in found if key == "disk"}):
        yield from _beside(found, "disk", "curl", size, (0.9, 1.6))
        yield from _beside(found, "S3", "curl, aws", size, (1.2, 0.8))
        yield from _peaks(found, size, ("disk", "S3"), "")
        wire = found["archive", size]["wire"]
        name = f"archive of {size} MB in the same S3: bytes over the wire, manifest and index included"
        yield name, "≤ 100000", f"{wire}", wire <= 100_000
    for size in sorted({size for key, size in found if key == "ten, alone"}):
        alone = found["ten, alone", size]
        for store in PEAKS:
            ratio = _ratio(alone, found[f"ten, {store}", size], "seconds")
            name = f"ten results of {size // 10} MB to {store}, as fast as one after the other"
            yield name, "≥ 3x", f"{plots.short(ratio)}x", ratio >= 3
        yield from _peaks(found, size, ("ten, disk", "ten, S3"), "ten results of ")


def _beside(
    found: dict[tuple[str, int], Row], key: str, other: str, size: int, limits: tuple[float, float]
) -> Iterator[Goal]:
    if (other, size) not in found:
        return
    ours, theirs = found[key, size], found[other, size]
    name, speed, cost = f"{size} MB to {key}", _ratio(theirs, ours, "seconds"), _ratio(ours, theirs, "cpu")
    yield f"{name}: MB/s of {NAMES[other]}", f"≥ {limits[0]:g}x", f"{plots.short(speed)}x", speed >= limits[0]
    yield f"{name}: CPU of {NAMES[other]}", f"≤ {limits[1]:g}x", f"{plots.short(cost)}x", cost <= limits[1]


def _peaks(found: dict[tuple[str, int], Row], size: int, keys: tuple[str, ...], what: str) -> Iterator[Goal]:
    for key in keys:
        store = key.removeprefix("ten, ")
        peak, limit = found[key, size]["mb"], PEAKS[store]
        each = size // 10 if what else size
        yield f"{what}{each} MB to {store}: peak above start", f"≤ {limit} MB", f"{plots.short(peak)} MB", peak <= limit
