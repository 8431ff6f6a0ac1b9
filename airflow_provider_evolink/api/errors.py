"""
What can go wrong with EvoLink. One class per reaction, not per cause.

EvoLinkError
├── EvoLinkConfigError           key, host or setting is unusable            fix the connection
├── EvoLinkRequestError          the request breaks the model's rules        fix the request; nothing was sent
├── EvoLinkInputError            a file to be uploaded cannot be read        nothing was ordered; a retry reads it again
├── EvoLinkBudgetError           the order would cost more than allowed      raise max_credits, or order less
├── EvoLinkRerunRefused          this re-run is not to be, as things stand   follow the text; nothing was sent
├── EvoLinkOrderStopped          the order was withdrawn before it was sent  nothing: the retry orders
├── EvoLinkLedgerError           the record cannot be read or kept           mend the store; nothing more is ordered
├── EvoLinkAPIError              EvoLink refused or could not answer
│   ├── EvoLinkAuthError         the key is not accepted                     fix the key
│   ├── EvoLinkAccessError       the key may not do this                     change the key's rights
│   ├── EvoLinkCreditsError      balance or spending limit is used up        top up, raise the limit
│   ├── EvoLinkInvalidError      EvoLink found the request wrong             fix the request
│   ├── EvoLinkContentError      content review refused the request          change the content
│   ├── EvoLinkNotFoundError     EvoLink does not know this job              check the id
│   ├── EvoLinkRateLimited       too many calls                              wait retry_after, send again
│   └── EvoLinkUnavailable       no usable answer (network, 5xx, HTML page)  send again later
├── EvoLinkSubmissionUnknown     an order may have been accepted             look before ordering again
├── EvoLinkJobError              the job was accepted and gives no media
│   ├── EvoLinkJobFailed         EvoLink ended the job as failed             by its code: change or repeat
│   ├── EvoLinkNoResults         completed, but without links                look at the job, ask EvoLink
│   └── EvoLinkJobTimeout        still running at our deadline               wait on: the job goes on
└── EvoLinkMediaError            a result link gives no usable file
    ├── EvoLinkLinkRefused       the link points where we do not go          ask EvoLink
    └── EvoLinkLinkExpired       the link has died                           read the job for fresh links

``permanent`` says that the same call fails the same way again, so a retry is pointless.
No error holds the API key, a request header, a prompt or a link with its query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class EvoLinkError(Exception):
    """
    Base of everything this package raises about EvoLink.

    :param message: What happened and what the user can do.
    :param code: EvoLink's ``error.code``, always as text.
    :param status_code: HTTP status of the answer.
    :param request_id: EvoLink's id of the call, for their support.
    :param job_id: The job concerned; keep it, it may be paid for.
    :param retry_after: Seconds EvoLink asked us to wait.
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
        facts = {
            "job": self.job_id,
            "code": self.code,
            "HTTP": self.status_code,
            "request id": self.request_id,
            "retry after": None if self.retry_after is None else f"{self.retry_after:g} s",
        }
        known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        return f"{self.message} [{known}]" if known else self.message

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
        lines = "".join(f"\n  - {violation}" for violation in self.violations)
        problems = f"{len(self.violations)} problem{'s' * (len(self.violations) != 1)}"
        super().__init__(f"Invalid request for {model} ({problems}); nothing was sent:{lines}")


class EvoLinkInputError(EvoLinkError):
    """A file to be uploaded cannot be read right now, or changed meanwhile. Nothing was ordered; a retry may help."""


class EvoLinkBudgetError(EvoLinkError):
    """The order would cost more than ``max_credits``, or nobody knows what it costs. Nothing was sent or paid."""

    permanent = True


class EvoLinkRerunRefused(EvoLinkError):
    """The task's own settings forbid what this re-run would mean. Nothing was sent. A retry does not help."""

    permanent = True


class EvoLinkOrderStopped(EvoLinkError):
    """The order was withdrawn before its first byte left: its worker was stopped or told to end. A retry orders."""


class EvoLinkLedgerError(EvoLinkError):
    """The record of a generation cannot be read or kept. Nothing is ordered on such ground; a retry may help."""


class EvoLinkAPIError(EvoLinkError):
    """EvoLink refused a call or gave no usable answer."""


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
    """EvoLink found the request wrong. Nothing was charged. A retry does not help."""

    permanent = True


class EvoLinkContentError(EvoLinkAPIError):
    """EvoLink's content review refused the request. Change prompt or media; a retry does not help."""

    permanent = True


class EvoLinkNotFoundError(EvoLinkAPIError):
    """EvoLink does not know the job (any more): wrong id, other account, or aged out."""


class EvoLinkRateLimited(EvoLinkAPIError):
    """Too many calls. Nothing was accepted; send again after ``retry_after`` seconds."""


class EvoLinkUnavailable(EvoLinkAPIError):
    """
    No usable answer: network fault, 5xx, or something that is not EvoLink's JSON. A read may be repeated.

    :param unsent: The call provably never reached EvoLink (no connection), so even an order may be sent again.
    """

    def __init__(self, message: str, *, unsent: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.unsent = unsent


class EvoLinkSubmissionUnknown(EvoLinkError):
    """
    An order left this machine and no readable answer came back: it may run and cost credits.

    Never sent again on our own. Look at the EvoLink dashboard before ordering again.

    :param idempotency_key: The key the order carried.
    """

    permanent = True

    def __init__(self, message: str, *, idempotency_key: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.idempotency_key = idempotency_key


class EvoLinkJobError(EvoLinkError):
    """The job was accepted and there is no media from it (yet)."""


class EvoLinkJobFailed(EvoLinkJobError):
    """
    EvoLink ended the job as failed or cancelled.

    :param repeatable: The same request may succeed if it is ordered again (EvoLink's error page).
    """

    def __init__(self, message: str, *, repeatable: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.repeatable = repeatable
        self.permanent = not repeatable


class EvoLinkNoResults(EvoLinkJobError):
    """The job is completed and stays without links. It may be charged; it is never ordered again on our own."""

    permanent = True


class EvoLinkJobTimeout(EvoLinkJobError):
    """The job still runs at our deadline. It goes on and stays billable; a retry waits for the same job."""


class EvoLinkMediaError(EvoLinkError):
    """A result link gave no usable file: cut, empty, an HTML page, an unknown container. Worth a retry."""


class EvoLinkLinkRefused(EvoLinkMediaError):
    """The link or a redirect leads to an address we do not download from (not HTTPS, not public)."""

    permanent = True


class EvoLinkLinkExpired(EvoLinkMediaError):
    """The link has died (EvoLink keeps them 24 hours). Read the job for fresh links; never order again for this."""
