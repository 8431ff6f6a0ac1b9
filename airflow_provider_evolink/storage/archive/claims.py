"""
Who orders for a request: of equal requests at the same time one, and the others wait for its job.

A claim stands beside the look-up object of the request and is created where none is, so only stores that can create
only have claims (``file``, S3). Claims of one request are numbered. One that ended without a result is never changed
back: the next number is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkOrderStopped
from airflow_provider_evolink.api.jobs.job import JobId  # noqa: TC001 - pydantic reads it
from airflow_provider_evolink.arguments.layout import INDEX
from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.archive.layout import unique_name
from airflow_provider_evolink.storage.object_store import below, create_json, is_local, publish_json, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MAX_CLAIMS = 1000  # of one request, each of which ended without a result


class ClaimState(StrEnum):
    """What became of a claim."""

    CLAIMED = "claimed"  # its task is about to submit, or nobody knows whether it did
    SUBMITTED = "submitted"
    OVER = "over"  # certainly no job, or one without a result


class Claim(BaseModel):
    """
    The claim of one task to order for a request.

    :param fingerprint: Hash of the request.
    :param number: Number of the claim, from 0.
    :param owner: The task, as the ledger names it.
    :param claimed_at: When it was claimed, in epoch seconds.
    :param state: What became of it.
    :param job_id: EvoLink's ID of the job, as soon as there is one.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    fingerprint: str
    number: int
    owner: list[Any]
    claimed_at: float
    state: ClaimState = ClaimState.CLAIMED
    job_id: JobId | None = None


@dataclass(frozen=True)
class Claims:
    """
    The claims of one request.

    :param archive: Root of the archive.
    :param fingerprint: Hash of the request.
    :param owner: The running task, as the ledger names it.
    """

    archive: ObjectStoragePath
    fingerprint: str
    owner: Sequence[Any]

    @property
    def is_possible(self) -> bool:
        """Whether this store can create only; elsewhere each of several equal requests may order."""
        if is_local(self.archive):
            return True
        return self.archive.protocol in s3.PROTOCOLS and s3.can_create_only(self.archive / INDEX)

    def current(self, now: float) -> Claim:
        """
        Return the claim that counts: the newest that is not over, and if there is none, a new one of this task.

        :param now: Epoch seconds.
        :raises EvoLinkConfigError: what is stored is no claim.
        """
        for number in range(MAX_CLAIMS):
            claim = Claim(fingerprint=self.fingerprint, number=number, owner=[*self.owner], claimed_at=now)
            try:
                create_json(claim.model_dump(mode="json"), self._path(number))
            except FileExistsError:
                claim = self._read(number)
            if claim.state is not ClaimState.OVER:
                return claim
        raise _unreadable(f"{MAX_CLAIMS} claims")

    def renew(self, claim: Claim, now: float) -> Claim:
        """
        Count the time of a claim anew: its task has uploaded files, and is about to submit only now.

        :param claim: The own claim, as this try knows it.
        :param now: Epoch seconds.
        :raises EvoLinkOrderStopped: another try of this task has freed or renewed it.
        """
        renewed = claim.model_copy(update={"claimed_at": now})
        if self._read(claim.number) == claim:
            publish_json(renewed.model_dump(mode="json"), self._path(claim.number))
            if self._read(claim.number) == renewed:
                return renewed
        raise EvoLinkOrderStopped(
            "not submitted: another try of this task has taken over or freed the claim of this request. What to do: "
            "see the latest try of this task; a retry submits"
        )

    def free(self, claim: Claim) -> bool:
        """
        Let others submit the request, unless another try of this task is about to; return whether they may.

        :param claim: The own claim, as this try knows it.
        """
        if self._read(claim.number) != claim:
            return False
        self.write(claim, ClaimState.OVER)
        return True

    def own_without_job(self) -> Claim | None:
        """Return the claim of this task that names no job yet, as a try leaves it that ends after its order."""
        for number in range(MAX_CLAIMS):
            if read_json(self._path(number)) is None:
                return None
            claim = self._read(number)
            if claim.state is ClaimState.CLAIMED and self.is_own(claim):
                return claim
        return None

    def is_own(self, claim: Claim) -> bool:
        """
        Return whether this task has made a claim, in this try or an earlier one.

        :param claim: The claim.
        """
        return claim.owner == [*self.owner]

    def write(self, claim: Claim, state: ClaimState, job_id: str | None = None) -> None:
        """
        Write what became of a claim.

        :param claim: The claim.
        :param state: What became of it.
        :param job_id: EvoLink's ID of the job.
        """
        changed = claim.model_copy(update={"state": state, "job_id": job_id or claim.job_id})
        publish_json(changed.model_dump(mode="json"), self._path(claim.number))

    def _read(self, number: int) -> Claim:
        path = self._path(number)
        try:
            claim = Claim.model_validate(read_json(path))
        except ValidationError:
            raise _unreadable(path.name) from None
        if (claim.fingerprint, claim.number) != (self.fingerprint, number):
            raise _unreadable(path.name)
        return claim

    def _path(self, number: int) -> ObjectStoragePath:
        name = unique_name(self.fingerprint)
        return below(self.archive, INDEX, "requests", name[:2], f"{name}.claim-{number}.json")


def _unreadable(what: str) -> EvoLinkConfigError:
    return EvoLinkConfigError(
        f"the claims of this request in the index of the archive cannot be read ({what}), so nothing is submitted. "
        "What to do: check who changed them; once no task submits this request, delete them"
    )
