"""What of remote and private text may appear in a log line, an error or a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

MAX_SHOWN = 60
MAX_MESSAGE = 2000
QUOTE_LENGTH = 12  # characters of a private text that count as a quote of it; a shorter text must appear whole

# Control characters, line ends, marks that change the reading direction, and halves of broken characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_KEY = re.compile(r"(?i)(bearer[\s:]+|\bsk-)[\w.~+/=-]{4,}")
_WORD = re.compile(r"[\w.:+-]{1,40}", re.ASCII)
# What counts as one blank where texts are compared: EvoLink may fold lines, or quote a text as JSON.
_BLANKS = re.compile(rf"(?:{_CONTROL.pattern}|\s|\\[nrt])+")
# Scheme, user-info (dropped), host and path; query and fragment follow.
_LINK_PARTS = re.compile(r"([^/?#]*//)?(?:[^/?#]*@)?([^?#]*)")
_WEB_LINK = re.compile(r"(?i)https?://[^\s\"<>]*")
_SIGNED_LINK = re.compile(r"(?i)^(https?://[^?#\s]*)[?#]\S*$")
# A link, also percent-encoded, escaped as in JSON, or without its scheme.
_ANY_LINK = re.compile(
    r"(?i)(?:https?(?::|%3a)[/\\%]|(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:[a-z]{2,}(?::\d+)?|\d+:\d+)/)[^\s\"<>]*"
)


def public_link(link: object) -> str:
    """
    Return a link without user-info, query and fragment: the query may be a signature that opens the file.

    :param link: A link, readable or not. It is not made safe for a log line: see :func:`sanitize`.
    """
    parts = _LINK_PARTS.match(str(link))
    return "".join(part or "" for part in parts.groups()) if parts else ""


def link_identity(text: str) -> str:
    """
    Return what of a link stays the same when it is signed again: all but query and fragment. Other texts stay whole.

    :param text: Any text; one with a blank is no link.
    """
    return _SIGNED_LINK.sub(r"\1", text)


def sanitize(text: object, limit: int = 300) -> str:
    """
    Make remote text safe for one log line.

    Control characters are removed, links reduced to :func:`public_link`, words that look like a key hidden, and the
    rest is cut.

    :param text: What EvoLink, a proxy or a library wrote.
    :param limit: Longest result, in characters.
    """
    line = _CONTROL.sub(" ", str(text)).strip()
    line = _KEY.sub(r"\1***", _WEB_LINK.sub(lambda found: public_link(found[0]), line))
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True)
class Redactor:
    """
    Makes EvoLink's messages about a request safe for logs and errors: they may quote the prompt or a signed link.

    :param texts: Private texts of the request.
    :param hides_all: Nothing of a message may be shown, because nobody knows what it could quote.
    """

    texts: tuple[str, ...] = field(default=(), repr=False)
    hides_all: bool = False

    @classmethod
    def of(cls, body: object) -> Redactor:
        """
        Return a redactor that hides quotes of a request.

        :param body: The request body. Its free text and links are private; single words, such as a model, are not.
        """
        return cls(tuple(_private_texts(body)))

    @classmethod
    def everything(cls) -> Redactor:
        """Return a redactor for messages about a request that is not known: it hides each of them wholly."""
        return cls(hides_all=True)

    def apply(self, message: str) -> str:
        """
        Return a message as one line without links, cut where it begins to quote the request.

        A quote is :data:`QUOTE_LENGTH` characters from anywhere in a private text, or the whole of a shorter one,
        however blanks and line ends are written.

        :param message: What EvoLink wrote.
        """
        if self.hides_all:
            return "…"
        line = _one_line(message[:MAX_MESSAGE])
        places = _places(line)
        quotes = [at for text in self.texts if (at := _find_quote(_one_line(text), line, places)) >= 0]
        return sanitize(_ANY_LINK.sub("…", line[: min(quotes)] + "…" if quotes else line))


LINKS_ONLY = Redactor()


def _private_texts(value: object) -> Iterator[str]:
    """Find free text and links: every text that is more than a single word."""
    if isinstance(value, str):
        if not _WORD.fullmatch(value) and value.strip():
            yield value.strip()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _private_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _private_texts(item)


def _one_line(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def _places(line: str) -> Mapping[str, int]:
    """Map every piece of a line that is long enough for a quote to its first place."""
    return {line[at : at + QUOTE_LENGTH]: at for at in reversed(range(len(line) - QUOTE_LENGTH + 1))}


def _find_quote(text: str, line: str, places: Mapping[str, int]) -> int:
    """Return where a line first quotes a text, or -1; in a time that grows with their lengths, not their product."""
    if len(text) < QUOTE_LENGTH:
        return line.find(text)
    pieces = (text[at : at + QUOTE_LENGTH] for at in range(len(text) - QUOTE_LENGTH + 1))
    return min((places[piece] for piece in pieces if piece in places), default=-1)


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
