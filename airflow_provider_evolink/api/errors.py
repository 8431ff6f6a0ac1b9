"""
What can go wrong with EvoLink. One class per reaction, not per cause.

EvoLinkError
├── EvoLinkConfigError           key, host or setting is unusable            fix the connection or the setting
├── EvoLinkRequestError          the request breaks the model's rules        fix the request; nothing was sent
├── EvoLinkInputError            a file to be uploaded cannot be read        nothing was submitted; retry
├── EvoLinkBudgetError           the order would cost more than allowed      raise max_credits, or order less
├── EvoLinkRerunRefused          the task's settings forbid this re-run      follow the text; nothing was sent
├── EvoLinkOrderStopped          stopped before the order was sent           nothing: the retry submits
├── EvoLinkLedgerError           the record cannot be read or stored         fix the store; nothing more is submitted
├── EvoLinkAPIError              EvoLink refused or could not respond
│   ├── EvoLinkAuthError         the key is not accepted                     fix the key
│   ├── EvoLinkAccessError       the key may not do this                     change the key's rights
│   ├── EvoLinkCreditsError      balance or spending limit is used up        top up, raise the limit
│   ├── EvoLinkInvalidError      EvoLink found the request invalid           fix the request
│   ├── EvoLinkContentError      content review refused the request          change the content
│   ├── EvoLinkNotFoundError     EvoLink does not know this job              check the id
│   ├── EvoLinkRateLimited       too many calls                              wait retry_after, send again
│   └── EvoLinkUnavailable       no usable response (network, 5xx, HTML)     send again later
├── EvoLinkSubmissionUnknown     an order may have been accepted             check before submitting again
├── EvoLinkJobError              the job was accepted and has no media
│   ├── EvoLinkJobFailed         EvoLink reported the job as failed          by its code: change or repeat
│   ├── EvoLinkNoResults         completed, but without links                check the job, ask EvoLink
│   └── EvoLinkJobTimeout        still running after the timeout             wait on, with a longer timeout
└── EvoLinkMediaError            a result link returned no usable file
    ├── EvoLinkLinkRefused       the link leads to a forbidden address       ask EvoLink
    └── EvoLinkLinkExpired       the link has expired                        read the job for fresh links

``permanent`` means that the same call fails the same way again, so a retry is pointless.
No error holds the API key, a request header, a prompt or a link with its query.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


class EvoLinkError(Exception):
    """
    Base of everything this package raises about EvoLink.

    :param message: What happened and what the user can do.
    :param code: EvoLink's ``error.code``, always as text.
    :param status_code: HTTP status of the response.
    :param request_id: EvoLink's id of the call, for their support.
    :param job_id: The job; keep it, it may be paid for.
    :param retry_after: Seconds to wait, as EvoLink requests.
    """

    permanent: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        job_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_code = status_code
        self.request_id = request_id
        self.job_id = job_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        details = {
            "job": self.job_id,
            "code": self.code,
            "HTTP": self.status_code,
            "request id": self.request_id,
            "retry after": None if self.retry_after is None else f"{self.retry_after:g} s",
        }
        known = ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
        return f"{self.message} [{known}]" if known else self.message

    def amended(self, *, message: str | None = None, permanent: bool | None = None) -> Self:
        """
        Return a copy with another message, or another answer to whether a retry is pointless.

        :param message: The message.
        :param permanent: Whether the same call fails the same way again.
        """
        changed = copy.copy(self)
        if message is not None:
            changed.message, changed.args = message, (message,)
        if permanent is not None:
            changed.permanent = permanent
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[EvoLinkError], args: tuple[Any, ...], state: dict[str, Any]) -> EvoLinkError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class EvoLinkConfigError(EvoLinkError):
    """The key, host or a setting cannot be used; no call was made. A retry does not help."""

    permanent = True


@dataclass(frozen=True)
class Violation:
    """
    One broken rule of a request.

    :param field: Path of the field, e.g. ``model_params.voice_bindings.image3``.
    :param rule: What the field must be, in words, with its limits.
    :param value: What it is instead, shortened; ``None`` where that tells nothing.
    """

    field: str
    rule: str
    value: str | None = None

    def __str__(self) -> str:
        got = "" if self.value is None else f", got {self.value}"
        return f"{self.field}: {self.rule}{got}"


class EvoLinkRequestError(EvoLinkError, ValueError):
    """
    The request breaks rules of the model. Nothing was sent or paid. A retry does not help.

    :param model: Model the request was checked against.
    :param violations: All broken rules, not only the first.
    """

    permanent = True

    def __init__(self, model: str, violations: Sequence[Violation]) -> None:
        self.model = model
        self.violations = tuple(violations)
        others = len(self.violations) - 1
        more = f", and {others} more problem{'s' * (others != 1)}" if others > 0 else ""
        listed = ":" + "".join(f"\n  - {violation}" for violation in self.violations) if others > 0 else ""
        first = self.violations[0] if self.violations else "the request breaks a rule"
        super().__init__(f"{first}{more}. Nothing was sent (invalid request for {model}){listed}")


class EvoLinkInputError(EvoLinkError):
    """A file to be uploaded cannot be read now, or has just changed. Nothing was submitted; a retry may help."""


class EvoLinkBudgetError(EvoLinkError):
    """The order would cost more than ``max_credits``, or its price is unknown. Nothing was sent or paid."""

    permanent = True


class EvoLinkRerunRefused(EvoLinkError):
    """The task's own settings forbid what this re-run would do. Nothing was sent. A retry does not help."""

    permanent = True


class EvoLinkOrderStopped(EvoLinkError):
    """The order was stopped before its first byte left: its worker stalled or is being terminated. A retry submits."""


class EvoLinkLedgerError(EvoLinkError):
    """The record of a generation cannot be read or stored. Nothing more is submitted; a retry may help."""


class EvoLinkAPIError(EvoLinkError):
    """EvoLink refused a call or sent no usable response."""


class EvoLinkAuthError(EvoLinkAPIError):
    """The key is missing, wrong, expired or disabled. A retry does not help."""

    permanent = True


class EvoLinkAccessError(EvoLinkAPIError):
    """The key is good, but may not use this model, address or job. A retry does not help."""

    permanent = True


class EvoLinkCreditsError(EvoLinkAPIError):
    """Balance, key limit or daily limit is used up. Nothing was charged for this call."""

    permanent = True


class EvoLinkInvalidError(EvoLinkAPIError):
    """EvoLink found the request invalid. Nothing was charged. A retry does not help."""

    permanent = True


class EvoLinkContentError(EvoLinkAPIError):
    """EvoLink's content review refused the request. Change prompt or media; a retry does not help."""

    permanent = True


class EvoLinkNotFoundError(EvoLinkAPIError):
    """EvoLink does not know the job (any more): wrong id, another account, or too old."""


class EvoLinkRateLimited(EvoLinkAPIError):
    """Too many calls. Nothing was accepted; send again after ``retry_after`` seconds."""


class EvoLinkUnavailable(EvoLinkAPIError):
    """
    No usable response: network failure, 5xx, or something that is not EvoLink's JSON. A read may be repeated.

    :param unsent: The call provably never reached EvoLink (no connection), so even an order may be sent again.
    """

    def __init__(self, message: str, *, unsent: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.unsent = unsent


class EvoLinkSubmissionUnknown(EvoLinkError):
    """
    An order was sent and no readable response came back: it may be running and cost credits.

    It is never sent again automatically. Check the EvoLink dashboard before submitting again.

    :param idempotency_key: The idempotency key of the order.
    """

    permanent = True

    def __init__(self, message: str, *, idempotency_key: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.idempotency_key = idempotency_key


class EvoLinkJobError(EvoLinkError):
    """The job was accepted and has no media (yet)."""


class EvoLinkJobFailed(EvoLinkJobError):
    """
    EvoLink reported the job as failed or cancelled.

    :param repeatable: The same request may succeed if it is submitted again (EvoLink's error page).
    :param credits_charged: What EvoLink reports as charged; ``None``: it reports nothing.
    """

    def __init__(
        self, message: str, *, repeatable: bool = False, credits_charged: float | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.repeatable = repeatable
        self.credits_charged = credits_charged
        self.permanent = not repeatable


class EvoLinkNoResults(EvoLinkJobError):
    """The job is completed and still has no links. It may be charged; it is never submitted again automatically."""

    permanent = True


class EvoLinkJobTimeout(EvoLinkJobError):
    """
    The job still runs after the timeout. It keeps running and is still billed.

    A retry with the same ``timeout`` polls it once more; a longer one waits on for the same job.
    """


class EvoLinkMediaError(EvoLinkError):
    """A result link returned no usable file: truncated, empty, an HTML page, an unknown format. Worth a retry."""


class EvoLinkLinkRefused(EvoLinkMediaError):
    """The link or a redirect leads to an address that is never contacted (not HTTPS, not public)."""

    permanent = True


class EvoLinkLinkExpired(EvoLinkMediaError):
    """The link has expired (after 24 hours). Read the job for fresh links; nothing is submitted again for this."""
