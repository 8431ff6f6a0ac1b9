"""
Words for the end of a job that EvoLink does not document. Pure.

Its own example scripts and other gateways use some of them. What is in none of these lists counts as running.
"""

from __future__ import annotations

import re

COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
_MEANINGS = {
    COMPLETED: "completed complete succeeded success successful done finished",
    FAILED: "failed fail failure expired timeout timed_out timedout time_out rejected aborted",
    CANCELLED: "cancelled canceled",
}
_MEANING_OF = {word: meaning for meaning, words in _MEANINGS.items() for word in words.split()}
_SEPARATORS = re.compile(r"[\s_-]+")


def normalized(word: object) -> str:
    """
    Return a status in lower case with underscores; empty if it is no text.

    :param word: ``status`` of a response.
    """
    return _SEPARATORS.sub("_", word.strip().lower()) if isinstance(word, str) else ""


def meaning_of(word: str) -> str | None:
    """
    Return the documented status that a word for the end stands for; ``None`` if it is no word for the end.

    :param word: A status as :func:`normalized` returns it.
    """
    return _MEANING_OF.get(word)
