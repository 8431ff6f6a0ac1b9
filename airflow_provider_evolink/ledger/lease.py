"""The moment of paying: what may not interrupt it, and when it is too late for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from airflow_provider_evolink.api.errors import EvoLinkOrderStopped

SECONDS = 10.0


class Lease:
    """
    The right to send an order, for some seconds from just before its intent is written.

    A worker that was stopped in between and goes on much later must not order: another try may have taken over.

    :param stopping: Says whether this worker was told to end.
    :param still_ours: Reads the ledger and says whether the intent is still the last word.
    """

    def __init__(self, stopping: Callable[[], bool], still_ours: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._still_ours = still_ours
        self._begin()
        self._fresh = True

    def renew(self) -> None:
        """
        Begin anew, before every sending but the first.

        :raises EvoLinkOrderStopped: another try has taken over, or this worker was told to end.
        """
        if not self._fresh:
            if not self._still_ours():
                raise EvoLinkOrderStopped("the order was not sent again: another try has taken over meanwhile")
            self._begin()
        self._fresh = False

    def check(self) -> None:
        """
        Look at the clock, as the first byte is about to leave. No I/O.

        :raises EvoLinkOrderStopped: too late, or this worker was told to end. Nothing was sent.
        """
        if self._stopping():
            raise EvoLinkOrderStopped("the order was not sent: this worker was told to end. A retry orders")
        # Both clocks: one may stand still while the machine sleeps, the other may be set.
        if max(time.monotonic() - self._monotonic, time.time() - self._wall) > SECONDS:
            raise EvoLinkOrderStopped(
                f"the order was not sent: this worker stood still for more than {SECONDS:g} s after writing its "
                "intent, and another try may have taken over. A retry orders"
            )

    def _begin(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()


@contextmanager
def uninterrupted() -> Iterator[Callable[[], bool]]:
    """
    Put off SIGALRM (``execution_timeout``) and SIGTERM, so that neither falls between an order and its record.

    They arrive when the block is left. Yields a function that says whether one is waiting. Bounded by the HTTP
    time-outs and the ledger's patience.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        waiting.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGALRM, signal.SIGTERM)}
    try:
        yield lambda: bool(waiting)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in waiting:
            signal.raise_signal(late)
