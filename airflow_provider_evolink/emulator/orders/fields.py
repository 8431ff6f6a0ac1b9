"""The types of request fields that the rules of Wan 2.7 are made of, and how each is checked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_VOICE_KEY = re.compile(r"(image|video)[1-9][0-9]{0,3}")
_MAX_CALLBACK_LENGTH = 2048
_MAX_VOICES = 5


class Refusal(Exception):
    """
    The request breaks a rule of its model.

    :param message: ``error.message`` of the response.
    :param param: ``error.param`` of the response, the field.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Field:
    """
    One field of a request.

    :param type: Name of its check in this module.
    :param low: Smallest number, or smallest number of items.
    :param high: Largest number, or largest number of items.
    :param choices: The allowed strings.
    :param required: Whether it must be sent.
    :param cut_at: Maximum length; a longer string is silently cut, as EvoLink does.
    :param inner: The fields of an object.
    """

    type: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    required: bool = False
    cut_at: int | None = None
    inner: dict[str, Field] = field(default_factory=dict)


def string(*, cut_at: int, required: bool = False) -> Field:
    """Return a string that is cut at a length."""
    return Field("string", cut_at=cut_at, required=required)


def choice(*choices: str, required: bool = False) -> Field:
    """Return a string with a few allowed values."""
    return Field("choice", choices=choices, required=required)


def integer(low: int, high: int) -> Field:
    """Return an integer within bounds."""
    return Field("integer", low, high)


def boolean() -> Field:
    """Return a boolean."""
    return Field("boolean")


def url() -> Field:
    """Return the URL of one input file."""
    return Field("url")


def urls(low: int, high: int, *, required: bool = False) -> Field:
    """Return a list of URLs."""
    return Field("urls", low, high, required=required)


def callback() -> Field:
    """Return a callback URL: public, HTTPS, not too long."""
    return Field("callback")


def object_of(**inner: Field) -> Field:
    """Return an object with known fields."""
    return Field("object", inner=inner)


def check_field(name: str, value: Any, rule: Field) -> None:
    """
    Check one value.

    :param name: The field, as reported in ``param``.
    :param value: The value sent.
    :param rule: What is allowed.
    :raises Refusal: The value is not allowed.
    """
    _CHECKS[rule.type](name, value, rule)


def is_url(value: Any) -> bool:
    """Return whether a value is an http or https URL."""
    if not isinstance(value, str) or re.search(r"\s", value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _string(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, str):
        raise Refusal(f"{name} must be a string", name)
    if rule.required and not value.strip():
        raise Refusal(f"{name} must not be empty", name)


def _choice(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, str) or value not in rule.choices:
        raise Refusal(f"{name} must be one of: {', '.join(rule.choices)}", name)


def _integer(name: str, value: Any, rule: Field) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value != value // 1:
        raise Refusal(f"{name} must be an integer", name)
    if not rule.low <= value <= rule.high:
        raise Refusal(f"{name} must be between {rule.low} and {rule.high}", name)


def _boolean(name: str, value: Any, _: Field) -> None:
    if not isinstance(value, bool):
        raise Refusal(f"{name} must be true or false", name)


def _url(name: str, value: Any, _: Field) -> None:
    if not is_url(value):
        raise Refusal(f"{name} must be an http or https URL", name)


def _urls(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, list):
        raise Refusal(f"{name} must be an array of URLs", name)
    if not rule.low <= len(value) <= rule.high:
        raise Refusal(f"{name} must hold between {rule.low} and {rule.high} items", name)
    if not all(is_url(item) for item in value):
        raise Refusal(f"{name} must hold http or https URLs only", name)


def _callback(name: str, value: Any, _: Field) -> None:
    if not is_url(value) or urlsplit(value).scheme != "https":
        raise Refusal(f"{name} must be an https URL", name)
    if len(value) > _MAX_CALLBACK_LENGTH:
        raise Refusal(f"{name} may have at most {_MAX_CALLBACK_LENGTH} characters", name)
    if not _is_public(urlsplit(value).hostname or ""):
        raise Refusal(f"{name} must not point to a private address", name)


def _is_public(host: str) -> bool:
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True


def _object(name: str, value: Any, rule: Field) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"{name} must be an object", name)
    for key, item in value.items():
        if key not in rule.inner:
            raise Refusal(f"unknown parameter: {name}.{key}", f"{name}.{key}")
        check_field(f"{name}.{key}", item, rule.inner[key])


def _voices(name: str, value: Any, _: Field) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"{name} must be an object", name)
    if len(value) > _MAX_VOICES:
        raise Refusal(f"{name} may hold at most {_MAX_VOICES} voices", name)
    for key, address in value.items():
        if not _VOICE_KEY.fullmatch(key):
            raise Refusal(f"{name}: {key!r} must look like image1 or video2", f"{name}.{key}")
        if not is_url(address):
            raise Refusal(f"{name}.{key} must be the URL of an audio file", f"{name}.{key}")


_CHECKS = {
    "string": _string,
    "choice": _choice,
    "integer": _integer,
    "boolean": _boolean,
    "url": _url,
    "urls": _urls,
    "callback": _callback,
    "object": _object,
    "voices": _voices,
}
