"""The page *EvoLink* in Airflow's navigation: what was made and spent, what runs, and what waits for a person."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_evolink.plugins.server.access import OF_USERS, User
from airflow_provider_evolink.plugins.server.overview_reads import read_all
from airflow_provider_evolink.plugins.server.pages import Addresses, page, plain_bytes
from airflow_provider_evolink.plugins.server.reads import can_see_orders
from airflow_provider_evolink.plugins.views.book import Book, BookedJob
from airflow_provider_evolink.plugins.views.gallery import Gallery, Picture
from airflow_provider_evolink.plugins.views.overview import Chosen, Line, not_archived, running, unknown
from airflow_provider_evolink.plugins.views.policy import page_headers
from airflow_provider_evolink.plugins.views.rows import AllRows, Seat
from airflow_provider_evolink.plugins.views.spend import SpendRow, as_csv, plot_of, spend_of, total

router = APIRouter()
PAGE = 60  # pictures on a page
MAX_LINES = 100  # of each list, and rows of the table; the CSV has all
FEW = 6  # lines of a list that is open at first
_LINKS_LIVE = timedelta(hours=26)  # jobs are read that far back, whatever the window is: their links may live


class Wanted:
    """
    The filter of the page, as its address has it.

    :param since: The first day.
    :param until: The last day.
    :param dag: Only this DAG.
    :param model: Only this model.
    :param q: Search in the gallery.
    :param by: How the plot is divided: ``dag`` or ``model``.
    :param start: Number of the first picture.
    """

    def __init__(  # noqa: PLR0917 - the fields of the form
        self,
        since: str = "",
        until: str = "",
        dag: str = "",
        model: str = "",
        q: str = "",
        by: str = "",
        start: int = 0,
    ) -> None:
        today = datetime.now(UTC).date()
        self.chosen = Chosen.read(since, until, today, dag_id=dag, model=model, words=q[:200])
        self.by = "model" if by == "model" else "dag"
        self.start = min(max(0, start), 10**6) // PAGE * PAGE

    def query(self, **changes: object) -> str:
        """
        Return the filter as the query of an address.

        :param changes: What is other there.
        """
        chosen = self.chosen
        fields = {"since": chosen.first, "until": chosen.last, "dag": chosen.dag_id, "model": chosen.model}
        return urlencode({**fields, "q": chosen.words, "by": self.by, **changes}, errors="replace")


@dataclass(frozen=True)
class Found:
    """
    What the filter leaves.

    :param rows: What was read.
    :param jobs: All jobs by their ID.
    :param spend: The sums.
    """

    rows: AllRows
    jobs: dict[str, BookedJob]
    spend: list[SpendRow]
    models: list[str]


def found_of(wanted: Annotated[Wanted, Depends()], reader: User) -> Found:
    """
    Read what the page shows, of the DAGs that the user may read.

    :param wanted: The filter.
    :param reader: The user.
    """
    chosen = wanted.chosen
    rows = read_all(min(chosen.since, datetime.now(UTC) - _LINKS_LIVE), reader.may_list)
    book = Book(rows)
    covered = [job for job in book.entries if chosen.covers(job.moment)]
    spend = spend_of(job for job in covered if chosen.takes(job.dag_id, job.model))
    return Found(rows, book.jobs, spend, sorted({job.model for job in covered}))


Reading = Annotated[Found, Depends(found_of)]


@router.get("/overview", dependencies=[OF_USERS])
def overview(request: Request, wanted: Annotated[Wanted, Depends()], found: Reading) -> Response:
    """Show the page."""
    now, chosen, addresses = datetime.now(UTC), wanted.chosen, Addresses(request)
    count, pictures = Gallery(found.rows, found.jobs).page(chosen, now, wanted.start, PAGE)
    runs, lost = running(found.rows, chosen, now), unknown(found.rows, chosen, now)
    unarchived_count, unarchived = not_archived(found.rows, found.jobs, chosen, now, MAX_LINES)
    values = {
        "runs": _listed(runs, addresses),
        "runs_count": len(runs),
        "unknown": _listed(lost, addresses),
        "unknown_count": len(lost),
        "unarchived": _listed(unarchived, addresses),
        "unarchived_count": unarchived_count,
        **_spend_values(wanted, found),
        **_filter_values(wanted, found),
        "pictures": [_tile(one, addresses) for one in pictures],
        "count": count,
        "size": PAGE,
        "max_lines": MAX_LINES,
        "few": FEW,
        "sees_orders": can_see_orders(),
        "csv_address": f"{addresses.of('overview', 'spend.csv')}?{wanted.query()}",
    }
    return page(request, "overview.html", values)


@router.get("/overview/spend.csv", dependencies=[OF_USERS])
def spend_csv(wanted: Annotated[Wanted, Depends()], found: Reading) -> Response:
    """Send the sums as CSV."""
    name = f"evolink-spend-{wanted.chosen.first}-{wanted.chosen.last}.csv"
    headers = {**page_headers(), "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(plain_bytes(as_csv(found.spend)), 200, headers, media_type="text/csv; charset=utf-8")


def _spend_values(wanted: Wanted, found: Found) -> dict[str, Any]:
    chosen = wanted.chosen
    return {
        "spend": found.spend[:MAX_LINES],
        "spend_count": len(found.spend),
        "sum": total(found.spend),
        "csv": as_csv(found.spend),
        "plot": json.dumps(plot_of(found.spend, chosen.first, chosen.last, wanted.by)),
        "by": wanted.by,
    }


def _filter_values(wanted: Wanted, found: Found) -> dict[str, Any]:
    return {
        "title": "EvoLink",
        "chosen": asdict(wanted.chosen),
        "dags": found.rows.dags,
        "models": found.models,
        "unread": found.rows.unread,
        "is_cut": found.rows.is_cut,
        "first": wanted.start,
        "query": wanted.query,
    }


def _listed(lines: list[Line], addresses: Addresses) -> list[tuple[Line, str]]:
    return [(line, _task_address(line.seat, addresses)) for line in lines[:MAX_LINES]]


def _task_address(seat: Seat, addresses: Addresses) -> str:
    return addresses.of("task", seat.run.dag_id, *seat.place, seat.run.run_id)


def _tile(picture: Picture, addresses: Addresses) -> tuple[Picture, str | None, str]:
    """Return a picture with the addresses of its frame and of the page of its task."""
    seat, at = picture.seat, picture.medium.file
    frame = at.frame_view(picture.medium.kind) if at else None
    parts = (seat.run.dag_id, *at.place, at.number, seat.run.run_id) if at else ()
    return picture, addresses.of(frame, *parts) if frame else None, _task_address(seat, addresses)
