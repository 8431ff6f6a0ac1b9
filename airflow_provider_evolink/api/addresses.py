"""Which addresses EvoLink can use as media links and for callbacks. Nothing is looked up or fetched."""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from urllib.parse import SplitResult, urlsplit

_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{200,}")
_WEB = re.compile(r"https?://", re.IGNORECASE)
# A JPEG in base64 begins as a path would: /9j/
_ELSEWHERE = re.compile(r"(?!https?://)[a-z][a-z0-9+.-]*://\S|/(?!9j/)[^/\s]", re.IGNORECASE)


def is_elsewhere(value: object) -> bool:
    """
    Tell a file of the user's (``s3://``, ``file://``, an absolute path) from a link that EvoLink fetches itself.

    :param value: What stands where a link to media belongs.
    """
    return isinstance(value, str) and _ELSEWHERE.match(value) is not None


def link_fault(text: str) -> str | None:
    """
    Tell what is wrong with a media link, in words; ``None`` for a usable one.

    EvoLink fetches media itself, so only http(s) links without a login work. Private addresses pass: the local
    emulator uses them.

    :param text: What the user gave as link.
    """
    fault, _ = _parse(text, ("http", "https"), "must be an http or https link")
    return fault


def media_fault(text: str) -> str | None:
    """
    Tell what is wrong in a media field that takes more than links: the data itself, or a name EvoLink gave.

    :param text: What the user gave.
    """
    if is_elsewhere(text) or not text.strip():
        return "must be a link, inline data or an id, not a file that EvoLink cannot fetch"
    return link_fault(text) if _WEB.match(text) else None


def callback_fault(text: str) -> str | None:
    """
    Tell what is wrong with a callback address, in words; ``None`` for a usable one.

    EvoLink calls back over HTTPS only and never to internal addresses (its text-to-video page). Host names are not
    resolved here.

    :param text: What the user gave as ``callback_url``.
    """
    fault, parts = _parse(text, ("https",), "must be an https link")
    if fault or parts is None:
        return fault
    return None if _public(parts.hostname or "") else "must lead to a public address"


def _parse(text: str, schemes: tuple[str, ...], wanted: str) -> tuple[str | None, SplitResult | None]:
    if not text.strip():
        return f"must not be empty, {wanted}", None
    if text[:5].lower() == "data:" or _BASE64.fullmatch(text):
        return "inline data is refused, upload the file and give its link", None
    if _UNSAFE.search(text):
        return f"{wanted} without blanks, line breaks or backslashes", None
    parts = _split(text)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        return wanted, None
    return (f"{wanted} without user name or password", None) if "@" in parts.netloc else (None, parts)


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts


def _public(host: str) -> bool:
    name = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return False
    address = _literal(name)
    if address is None:
        return True
    return address.is_global and not address.is_multicast


def _literal(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return _old_style(name)


def _old_style(name: str) -> ipaddress.IPv4Address | None:
    # Resolvers read 127.1, 0x7f000001 and 2130706433 as 127.0.0.1, and inet_aton does so without a look-up.
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return None
