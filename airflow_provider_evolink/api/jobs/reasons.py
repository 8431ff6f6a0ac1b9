"""
Why a job ended as it did, wherever EvoLink states it: ``error``, ``fail_reason``, on top or nested. Pure.

Only the code in ``error`` counts, since it decides whether a request is submitted again; elsewhere a text is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = (
    *("message", "msg", "failreason", "failurereason", "failedreason", "reason", "errormessage", "errormsg", "errmsg"),
    *("failmessage", "failmsg", "statusmessage", "statusmsg", "taskstatusmsg", "statusreason", "detail", "details"),
    *("errordescription", "error", "failure"),
)
_NO_REASON = re.compile(r"(?i)input|request|prompt|param|usage|cost|billing|model|url|result_data")
_NO_WORDS = frozenset({"", "ok", "success", "succeeded", "completed", "failed", "null", "none", "error", "unknown"})
_MAX_DEPTH = 3


def read_error(payload: Mapping[str, Any]) -> Any:
    """
    Return the ``error`` of a job, with a message that stands elsewhere if it has none.

    :param payload: A job that has ended, as EvoLink sent it.
    """
    error = _parsed(payload.get("error"))
    if not isinstance(error, dict):
        error = {"message": error} if _is_text(error) else {"nested": error}
    if not _is_text(error.get("message")):
        found = next(_texts(error), None) or next(_texts({**payload, "error": None}), None)
        error = {**error, "message": found}
    stated = ("code", "message", "type")
    return error if any(error.get(name) is not None for name in stated) or payload.get("error") is not None else None


def _parsed(value: Any) -> Any:
    """Return the object in a text of JSON; anything else as it is."""
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Find texts that state a reason: those of an object before those inside it."""
    if isinstance(value, list):
        for entry in value[:16]:
            yield from _texts(entry, depth + 1)
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return
    plain = {re.sub(r"[^a-z]", "", str(name).lower()): entry for name, entry in value.items()}
    yield from [str(plain[name]).strip() for name in _NAMES if _is_text(plain.get(name))]
    for name, entry in value.items():
        if not _NO_REASON.search(str(name)):
            yield from _texts(_parsed(entry), depth + 1)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and _says_something(str(value))


def _says_something(text: str) -> bool:
    return text.strip().lower().rstrip(".!") not in _NO_WORDS
