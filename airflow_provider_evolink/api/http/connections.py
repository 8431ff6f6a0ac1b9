"""How many connections a pool keeps open, and when to close one of them. Pure, no I/O."""

from __future__ import annotations

MAX_CONNECTIONS = 64


class ConnectionCount:
    """
    Estimates the open connections of a client that reuses idle ones, the longest idle one first.

    Each of them is used in turn, so none would ever be idle for long, and all would stay open once a crowd was polled.

    ``keep`` is how many may stay open.
    """

    def __init__(self) -> None:
        self.keep = MAX_CONNECTIONS
        self._open = 0
        self._running = 0  # calls whose connection stays open

    def begin(self) -> bool:
        """Note that a call begins; return whether its connection is to be closed after it."""
        if self._open > max(self.keep, self._running):
            self._open -= 1
            return True
        self._running += 1
        self._open = max(self._open, self._running)
        return False

    def end(self, *, is_last: bool, has_failed: bool) -> None:
        """
        Note that a call has ended.

        :param is_last: What ``begin`` returned.
        :param has_failed: Whether it got no response: its connection is gone.
        """
        if not is_last:
            self._running -= 1
            self._open -= has_failed
