"""The contact sheet of a run: each of its results once, with what failed and what still runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from airflow_provider_evolink.plugins.views.media import Medium, RunMedia
from airflow_provider_evolink.plugins.views.rows import Place, RunRows, TaskRow
from airflow_provider_evolink.plugins.views.status import FailureLines, failure_of

_LAST = datetime.max.replace(tzinfo=UTC)
_ORDERS_NOTHING = ("download", "archive", "upload", "sensor", "recover", "review")


class TileStatus(StrEnum):
    """Where a result stands."""

    DONE = "done"
    FAILED = "failed"
    RUNNING = "running"


@dataclass(frozen=True)
class SheetTile:
    """
    A result, or a task instance without one.

    :param place: The task instance.
    :param medium: The result; ``None``: there is none.
    :param failure: Why it failed.
    """

    place: Place
    status: TileStatus
    medium: Medium | None = None
    failure: FailureLines | None = None


def sheet_of(rows: RunRows, now: datetime) -> list[SheetTile]:
    """
    Return the tiles of a run: first those of its tasks that ordered, each group in the order in which they began.

    :param rows: What was read of the run.
    :param now: The present moment, UTC.
    """
    media, seen = RunMedia(rows, now), set[tuple[str | None, int]]()
    tiles: list[SheetTile] = []
    for place in _in_order(rows):
        found = media.of(place)
        for medium in found:
            key = (medium.job_id, medium.index)
            if medium.job_id is None or key not in seen:
                seen.add(key)
                tiles.append(_tile_of(place, medium))
        if not found:
            tiles += _without_media(rows, place)
    return tiles


def chosen(tiles: Sequence[SheetTile], task_id: str, status: str) -> list[SheetTile]:
    """
    Return the tiles that a filter leaves.

    :param tiles: All tiles.
    :param task_id: Only those of this task; empty: of all.
    :param status: Only those of this status; empty: of all.
    """
    return [tile for tile in tiles if task_id in ("", tile.place.task_id) and status in ("", tile.status)]


def _in_order(rows: RunRows) -> list[Place]:
    """Tasks that ordered come first: a result is theirs, not that of the task that stored it."""
    begun: dict[str, datetime] = {}
    ordered = {place.task_id for place, handed in rows.handed.items() if handed.jobs}
    for place, row in rows.tasks.items():
        begun[place.task_id] = min(begun.get(place.task_id, _LAST), row.started or _LAST)
    return sorted(rows.tasks, key=lambda place: (place.task_id not in ordered, begun[place.task_id], place))


def _tile_of(place: Place, medium: Medium) -> SheetTile:
    if medium.error is None:
        return SheetTile(place, TileStatus.DONE, medium)
    lines = FailureLines(medium.error, "the log of its task has more", medium.job_id)
    return SheetTile(place, TileStatus.FAILED, medium, lines)


def _without_media(rows: RunRows, place: Place) -> Iterator[SheetTile]:
    failure, row = failure_of(rows, place), rows.tasks[place]
    if failure is not None:
        yield SheetTile(place, TileStatus.FAILED, failure=failure)
    elif not row.is_over and (place in rows.records or _orders(row)):
        yield SheetTile(place, TileStatus.RUNNING)


def _orders(row: TaskRow) -> bool:
    name = (row.operator or "").lower()
    return row.names_us and not any(word in name for word in _ORDERS_NOTHING)
