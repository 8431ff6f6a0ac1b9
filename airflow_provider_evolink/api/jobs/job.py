"""
EvoLink's jobs as typed values: lenient in what is accepted, strict in what is returned.

EvoLink calls a job a *task*. A field that is missing, unknown or of another type never makes a paid job unreadable:
only its id is required.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import pendulum
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from airflow_provider_evolink.api.jobs.envelope import id_in
from airflow_provider_evolink.api.jobs.job_id import JOB_ID
from airflow_provider_evolink.api.jobs.outputs import EXPIRY, read_made, read_outputs
from airflow_provider_evolink.api.jobs.reasons import read_error
from airflow_provider_evolink.api.jobs.status_words import meaning_of, normalized
from airflow_provider_evolink.api.redaction import sanitize

LINK_LIFETIME = timedelta(hours=24)
MAX_TEXT = 2000
EARLIEST, LATEST = 1_000_000_000, 100_000_000_000  # Unix seconds; milliseconds are out of range


def _or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Treat a value of the wrong shape as absent."""
    try:
        return handler(value)
    except ValidationError:
        return None


def _number(value: Any) -> Any:
    """Drop booleans, which Python counts as numbers."""
    return None if isinstance(value, bool) else value


def _text(value: Any) -> str | None:
    """Accept a string or a number (``error.code`` comes as either) as one safe line; drop anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return sanitize(value, MAX_TEXT) or None


def _job_id(value: str) -> str:
    if not JOB_ID.fullmatch(value):
        raise ValueError("not an id of the form EvoLink uses")
    return value


def _moment(value: float | None) -> float | None:
    return value if value is not None and EARLIEST <= value < LATEST else None


def _not_negative(value: float | None) -> float | None:
    return value if value is not None and value >= 0 else None


Number = Annotated[
    Annotated[float, Field(allow_inf_nan=False)] | None, BeforeValidator(_number), WrapValidator(_or_none)
]
Moment = Annotated[Number, AfterValidator(_moment)]
Seconds = Annotated[Number, AfterValidator(_not_negative)]
Text = Annotated[str | None, BeforeValidator(_text)]
JobId = Annotated[
    str, BeforeValidator(lambda value: str(value) if type(value) is int else value), AfterValidator(_job_id)
]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class JobStatus(StrEnum):
    """Status of a job. ``UNKNOWN``, any other value, counts as running: never a reason to submit again."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, with or without a result."""
        return self is JobStatus.COMPLETED or self.is_failure

    @property
    def is_failure(self) -> bool:
        """Whether the job has ended without a result."""
        return self in (JobStatus.FAILED, JobStatus.CANCELLED)

    @classmethod
    def read(cls, value: object) -> JobStatus:
        """
        Parse EvoLink's status, in any case, and other words for the end of a job.

        :param value: ``status`` of the response.
        """
        word = normalized(value)
        try:
            return cls(meaning_of(word) or word)
        except ValueError:
            return cls.UNKNOWN


class Failure(_Lenient):
    """
    Why a job failed (EvoLink's ``error``).

    :param code: One of EvoLink's codes, see `failures`.
    :param message: EvoLink's explanation; it may quote the request.
    """

    code: Text = None
    message: Text = None
    type: Text = None

    @model_validator(mode="before")
    @classmethod
    def _accept_plain_text(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"message": value}


class Cost(_Lenient):
    """Final price of a job (EvoLink's ``usage.cost``; undocumented, used by EvoLink's own clients)."""

    credits: Number = None


class Usage(_Lenient):
    """
    What a job costs (EvoLink's ``usage``).

    :param billing_rule: What EvoLink bills by.
    :param credits_reserved: Credits reserved when the job was submitted.
    :param credits_used: Credits charged in the end. Some gateways send them in ``cost`` or in ``billing`` instead.
    :param user_group: Tier of the account.
    """

    billing_rule: Text = None
    credits_reserved: Number = None
    credits_used: Number = None
    cost: Annotated[Cost | None, WrapValidator(_or_none)] = None
    user_group: Text = None


class Billing(_Lenient):
    """
    Charge and refund of a job (EvoLink's ``billing``, newer gateways only).

    :param charge_status: ``unknown`` or ``reserved`` while nothing has been charged.
    :param refund_status: Whether the reserved credits of a failed job were returned.
    """

    charge_status: Text = None
    refund_status: Text = None
    reserved_credits: Number = None
    charged_credits: Number = None
    refunded_credits: Number = None


class TaskInfo(_Lenient):
    """EvoLink's expectations of a job (``task_info``); ``estimated_time`` is its total duration in seconds."""

    estimated_time: Seconds = None


class Job(_Lenient):
    """
    One paid generation as EvoLink reports it.

    :param job_id: EvoLink's ``id``.
    :param status: Parsed from ``status_text``.
    :param status_text: EvoLink's ``status``, verbatim.
    :param has_documented_status: Whether that is a status exactly as EvoLink documents it (or *canceled*). Another word
        for success counts only with a result, and another word for failure never leads to another order.
    :param progress: Percent, as EvoLink reports it: some models send none, and few count linearly.
    :param kind: EvoLink's ``type``: ``video``, ``image``, ``audio`` or ``text``.
    :param created: When EvoLink accepted the request, Unix seconds by its clock.
    :param results: Links, valid for about 24 hours. Empty until completed.
    :param outputs: One description for each link: its ``kind`` and what else EvoLink reports about it.
    :param indexes: The place of each link among all results that EvoLink sent, from 0.
    :param faults: Why the other results cannot be used, by their places.
    :param made: What the job created that is not a file, such as the name of a voice.
    :param error: Why the job failed, or what EvoLink remarks on a completed one.
    :param task_info: EvoLink's estimate; some gateways send it with the submit only.
    :param usage: Reserved and used credits.
    :param billing: Charge and refund, on newer gateways.
    :param request_id: EvoLink's ID of the call that submitted the job, in the response to it alone.
    """

    job_id: JobId = Field(validation_alias="id")
    model: Text = None
    status: JobStatus = JobStatus.UNKNOWN
    status_text: str = ""
    has_documented_status: bool = True
    progress: Number = None
    created: Moment = None
    kind: Text = Field(default=None, validation_alias=AliasChoices("type", "kind"))
    results: tuple[str, ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    indexes: tuple[int, ...] = ()
    faults: dict[int, str] = {}
    made: dict[str, str] = {}
    error: Annotated[Failure | None, WrapValidator(_or_none)] = None
    task_info: Annotated[TaskInfo | None, WrapValidator(_or_none)] = None
    usage: Annotated[Usage | None, WrapValidator(_or_none)] = None
    billing: Annotated[Billing | None, WrapValidator(_or_none)] = None
    request_id: Text = Field(default=None, validation_alias="(header)")

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        outputs, made = read_outputs(value), read_made(value)
        has_output = bool(outputs.links) or any(name != EXPIRY for name in made)
        return {
            **value,
            **_read_status(value, has_output),
            "error": read_error(value),
            "id": id_in(value),
            "results": outputs.links,
            "outputs": outputs.described,
            "indexes": outputs.indexes,
            "faults": outputs.faults,
            "made": made,
        }

    @property
    def unusable(self) -> tuple[str, ...]:
        """
        Which results EvoLink sent besides, and why each of them cannot be used.

        For instance "result 2 of 2: inline data of 500 characters, which is not fetched".
        """
        count = len(self.results) + len(self.faults)
        return tuple(f"result {place + 1} of {count}: {fault}" for place, fault in self.faults.items())

    @property
    def has_output(self) -> bool:
        """Whether there is a result: links, or a name instead of media."""
        return bool(self.results) or any(name != EXPIRY for name in self.made)

    @property
    def estimated_time(self) -> float | None:
        """Seconds EvoLink expects the job to take, if it sent an estimate."""
        return self.task_info.estimated_time if self.task_info else None

    @property
    def credits_reserved(self) -> float | None:
        """Credits reserved for the job."""
        return _first(self.usage and self.usage.credits_reserved, self.billing and self.billing.reserved_credits)

    @property
    def credits_charged(self) -> float | None:
        """Credits charged for the job in the end; ``None`` if EvoLink does not report them."""
        usage, billing = self.usage, self.billing
        is_charged = billing and (billing.charge_status or "").lower() not in ("unknown", "reserved")
        return _first(
            billing and is_charged and billing.charged_credits,
            usage and usage.credits_used,
            usage and usage.cost and usage.cost.credits,
        )

    @property
    def created_at(self) -> datetime | None:
        """When EvoLink accepted the request, UTC."""
        return None if self.created is None else pendulum.from_timestamp(self.created)

    def summary(self, credits_reserved: float | None = None) -> dict[str, Any]:
        """
        Return the job as plain JSON: what the operators return.

        ``expires_at`` counts from the submit, since EvoLink reports no time of completion: links are valid at least
        that long. ``credits`` is the final charge if EvoLink reports it, else the reserved amount.

        :param credits_reserved: What the order reserved. EvoLink states it in the response to the order, and not in
            the finished job.
        """
        created = self.created_at
        charged = self.credits_charged
        reserved = self.credits_reserved if credits_reserved is None else credits_reserved
        return {
            "job_id": self.job_id,
            "model": self.model,
            "kind": self.kind,
            "status": str(self.status),
            "results": list(self.results),
            "outputs": [dict(output) for output in self.outputs],
            "made": dict(self.made),
            "credits": reserved if charged is None else charged,
            "credits_reserved": reserved,
            "credits_charged": charged,
            **link_times(created),
        }


def _read_status(value: dict[str, Any], has_output: bool) -> dict[str, Any]:
    text = value.get("status")
    status = JobStatus.read(text)
    is_documented = status is not JobStatus.UNKNOWN and text in (status, "canceled")
    if status is JobStatus.COMPLETED and normalized(text) != status and not has_output:
        status = JobStatus.UNKNOWN
    return {
        "status": status,
        "status_text": sanitize(_text(text) or "", 40),
        "has_documented_status": is_documented,
    }


def _first(*values: Any) -> float | None:
    return next((value for value in values if isinstance(value, float)), None)


def link_times(created: datetime | None) -> dict[str, str | None]:
    """
    Return when a job was created and until when its links are valid at least, as ISO 8601.

    :param created: When EvoLink accepted the order, UTC.
    """
    return {
        "created": created.isoformat() if created else None,
        "expires_at": (created + LINK_LIFETIME).isoformat() if created else None,
    }
