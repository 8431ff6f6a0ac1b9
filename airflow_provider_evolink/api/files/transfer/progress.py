"""When a transfer says how far it is, and what. Pure but for the clock that is given."""

from __future__ import annotations

from dataclasses import dataclass

_STEP = 10  # percent
_AT_LEAST = 5.0  # seconds between two lines
_AT_MOST = 30.0
_MB = 1e6


@dataclass
class Progress:
    """
    How far a transfer is.

    :param done: Bytes that were there at its start.
    :param total: Bytes of the whole file, where known.
    :param begun: When it started, in seconds.
    """

    done: int
    total: int | None
    begun: float

    def __post_init__(self) -> None:
        self._first, self._last, self._step = self.done, self.begun, self._steps(self.done)

    def line(self, done: int, now: float) -> str | None:
        """
        Return what there is to say: at every tenth, but not within 5 seconds, and every 30 seconds.

        :param done: Bytes that are there.
        :param now: In seconds.
        """
        steps, since = self._steps(done), now - self._last
        if since < _AT_LEAST or (steps <= self._step and since < _AT_MOST):
            return None
        self._last, self._step = now, steps
        rate = (done - self._first) / max(now - self.begun, 1e-9)
        speed = f"{rate / _MB:.1f} MB/s"
        if not self.total:
            return f"{done / _MB:.0f} MB, {speed}"
        left = f", {(self.total - done) / rate:.0f} s left" if rate else ""
        return f"{100 * done // self.total} % of {self.total / _MB:.0f} MB, {speed}{left}"

    def _steps(self, done: int) -> int:
        return 100 * done // self.total // _STEP if self.total else 0
