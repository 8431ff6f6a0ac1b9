"""Who spent what: sums by day, DAG and model, as rows, as a plot and as CSV. Pure."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import fsum
from typing import Any, NamedTuple

from airflow_provider_evolink.plugins.views.book import BookedJob, Standing

MAX_GROUPS = 7  # in the plot; all others are one more
_OPEN = (Standing.RUNNING, Standing.UNSETTLED)
_STARTS_FORMULA = ("=", "+", "-", "@")
COLUMNS = ("day", "dag_id", "model", "jobs", "failed", "reused", "not_settled", "credits", "credits_reserved")


class Group(NamedTuple):
    """What the jobs of a row have in common."""

    day: date
    dag_id: str
    model: str


@dataclass(frozen=True)
class SpendRow:
    """
    What the jobs of a DAG and a model cost on a day (UTC, of their submission).

    :param jobs: How many were ordered.
    :param failed: How many of these failed.
    :param reused: How many results were taken from earlier jobs, which cost nothing again.
    :param unsettled: How many of the ordered ones run, or have ended in a way that is not known here.
    :param credits: What the settled ones cost.
    :param reserved: What those that are not settled may cost.
    """

    group: Group
    jobs: int
    failed: int
    reused: int
    unsettled: int
    credits: float
    reserved: float


def spend_of(jobs: Iterable[BookedJob]) -> list[SpendRow]:
    """
    Return the sums, the latest day first.

    :param jobs: Each job once.
    """
    groups: dict[Group, list[BookedJob]] = defaultdict(list)
    for job in jobs:
        groups[Group(job.moment.date(), job.dag_id, job.model)].append(job)
    ordered = sorted(groups, key=lambda group: (-group.day.toordinal(), group.dag_id, group.model))
    return [_row(group, groups[group]) for group in ordered]


def _row(group: Group, jobs: list[BookedJob]) -> SpendRow:
    is_open = [job for job in jobs if job.standing in _OPEN or (job.credits is None)]
    return SpendRow(
        group,
        jobs=sum(job.standing is not Standing.REUSED for job in jobs),
        failed=sum(job.standing is Standing.FAILED for job in jobs),
        reused=sum(job.standing is Standing.REUSED for job in jobs),
        unsettled=len(is_open),
        credits=_sum(job.credits or 0.0 for job in jobs),
        reserved=_sum(job.reserved or 0.0 for job in is_open),
    )


def total(rows: Iterable[SpendRow]) -> SpendRow:
    """
    Return the sum of all rows.

    :param rows: The rows.
    """
    listed = list(rows)
    counts = [sum(getattr(row, name) for row in listed) for name in ("jobs", "failed", "reused", "unsettled")]
    amounts = [_sum(getattr(row, name) for row in listed) for name in ("credits", "reserved")]
    return SpendRow(Group(date.min, "", ""), *counts, *amounts)


def as_csv(rows: Iterable[SpendRow]) -> str:
    """
    Return the rows as CSV. No cell can start a formula in a spreadsheet.

    :param rows: The rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        named = (row.group.day.isoformat(), cell(row.group.dag_id), cell(row.group.model))
        counts = (row.jobs, row.failed, row.reused, row.unsettled)
        writer.writerow((*named, *counts, f"{row.credits:.10g}", f"{row.reserved:.10g}"))
    return text.getvalue()


def cell(text: str) -> str:
    """
    Return a text as a spreadsheet may open it: what could be a formula begins with an apostrophe.

    :param text: The text.
    """
    plain = unicodedata.normalize("NFKC", text)  # wide forms of these signs are read as the signs
    is_odd = plain[:1] in ("\t", "\r", "\n") or plain.lstrip("\ufeff \v\f\t\r\n").startswith(_STARTS_FORMULA)
    return f"'{text}" if is_odd else text


def plot_of(rows: Sequence[SpendRow], first: date, last: date, by: str) -> dict[str, Any]:
    """
    Return what the plot shows: credits by day, a bar for each, in parts by DAG or model.

    :param rows: The rows.
    :param first: The first day.
    :param last: The last day.
    :param by: ``dag`` or ``model``.
    """
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    sums: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        sums[row.group.model if by == "model" else row.group.dag_id][row.group.day] += row.credits
    names = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    parts = [(name, [sums[name]]) for name in names[:MAX_GROUPS]]
    if rest := [sums[name] for name in names[MAX_GROUPS:]]:
        parts.append((f"{len(rest)} others", rest))
    series = [
        {"label": name, "data": [_sum(one.get(day, 0.0) for one in listed) for day in days]} for name, listed in parts
    ]
    return {"labels": [day.isoformat() for day in days], "series": series}


def _sum(amounts: Iterable[float]) -> float:
    return round(fsum(amounts), 4)
