"""
How many single reads may run at the same time. Pure, no I/O, no clock of its own.

One connection carries one call. So many polls a second, each of which takes so long, keep as many connections busy as
their product (Little's law), and a little more to catch up.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean
from typing import NamedTuple

MIN_CALLS = 8
MAX_CALLS = 64
HEADROOM = 1.25  # over what the wanted polls need
SMOOTHED_OVER = 64  # round trips
MIN_SAMPLES = 16  # of them
IGNORED_SHARE = 4  # the quickest and the slowest quarter: a dead connection opens no others
RAISE_AFTER = 4  # calls that succeed, so that the round trip of new connections, which is longer, does not open more
STILL_LATE_CALLS = 512  # in a row, after which a mean counts instead of a quick round trip
LATE_CALLS = 64  # in a row that raise it: a crowd that a stall of the process left behind is caught up with sooner
RAISE_SHARE = 8  # of what is missing, at a time
LOWER_AFTER = 20  # calls that succeed
IDLE_SHARE = 0.75  # of the limit: while less is needed it falls
SHORTEST_DELAY = 0.1  # seconds; a poll that is due sooner is one that was not waited for, such as a first one ...
UNPLANNED_DELAY = 2.0  # ... which counts as if it were: a crowd that starts at once need not be read within a moment


class NextPoll(NamedTuple):
    """
    The poll that a wait plans.

    :param due: When, whatever delays it: the poller, or a pause that EvoLink demands.
    :param delay: After how many seconds.
    """

    due: float
    delay: float

    @property
    def rate(self) -> float:
        """The polls a second that this wait wants."""
        return 1.0 / (self.delay if self.delay > SHORTEST_DELAY else UNPLANNED_DELAY)


class Demand:
    """The polls a second that all waits want together."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._count = 0

    def single_reads(self, *, reads_many: bool) -> float:
        """
        Return how many calls a second the waits want where each reads one job; 0 where calls are shared.

        :param reads_many: Whether one call reads many jobs.
        """
        return 0.0 if reads_many else self.rate

    def replace(self, old: NextPoll | None, new: NextPoll | None) -> None:
        """
        Note that a wait plans another poll.

        :param old: What it had planned; ``None`` if it is new.
        :param new: What it plans; ``None`` if it is over.
        """
        self._count += (new is not None) - (old is not None)
        self.rate += (new.rate if new else 0.0) - (old.rate if old else 0.0)
        if self._count == 0:  # no error of rounding stays
            self.rate = 0.0


class CallLimit:
    """
    The number of calls that may run at the same time: 8 while responses are quick, at most 64.

    While polls are late it rises towards the wanted polls a second times the smoothed round trip, and it falls with
    them. A rate limit or an outage halves it, and it may rise again by one for every 20 calls that succeed.
    """

    def __init__(self) -> None:
        self.value = MIN_CALLS
        self.round_trip = 0.0  # seconds, the mean of the middle half; 0 until enough is known
        self._quick = 0.0  # the lower quartile, which stalls of this process make no longer
        self._ceiling = MAX_CALLS
        self._samples: deque[float] = deque(maxlen=SMOOTHED_OVER)
        self._new_connections = MIN_CALLS  # the first calls open theirs, which takes longer
        self._successes = 0  # since the last failure
        self._late = 0  # calls in a row

    @property
    def is_reduced(self) -> bool:
        """Whether calls failed not long ago."""
        return self._ceiling < MAX_CALLS

    def on_success(self, seconds: float, wanted: float, *, is_late: bool) -> None:
        """
        Learn from a call that got a response.

        :param seconds: How long it took.
        :param wanted: Polls a second that the waits want, each in a call of its own; 0 where calls are shared.
        :param is_late: Whether a poll is due that could not be made yet.
        """
        self._smooth(seconds)
        self._successes += 1
        self._late = self._late + 1 if is_late else 0
        on_average = math.ceil(HEADROOM * wanted * self.round_trip)
        needed = on_average if self._late >= STILL_LATE_CALLS else math.ceil(HEADROOM * wanted * self._quick)
        if self._successes % LOWER_AFTER == 0:
            self._ceiling = min(MAX_CALLS, self._ceiling + 1)
            if on_average < IDLE_SHARE * self.value:
                self.value -= max(1, (self.value - on_average) // 4)
        elif self._late >= LATE_CALLS and needed > self.value and self._successes % RAISE_AFTER == 0:
            self.value += max(1, (needed - self.value) // RAISE_SHARE)
        self.value = max(MIN_CALLS, min(self.value, self._ceiling))

    def on_failure(self) -> None:
        """Learn that EvoLink refused or failed calls because there were too many, or for any other reason."""
        self._ceiling = self.value = max(MIN_CALLS, self.value // 2)
        self._successes = 0

    def _smooth(self, seconds: float) -> None:
        if self._new_connections:
            self._new_connections -= 1
            return
        self._samples.append(seconds)
        if len(self._samples) >= MIN_SAMPLES:
            ordered, ignored = sorted(self._samples), len(self._samples) // IGNORED_SHARE
            self.round_trip, self._quick = fmean(ordered[ignored:-ignored]), ordered[ignored]
