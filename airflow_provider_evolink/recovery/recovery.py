"""The work of a recovery: find paid jobs, leave out what is archived, read the rest together, archive what is over."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import (
    EvoLinkAccessError,
    EvoLinkAuthError,
    EvoLinkError,
    EvoLinkJobError,
    EvoLinkJobTimeout,
    EvoLinkLinkExpired,
    EvoLinkMediaError,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side
from airflow_provider_evolink.api.http.server_clock import ServerClock
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME, Job, JobStatus
from airflow_provider_evolink.api.polling.batch_wait import AwaitedJob, BatchWait
from airflow_provider_evolink.api.polling.reader import read_all
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.decisions import misfit
from airflow_provider_evolink.recovery.candidates import Candidate, Scope, find_candidates
from airflow_provider_evolink.recovery.report import Books, Outcome, RecoveryReport
from airflow_provider_evolink.storage.archive.archiving import Archiving, archive_files
from airflow_provider_evolink.storage.archive.known import (
    Known,
    find_anywhere,
    find_at_place,
    find_known,
    is_forgotten,
    known_at,
)
from airflow_provider_evolink.storage.archive.reusable import archived_entries
from airflow_provider_evolink.storage.media_file import JobInfo, MediaFile
from airflow_provider_evolink.storage.object_store import open_folder
from airflow_provider_evolink.storage.results import fetch_media

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.ledger.stored_records import Damaged, StoredRecord

WIDTH = 3  # jobs that are archived at a time, each with up to five transfers
MAX_AWAITED = 1000  # jobs in one trigger; the others are read again after it
_SAME_DAY = 3600.0  # seconds between an order and the creation of its job up to which the index was looked up
_LIFETIME = LINK_LIFETIME.total_seconds()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """
    Where files go, and who brings them there.

    :param staging: Where downloads go.
    :param archive: Root of the archive.
    :param how: How files are archived.
    :param run: The recovering task, as a manifest has it.
    :param goes_on: Whether an earlier part of this task may have archived some: it was deferred, or is a later try.
    """

    staging: ObjectStoragePath
    archive: ObjectStoragePath
    how: Archiving
    run: dict[str, Any]
    goes_on: bool

    @property
    def recovered_by(self) -> str:
        """The recovering task in one text."""
        return "/".join(str(self.run[name]) for name in ("dag_id", "task_id", "run_id", "map_index"))


class Recovery:
    """
    One pass of a recovery. It submits nothing. What fails for one job does not hold back the others.

    :param scope: Which jobs.
    :param places: Where their files go.
    :param evolink_conn_id: Connection of type ``evolink``.
    """

    def __init__(self, scope: Scope, places: Places, evolink_conn_id: str) -> None:
        self.scope = scope
        self.places = places
        self.books = Books(must_find=scope.source == "jobs")
        self.clock = ServerClock()
        self.ordered: dict[str, float] = {}  # about when each job was ordered, where that is known
        self._conn_id = evolink_conn_id
        self._candidates: dict[str, Candidate] = {}
        self._running: dict[str, JobReading] = {}
        self._damaged: list[Damaged] = []

    @property
    def is_waiting(self) -> bool:
        """Whether jobs still run."""
        return bool(self._running)

    def run(self) -> None:
        """
        Archive what is over and not archived yet.

        :raises EvoLinkError: the jobs cannot be found, or the key is refused.
        """
        with EvoLinkHook(self._conn_id).get_conn() as client:
            found, self._damaged = find_candidates(self.scope, client)
            if self.scope.source == "ledger":
                self.books.unread = [one for one in self._damaged if one.is_unread]
            self._candidates = {one.job_id: one for one in found}
            log.info("%d paid jobs to look at", len(found))
            self.ordered = {one.job_id: one.ordered for one in found if one.ordered is not None}
            self._take_known(self.ordered)
            self._settle(client)

    def go_on(self) -> None:
        """Read the jobs again that were running, and archive those that are over."""
        for job_id in self._running:
            self.books.entries.pop(job_id, None)
        with EvoLinkHook(self._conn_id).get_conn() as client:
            self._settle(client)

    def awaited(self, deadline: float) -> list[list[Any]]:
        """
        Return the running jobs as a trigger takes them, with times by EvoLink's clock.

        :param deadline: Epoch seconds when the wait ends.
        """
        now = time.time()
        offset = self.clock.offset(now)
        rows = [
            [job_id, round(reading.created or now + offset, 1), round(deadline + offset, 1)]
            for job_id, reading in self._running.items()
        ]
        return rows[:MAX_AWAITED]

    def report(self) -> RecoveryReport:
        """Return the report."""
        return self.books.report(self.scope.source, self.scope.window, list(self._candidates), self._damaged)

    def files(self) -> list[MediaFile]:
        """Return the files of the jobs that this task has archived, as their manifests have them."""
        uris = [self.books.entries[job_id][1]["manifest"] for job_id in self.books.jobs(Outcome.ARCHIVED)]
        paths = [open_folder(uri, what="manifest") for uri in uris]
        found = [known_at(path, job_id) for path, job_id in zip(paths, self.books.jobs(Outcome.ARCHIVED), strict=True)]
        return [file for known in found if known is not None for file in _files_of(known)]

    # What is archived already ------------------------------------------------------------------------------------

    def _take_known(self, ordered: dict[str, float]) -> None:
        for job_id, known in find_known(self.places.archive, ordered).items():
            self._note_known(job_id, known)

    def _note_known(self, job_id: str, known: Known) -> bool:
        """Note a job that is archived, unless results of it are missing, which may still be fetched."""
        if not known.is_whole:
            return False
        by = (known.manifest.airflow.model_extra or {}).get("recovered_by") if known.manifest else None
        is_ours = self.places.goes_on and by == self.places.recovered_by
        outcome = Outcome.ARCHIVED if is_ours else Outcome.ALREADY_ARCHIVED
        self.books.note(job_id, outcome, manifest=str(known.path))
        return True

    # Reading -----------------------------------------------------------------------------------------------------

    def _settle(self, client: EvoLinkClient) -> None:
        """Read the jobs that are not noted yet, and archive those that are over."""
        left = [job_id for job_id in self._candidates if job_id not in self.books.entries]
        readings = self._read(left, client)
        self._running = {job_id: one for job_id, one in readings.items() if not one.status.is_over}
        for job_id in self._running:
            self.books.note(job_id, Outcome.RUNNING)
        self._take_known(
            {job_id: one.created for job_id, one in readings.items() if one.created and self._is_undated(one)}
        )
        over = [one for job_id, one in readings.items() if job_id not in self.books.entries and isinstance(one, Job)]
        side_by_side(lambda job: self._take(job, client), over, WIDTH)

    def _is_undated(self, reading: JobReading) -> bool:
        """Tell whether the index was not looked up at the time when a job was created."""
        ordered = self._candidates[reading.job_id].ordered
        return reading.status.is_over and (ordered is None or abs(ordered - (reading.created or 0.0)) > _SAME_DAY)

    def _read(self, job_ids: Sequence[str], client: EvoLinkClient) -> dict[str, JobReading]:
        """Read jobs, many in a call; what these calls lack is read alone, which says why."""
        load_settings = functools.partial(EvoLinkHook.aget_settings, self._conn_id)
        found = asyncio.run(read_all(load_settings, list(job_ids), self.clock)) if job_ids else {}
        unread = [job_id for job_id in job_ids if job_id not in found]
        for number, job_id in enumerate(unread):
            try:
                found[job_id] = client.get_job(job_id)
            except EvoLinkAuthError:
                raise
            except EvoLinkError as error:
                self._note_unread(job_id, error)
                if isinstance(error, EvoLinkUnavailable | EvoLinkRateLimited):
                    for other in unread[number + 1 :]:
                        self._note_unread(other, error)
                    break
        self._look_anywhere([job_id for job_id in unread if job_id not in found])
        return found

    def _note_unread(self, job_id: str, error: EvoLinkError) -> None:
        """Note a job that EvoLink does not show: gone after its time, or of another account, or just now."""
        is_gone = isinstance(error, EvoLinkNotFoundError)
        ordered = self._candidates[job_id].ordered
        is_old = ordered is not None and time.time() - ordered >= _LIFETIME
        outcome = Outcome.EXPIRED if is_gone and is_old else Outcome.UNREADABLE
        is_final = is_gone or error.permanent or isinstance(error, EvoLinkAccessError)
        self.books.note_loss(job_id, outcome, error, is_final=is_final)

    def _look_anywhere(self, job_ids: Sequence[str]) -> None:
        """Jobs that nobody can date may be archived all the same."""
        undated = [job_id for job_id in job_ids if self._candidates[job_id].ordered is None]
        for job_id, known in find_anywhere(self.places.archive, undated).items():
            if self._note_known(job_id, known):
                self.books.errors.pop(job_id, None)

    # Archiving ---------------------------------------------------------------------------------------------------

    def _take(self, job: Job, client: EvoLinkClient) -> None:
        """Archive a job that is over, or note why not."""
        try:
            self._archive(job, client)
        except EvoLinkError as error:
            self._note_lost(job, error)
        except Exception as error:  # noqa: BLE001 - every store has its own errors, and the other jobs must go on
            text = f"it could not be stored ({type(error).__name__})"
            self.books.note_loss(job.job_id, Outcome.UNREADABLE, EvoLinkMediaError(text), is_final=False)
        outcome, entry = self.books.entries[job.job_id]
        level = logging.INFO if outcome in (Outcome.ARCHIVED, Outcome.ALREADY_ARCHIVED) else logging.WARNING
        log.log(level, "EvoLink job %s: %s %s", job.job_id, outcome.replace("_", " "), entry.get("reason", ""))

    def _archive(self, job: Job, client: EvoLinkClient) -> None:
        archive, how, job_id = self.places.archive, self.places.how, job.job_id
        if job.status is not JobStatus.COMPLETED and (failure := job_error(job, Redactor.everything())):
            self.books.note(job_id, Outcome.FAILED, reason=failure.message, code=failure.code)
            return
        known = find_at_place(archive, how.layout, job.model, job.created_at, job_id)
        if known is not None and self._note_known(job_id, known):
            return
        if is_forgotten(archive, job_id):
            self.books.note(job_id, Outcome.FORGOTTEN)
            return
        if job.has_output and not job.results and not job.faults:
            self.books.note(job_id, Outcome.WITHOUT_FILES)
            return
        stored = self._record_of(job)
        files = fetch_media(client, job, self.places.staging, job_info(stored, job), on_missing="deliver")
        archived = archive_files(files, archive, run_of(stored, self.places), how)
        missing = files[0]["job"].get("missing", [])
        self.books.note(
            job_id,
            Outcome.ARCHIVED,
            manifest=archived[0]["manifest"],
            missing=[one["index"] for one in missing],
            reason="; ".join(f"result {one['index']}: {one['error']}" for one in missing)[:500],
        )
        if any(one["index"] not in job.faults for one in missing):
            error = EvoLinkMediaError(f"{len(missing)} of its results could not be fetched", job_id=job_id)
            self.books.note_error(job_id, error, is_final=_is_past(job))

    def _record_of(self, job: Job) -> StoredRecord | None:
        """Return the record of a job, if it can be its own: one that was edited says nothing about it."""
        stored = self._candidates[job.job_id].stored
        if stored is None or not (why := misfit(stored.record, job)):
            return stored
        log.warning("EvoLink job %s is archived without its record, which is of another order: %s", job.job_id, why)
        return None

    def _note_lost(self, job: Job, error: EvoLinkError) -> None:
        is_past = isinstance(error, EvoLinkMediaError) and not error.permanent and _is_past(job)
        if isinstance(error, EvoLinkJobError) and not isinstance(error, EvoLinkJobTimeout):
            outcome = Outcome.FAILED
        elif is_past or (isinstance(error, EvoLinkNotFoundError | EvoLinkLinkExpired) and _is_past(job)):
            outcome = Outcome.EXPIRED
        else:
            outcome = Outcome.UNREADABLE
        is_final = error.permanent or outcome is not Outcome.UNREADABLE
        self.books.note_loss(job.job_id, outcome, error, is_final=is_final)


def wait_here(jobs: Sequence[list[Any]], evolink_conn_id: str, poll_interval: float | None) -> None:
    """
    Wait on the worker until jobs are over.

    :param jobs: The jobs, as :meth:`Recovery.awaited` returns them.
    :param evolink_conn_id: Connection of type ``evolink``.
    :param poll_interval: Seconds between polls.
    """
    awaited = [AwaitedJob(*job) for job in jobs]
    wait = BatchWait(awaited, min_ended=len(awaited), fail_fast=False, poll_interval=poll_interval, log=log.info)
    asyncio.run(wait.run(evolink_conn_id, functools.partial(EvoLinkHook.aget_settings, evolink_conn_id)))


def _is_past(job: Job) -> bool:
    """Tell whether the links of a job may have expired."""
    return job.created is not None and time.time() - job.created >= _LIFETIME


def job_info(stored: StoredRecord | None, job: Job) -> JobInfo:
    """
    Return what the manifest says about an order, as far as its record knows it.

    :param stored: The record; ``None``: not known.
    :param job: The job.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    if stored is None:
        return JobInfo(submitted=job.created_at, completed=now)
    record = stored.record
    completed = datetime.fromtimestamp(record.completed_at, UTC) if record.completed_at else now
    return JobInfo(
        fingerprint=record.request_fingerprint,
        submitted=datetime.fromtimestamp(int(record.ordered_at), UTC),
        completed=completed.replace(microsecond=0),
        request_id=record.request_id,
    )


def run_of(stored: StoredRecord | None, places: Places) -> dict[str, Any]:
    """
    Return the task that a manifest names: that which ordered, if its record says so, else the recovering one.

    :param stored: The record.
    :param places: They know the recovering task.
    """
    by = {"recovered_by": places.recovered_by}
    if stored is None:
        return {**places.run, **by}
    names = ("dag_id", "run_id", "task_id", "map_index")
    return {**dict(zip(names, stored.owner, strict=False)), "try_number": stored.record.attempt, **by}


def _files_of(known: Known) -> list[MediaFile]:
    """Return the files of an archived job, with what an asset event and OpenLineage say about it."""
    manifest = known.manifest
    if manifest is None:
        return []
    missing = [{"index": index, "error": ""} for index in manifest.missing or ()]
    about = {
        "credits": manifest.credits,
        "fingerprint": manifest.fingerprint,
        **({"missing": missing} if missing else {}),
    }
    return [MediaFile.model_validate({**entry, "job": about}) for entry in archived_entries(manifest, known.path)]
