"""How a value of a request may appear in an error or a log: short, without prompts, signatures or passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_evolink.api.texts import clean_text

LONGEST = 60
_WORD = re.compile(r"[\w.:+-]{1,40}", re.ASCII)


def show(value: Any, *, private: bool = False) -> str:
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
        return f"object with {count(len(value), 'entry', 'entries')}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return f"list of {count(len(value), 'item')}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float) and not private:
        return _number(value)
    return f"a value of type {type(value).__name__}"[:LONGEST]


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: ``1 item``, ``2 items``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return str(value)


def _text(text: str, *, private: bool) -> str:
    if not text:
        return "empty text"
    size = count(len(text), "character")
    if text[:5].lower() == "data:":
        return f"inline data of {size}"
    if private:
        return f"text of {size}"
    if _WORD.fullmatch(text):
        return clean_text(text, LONGEST)
    return _link(text) or f"text of {size}"


def _link(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not (parts.scheme.isalnum() and host) or re.search(r"\s", text):
        return None
    address = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"
    return clean_text(address, LONGEST)
