"""Whether polling falls behind, and the one warning about it. Pure, no I/O, no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 15.0  # seconds over which polls are counted
LATE_SHARE = 0.5  # of its interval by which a poll is late ...
MIN_LATE, MAX_LATE = 2.0, 10.0  # ... but at least and at most these seconds
BEHIND_SHARE = 0.5  # of the polls in a window that are late
ON_TIME_SHARE = 0.1
ON_TIME_WINDOWS = 4  # in a row that end an episode


@dataclass(frozen=True, slots=True)
class PollerState:
    """
    What explains that polling is behind.

    :param waits: How many there are.
    :param max_calls: How many may run at the same time.
    :param round_trip: Seconds that a call takes; 0 if that is not known.
    :param is_refused: Whether EvoLink refused or failed calls not long ago.
    :param is_full: Whether as many calls run as may.
    """

    waits: int
    max_calls: int
    round_trip: float
    is_refused: bool
    is_full: bool


class Lateness:
    """
    Counts late polls. Polling is behind where most of them are late, until it has been on time for a minute.

    :param conn_id: Names the connection in the warning.
    """

    def __init__(self, conn_id: str = "") -> None:
        self.is_behind = False
        self._conn_id = conn_id
        self._began: float | None = None
        self._polls = self._late = 0
        self._seconds = 0.0
        self._on_time = 0  # windows in a row

    def note(self, late_by: float, interval: float) -> None:
        """
        Count a poll.

        :param late_by: Seconds after the moment at which it was due.
        :param interval: Seconds for which its wait had meant to pause.
        """
        self._polls += 1
        self._late += late_by > min(max(LATE_SHARE * interval, MIN_LATE), MAX_LATE)
        self._seconds += max(0.0, late_by)

    def close_window(self, now: float) -> float | None:
        """
        Return by how many seconds polls were late on average, once for each time that polling falls behind.

        :param now: Current moment.
        """
        if self._began is None:
            self._began = now
        if now < self._began + WINDOW or not self._polls:
            return None
        share, seconds = self._late / self._polls, self._seconds / self._polls
        self._began, self._polls, self._late, self._seconds = now, 0, 0, 0.0
        self._on_time = self._on_time + 1 if share < ON_TIME_SHARE else 0
        if share >= BEHIND_SHARE and not self.is_behind:
            self.is_behind = True
            return seconds
        if self._on_time >= ON_TIME_WINDOWS:
            self.is_behind = False
        return None

    def warning(self, late_by: float, state: PollerState) -> str:
        """
        Return the warning that polling is behind: by how much, why, and what to do.

        :param late_by: Seconds by which polls are late on average.
        :param state: Of the poller.
        """
        if state.is_refused:
            why = f"EvoLink or the network failed or limited calls, so at most {state.max_calls} run at a time"
            advice = "if EvoLink is down, nothing; else raise poll_interval, or ask EvoLink for a higher rate limit"
        elif state.is_full:
            why = f"a call takes {state.round_trip:.2g} s, and at most {state.max_calls} run at a time"
            advice = "raise poll_interval, or run more triggerers"
        else:
            why = "this process is too busy to make the calls in time"
            advice = "run more triggerers, or find the trigger that blocks the event loop"
        return (
            f"Polling of EvoLink connection {self._conn_id} is behind: {state.waits} jobs are awaited, and polls are "
            f"{late_by:.0f} s late on average. Why: {why}. No job is lost, but ends are noticed later. What to do: "
            f"{advice}"
        )
