"""
Keeps our connections out of httpcore's DEBUG log, which shows every header: signed redirects and cookies among them.

The calls of others are logged as before: a filter on httpcore's loggers drops what is written during a call of ours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGERS = tuple(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))
_is_ours: ContextVar[bool] = ContextVar("evolink_call", default=False)


def _is_of_others(_: logging.LogRecord) -> bool:
    return not _is_ours.get()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what httpcore logs in this thread or task meanwhile."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_is_of_others)  # added once, however often
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)
