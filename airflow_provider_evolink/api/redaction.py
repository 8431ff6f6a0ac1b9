"""What of a remote or private text may appear in a log line or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

MAX_SHOWN = 60  # characters of a value
MAX_MESSAGE = 2000  # characters of a message that are searched for quotes
QUOTE = 12  # characters of a private text that count as a quote of it; a shorter text counts only as a whole

# Control characters, line ends, marks that change the reading direction, and halves of broken characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_PARTS_OF_LINK = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#]*@)?([^?#]*)([?#].*)?", re.IGNORECASE | re.DOTALL)
_WEB_LINK = re.compile(r"https?://[^\s\"<>]*", re.IGNORECASE)
_BEARER = re.compile(r"(?i)(bearer[\s:]+|\bsk-)[\w.~+/=-]{4,}")
_WORD = re.compile(r"[\w.:+-]{1,40}", re.ASCII)
# What counts as one blank where texts are compared: EvoLink may fold lines, or quote a text as JSON.
_BLANKS = re.compile(rf"(?:{_CONTROL.pattern}|\s|\\[nrt])+")
# A link, also percent-encoded, escaped as in JSON, or without its scheme.
_ANY_LINK = re.compile(
    r"(?i)(?:https?(?::|%3a)[/\\%]|(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:[a-z]{2,}(?::\d+)?|\d+:\d+)/)[^\s\"<>]*"
)


def public_link(text: str) -> str:
    """
    Return a link without user name, password, query and fragment: what may be shown. Other texts stay as they are.

    :param text: A link, whose query may be a signature.
    """
    parts = _PARTS_OF_LINK.fullmatch(text)
    return parts[1] + parts[3] if parts else text


def link_identity(text: str) -> str:
    """
    Return what stays the same of an http(s) link when it is signed again. Other texts stay as they are.

    :param text: A link, whose query may be a signature.
    """
    return re.split("[?#]", text, maxsplit=1)[0] if text[:8].lower().startswith(("http://", "https://")) else text


def sanitize(text: object, limit: int = 300) -> str:
    """
    Make a remote text safe for one log line: no control characters, no signed links, nothing like a key.

    :param text: What EvoLink, a proxy or a library wrote.
    :param limit: Longest result, in characters.
    """
    line = _CONTROL.sub(" ", str(text)).strip()
    line = _BEARER.sub(r"\1***", _WEB_LINK.sub(lambda link: public_link(link[0]), line))
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True)
class Redactor:
    """
    Makes EvoLink's messages safe to show: they may quote a prompt, and they may hold links.

    Without a request it removes links only.

    :param texts: Free texts and links of the request.
    :param hides_all: The request is not known, so nothing of a message can be shown.
    """

    texts: tuple[str, ...] = field(default=(), repr=False)
    hides_all: bool = False

    @classmethod
    def of(cls, body: Any) -> Self:
        """
        Return a redactor that hides quotes of a request.

        :param body: The request: each of its texts that is more than a single word is private.
        """
        return cls(tuple(_private_texts(body)))

    @classmethod
    def everything(cls) -> Self:
        """Return a redactor for the messages of a request that is not known."""
        return cls(hides_all=True)

    def apply(self, message: str) -> str:
        """
        Return a message, cut where it begins to quote a private text, and without links.

        A quote is :data:`QUOTE` characters from anywhere in a text, or the whole of a shorter one, however blanks and
        line ends are written.

        :param message: What EvoLink wrote.
        """
        if self.hides_all:
            return "…"
        line = _flat(message[:MAX_MESSAGE])
        spans = {line[at : at + QUOTE]: at for at in reversed(range(len(line) - QUOTE + 1))}
        quotes = (_quoted(_flat(text), line, spans) for text in self.texts)
        start = min((at for at in quotes if at >= 0), default=None)
        return _ANY_LINK.sub("…", line if start is None else line[:start] + "…")


def _private_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _WORD.fullmatch(value) and value.strip():
            yield value.strip()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _private_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _private_texts(item)


def _flat(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def _quoted(text: str, line: str, spans: Mapping[str, int]) -> int:
    """Return where a line first quotes a text, or -1; in a time that grows with their lengths, not their product."""
    if len(text) < QUOTE:
        return line.find(text)
    parts = (text[at : at + QUOTE] for at in range(len(text) - QUOTE + 1))
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
        is_link = parts.scheme.isalnum() and parts.hostname and (parts.port is None or parts.port >= 0)
    except ValueError:
        return None
    return sanitize(public_link(text), MAX_SHOWN) if is_link and not re.search(r"\s", text) else None
