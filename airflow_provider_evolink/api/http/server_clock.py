"""EvoLink's clock, by the ``Date`` of its responses: deadlines cross machines whose own clocks may differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

MIN_OFFSET = 5.0  # seconds; a date has no fractions, and a response takes its time
MAX_OFFSET = timedelta(days=1).total_seconds()  # more is not a clock that is wrong, but a date that is


@dataclass
class ServerClock:
    """
    Compares EvoLink's clock with one of ours, once: by the first response.

    Until there was one, they count as the same. Later dates change nothing, so that a wait does not jump.
    """

    _noted: tuple[float, float] | None = None  # epoch seconds of EvoLink, and the monotonic clock then
    _offset: float | None = None

    def note(self, headers: Mapping[str, str]) -> None:
        """
        Note the date of a response.

        :param headers: Its headers, names in lower case.
        """
        if self._noted is not None:
            return
        try:
            self._noted = (parsedate_to_datetime(headers.get("date", "")).timestamp(), time.monotonic())
        except (ValueError, TypeError, OverflowError):
            return

    def offset(self, now: float) -> float:
        """
        Return the seconds to add to a clock of ours to get EvoLink's; 0 if they agree within a few seconds.

        :param now: Epoch seconds by the clock of ours.
        """
        if self._offset is None and self._noted is not None:
            theirs, then = self._noted
            difference = theirs + time.monotonic() - then - now
            self._offset = difference if MIN_OFFSET <= abs(difference) <= MAX_OFFSET else 0.0
        return self._offset or 0.0
