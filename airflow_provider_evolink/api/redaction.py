"""Remote and private texts: what of them may stand in a log line or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

MAX_SHOWN = 60


# Control characters, line ends, marks that turn the reading direction, and halves of broken characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_USER = re.compile(r"(?i)(https?://)[^\s/?#\"<>]*@")
_QUERY = re.compile(r"(?i)(https?://[^\s?#\"<>]*)[?#][^\s\"<>]*")
_BEARER = re.compile(r"(?i)(bearer[\s:]+|\bsk-)[\w.~+/=-]{4,}")
_WORD = re.compile(r"[\w.:+-]{1,40}", re.ASCII)
# What counts as one blank where texts are compared: EvoLink may fold lines, or quote a text as JSON.
_BLANKS = re.compile(rf"(?:{_CONTROL.pattern}|\s|\\[nrt])+")
# A link, also percent-encoded, escaped as in JSON, or without its scheme.
_LINK = re.compile(
    r"(?i)(?:https?(?::|%3a)[/\\%]|(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:[a-z]{2,}(?::\d+)?|\d+:\d+)/)[^\s\"<>]*"
)
SPAN = 12  # characters of ours that count as a quote of it; shorter texts must be there whole
MAX_MESSAGE = 2000
EVERYTHING = ("",)  # in place of private texts: every message repeats the empty one, so nothing of it is told


def sanitize(text: object, limit: int = 300) -> str:
    """
    Make remote text safe for one log line.

    Control characters go, links lose their query (it may be signed) and user, key-like words are hidden, the rest
    is cut.

    :param text: What EvoLink, a proxy or a library wrote.
    :param limit: Longest result, in characters.
    """
    line = _CONTROL.sub(" ", str(text)).strip()
    line = _BEARER.sub(r"\1***", _QUERY.sub(r"\1", _USER.sub(r"\1", line)))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def private_texts(value: Any) -> Iterator[str]:
    """
    Find the free text and the links of a request body: what is more than a single word.

    :param value: The body, or a part of it.
    """
    if isinstance(value, str):
        if not _WORD.fullmatch(value) and value.strip():
            yield value.strip()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from private_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from private_texts(item)


def without(private: tuple[str, ...], message: str) -> str:
    """
    Make EvoLink's words tellable: cut them off where they begin to quote a text of ours, and cut links out of them.

    A quote is :data:`SPAN` characters from anywhere in a text, or the whole of a shorter one, however blanks and line
    ends are written.

    :param private: What :func:`private_texts` found in the request.
    :param message: What EvoLink wrote.
    """
    line = _flat(message[:MAX_MESSAGE])
    spans = {line[at : at + SPAN]: at for at in reversed(range(len(line) - SPAN + 1))}
    at = min((place for text in private if (place := _quoted(_flat(text), line, spans)) >= 0), default=None)
    return _LINK.sub("…", line if at is None else line[:at] + "…")


def _flat(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def _quoted(text: str, line: str, spans: Mapping[str, int]) -> int:
    """Return where a line first quotes a text, or -1; in a time that grows with their lengths, not their product."""
    if len(text) < SPAN:
        return line.find(text)
    parts = (text[at : at + SPAN] for at in range(len(text) - SPAN + 1))
    return min((spans[part] for part in parts if part in spans), default=-1)


def describe_value(value: Any, *, private: bool = False) -> str:
    """
    Describe a value in at most 60 characters.

    Only single words, numbers and the path of a link are shown as given; any other text is reduced to its length,
    because it may be a prompt.

    :param value: What the user gave.
    :param private: Whether even a single word must stay hidden (prompts, fields we do not know).
    """
    if isinstance(value, str):
        return _text(value, private=private)
    if isinstance(value, Mapping):
        return f"an object with {count(len(value), 'entry', 'entries')}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return f"a list of {count(len(value), 'item')}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float) and not private:
        return _number(value)
    return f"a value of type {type(value).__name__}"[:MAX_SHOWN]


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: ``1 item``, ``2 items``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return str(value)


def _text(text: str, *, private: bool) -> str:
    if not text:
        return "an empty string"
    size = count(len(text), "character")
    if text[:5].lower() == "data:":
        return f"inline data of {size}"
    if private:
        return f"a string of {size}"
    if _WORD.fullmatch(text):
        return f"'{sanitize(text, MAX_SHOWN - 2)}'"
    return _link(text) or f"a string of {size}"


def _link(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not (parts.scheme.isalnum() and host) or re.search(r"\s", text):
        return None
    address = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"
    return sanitize(address, MAX_SHOWN)
