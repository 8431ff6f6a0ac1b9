"""Whether and when a call may be sent again, and what became of an order. Pure, no I/O."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import tenacity

from airflow_provider_evolink.api.errors import (
    EvoLinkAPIError,
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkLedgerError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
    EvoLinkRequestError,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.http.messages import Call
from airflow_provider_evolink.api.settings import ClientSettings

MAX_ATTEMPTS = 3
MAX_RETRY_AFTER = 3600.0  # seconds
# Raised before a call is sent. The one exception names a job: its record could not be stored after it was accepted.
BEFORE_SENDING = (EvoLinkOrderStopped, EvoLinkRequestError, EvoLinkConfigError, EvoLinkLedgerError)


class SubmitOutcome(StrEnum):
    """What became of an order."""

    UNSENT = "unsent"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    ACCEPTED = "accepted"
    EXISTS = "exists"  # EvoLink has a different order under this idempotency key
    UNKNOWN = "unknown"


def submit_outcome(error: BaseException | None) -> SubmitOutcome:
    """
    Return what became of an order. Everything that is not provably harmless is unknown.

    :param error: What submitting raised; ``None`` means that EvoLink returned a job.
    """
    if error is None:
        return SubmitOutcome.ACCEPTED
    if isinstance(error, EvoLinkSubmissionUnknown):
        return SubmitOutcome.EXISTS if error.code == "idempotency_conflict" else SubmitOutcome.UNKNOWN
    if isinstance(error, EvoLinkRateLimited):
        return SubmitOutcome.THROTTLED
    if isinstance(error, EvoLinkUnavailable):
        return SubmitOutcome.UNSENT if error.unsent else SubmitOutcome.UNKNOWN
    if isinstance(error, EvoLinkAPIError):
        return SubmitOutcome.REJECTED
    known = isinstance(error, BEFORE_SENDING) and error.job_id is None
    return SubmitOutcome.UNSENT if known else SubmitOutcome.UNKNOWN


def may_send_again(error: BaseException, *, paid: bool) -> bool:
    """
    Return whether a call may be sent again after an error.

    A read may be repeated after every transient failure, an order only if EvoLink provably did not accept it.

    :param error: What the call raised.
    :param paid: Whether it was an order.
    """
    if not isinstance(error, EvoLinkRateLimited | EvoLinkUnavailable):
        return False
    return not paid or submit_outcome(error) in (SubmitOutcome.UNSENT, SubmitOutcome.THROTTLED)


def wait_before_retry(error: BaseException | None, attempts: int, *, max_wait: float, jitter: float) -> float | None:
    """
    Return the seconds to wait before the next attempt, or ``None`` to give up.

    :param error: The last failure.
    :param attempts: How often the call was sent so far.
    :param max_wait: A longer ``Retry-After`` is left to the caller.
    :param jitter: A random number from 0 to 1.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    backoff = min(8.0, 2.0**attempts, max_wait) * (0.25 + 0.75 * jitter)
    requested = error.retry_after if isinstance(error, EvoLinkError) else None
    if requested is None:
        return backoff
    return max(backoff, requested * (1.0 + 0.1 * jitter)) if requested <= max_wait else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """
    Parse ``Retry-After`` (seconds or an HTTP date), up to one hour; nonsense counts as absent.

    :param headers: Headers of the response, with lower-case names. Its own ``Date`` counts as the present for a date,
        since our clock may differ from that of the host.
    :param now: The present where the response has no date; for tests.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        moment = _date(text)
        if moment is None:
            return None
        present = _date(headers.get("date", "")) or now or datetime.now(UTC)
        seconds = max(0.0, (moment - present).total_seconds())
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


def _date(text: str) -> datetime | None:
    """Read an HTTP date, always UTC; the form of C's asctime has no zone, and any other without one is nonsense."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    has_none = "," in text and not text.endswith("-0000")
    return found if found.tzinfo else None if has_none else found.replace(tzinfo=UTC)


def retrying(
    call: Call,
    settings: ClientSettings,
    max_attempts: int = MAX_ATTEMPTS,
    is_left: Callable[[BaseException], bool] = lambda _: False,
) -> tenacity.Retrying:
    """
    Return what repeats a call as long as that is safe and worth it.

    :param call: The call; a paid one is repeated only if EvoLink provably did not accept it.
    :param settings: How long to wait between two attempts.
    :param max_attempts: How often to send the call.
    :param is_left: Returns which errors are left to the caller at once.
    """

    def wait(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        if error is None or state.attempt_number >= max_attempts or is_left(error):
            return None
        if not may_send_again(error, paid=call.paid):
            return None
        return wait_before_retry(
            error,
            state.attempt_number,
            max_wait=settings.retry_wait,
            jitter=random.random(),  # noqa: S311
        )

    return tenacity.Retrying(
        retry=lambda state: wait(state) is not None, wait=lambda state: wait(state) or 0.0, reraise=True
    )
