"""The jobs that may have to be recovered: given by ID, from a ledger folder, or from the account's list."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.ledger.ledger import ledger_root
from airflow_provider_evolink.ledger.record import State
from airflow_provider_evolink.ledger.stored_records import Damaged, StoredRecord, read_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job

MAX_PAGES = 400  # of the account's list, 50 jobs each
_PAID = (State.SUBMITTED, State.DELIVERED)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scope:
    """
    Which jobs a recovery is about.

    :param source: ``jobs``, ``ledger`` or ``account``.
    :param job_ids: EvoLink's IDs, where they were given.
    :param ledger_path: The ledger folder; ``None``: ``[evolink] ledger_path``.
    :param since: Epoch seconds: orders at this moment or later.
    :param until: Orders before this moment.
    """

    source: str
    job_ids: tuple[str, ...]
    ledger_path: str | None
    since: float
    until: float

    def holds(self, moment: float | None) -> bool:
        """
        Return whether a moment is in the window; one that is not known is.

        :param moment: Epoch seconds.
        """
        return moment is None or self.since <= moment < self.until

    @property
    def window(self) -> tuple[float | None, float | None]:
        """The window in epoch seconds; none for given jobs."""
        return (None, None) if self.source == "jobs" else (self.since, self.until)


@dataclass(frozen=True)
class Candidate:
    """
    A job that may have to be recovered.

    :param job_id: EvoLink's ID of the job.
    :param ordered: About when it was ordered, in epoch seconds.
    :param stored: The record of its order.
    """

    job_id: str
    ordered: float | None = None
    stored: StoredRecord | None = None


def chosen_source(source: str | None, job_ids: Iterable[str]) -> str:
    """
    Return where the jobs come from. The account's list only where it was asked for: it shows everybody's jobs.

    :param source: What was given; ``None``: nothing.
    :param job_ids: The IDs that were given.
    :raises EvoLinkConfigError: ``source="jobs"`` without any.
    """
    found = source or ("jobs" if any(True for _ in job_ids) else "ledger")
    if found == "jobs" and not any(True for _ in job_ids):
        raise EvoLinkConfigError('source is "jobs", and job_ids is empty. What to do: give the IDs of jobs')
    return found


def find_candidates(scope: Scope, client: EvoLinkClient) -> tuple[list[Candidate], list[Damaged]]:
    """
    Return the jobs that may have to be recovered, those whose links expire first in front, and damaged records.

    :param scope: Which jobs.
    :param client: Lists the account's jobs.
    :raises EvoLinkError: the ledger folder or the list cannot be read.
    """
    if scope.source == "ledger":
        records, damaged = read_folder(scope.ledger_path, scope.since)
        found = [Candidate(job_id, one.record.ordered_at, one) for job_id, one in by_job(records, scope).items()]
    elif scope.source == "account":
        known, damaged = _known_records(scope, scope.ledger_path, scope.since)
        found = [Candidate(job.job_id, job.created, known.get(job.job_id)) for job in _listed(scope, client)]
    else:
        known, damaged = _known_records(scope, scope.ledger_path, None) if scope.ledger_path else ({}, [])
        found = [_named(job_id, known.get(job_id)) for job_id in scope.job_ids]
    return sorted(found, key=lambda one: one.ordered or 0.0), damaged


def by_job(records: Iterable[StoredRecord], scope: Scope) -> dict[str, StoredRecord]:
    """
    Return the record of each paid job in the window: that of the task which ordered, before those which joined it.

    :param records: Records of a folder.
    :param scope: The window.
    """
    found: dict[str, StoredRecord] = {}
    for one in sorted(records, key=lambda one: (not one.record.is_joined, one.record.revision)):
        record = one.record
        if record.job_id and record.state in _PAID and (scope.source == "jobs" or scope.holds(record.ordered_at)):
            found[record.job_id] = one
    return found


def _named(job_id: str, stored: StoredRecord | None) -> Candidate:
    return Candidate(job_id, stored.record.ordered_at if stored else None, stored)


def _known_records(
    scope: Scope, path: str | None, since: float | None
) -> tuple[dict[str, StoredRecord], list[Damaged]]:
    """Return what the ledger knows of jobs that come from elsewhere; they are recovered without it, too."""
    try:
        records, damaged = read_folder(path, since) if ledger_root(path) else ([], [])
    except EvoLinkConfigError as error:
        log.warning("The jobs are recovered without what the ledger knows of them: %s", error.message)
        return {}, []
    return by_job(records, scope), damaged


def _listed(scope: Scope, client: EvoLinkClient) -> Iterator[Job]:
    """Yield the account's jobs in the window, each once: while pages are read, new jobs move the others on."""
    seen: set[str] = set()
    for page in range(1, MAX_PAGES + 1):
        jobs = client.list_account(page)
        fresh = [job for job in jobs if job.job_id not in seen]
        seen.update(job.job_id for job in fresh)
        yield from (job for job in fresh if scope.holds(job.created))
        if not fresh or all(job.created is not None and job.created < scope.since for job in fresh):
            return
    raise EvoLinkConfigError(
        f"the account has more than {len(seen)} jobs in this window. What to do: choose a shorter window"
    )
