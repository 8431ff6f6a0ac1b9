"""The moment of paying: no signal interrupts it, and a worker that stalled may not submit any more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from airflow_provider_evolink.api.errors import EvoLinkOrderStopped

LEASE_SECONDS = 10.0


@dataclass
class Lease:
    """
    The right to submit an order, for a few seconds from just before its intent is written.

    A worker that is frozen in between and resumes much later must not submit: another try may have taken over.

    :param is_terminating: Returns whether this worker is being terminated.
    :param is_current: Reads the ledger and returns whether the intent is still its newest record.
    """

    is_terminating: Callable[[], bool]
    is_current: Callable[[], bool]
    _began: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), time.time()), init=False)
    _is_fresh: bool = field(default=True, init=False)

    def renew(self) -> None:
        """
        Start the lease again, before every attempt but the first.

        :raises EvoLinkOrderStopped: another try has taken over.
        """
        if not self._is_fresh:
            if not self.is_current():
                raise EvoLinkOrderStopped("not submitted again: another try has taken over")
            self._began = time.monotonic(), time.time()
        self._is_fresh = False

    def check(self) -> None:
        """
        Check the clock just before the first byte is sent. Does no I/O.

        :raises EvoLinkOrderStopped: it is too late, or this worker is being terminated. Nothing was sent.
        """
        if self.is_terminating():
            raise EvoLinkOrderStopped("not submitted: this worker is being terminated. A retry submits")
        monotonic, wall = self._began
        # Both clocks: one may stop while the machine sleeps, the other may be set.
        if max(time.monotonic() - monotonic, time.time() - wall) > LEASE_SECONDS:
            raise EvoLinkOrderStopped(
                f"not submitted: this worker stalled for more than {LEASE_SECONDS:g} s after writing its intent, and "
                "another try may have taken over. A retry submits"
            )


@contextmanager
def uninterrupted() -> Iterator[Callable[[], bool]]:
    """
    Delay SIGALRM (``execution_timeout``) and SIGTERM, so that neither arrives between an order and its record.

    They are raised when the block is left, which the HTTP timeouts and the ledger's retry limit bound. Yields a
    function that returns whether one is pending.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pending: list[int] = []

    def delay(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        pending.append(number)

    before = {number: signal.signal(number, delay) for number in (signal.SIGALRM, signal.SIGTERM)}
    try:
        yield lambda: bool(pending)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for delayed in pending:
            signal.raise_signal(delayed)
