"""The takes of a review: one for each job or file, with its name among the options, and the page that shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.redaction import sanitize

APPROVE, APPROVE_ALL, REJECT_ALL = "Approve", "Approve all", "Reject all"
MAX_TAKES = 100
MARGIN = timedelta(minutes=30)  # before links expire: what follows has to fetch them
_MAX_LABEL, _MAX_PROMPT = 60, 300
_HASHED = "sha256:"
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:&])")


@dataclass(frozen=True)
class Take:
    """
    What a reviewer may choose.

    :param number: Its number, from 1.
    :param value: The job or the file, as the task that made it returned it; handed on if it is chosen.
    :param prompt: What was asked for; ``None``: not known, or hidden.
    :param job_id: The job.
    :param credits: What the job cost.
    :param kind: ``image``, ``video`` or ``audio``.
    :param expires_at: Until when its links live; ``None``: it has a file.
    """

    number: int
    value: Mapping[str, Any]
    prompt: str | None
    job_id: str
    credits: float | None
    kind: str | None
    expires_at: datetime | None

    @property
    def label(self) -> str:
        """Its name among the options; the number makes it the only one of that name."""
        what = self.prompt or f"job {self.job_id}"
        text = " ".join(what.split())
        return f"{self.number}: {text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1] + '…'}"


def takes_of(results: Any) -> list[Take]:
    """
    Return what is to be reviewed: each file, and each job without files.

    :param results: What generate, batch, download or archive tasks returned; lists at any depth.
    :raises EvoLinkConfigError: there is nothing to review, or too much.
    """
    found = [_take(number, value) for number, value in enumerate(_entries(results), start=1)]
    if not found:
        raise EvoLinkConfigError(
            "results has nothing to review: no job with results, and no file. What to do: pass the output of generate, "
            "batch, download or archive tasks"
        )
    if len(found) > MAX_TAKES:
        raise EvoLinkConfigError(
            f"results has {len(found)} takes, and a review shows at most {MAX_TAKES}. What to do: review fewer at once"
        )
    return found


def options_of(takes: Sequence[Take]) -> list[str]:
    """
    Return what the reviewer may choose from.

    :param takes: The takes.
    """
    if len(takes) == 1:
        return [APPROVE, REJECT_ALL]
    return [*(take.label for take in takes), APPROVE_ALL, REJECT_ALL]


def chosen_of(takes: Sequence[Take], chosen: Iterable[str]) -> list[Mapping[str, Any]]:
    """
    Return the takes that were chosen; none if rejection is among what was chosen.

    :param takes: The takes.
    :param chosen: The options that were chosen.
    """
    options = set(chosen)
    if REJECT_ALL in options:
        return []
    if options & {APPROVE, APPROVE_ALL}:
        return [take.value for take in takes]
    return [take.value for take in takes if take.label in options]


def credits_of(takes: Iterable[Take]) -> float | None:
    """
    Return what the jobs of the takes cost, each job once; ``None`` where one is not known.

    :param takes: The takes.
    """
    by_job = {take.job_id: take.credits for take in takes}
    amounts = [amount for amount in by_job.values() if amount is not None]
    return sum(amounts) if len(amounts) == len(by_job) else None


def expiry_of(takes: Iterable[Take]) -> datetime | None:
    """
    Return when the first links expire; ``None`` if all takes are files.

    :param takes: The takes.
    """
    return min((take.expires_at for take in takes if take.expires_at), default=None)


def time_left(takes: Sequence[Take], now: datetime, wanted: timedelta | None) -> timedelta | None:
    """
    Return how long a review may wait: not longer than the links live.

    :param takes: The takes.
    :param now: The time.
    :param wanted: What the author of the DAG wants.
    :raises EvoLinkConfigError: the links are about to expire.
    """
    expiry = expiry_of(takes)
    if expiry is None:
        return wanted
    left = expiry - MARGIN - now
    if left <= timedelta(0):
        raise EvoLinkConfigError(
            f"the links of the results expire at {_minutes(expiry)}, which leaves no time for a review. What to do: "
            "download the results first, and review what the download returned"
        )
    return left if wanted is None else min(wanted, left)


def page_of(
    takes: Sequence[Take],
    address: Callable[[int], str],
    *,
    text: str | None = None,
    next_credits: float | None = None,
    ends: datetime | None = None,
) -> str:
    """
    Return the page of a review, as Markdown.

    :param takes: The takes.
    :param address: Returns where the plugin serves a file of this task instance, by its number from 0.
    :param text: What the author of the DAG says.
    :param next_credits: What each chosen take will cost next.
    :param ends: When the review ends.
    """
    lines = [text, ""] if text else []
    spent = credits_of(takes)
    lines.append(f"**Spent so far**: {'not known' if spent is None else f'{spent:g} credits'}")
    if next_credits is not None:
        lines.append(f"\n**What follows costs**: at most {next_credits:g} credits for each take that is chosen")
    if expiry := expiry_of(takes):
        lines.append(f"\n**The links of these results expire at {_minutes(expiry)}**, and cannot be used after that")
    if ends:
        lines.append(f"\nWithout a response by {_minutes(ends)}, all are rejected, and nothing is ordered.")
    files = 0
    for take in takes:
        is_file = "uri" in take.value
        lines += ["", *_shown(take, address(files) if is_file else None)]
        files += is_file
    return "\n".join(lines)


def _shown(take: Take, address: str | None) -> Iterator[str]:
    yield f"### {_escaped(take.label)}"
    if take.prompt and take.prompt not in take.label:  # a short one is the headline
        yield f"\n{_escaped(take.prompt[:_MAX_PROMPT])}"
    cost = "" if take.credits is None else f", {take.credits:g} credits"
    yield f"\n{take.kind or 'result'} of job {_escaped(take.job_id)}{cost}"
    if address and take.kind == "image":
        yield f"\n![{take.number}]({address})"
    elif take.kind != "image":
        yield "\nIt plays in the tab *Media* of this task."


def file_address(dag_id: str, task_id: str, map_index: int, number: int, run_id: str) -> str:
    """
    Return where the plugin serves a file that a task instance has handed on, relative to Airflow.

    :param dag_id: The DAG.
    :param task_id: The task.
    :param map_index: The map index; -1: not mapped.
    :param number: Number of the file, from 0.
    :param run_id: The run.
    """
    return "/".join(
        ["evolink/file", *(quote(str(one), safe="") for one in (dag_id, task_id, map_index, number, run_id))]
    )


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        files = value.get("files")
        if "uri" in value and "job_id" in value:
            yield value
        elif isinstance(files, list) and files:
            yield from _entries(files)
        elif value.get("job_id") and value.get("results"):
            yield from _of_job(value)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for entry in value:
            yield from _entries(entry)


def _of_job(job: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each result of a job: the job, with the number of the result where there are several."""
    count = len(job["results"])
    for index in range(count):
        yield job if count == 1 else {**job, "index": index}


def _take(number: int, value: Mapping[str, Any]) -> Take:
    about = value["job"] if isinstance(value.get("job"), Mapping) else value
    request = about.get("request")
    prompt = request.get("prompt") if isinstance(request, Mapping) else None
    is_shown = isinstance(prompt, str) and prompt.strip() and not prompt.startswith(_HASHED)
    is_file = "uri" in value
    kind = str(value.get("content_type")).partition("/")[0] if is_file else _kind(value)
    amount = about.get("credits")
    return Take(
        number=number,
        value=value,
        prompt=str(prompt) if is_shown else None,
        job_id=sanitize(value["job_id"], 128),
        credits=float(amount) if isinstance(amount, int | float) and not isinstance(amount, bool) else None,
        kind=kind,
        expires_at=None if is_file else _moment(value.get("expires_at")),
    )


def _kind(job: Mapping[str, Any]) -> str | None:
    outputs, index = job.get("outputs"), job.get("index", 0)
    described = outputs[index] if isinstance(outputs, list) and index < len(outputs) else {}
    kind = (described.get("kind") if isinstance(described, Mapping) else None) or job.get("kind")
    return kind if isinstance(kind, str) else None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _minutes(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _escaped(text: str) -> str:
    """Return text of other people as Markdown that shows it: no picture, link or heading comes out of a prompt."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
