"""The tab *Contact sheet* of a run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_evolink.plugins.server.access import OF_TASKS, OF_XCOMS
from airflow_provider_evolink.plugins.server.pages import Addresses, page
from airflow_provider_evolink.plugins.server.reads import read_run
from airflow_provider_evolink.plugins.views.media import total_credits
from airflow_provider_evolink.plugins.views.rows import RunAt
from airflow_provider_evolink.plugins.views.sheet import SheetTile, TileStatus, chosen, sheet_of

router = APIRouter()
PAGE = 600  # tiles on a page; their pictures are loaded as they come into view


class Wanted:
    """
    The filter of a contact sheet, as its address has it.

    :param task: Only the results of this task.
    :param status: Only those of this status.
    :param start: Number of the first tile.
    """

    def __init__(self, task: str = "", status: str = "", start: int = 0) -> None:
        self.task = task
        self.status = status
        self.start = max(0, start) // PAGE * PAGE


def frame_of(tile: SheetTile, run: RunAt, addresses: Addresses) -> str | None:
    """
    Return the address of the small picture of a tile. Whether there is one is found out when it is loaded.

    :param tile: The tile.
    :param run: The run.
    :param addresses: Of the pages.
    """
    medium = tile.medium
    at = medium.file if medium else None
    view = at.frame_view(medium.kind) if at and medium else None
    return addresses.of(view, run.dag_id, *at.place, at.number, run.run_id) if at and view else None


@router.get("/run/{dag_id}/{run_id:path}", dependencies=[OF_TASKS, OF_XCOMS])
def run_sheet(request: Request, dag_id: str, run_id: str, wanted: Annotated[Wanted, Depends()]) -> Response:
    """Show all media of a run. Nothing is read from a store for it: pictures are loaded one by one, in view."""
    run, addresses = RunAt(dag_id, run_id), Addresses(request)
    rows = read_run(dag_id, run_id)
    tiles = sheet_of(rows, datetime.now(UTC))
    left = chosen(tiles, wanted.task, wanted.status)
    shown = left[wanted.start : wanted.start + PAGE]
    values = {
        "title": f"Contact sheet of {run_id}",
        "tiles": [
            (tile, frame_of(tile, run, addresses), addresses.of("task", dag_id, *tile.place, run_id)) for tile in shown
        ],
        "all": len(tiles),
        "count": len(left),
        "counts": Counter(str(tile.status) for tile in left),
        "first": wanted.start,
        "size": PAGE,
        "credits": total_credits([tile.medium for tile in left if tile.medium]),
        "tasks": sorted({tile.place.task_id for tile in tiles}),
        "statuses": [str(one) for one in TileStatus],
        "task": wanted.task,
        "status": wanted.status,
        "unread": len(rows.unread),
    }
    return page(request, "sheet.html", values)
