"""What became of a call, and whether and when it may be sent again. Pure, no I/O."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

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

TRIES = 3
MAX_RETRY_AFTER = 3600.0
# Raised before every sending, and after none but where the record of an accepted job cannot be kept: that names it.
BEFORE_SENDING = (EvoLinkOrderStopped, EvoLinkRequestError, EvoLinkConfigError, EvoLinkLedgerError)


class SubmitOutcome(StrEnum):
    """What became of an order."""

    UNSENT = "unsent"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    ACCEPTED = "accepted"
    EXISTS = "exists"  # EvoLink has an order under this key, and it is another one
    UNKNOWN = "unknown"


def submit_outcome(error: BaseException | None) -> SubmitOutcome:
    """
    Say what became of an order. Everything that is not provably harmless is unknown.

    :param error: What the order raised; ``None``: a job came back.
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
    Tell whether a call may be sent once more after an error.

    A read may after every passing fault. An order only if EvoLink provably did not accept it.

    :param error: What came of the call.
    :param paid: Whether it was an order.
    """
    if not isinstance(error, EvoLinkRateLimited | EvoLinkUnavailable):
        return False
    return not paid or submit_outcome(error) in (SubmitOutcome.UNSENT, SubmitOutcome.THROTTLED)


def wait_before_retry(error: BaseException | None, tries: int, *, longest: float, jitter: float) -> float | None:
    """
    Return the seconds to wait before the next try, or ``None`` to give up.

    :param error: The last failure.
    :param tries: How often the call was sent so far.
    :param longest: A longer ``Retry-After`` is left to the caller.
    :param jitter: A random number from 0 to 1.
    """
    if tries >= TRIES:
        return None
    own = min(8.0, 2.0**tries, longest) * (0.25 + 0.75 * jitter)
    asked = error.retry_after if isinstance(error, EvoLinkError) else None
    if asked is None:
        return own
    return max(own, asked * (1.0 + 0.1 * jitter)) if asked <= longest else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """
    Read ``Retry-After`` (seconds or an HTTP date); nonsense counts as absent, an hour is the most.

    :param headers: Headers of the answer, lower-case names.
    :param now: Present moment, for tests.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return None
        seconds = max(0.0, seconds)
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


def retry_options(call: Call, settings: ClientSettings, tries: int) -> dict[str, Any]:
    """
    Put the wire's decision into tenacity's words, for both of its drivers.

    :param call: The call.
    :param settings: Key, hosts and time-outs.
    :param tries: How often it may be sent at most.
    """

    def wait(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        if error is None or state.attempt_number >= tries or not may_send_again(error, paid=call.paid):
            return None
        return wait_before_retry(
            error,
            state.attempt_number,
            longest=settings.retry_wait,
            jitter=random.random(),  # noqa: S311
        )

    return {
        "retry": lambda state: wait(state) is not None,
        "wait": lambda state: wait(state) or 0.0,
        "reraise": True,
    }
