"""What a recovery has found and done, job by job, and whether its task succeeds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkError, EvoLinkLedgerError
from airflow_provider_evolink.api.redaction import count, sanitize

if TYPE_CHECKING:
    from airflow_provider_evolink.ledger.stored_records import Damaged

_MAX_REASON = 500
_MAX_LISTED = 5  # errors in the error of the task
OVERDUE = 12 * 3600.0  # seconds after its order by which a paid job should be archived: half the life of its links


class Outcome(StrEnum):
    """What became of a job, by the key of the report."""

    ARCHIVED = "archived"
    ALREADY_ARCHIVED = "already_archived"
    RUNNING = "running"
    FAILED = "failed"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"
    WITHOUT_FILES = "without_files"
    FORGOTTEN = "forgotten"


_NOT_ARCHIVED = (Outcome.RUNNING, Outcome.EXPIRED, Outcome.UNREADABLE)


class RecoveryEntry(TypedDict):
    """
    A job in the report of a recovery, as XCom holds it.

    :param job_id: EvoLink's ID of the job.
    :param manifest: URI of its manifest; archived jobs only.
    :param missing: Numbers of its results that could not be fetched, if there are any.
    :param reason: Why it is not archived, or why results are missing; for people to read.
    :param code: EvoLink's code of the failure, where it states one.
    """

    job_id: str
    manifest: NotRequired[str]
    missing: NotRequired[list[int]]
    reason: NotRequired[str]
    code: NotRequired[str]


class DamagedRecord(TypedDict):
    """
    A file in the ledger folder that should be a record and is none, as XCom holds it.

    :param name: Its path below the folder.
    :param reason: Why.
    """

    name: str
    reason: str


class RecoveryReport(TypedDict):
    """
    What ``EvoLinkRecoverOperator`` returns, as XCom holds it. Each job is in one of the lists, the oldest first.

    :param source: Where the jobs came from: ``jobs``, ``ledger`` or ``account``.
    :param since: Start of the window, ISO 8601, UTC; ``None``: job IDs were given.
    :param until: End of the window, likewise.
    :param archived: Archived by this task.
    :param already_archived: A manifest was there.
    :param running: Not over within ``timeout``; the next run archives them.
    :param failed: EvoLink made nothing, with its code.
    :param expired: Completed, but EvoLink no longer has the files or the job.
    :param unreadable: Could not be read, fetched or stored.
    :param without_files: Completed, and made something that is not a file, such as a voice.
    :param forgotten: A person asked for their deletion (``evolink archive forget``), so they are not archived again.
    :param damaged: Files in the ledger folder that are no records.
    """

    source: str
    since: str | None
    until: str | None
    archived: list[RecoveryEntry]
    already_archived: list[RecoveryEntry]
    running: list[RecoveryEntry]
    failed: list[RecoveryEntry]
    expired: list[RecoveryEntry]
    unreadable: list[RecoveryEntry]
    without_files: list[RecoveryEntry]
    forgotten: list[RecoveryEntry]
    damaged: list[DamagedRecord]


class Books:
    """
    Notes what becomes of each job. Every method may be called from several threads.

    :param must_find: Whether a person named the jobs: one that cannot be archived for good fails the task.
    """

    def __init__(self, *, must_find: bool) -> None:
        self.entries: dict[str, tuple[Outcome, RecoveryEntry]] = {}
        self.errors: dict[str, EvoLinkError] = {}
        self.unread: list[Damaged] = []
        self._must_find = must_find

    def note(self, job_id: str, outcome: Outcome, **about: Any) -> None:
        """
        Note what became of a job.

        :param job_id: EvoLink's ID of the job.
        :param outcome: What became of it.
        :param about: Further keys of the entry; what is ``None`` or empty is left out.
        """
        known = {name: value for name, value in about.items() if value not in (None, [], "")}
        self.entries[job_id] = outcome, RecoveryEntry(job_id=job_id, **known)  # type: ignore[typeddict-item]

    def note_loss(self, job_id: str, outcome: Outcome, error: EvoLinkError, *, is_final: bool) -> None:
        """
        Note a job that is not archived.

        :param job_id: EvoLink's ID of the job.
        :param outcome: How it counts.
        :param error: Why.
        :param is_final: Whether no retry can help.
        """
        self.note(job_id, outcome, reason=sanitize(error.message, _MAX_REASON), code=error.code)
        self.note_error(job_id, error, is_final=is_final)

    def note_error(self, job_id: str, error: EvoLinkError, *, is_final: bool) -> None:
        """
        Note an error that fails the task in the end: one that a retry, or who runs this deployment, can mend.

        :param job_id: EvoLink's ID of the job.
        :param error: The error.
        :param is_final: Whether no retry can help.
        """
        if not is_final or self._must_find or isinstance(error, EvoLinkConfigError):
            self.errors[job_id] = error.amended(permanent=is_final)

    def jobs(self, outcome: Outcome) -> list[str]:
        """
        Return the jobs with an outcome.

        :param outcome: The outcome.
        """
        return [job_id for job_id, (found, _) in self.entries.items() if found is outcome]

    def overdue(self, ordered: Mapping[str, float], now: float) -> int:
        """
        Return how many paid jobs are not wholly archived half a day after their order.

        :param ordered: Epoch seconds of each order, where it is known.
        :param now: Epoch seconds.
        """
        return sum(
            now - ordered.get(job_id, now) >= OVERDUE and (outcome in _NOT_ARCHIVED or bool(entry.get("missing")))
            for job_id, (outcome, entry) in self.entries.items()
        )

    def report(
        self, source: str, window: tuple[float | None, float | None], order: Sequence[str], damaged: Iterable[Any]
    ) -> RecoveryReport:
        """
        Return the report.

        :param source: Where the jobs came from.
        :param window: Epoch seconds.
        :param order: The jobs in the order of the report.
        :param damaged: What is no record.
        """
        lists: dict[str, list[RecoveryEntry]] = {str(outcome): [] for outcome in Outcome}
        for job_id in order:
            if job_id in self.entries:
                outcome, entry = self.entries[job_id]
                lists[outcome].append(entry)
        files = [DamagedRecord(name=one.name, reason=one.reason) for one in damaged]
        since, until = (_moment(seconds) for seconds in window)
        head = {"source": source, "since": since, "until": until}
        return cast("RecoveryReport", {**head, **lists, "damaged": files})

    def error(self) -> EvoLinkError | None:
        """Return the error of the task, or ``None``: which jobs are not archived, why, and what a retry does."""
        unread = self._unread_error()
        if not self.errors:
            return unread
        first = next((one for one in self.errors.values() if not one.permanent), next(iter(self.errors.values())))
        shown = [f"{job_id}: {_why(error)}" for job_id, error in list(self.errors.items())[:_MAX_LISTED]]
        more = len(self.errors) - len(shown)
        todo = (
            "see the reasons, remove them, and clear the task"
            if first.permanent
            else "retry: it goes on with these jobs before their links expire, 24 hours after they ended"
        )
        return first.amended(
            message=f"{count(len(self.errors), 'paid job')} could not be archived: {'; '.join(shown)}"
            + (f"; and {more} more, see the log" if more else "")
            + f". All others are archived, and nothing was submitted. What to do: {todo}"
            + (f". Also: {unread.message}" if unread else ""),
            permanent=first.permanent and (unread is None or unread.permanent),
        )

    def _unread_error(self) -> EvoLinkError | None:
        """Return the error for records that could not be read: any of them may be that of a paid job."""
        if not self.unread:
            return None
        is_final = all(one.is_denied for one in self.unread)
        shown = "; ".join(f"{one.name}: {one.reason}" for one in self.unread[:_MAX_LISTED])
        more = len(self.unread) - _MAX_LISTED
        todo = "grant the right to get objects below ledger_path, and clear the task" if is_final else "retry"
        also = f"; and {more} more, see the report" if more > 0 else ""
        text = (
            f"{count(len(self.unread), 'record')} of the ledger folder could not be read, so paid jobs may be missing "
            f"from this recovery: {shown}{also}. All jobs that were found are archived, and nothing was submitted. "
            f"What to do: {todo}"
        )
        return EvoLinkLedgerError(text).amended(permanent=is_final)


def _why(error: EvoLinkError) -> str:
    """Return the reason alone: what to do stands at the end, once for all."""
    return error.message.partition(" What to do:")[0].rstrip(".;")


def summary(report: RecoveryReport) -> str:
    """
    Return the report in a line for the log.

    :param report: The report.
    """
    counts = {str(outcome): len(report[outcome.value]) for outcome in Outcome}
    found = [f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number]
    damaged = [f"{count(len(report['damaged']), 'damaged record')}"] if report["damaged"] else []
    return ", ".join([*found, *damaged]) or "no paid job to recover"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
