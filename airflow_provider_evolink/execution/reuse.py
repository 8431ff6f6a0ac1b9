"""
Re-use: an archived result of the same request in place of an order, and one order for equal requests at a time.

What clears and backfills want is decided first: where they want a new result, nothing is re-used.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import pendulum

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkLedgerError,
    EvoLinkNotFoundError,
    EvoLinkOrderStopped,
    EvoLinkSubmissionUnknown,
)
from airflow_provider_evolink.api.http.retries import SubmitOutcome, submit_outcome
from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.execution.job_tracker import Reading
from airflow_provider_evolink.execution.metrics import count_decision
from airflow_provider_evolink.execution.other_records import adopt_of_batch
from airflow_provider_evolink.execution.submission import SubmittedOrder, submitted
from airflow_provider_evolink.ledger.decisions import CLOCK_SKEW, may_reuse, misfit, shares_order
from airflow_provider_evolink.ledger.record import (
    Record,
    State,
    TaskIdentity,
    fingerprint,
    never_sent,
    uri_fingerprint,
)
from airflow_provider_evolink.storage.archive.claims import Claim, Claims, ClaimState
from airflow_provider_evolink.storage.archive.manifest import seed_of
from airflow_provider_evolink.storage.archive.reusable import copy_reused, find_archived
from airflow_provider_evolink.storage.object_store import open_folder

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.jobs.job import Job
    from airflow_provider_evolink.execution.job_tracker import JobTracker
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.other_records import Submitting
    from airflow_provider_evolink.execution.request import OrderRequest
    from airflow_provider_evolink.execution.results import GenerationResult
    from airflow_provider_evolink.execution.submission import OrderSubmitter
    from airflow_provider_evolink.execution.task_run import TaskRun
    from airflow_provider_evolink.ledger.ledger import Ledger

CLAIM_PAUSE = 2.0  # seconds between two reads of another task's claim
CLAIM_GRACE = 120.0  # beyond submit_timeout, for the uploads and writes before an order
_NOT_SUBMITTED = (SubmitOutcome.UNSENT, SubmitOutcome.REJECTED, SubmitOutcome.THROTTLED)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """
    Whose turn it is to submit a request.

    :param claim: The claim that counts; ``None``: there are none, so this task submits.
    :param job: The job of another task, to wait for; ``None``: this task submits.
    """

    claim: Claim | None = None
    job: Job | None = None


@dataclass(frozen=True)
class Reuse:
    """
    What a request may re-use, under ``reuse="same_request"``.

    :param options: The arguments of the operator.
    :param run: The running try.
    :param request: The request.
    :param identity: Which task instance.
    :param tracker: Polls jobs.
    """

    options: GenerationOptions
    run: TaskRun
    request: OrderRequest
    identity: TaskIdentity
    tracker: JobTracker

    def find(self, record: Record | None) -> GenerationResult | None:
        """
        Return the archived result of this request, where it may be handed on in place of an order.

        :param record: The record of this task.
        :raises EvoLinkError: the request is wrong, or the archive cannot be read; nothing is submitted.
        """
        if not may_reuse(record, self.identity, self.options.policies):
            return None
        wanted = self._fingerprint
        if wanted is None or (record and record.job_id and record.request_fingerprint != wanted):
            return None
        found = find_archived(self._archive, wanted)
        if found is None:
            return None
        count_decision(self.options.operator_name, "reused")
        self.run.log.info("The archive has EvoLink job %s of this request: reused, nothing submitted", found["job_id"])
        if self.options.destination:
            found["files"] = copy_reused(found, open_folder(self.options.destination))
        return cast("GenerationResult", found)

    def find_or_adopt(self, attempt: Submitting) -> GenerationResult | None:
        """
        Return the archived result of a single request; an open order of a batch that it has replaced comes first.

        :param attempt: The attempt of the request; it may have a record afterwards.
        :raises EvoLinkError: the request is wrong, or the archive cannot be read, or there are open orders of a batch
            with other inputs; nothing is submitted.
        """
        adopt_of_batch(attempt, self.run.context, self.identity, self.options)
        return self.find(attempt.record)

    def order(
        self, submitter: OrderSubmitter, order_number: int, record: Record | None, counts: dict[str, int]
    ) -> SubmittedOrder:
        """
        Submit, or take the job of the task that has just submitted the same request. **A submission costs credits.**

        :param submitter: Submits for this try.
        :param order_number: Number of the order.
        :param record: The record of this task.
        :param counts: How often it was submitted again, as :meth:`Record.counts` returns it.
        :raises EvoLinkSubmissionUnknown: nobody knows whether this task, or the one with the claim, has submitted.
        """
        turn = self._take_turn(record)
        if turn.claim is not None and turn.job is not None:
            joined = self._joined(turn.claim, turn.job, order_number, record)
            submitter.ledger.write_submitted(joined)
            return SubmittedOrder(turn.job, joined if submitter.ledger.is_durable else None)
        own = _OwnClaim(self._claims, turn.claim)
        try:
            order = replace(submitter, on_planned=own.renew).submit(order_number, record, counts)
        except EvoLinkError as error:
            if isinstance(error, EvoLinkLedgerError) and error.job_id is not None:
                own.settle(error.job_id)
            elif _is_unsubmitted(error, submitter.ledger):
                own.settle(None)
            raise
        own.settle(order.job.job_id)
        return order

    def name_job(self, record: Record) -> None:
        """
        Name the job of this task in its claim, where the try that submitted could not. A failure is only logged.

        :param record: The record, with its job.
        """
        if record.is_joined or not (wanted := record.request_fingerprint):
            return
        try:
            claims = Claims(self._archive, wanted, self.identity.path)
            if claim := claims.own_without_job():
                claims.write(claim, ClaimState.SUBMITTED, record.job_id)
        except Exception as error:  # noqa: BLE001 - the job is what counts; the others stop without submitting
            _warn_of_claim(record.job_id, error)

    def _take_turn(self, record: Record | None) -> Turn:
        """Claim to submit this request, or wait until the task that has claimed it names its job."""
        claims = self._claims if shares_order(record, self.identity, self.options.policies) else None
        began = time.monotonic()
        while claims is not None:
            claim = claims.current(time.time())
            if claim.job_id is None and claims.is_own(claim):
                return Turn(claim)
            reading = None if claim.job_id is None else self._read(claim, claim.job_id)
            if reading is not None and _is_lost(reading, claim):
                claims.write(claim, ClaimState.OVER)
            elif reading is not None and reading.job is not None:
                log.info("EvoLink job %s of another task is of this request: nothing submitted", claim.job_id)
                return Turn(claim, cast("Job", reading.job))
            else:
                self._wait_for(claim, reading.error if reading else None, time.monotonic() - began)
        return Turn()

    def _joined(self, claim: Claim, job: Job, order_number: int, before: Record | None) -> Record:
        """Return the record of a task that waits for the job of a claim, which is another task's as a rule."""
        body = self.request.body()
        order = replace(
            never_sent(self.identity, body["model"]),
            state=State.INTENT,
            key=self.identity.key("joined", order_number),
            order_number=order_number,
            fingerprint=fingerprint(body),
            uri_fingerprint=uri_fingerprint(body) if self.request.files else None,
            request_fingerprint=self.request.fingerprint(None),
            revision=before.revision if before else 0,
            is_joined=claim.owner != [*self.identity.path],
        )
        return submitted(order, job)

    @property
    def _archive(self) -> ObjectStoragePath:
        return open_folder(self.options.archive_path or "", self.options.archive_conn_id, what="archive_path")

    @cached_property
    def _fingerprint(self) -> str | None:
        """Return the hash of the request; ``None`` where another result would be another clip."""
        body = self.request.body()
        if seed_of(body) is None and not self.options.reuse_unseeded:
            log.warning(
                "Not reused: the request has no fixed seed, so each order makes another result. What to do: give a "
                "seed, or reuse_unseeded=True if any result of the request will do"
            )
            return None
        return self.request.fingerprint(None)

    @cached_property
    def _claims(self) -> Claims | None:
        if (wanted := self._fingerprint) is None:
            return None
        claims = Claims(self._archive, wanted, self.identity.path)
        return claims if claims.is_possible else None

    def _wait_for(self, claim: Claim, error: EvoLinkError | None, waited: float) -> None:
        """Wait for a claim to name its job, or for that job to be readable, not longer than an order may take."""
        limit = self.tracker.client.settings.submit_timeout + CLAIM_GRACE
        if self.run.is_stopping():
            raise EvoLinkOrderStopped("this worker is being terminated; nothing was submitted")
        is_old = time.time() - claim.claimed_at > limit + CLOCK_SKEW  # by the clock of its owner
        if waited > limit or (is_old and error is None):
            raise error or _unknown(claim)
        time.sleep(CLAIM_PAUSE)

    def _read(self, claim: Claim, job_id: str) -> Reading:
        """Read the job of a claim as that of an own order is read, and refuse one of another request."""
        try:
            reading = self.tracker.poll(job_id, claim.claimed_at)
        except EvoLinkNotFoundError as error:
            return Reading(error=error)
        order = replace(never_sent(self.identity, self.request.body()["model"]), ordered_at=claim.claimed_at)
        if reading.job is not None and (why := misfit(order, reading.job)):
            raise EvoLinkConfigError(
                f"the claim of this request in the index of the archive names a job that is not of it: {why}. Nothing "
                "is submitted. What to do: check who changed the claim; once no task submits this request, delete it",
                job_id=job_id,
            )
        return reading


@dataclass
class _OwnClaim:
    """The claim of this try, as it has last written it; ``None``: there are none."""

    claims: Claims | None
    claim: Claim | None

    def renew(self) -> None:
        """Count the time of the claim anew, once files are uploaded."""
        if self.claims is not None and self.claim is not None:
            self.claim = self.claims.renew(self.claim, time.time())

    def settle(self, job_id: str | None) -> None:
        """Write what became of the claim; others wait for that. A failure is only logged."""
        if self.claims is None or self.claim is None:
            return
        try:
            if job_id:
                self.claims.write(self.claim, ClaimState.SUBMITTED, job_id)
            else:
                self.claims.free(self.claim)
        except Exception as error:  # noqa: BLE001 - a paid job is worth more; the others stop without submitting
            _warn_of_claim(job_id, error)


def _is_unsubmitted(error: EvoLinkError, ledger: Ledger) -> bool:
    """Tell whether it is certain that an order was not submitted, and that no other try of this task is about to."""
    if not ledger.is_durable:
        return submit_outcome(error) in _NOT_SUBMITTED
    with contextlib.suppress(EvoLinkError):
        latest = ledger.read()
        return latest is None or latest.state is State.REFUSED
    return False


def _warn_of_claim(job_id: str | None, error: Exception) -> None:
    log.warning("EvoLink job %s: not named in the claim of its request (%s)", job_id, type(error).__name__)


def _is_lost(reading: Reading, claim: Claim) -> bool:
    """Tell whether a job has no result to wait for: it failed, or it and its links are older than their life."""
    created = reading.job.created if reading.job else None
    is_old = time.time() - (created or claim.claimed_at) > LINK_LIFETIME.total_seconds()
    is_gone = isinstance(reading.error, EvoLinkNotFoundError)
    return reading.has_failed or (is_old and (is_gone or reading.is_over))


def _unknown(claim: Claim) -> EvoLinkSubmissionUnknown:
    owner = sanitize(" ".join(str(part) for part in claim.owner[:3]), 200)
    when = pendulum.from_timestamp(claim.claimed_at).to_iso8601_string()
    return EvoLinkSubmissionUnknown(
        f"the same request was claimed by another task ({owner}) at {when}, and nobody knows whether that one has "
        "submitted it, so a job may be running and cost credits; nothing is sent. What to do: clear that task, which "
        "settles it; or, if EvoLink has no such job, delete the claim (claim-"
        f"{claim.number}.json of this request in the archive's _evolink/requests) and clear this task"
    )
