"""What EvoLink asks of one wait, or cannot do for one, holds for all waits of a connection. Pure, no I/O, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.jobs import schedule

AT_ONCE = 8  # calls under way
SPARED = 2 * AT_ONCE  # failures in a row of jobs that are known to fail


class SharedBackoff:
    """
    Whether a connection may be called now, and how often at once.

    After a failure nobody calls for a while, then one call finds out for all; each that is answered lets twice as
    many follow.

    :param jitter: Returns a number from 0 to 1.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self.at_once = AT_ONCE
        self._jitter = jitter
        self._until = 0.0
        self._failures = self._spared = 0
        self._failed_at = -math.inf

    def left(self, now: float) -> float:
        """
        Return the seconds until anybody may call again.

        :param now: Seconds of a clock that is never set back.
        """
        return max(0.0, self._until - now)

    def told(self, error: EvoLinkError | None, now: float, began: float = math.inf, *, of_one: bool = False) -> None:
        """
        Take note of how a call ended. A refusal of one job is an answer like any other.

        Calls that were under way together and fail are one failure, or a blip would be taken for a long outage.

        :param error: What the call raised, if anything.
        :param now: Seconds of the same clock.
        :param began: When the call began.
        :param of_one: Whether the trouble of this one job was known: it concerns no other while others are answered.
        """
        is_new = began >= self._failed_at
        if isinstance(error, EvoLinkRateLimited):
            asked = schedule.DEFAULT_RETRY_AFTER if error.retry_after is None else error.retry_after
            pause = max(asked, self._jitter()) * (1.0 + 0.1 * self._jitter())
        elif isinstance(error, EvoLinkUnavailable):
            self._spared += 1
            if of_one and self._failures == 0 and self._spared <= SPARED:
                return
            longest = min(schedule.LONGEST, 2.0 ** min(self._failures, 6)) if is_new else 0.0
            pause = max(error.retry_after or 0.0, longest * self._jitter())
        else:
            self._failures = self._spared = 0
            self.at_once = min(AT_ONCE, 2 * self.at_once)
            return
        if is_new:
            self._failures += 1
            self._failed_at = now
        self.at_once = 1
        self._until = max(self._until, now + pause)
