"""The shapes of a single request field and how each is checked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_VOICE_KEY = re.compile(r"(image|video)[1-9][0-9]{0,3}")
_LONGEST_CALLBACK = 2048
_MOST_VOICES = 5


class Refusal(Exception):
    """
    The order breaks a rule of its model.

    :param message: What is wrong.
    :param param: The field it is about.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Field:
    """
    One field of a request.

    :param shape: Name of the check in this module.
    :param low: Smallest number, or fewest items.
    :param high: Largest number, or most items.
    :param choices: The allowed texts.
    :param required: Whether it must be sent.
    :param cut_at: Longest text; what is over it is cut without a word, as the service does.
    :param inner: The fields inside an object.
    """

    shape: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    required: bool = False
    cut_at: int | None = None
    inner: dict[str, Field] = field(default_factory=dict)


def text(*, cut_at: int, required: bool = False) -> Field:
    """Describe a text that is cut at a length."""
    return Field("text", cut_at=cut_at, required=required)


def choice(*choices: str, required: bool = False) -> Field:
    """Describe a text out of a few."""
    return Field("choice", choices=choices, required=required)


def whole(low: int, high: int) -> Field:
    """Describe a whole number within bounds."""
    return Field("whole", low, high)


def flag() -> Field:
    """Describe true or false."""
    return Field("flag")


def url() -> Field:
    """Describe the address of one material."""
    return Field("url")


def links(low: int, high: int, *, required: bool = False) -> Field:
    """Describe a list of addresses."""
    return Field("links", low, high, required=required)


def callback() -> Field:
    """Describe a callback address: public, HTTPS, not too long."""
    return Field("callback")


def group(**inner: Field) -> Field:
    """Describe an object with known fields."""
    return Field("group", inner=inner)


def check_field(name: str, value: Any, rule: Field) -> None:
    """
    Check one value against its rule.

    :param name: The field, as reported in ``param``.
    :param value: What was sent.
    :param rule: What is allowed.
    :raises Refusal: The value breaks the rule.
    """
    _CHECKS[rule.shape](name, value, rule)


def is_link(value: Any) -> bool:
    """
    Say whether a value is an http or https address.

    :param value: Anything.
    """
    if not isinstance(value, str) or re.search(r"\s", value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _text(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, str):
        raise Refusal(f"{name} must be a string", name)
    if rule.required and not value.strip():
        raise Refusal(f"{name} must not be empty", name)


def _choice(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, str) or value not in rule.choices:
        raise Refusal(f"{name} must be one of: {', '.join(rule.choices)}", name)


def _whole(name: str, value: Any, rule: Field) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value != value // 1:
        raise Refusal(f"{name} must be a whole number", name)
    if not rule.low <= value <= rule.high:
        raise Refusal(f"{name} must be between {rule.low} and {rule.high}", name)


def _flag(name: str, value: Any, _: Field) -> None:
    if not isinstance(value, bool):
        raise Refusal(f"{name} must be true or false", name)


def _url(name: str, value: Any, _: Field) -> None:
    if not is_link(value):
        raise Refusal(f"{name} must be an http or https URL", name)


def _links(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, list):
        raise Refusal(f"{name} must be an array of URLs", name)
    if not rule.low <= len(value) <= rule.high:
        raise Refusal(f"{name} must hold between {rule.low} and {rule.high} items", name)
    if not all(is_link(item) for item in value):
        raise Refusal(f"{name} must hold http or https URLs only", name)


def _callback(name: str, value: Any, _: Field) -> None:
    if not is_link(value) or urlsplit(value).scheme != "https":
        raise Refusal(f"{name} must be an https URL", name)
    if len(value) > _LONGEST_CALLBACK:
        raise Refusal(f"{name} may have at most {_LONGEST_CALLBACK} characters", name)
    if not _is_public(urlsplit(value).hostname or ""):
        raise Refusal(f"{name} must not point to a private address", name)


def _is_public(host: str) -> bool:
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True


def _group(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"{name} must be an object", name)
    for key, item in value.items():
        if key not in rule.inner:
            raise Refusal(f"unknown parameter: {name}.{key}", f"{name}.{key}")
        check_field(f"{name}.{key}", item, rule.inner[key])


def _voices(name: str, value: Any, _: Field) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"{name} must be an object", name)
    if len(value) > _MOST_VOICES:
        raise Refusal(f"{name} may hold at most {_MOST_VOICES} voices", name)
    for key, address in value.items():
        if not _VOICE_KEY.fullmatch(key):
            raise Refusal(f"{name}: {key!r} must look like image1 or video2", f"{name}.{key}")
        if not is_link(address):
            raise Refusal(f"{name}.{key} must be the URL of an audio file", f"{name}.{key}")


_CHECKS = {
    "text": _text,
    "choice": _choice,
    "whole": _whole,
    "flag": _flag,
    "url": _url,
    "links": _links,
    "callback": _callback,
    "group": _group,
    "voices": _voices,
}
