"""
How a try waits until a rate limit lets it through.

Many jobs that finish at once make many tries call at once, each by itself. They return spread over a window that grows
with every refusal, so that as many come back at a time as are let through.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatiencePolicy:
    """
    The numbers, in seconds. ``make bench ONLY=herd`` shows what they do.

    :param max_wait: What one try waits at most, all its waits together.
    :param first_window: After the first refusal, a call returns at a random moment in this window ...
    :param max_window: ... which doubles with each further refusal, up to this.
    """

    max_wait: float = 600.0
    first_window: float = 8.0
    max_window: float = 90.0


POLICY = PatiencePolicy()


def is_throttled(error: BaseException) -> bool:
    """
    Return whether a call was refused only for now: by a rate limit, or with a time to come back.

    :param error: What the call raised.
    """
    has_time = isinstance(error, EvoLinkUnavailable) and error.retry_after is not None
    return isinstance(error, EvoLinkRateLimited) or has_time


def pause_after(refusals: int, retry_after: float | None, left: float, jitter: float) -> float | None:
    """
    Return the seconds until a refused call returns, never before its ``Retry-After``; ``None``: give up now.

    :param refusals: How often in a row the call was refused.
    :param retry_after: What the last refusal requested.
    :param left: Seconds that the try may still wait.
    :param jitter: A random number from 0 to 1: the moment in the window.
    """
    requested = retry_after or 0.0
    window = min(POLICY.first_window * 2.0 ** min(refusals - 1, 30), POLICY.max_window, left - requested)
    return requested + window * jitter if window > 0 else None


class Patience:
    """
    What one try waits for rate limits, over all its calls.

    :param until: Epoch seconds when the try must end, if there is such a limit.
    """

    def __init__(self, until: float = math.inf) -> None:
        self.spent = 0.0
        self._until = until
        self._counted = 0.0  # up to when waits are in `spent`, by the monotonic clock
        self._lock = threading.Lock()

    def wait(self, what: str, refusals: int, retry_after: float | None, *, left: float = math.inf) -> bool:
        """
        Sleep until a refused call may return. A kill or Airflow's timeout ends that at once.

        :param what: What was refused and how, for the log.
        :param refusals: How often in a row it was refused.
        :param retry_after: What the last refusal requested, in seconds.
        :param left: Seconds that the caller may still wait.
        :return: Whether to try again.
        """
        now = time.monotonic()
        left = min(left, POLICY.max_wait - self.spent + max(0.0, self._counted - now), self._until - time.time())
        pause = pause_after(refusals, retry_after, left, random.random())  # noqa: S311
        if pause is None:
            return False
        log.info("%s: next attempt in %.1f s; waited %.0f s of %.0f s", what, pause, self.spent, POLICY.max_wait)
        self._count(now, pause)
        time.sleep(pause)
        return True

    def _count(self, now: float, pause: float) -> None:
        """Add a wait. What several threads wait at the same time counts once."""
        with self._lock:
            self.spent += max(0.0, pause - max(0.0, self._counted - now))
            self._counted = max(self._counted, now + pause)

    def outlast(self, act: Callable[[], T], what: str) -> T:
        """
        Make a call that may be repeated, again and again while it is throttled.

        :param act: The call.
        :param what: Its name, for the log.
        :raises EvoLinkError: it failed otherwise, or the try has waited long enough.
        """
        for refusals in itertools.count(1):
            try:
                return act()
            except EvoLinkError as error:
                if not is_throttled(error):
                    raise
                why = f"{what}: EvoLink lets nothing through now (HTTP {error.status_code})"
                if not self.wait(why, refusals, error.retry_after):
                    raise error.amended(message=f"{error.message}. {self.summary}") from None
        raise AssertionError

    @property
    def summary(self) -> str:
        """What the try has waited, for an error text."""
        return f"This try waited {self.spent:.0f} s for it ({POLICY.max_wait:.0f} s at most); a retry waits again"
