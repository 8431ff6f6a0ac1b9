"""
What EvoLink sends, as typed values. Lenient in what comes in, strict in what goes out.

EvoLink's "task" is a *job* here. A field that is missing, extra or of another type never makes a paid job
unreadable: only its id is required.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import pendulum
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

LINK_LIFETIME = timedelta(hours=24)
MAX_RESULTS = 64
MAX_LINK = 8192


def _or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Treat a value of the wrong shape as absent."""
    try:
        return handler(value)
    except ValidationError:
        return None


def _text(value: Any) -> Any:
    """Read a number as text: EvoLink's ``error.code`` comes as either."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Number = Annotated[float | None, WrapValidator(_or_none)]
Text = Annotated[str | None, WrapValidator(lambda value, handler: _or_none(_text(value), handler))]
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class JobStatus(StrEnum):
    """State of a job. ``UNKNOWN`` (a word we do not know) counts as still running, never as a reason to pay again."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        """Whether EvoLink is done with the job."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)

    @classmethod
    def read(cls, word: object) -> JobStatus:
        """
        Read EvoLink's word, in any case and either spelling of *cancelled*.

        :param word: The value of ``status`` as it came.
        """
        text = str(word).strip().lower() if isinstance(word, str) else ""
        text = {"canceled": "cancelled"}.get(text, text)
        try:
            return cls(text)
        except ValueError:
            return cls.UNKNOWN


class Failure(_Lenient):
    """Why EvoLink ended a job as failed (``error`` of a job)."""

    code: Text = None
    message: Text = None
    type: Text = None

    @model_validator(mode="before")
    @classmethod
    def _accept_plain_text(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"message": str(value)}


class Cost(_Lenient):
    """Final price of a job (undocumented, read by EvoLink's own clients)."""

    credits: Number = None


class Usage(_Lenient):
    """Credits a job holds or has cost."""

    billing_rule: Text = None
    credits_reserved: Number = None
    credits_used: Number = None
    cost: Annotated[Cost | None, WrapValidator(_or_none)] = None
    user_group: Text = None


class Billing(_Lenient):
    """State of charge and refund (newer gateways only)."""

    charge_status: Text = None
    refund_status: Text = None
    reserved_credits: Number = None
    charged_credits: Number = None
    refunded_credits: Number = None


class TaskInfo(_Lenient):
    """EvoLink's guesses about a job."""

    estimated_time: Number = None


class Job(_Lenient):
    """
    One paid order as EvoLink shows it.

    :param job_id: EvoLink's id (their ``id``).
    :param status: What we make of ``status_text``.
    :param status_text: EvoLink's own word.
    :param kind: ``video``, ``image``, ``audio`` or ``text``.
    :param created: Unix seconds by EvoLink's clock.
    :param results: Links, valid for about 24 hours. Empty until completed.
    """

    job_id: JobId = Field(validation_alias=AliasChoices("id", "task_id", "job_id"))
    model: Text = None
    status: JobStatus = JobStatus.UNKNOWN
    status_text: str = ""
    progress: Number = None
    created: Number = None
    kind: Text = Field(default=None, validation_alias=AliasChoices("type", "kind"))
    results: tuple[str, ...] = ()
    error: Annotated[Failure | None, WrapValidator(_or_none)] = None
    task_info: Annotated[TaskInfo | None, WrapValidator(_or_none)] = None
    usage: Annotated[Usage | None, WrapValidator(_or_none)] = None
    billing: Annotated[Billing | None, WrapValidator(_or_none)] = None

    @model_validator(mode="before")
    @classmethod
    def _keep_status_word(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        word = value.get("status")
        return {**value, "status": JobStatus.read(word), "status_text": str(word)[:40]}

    @field_validator("results", mode="before")
    @classmethod
    def _keep_links(cls, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            return ()
        return tuple(link for link in value if isinstance(link, str) and link.strip())

    @property
    def estimated_time(self) -> float | None:
        """Seconds EvoLink expects the job to take, where it says so."""
        return self.task_info.estimated_time if self.task_info else None

    @property
    def credits_reserved(self) -> float | None:
        """Credits held for the job."""
        return _first(self.usage and self.usage.credits_reserved, self.billing and self.billing.reserved_credits)

    @property
    def credits_charged(self) -> float | None:
        """Credits taken for the job in the end; ``None`` where EvoLink does not say."""
        usage, billing = self.usage, self.billing
        return _first(
            billing and billing.charged_credits,
            usage and usage.credits_used,
            usage and usage.cost and usage.cost.credits,
        )

    @property
    def created_at(self) -> datetime | None:
        """When EvoLink accepted the order, UTC."""
        return None if self.created is None else pendulum.from_timestamp(self.created)

    def summary(self) -> dict[str, Any]:
        """
        Return the job as plain JSON: what the operators hand on.

        ``expires_at`` is counted from the order, since EvoLink tells no finishing time: links live at least
        that long. ``credits`` is the final charge where EvoLink tells it, else the reserved amount.
        """
        created = self.created_at
        charged = self.credits_charged
        return {
            "job_id": self.job_id,
            "model": self.model,
            "kind": self.kind,
            "status": str(self.status),
            "results": list(self.results),
            "credits": self.credits_reserved if charged is None else charged,
            "credits_reserved": self.credits_reserved,
            "credits_charged": charged,
            "created": created.isoformat() if created else None,
            "expires_at": (created + LINK_LIFETIME).isoformat() if created else None,
        }


def _first(*values: Any) -> float | None:
    return next((value for value in values if isinstance(value, float)), None)


class Balance(_Lenient):
    """Credits left and used, of the account or of one key."""

    remaining_credits: Number = None
    used_credits: Number = None
    unlimited_credits: bool = False
    daily_limit_credits: Number = None
    daily_used_credits: Number = None


class Credits(_Lenient):
    """
    Answer of ``GET /v1/credits``.

    :param user: The account's balance.
    :param token: The key's own limit; its ``remaining_credits`` mean nothing when ``unlimited_credits``.
    """

    user: Balance = Balance()
    token: Balance = Balance()

    @property
    def available(self) -> float | None:
        """Credits this key can still spend: the smaller of balance and key limit, never negative."""
        amounts = [self.user.remaining_credits]
        if not self.token.unlimited_credits:
            amounts.append(self.token.remaining_credits)
        known = [amount for amount in amounts if amount is not None]
        return max(0.0, min(known)) if known else None
