"""The tab *Media* of a task instance."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from airflow_provider_evolink.plugins.server.access import OF_TASKS, OF_XCOMS, Reader, User
from airflow_provider_evolink.plugins.server.files import Refused, Shown, find_file
from airflow_provider_evolink.plugins.server.pages import Addresses, line_page, page
from airflow_provider_evolink.plugins.server.progress import BOARD
from airflow_provider_evolink.plugins.server.reads import (
    can_see_orders,
    read_connection,
    read_orders,
    read_run,
    read_tasks,
)
from airflow_provider_evolink.plugins.server.routes_files import evidence
from airflow_provider_evolink.plugins.views.media import FileAt, Medium, RunMedia, total_credits
from airflow_provider_evolink.plugins.views.policy import page_headers
from airflow_provider_evolink.plugins.views.rows import Place, RunAt, RunRows, TaskAt
from airflow_provider_evolink.plugins.views.status import Status, failure_of, progress_of, running_jobs, status_of

router = APIRouter()
_TASK = "/{dag_id}/{task_id}/{map_index}/{run_id:path}"
PAGE = 12  # results on a page
_NOT_ARCHIVED = (
    "No task of this run has archived a result of this task yet. This page shows it once one has: reload it."
)


@dataclass(frozen=True)
class Tile:
    """
    A result as the page shows it.

    :param medium: The result.
    :param file: Address of its file; ``None``: it has none that may be shown.
    :param poster: Address of its poster.
    :param manifest: Address of its manifest.
    :param place: Where the file is, for people.
    :param line: Why the file is not shown.
    """

    medium: Medium
    file: str | None = None
    poster: str | None = None
    manifest: str | None = None
    place: str | None = None
    line: str | None = None


def tile_of(medium: Medium, run: RunAt, reader: Reader, addresses: Addresses) -> Tile:
    """
    Return a result with the addresses of what may be shown of it.

    :param medium: The result.
    :param run: The run.
    :param reader: The user.
    :param addresses: Of the pages.
    """
    at = medium.file
    if at is None:
        return Tile(medium)
    try:
        shown = find_file(at.file, evidence(run, reader))
    except Refused as refusal:
        return Tile(medium, line=refusal.line)
    return _tile(medium, at, shown, run, addresses)


def _tile(medium: Medium, at: FileAt, shown: Shown, run: RunAt, addresses: Addresses) -> Tile:
    parts = (run.dag_id, *at.place, at.number, run.run_id)
    return Tile(
        medium,
        file=addresses.of("file", *parts),
        poster=addresses.of("poster", *parts) if shown.row and shown.row.poster else None,
        manifest=addresses.of("manifest", *parts) if shown.manifest else None,
        place=at.file.uri,
    )


@router.get(f"/task{_TASK}", dependencies=[OF_TASKS, OF_XCOMS])
def task(request: Request, at: Annotated[TaskAt, Depends()], reader: User, start: int = 0) -> Response:
    """Show the results of a task instance."""
    place, run = at.place, RunAt(at.dag_id, at.run_id)
    rows, now, addresses = read_run(*run, place), datetime.now(UTC), Addresses(request)
    media = RunMedia(rows, now).of(place)
    first = max(0, start) // PAGE * PAGE
    tiles = [tile_of(medium, run, reader, addresses) for medium in media[first : first + PAGE]]
    links = [tile.medium.link for tile in tiles if tile.medium.link and not tile.file]
    values = {
        "title": f"Media of {place.task_id}",
        "tiles": tiles,
        "count": len(media),
        "first": first,
        "size": PAGE,
        "credits": total_credits(media),
        "status": _status(rows, place, now),
        "failure": failure_of(rows, place),
        "state_url": addresses.of("state", run.dag_id, *place, run.run_id),
        "unread": rows.unread.get(place),
        "sees_orders": can_see_orders(),
    }
    return page(request, "task.html", values, links=links)


@router.get(f"/open/result{_TASK}", dependencies=[OF_TASKS, OF_XCOMS])
def open_result(request: Request, at: Annotated[TaskAt, Depends()], reader: User) -> Response:
    """Show the results of a task instance, by its link *Open result*."""
    return task(request, at, reader)


@router.get(f"/open/{{what}}{_TASK}", dependencies=[OF_TASKS, OF_XCOMS])
def open_archived(request: Request, what: str, at: Annotated[TaskAt, Depends()], reader: User) -> Response:
    """Go to the first archived file of a task instance, or to its manifest."""
    if what not in ("archived", "manifest"):
        raise HTTPException(404, "There is no such page.")
    rows = read_run(at.dag_id, at.run_id, at.place)
    media = RunMedia(rows, datetime.now(UTC)).of(at.place)
    first = next((medium for medium in media if medium.file and medium.file.is_archived), None)
    if first is None:
        return line_page(request, _NOT_ARCHIVED, 404)
    tile = tile_of(first, RunAt(at.dag_id, at.run_id), reader, Addresses(request))
    address = tile.manifest if what == "manifest" else tile.file
    return RedirectResponse(address, 303, page_headers()) if address else line_page(request, tile.line or "", 404)


def _status(rows: RunRows, place: Place, now: datetime) -> Status:
    is_known = place in rows.handed or place in rows.failures or place in rows.unread
    return status_of(rows.tasks.get(place), rows.records.get(place, ()), now, is_known=is_known)


@router.get(f"/state{_TASK}", dependencies=[OF_TASKS])
def state(at: Annotated[TaskAt, Depends()], reader: User) -> Response:
    """Return the state of a task instance: a few bytes, which the page reads again and again while it runs."""
    row = read_tasks(at.dag_id, at.run_id, at.place).get(at.place)
    runs = row is not None and not row.is_over
    found = {
        "state": row.state if row else None,
        "is_over": not runs,
        "jobs": _progress(at) if runs and reader.may_read(at.dag_id) else {},
    }
    return JSONResponse(found, headers=page_headers())


def _progress(at: TaskAt) -> dict[str, dict[str, Any]]:
    """Return how far the jobs of a task instance are, as far as it is known here."""
    run = RunAt(at.dag_id, at.run_id)
    waiting = running_jobs(read_orders(run, at.place))
    conn_id = read_connection(run, at.place) if waiting else None
    readings = BOARD.of(conn_id, waiting) if conn_id else {}
    return {job_id: progress_of(readings[job_id], waiting[job_id], time.time()) for job_id in readings}
