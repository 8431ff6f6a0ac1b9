"""One backoff for all waits of a connection: a rate limit or an outage concerns every one of them. Pure, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.polling.call_limit import MIN_CALLS, CallLimit

MAX_ISOLATED_FAILURES = 2 * MIN_CALLS  # in a row, of jobs that are known to be unreadable


class SharedBackoff:
    """
    Decides whether a connection may be called now, and how many calls may run at the same time.

    After a failure all waits pause, then a single call probes; each call that succeeds doubles the number of calls, up
    to the ``limit``.

    :param jitter: Returns a number from 0 to 1.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self.limit = CallLimit()
        self.max_calls = self.limit.value
        self.paused_until = 0.0
        self._jitter = jitter
        self._failures = 0  # in a row
        self._isolated_failures = 0
        self._failed_at = -math.inf

    @property
    def is_reduced(self) -> bool:
        """Whether calls failed not long ago."""
        return self._failures > 0 or self.limit.is_reduced

    def record(
        self,
        error: EvoLinkError | None,
        now: float,
        began: float = math.inf,
        *,
        isolated: bool = False,
        wanted: float = 0.0,
        is_late: bool = False,
    ) -> None:
        """
        Learn from the end of a call. A refusal that concerns one job counts as success: EvoLink has responded.

        Calls that ran at the same time and fail count as one failure, or a blip would pass for a long outage.

        :param error: What the call raised, if anything.
        :param now: Seconds of a monotonic clock.
        :param began: When the call began.
        :param isolated: Whether it read only jobs that are known to be unreadable: as long as other calls succeed,
            their failure pauses nobody.
        :param wanted: Polls a second that the waits want in calls of their own.
        :param is_late: Whether a poll is due that could not be made yet.
        """
        if not isinstance(error, EvoLinkRateLimited | EvoLinkUnavailable):
            self._failures = self._isolated_failures = 0
            self.limit.on_success(max(0.0, now - began), wanted, is_late=is_late)
            self.max_calls = min(self.limit.value, 2 * self.max_calls)
            return
        is_new = began >= self._failed_at
        if isinstance(error, EvoLinkRateLimited):
            pause = self._after_rate_limit(error)
        else:
            self._isolated_failures += 1
            if isolated and self._failures == 0 and self._isolated_failures <= MAX_ISOLATED_FAILURES:
                return
            pause = self._after_failure(error, is_new=is_new)
        if is_new:
            self._failures += 1
            self._failed_at = now
            self.limit.on_failure()
        self.max_calls = 1
        self.paused_until = max(self.paused_until, now + pause)

    def _after_rate_limit(self, error: EvoLinkRateLimited) -> float:
        retry_after = schedule.POLICY.default_retry_after if error.retry_after is None else error.retry_after
        return max(retry_after, self._jitter()) * (1.0 + 0.1 * self._jitter())

    def _after_failure(self, error: EvoLinkUnavailable, *, is_new: bool) -> float:
        backoff = min(schedule.POLICY.max_error_backoff, 2.0 ** min(self._failures, 6)) if is_new else 0.0
        return max(error.retry_after or 0.0, backoff * self._jitter())
