"""A few transfers at a time, in threads that end with what started them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import TypeVar

T = TypeVar("T")

WIDTH = 5  # transfers at a time in this process; each takes about 2 MB of memory
_TURNS = threading.BoundedSemaphore(WIDTH)
_STOPS: ContextVar[tuple[threading.Event, ...]] = ContextVar("evolink_stops", default=())
_GRACE = 1.0  # seconds for the others to notice that all is over
_TICK = 0.2


class Stopped(BaseException):
    """What started this transfer has ended: by a timeout of the task, for example."""


def check_stopped() -> None:
    """
    End this thread if what started it has ended.

    :raises Stopped: it has.
    """
    if any(stop.is_set() for stop in _STOPS.get()):
        raise Stopped


@contextmanager
def transfer_turn() -> Iterator[None]:
    """
    Wait until one more transfer may run in this process, whoever started the others: jobs and their results.

    :raises Stopped: what started this thread has ended meanwhile.
    """
    while not _TURNS.acquire(timeout=_TICK):
        check_stopped()
    try:
        yield
    finally:
        _TURNS.release()


def side_by_side(act: Callable[[T], None], items: Iterable[T], width: int = WIDTH) -> None:
    """
    Do something for each of some items, for several at a time. The first exception ends all of them and is raised.

    A single item is done in this thread.

    :param act: What to do. It calls :func:`check_stopped` now and then; it may do things side by side itself, and takes
        a :func:`transfer_turn` for each transfer.
    :param items: The items, begun in their order.
    :param width: For how many at a time.
    """
    waiting = deque(items)
    if len(waiting) < 2 or width < 2:
        for item in waiting:
            act(item)
        return
    stop, errors = threading.Event(), list[BaseException]()
    stops = (*_STOPS.get(), stop)

    def work() -> None:
        _STOPS.set(stops)
        with suppress(IndexError):
            while not any(one.is_set() for one in stops):
                item = waiting.popleft()
                try:
                    act(item)
                except BaseException as error:  # noqa: BLE001 - it is raised below, in the thread that started this one
                    errors.append(error)
                    stop.set()
                    return

    _run(work, min(width, len(waiting)), stop)
    if errors:
        raise errors[0]
    check_stopped()


def _run(work: Callable[[], None], count: int, stop: threading.Event) -> None:
    threads = [
        threading.Thread(target=copy_context().run, args=(work,), name=f"evolink-transfer-{number}", daemon=True)
        for number in range(count)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_GRACE / count)
