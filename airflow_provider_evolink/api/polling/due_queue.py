"""
The queue of waiters: who is polled when, and with whom. Pure, no I/O, no clock of its own.

A waiter has two moments: when its poll is due, and the earliest moment at which it may share the call of another one.
All moments are seconds of one monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

GATHER_SECONDS = 0.1  # in which waiters that start together are polled together
MAX_EARLY_SECONDS = 1.0  # by which a poll may come early to share a call
MAX_SKIPPED = 50  # entries that a batch leaves in the queue


class Queued(Protocol):
    """What the queue needs of a waiter."""

    @property
    def is_done(self) -> bool: ...
    @property
    def isolated(self) -> bool: ...
    @property
    def deadline(self) -> float: ...


W = TypeVar("W", bound=Queued)


class _Entry(NamedTuple, Generic[W]):
    due: float
    number: int  # the first one in comes first, and waiters are never compared
    earliest: float
    waiter: W


class DueQueue(Generic[W]):
    """
    Holds each waiter from one poll to the next.

    ``paused_until`` pauses all: until then no batch is returned, and what is due is postponed, but never beyond the
    waiter's deadline.

    :param jitter: Returns a number from 0 to 1.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self.paused_until = -math.inf
        self._heap: list[_Entry[W]] = []
        self._numbers = itertools.count()
        self._jitter = jitter

    @property
    def next_due(self) -> float | None:
        """When the first waiter is due; ``None`` where there is none."""
        return self._heap[0].due if self._heap else None

    def push(self, waiter: W, due: float, early_by: float = 0.0) -> bool:
        """
        Queue a waiter for its next poll; return whether it is the first one now.

        :param waiter: The waiter; it is in the queue once at most.
        :param due: When to poll it.
        :param early_by: Seconds by which the poll may come early, 1 at most.
        :raises ValueError: ``due`` is not a moment; such an entry would disorder the queue for all.
        """
        if not math.isfinite(due):
            raise ValueError(f"cannot poll at {due}")
        if self.paused_until > due:  # isolated waiters leave the first call after the pause to those that share one
            resume = self.paused_until + (GATHER_SECONDS if waiter.isolated else 0.0)
            due, early_by = max(due, min(resume, waiter.deadline)), 0.0
        entry = _Entry(due, next(self._numbers), due - min(MAX_EARLY_SECONDS, early_by), waiter)
        heapq.heappush(self._heap, entry)
        return self._heap[0] is entry

    def postpone(self, now: float) -> list[W]:
        """
        Postpone what is due during a pause; return the waiters whose deadline has come, which leave the queue.

        :param now: Current moment.
        """
        expired: list[W] = []
        while self.paused_until > now and self._heap and self._heap[0].due <= now:
            waiter = heapq.heappop(self._heap).waiter
            if waiter.is_done:
                continue
            if waiter.deadline <= now:
                expired.append(waiter)
            else:
                self.push(waiter, min(self.paused_until + GATHER_SECONDS * self._jitter(), waiter.deadline))
        return expired

    def pop_batches(self, now: float, size: int, count: int) -> list[list[W]]:
        """
        Return the waiters to poll now, one list for each call; they leave the queue. None while all are paused.

        Once anybody is due, others that may come early fill the calls: in a shared one they cost nothing, and single
        calls made together cost less.

        :param now: Current moment.
        :param size: Jobs that one call can read.
        :param count: Calls that may be made.
        """
        batches: list[list[W]] = []
        due_by = now
        while len(batches) < count and self.paused_until <= now and self._heap and self._heap[0].due <= due_by:
            batch = self._pop_batch(now, size)
            if not batch:
                break
            batches.append(batch)
            if size == 1:
                due_by = now + MAX_EARLY_SECONDS
        return batches

    def _pop_batch(self, now: float, size: int) -> list[W]:
        """Pop one call's worth: who is due, and who may come early. An isolated waiter has a call of its own."""
        batch: list[W] = []
        skipped: list[_Entry[W]] = []
        while self._heap and self._heap[0].due <= now + MAX_EARLY_SECONDS:
            if len(batch) >= size or len(skipped) >= MAX_SKIPPED:
                break
            entry = heapq.heappop(self._heap)
            if entry.waiter.is_done:
                continue
            if entry.earliest > now or (entry.waiter.isolated and batch):
                skipped.append(entry)
                continue
            batch.append(entry.waiter)
            if entry.waiter.isolated:
                break
        for entry in skipped:
            heapq.heappush(self._heap, entry)
        return batch
