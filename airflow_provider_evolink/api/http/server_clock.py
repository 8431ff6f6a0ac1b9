"""EvoLink's clock, by the ``Date`` of its responses: deadlines cross machines whose own clocks may differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime

MIN_OFFSET = 5.0  # seconds; a date has no fractions, and a response takes its time
MAX_OFFSET = timedelta(days=1).total_seconds()  # more is not a clock that is wrong, but a date that is


class ServerClock:
    """Compares EvoLink's clock with one of ours. Until there was a response, they count as the same."""

    def __init__(self) -> None:
        self._date = ""
        self._at = (0.0, 0.0)  # epoch seconds of EvoLink, and the monotonic clock then

    def note(self, headers: Mapping[str, str]) -> None:
        """
        Note the date of a response.

        :param headers: Its headers, names in lower case.
        """
        date = headers.get("date", "")
        if date == self._date:
            return
        try:
            self._at = (parsedate_to_datetime(date).timestamp(), time.monotonic())
        except (ValueError, TypeError, OverflowError):
            return
        self._date = date

    def offset(self, now: float) -> float:
        """
        Return the seconds to add to a clock of ours to get EvoLink's; 0 if they agree within a few seconds.

        :param now: Epoch seconds by the clock of ours.
        """
        if not self._date:
            return 0.0
        theirs, then = self._at
        difference = theirs + time.monotonic() - then - now
        return difference if MIN_OFFSET <= abs(difference) <= MAX_OFFSET else 0.0
