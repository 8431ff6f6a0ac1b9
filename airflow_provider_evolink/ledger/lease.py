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
    The right to submit an order: each step on the way to its first byte may take a few seconds, and no longer.

    A worker that is frozen in between and resumes much later must not submit: another try may have taken over. A store
    that is merely slow may take its time, as long as no single call takes too long.

    :param is_terminating: Returns whether this worker is being terminated.
    :param is_current: Reads the ledger and returns whether the intent is still its newest record.
    :param is_late: Whether a step took too long. Nothing was sent then.
    """

    is_terminating: Callable[[], bool]
    is_current: Callable[[], bool]
    is_late: bool = field(default=False, init=False)
    _began: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), time.time()), init=False)
    _is_fresh: bool = field(default=True, init=False)

    def renew(self) -> None:
        """
        Start the lease again, before every attempt but the first.

        :raises EvoLinkOrderStopped: another try has taken over.
        """
        if not self._is_fresh:
            if not self.is_current():
                raise EvoLinkOrderStopped(
                    "not submitted again: another try has taken over. What to do: see the latest try of this task"
                )
            self._began = time.monotonic(), time.time()
        self._is_fresh = False

    def check(self, step: str = "connecting to EvoLink") -> None:
        """
        Check the clock after a step, last just before the first byte is sent. Does no I/O.

        :param step: What has just been done, for the error.
        :raises EvoLinkOrderStopped: it took too long, or this worker is being terminated. Nothing was sent.
        """
        if self.is_terminating():
            raise EvoLinkOrderStopped("not submitted: this worker is being terminated. A retry submits")
        monotonic, wall = self._began
        # Both clocks: one may stop while the machine sleeps, the other may be set.
        took = max(time.monotonic() - monotonic, time.time() - wall)
        if took > LEASE_SECONDS:
            self.is_late = True
            raise EvoLinkOrderStopped(
                f"not submitted: {step} took {took:.1f} s, or this worker stalled meanwhile. At most "
                f"{LEASE_SECONDS:g} s are allowed, since another try may have taken over. A retry submits"
            )
        self._began = time.monotonic(), time.time()


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
