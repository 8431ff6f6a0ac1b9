"""A few transfers at a time, in threads that end with what started them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TypeVar

T = TypeVar("T")

WIDTH = 5  # transfers at a time; each takes about 2 MB of memory
_STOP: ContextVar[threading.Event | None] = ContextVar("evolink_stop", default=None)
_GRACE = 1.0  # seconds for the others to notice that all is over


class Stopped(BaseException):
    """What started this transfer has ended: by a timeout of the task, for example."""


def check_stopped() -> None:
    """
    End this thread if what started it has ended.

    :raises Stopped: it has.
    """
    stop = _STOP.get()
    if stop is not None and stop.is_set():
        raise Stopped


def side_by_side(act: Callable[[T], None], items: Iterable[T], width: int = WIDTH) -> None:
    """
    Do something for each of some items, for several at a time. The first exception ends all of them and is raised.

    A single item is done in this thread.

    :param act: What to do. It calls :func:`check_stopped` now and then.
    :param items: The items, begun in their order.
    :param width: For how many at a time.
    """
    waiting = deque(items)
    if len(waiting) < 2 or width < 2:
        for item in waiting:
            act(item)
        return
    stop, errors = threading.Event(), list[BaseException]()

    def work() -> None:
        _STOP.set(stop)
        with suppress(IndexError):
            while not stop.is_set():
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
