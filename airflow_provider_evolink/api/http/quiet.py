"""
Keeps our connections out of httpcore's DEBUG log, which shows every header: signed redirects and cookies among them.

The calls of others are logged as before: a filter on httpcore's loggers drops what is written during a call of ours.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

IS_OURS: ContextVar[bool] = ContextVar("evolink_call", default=False)  # True while a call of ours runs


def _is_of_others(_: logging.LogRecord) -> bool:
    return not IS_OURS.get()


for _part in ("connection", "http11", "http2", "proxy", "socks"):
    logging.getLogger(f"httpcore.{_part}").addFilter(_is_of_others)
