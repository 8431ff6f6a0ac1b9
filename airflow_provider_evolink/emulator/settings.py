"""The settings of the emulator. They can be changed while it runs."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import urlsplit

_SHARE_OF_VIDEO_TIME = {"video": 1.0, "image": 1 / 6, "audio": 1 / 4}


@dataclass(frozen=True)
class Settings:
    """
    How the emulator behaves, apart from injected faults.

    :param mode: ``seconds``: jobs finish by the clock. ``polls``: by how often they were polled.
    :param polls: Polls until a job is finished, in mode ``polls``.
    :param seconds: Nominal seconds of a video job; images take a sixth, audio a quarter.
    :param speed: Divides the nominal seconds.
    :param estimated_time: What jobs report as ``estimated_time``; None for the real duration (1 in mode ``polls``).
    :param idempotency: Whether the ``Idempotency-Key`` header is honored. Off: it is ignored.
    :param balance: Credits of the account at the start.
    :param link_seconds: Lifetime of a result link.
    :param resign_links: Whether polling a completed job returns a link with a new lifetime.
    :param fps: Frames per second of rendered videos. Fewer frames render faster.
    :param keys: The API keys that are accepted; empty accepts any.
    :param allowed_hosts: Hosts that requests may name, besides loopback and the address that they came in at.
    :param public_url: What links to results and uploads start with; None for the address of the request. Only at the
        start.
    :param media_hosts: Hosts, each with a port or without, that input media are fetched from, whoever asks for them.
        Only at the start.
    :param show_billing: Whether jobs carry the ``billing`` object of newer gateways, which no recorded job has.
    :param user_group: What ``usage.user_group`` and the file quota report.
    :param files_images_only: Refuse uploads other than images, as documented.
    :param keep_hours: Hours from its order until a job that has ended is forgotten, with its files; None keeps all.
    :param max_files: Uploaded files the account may hold.
    :param max_upload_bytes: Largest upload.
    :param file_seconds: Lifetime of an uploaded file.
    :param clock_shift: Seconds added to the emulator's clock, to let links and files expire without waiting.
    """

    mode: str = "seconds"
    polls: int = 3
    seconds: float = 120.0
    speed: float = 1.0
    estimated_time: int | None = None
    idempotency: bool = True
    balance: float = 1000.0
    link_seconds: float = 86400.0
    resign_links: bool = True
    fps: int = 24
    keys: list[str] = field(default_factory=list)
    allowed_hosts: list[str] = field(default_factory=list)
    public_url: str | None = None
    media_hosts: list[str] = field(default_factory=list)
    show_billing: bool = False
    user_group: str = "default"
    files_images_only: bool = False
    keep_hours: float | None = None
    max_files: int = 2000
    max_upload_bytes: int = 100 * 1024 * 1024
    file_seconds: float = 72 * 3600.0
    clock_shift: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _check(name, value)

    def changed(self, changes: dict[str, Any]) -> Settings:
        """
        Return a copy with some settings changed.

        :param changes: Names and new values.
        :raises ValueError: A name is unknown or a value is invalid.
        """
        unknown = sorted(set(changes) - {item.name for item in fields(self)})
        if unknown:
            raise ValueError(f"unknown setting: {', '.join(unknown)}")
        return replace(self, **changes)

    def public(self) -> dict[str, Any]:
        """Return all settings for display; of the accepted keys only their number."""
        return asdict(self) | {"keys": len(self.keys)}

    def job_seconds(self, kind: str) -> float:
        """
        Return how long a job really takes in mode ``seconds``.

        :param kind: ``video``, ``image`` or ``audio``.
        """
        return self.seconds * _SHARE_OF_VIDEO_TIME[kind] / self.speed

    def reported_estimate(self, kind: str) -> int:
        """
        Return what a new job reports as ``estimated_time``.

        :param kind: ``video``, ``image`` or ``audio``.
        """
        if self.estimated_time is not None:
            return self.estimated_time
        return max(1, math.ceil(self.job_seconds(kind))) if self.mode == "seconds" else 1


_MINIMUM: dict[str, float] = {
    "polls": 0,
    "seconds": 0,
    "estimated_time": 0,
    "keep_hours": 0,
    "balance": 0,
    "link_seconds": 0,
    "fps": 1,
    "max_files": 0,
    "max_upload_bytes": 0,
    "file_seconds": 0,
}
_INTEGERS = {"polls", "estimated_time", "fps", "max_files", "max_upload_bytes"}
_NUMBERS = {"seconds", "speed", "balance", "link_seconds", "file_seconds", "clock_shift", "keep_hours"}
_OPTIONAL = {"estimated_time", "public_url", "keep_hours"}
_SWITCHES = {"idempotency", "resign_links", "show_billing", "files_images_only"}

_HINTS = {
    "allowed_hosts": " (host names or addresses, each without scheme and port)",
    "media_hosts": " (host names or addresses, each without scheme, with a port or without)",
    "public_url": " (http:// or https://, a host, and a port if it is not the usual one)",
}
# What whoever reaches the control plane must not change: it would lead the emulator, or its clients, elsewhere.
FIXED = frozenset({"media_hosts", "public_url"})
_KEY = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


def _is_host(value: Any) -> bool:
    """Return whether a text is a host name or an address alone, without scheme, port, path or wildcard."""
    if not isinstance(value, str):
        return False
    try:
        return bool(_HOST_NAME.fullmatch(value)) or _address(value).version > 0
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address, IPv6 in brackets or without; one with a zone is no address of a URL."""
    bare = text[1:-1] if text[:1] + text[-1:] == "[]" else text
    if "%" in bare or (bare != text and ":" not in bare):
        raise ValueError(text)
    return ipaddress.ip_address(bare)


def canonical_host(name: str) -> str:
    """
    Return a host name or address as it is compared: lower case, without brackets and one final dot.

    :param name: As somebody wrote it.
    """
    bare = name.lower().removesuffix(".")
    try:
        address = _address(bare)
    except ValueError:
        return bare
    return str(getattr(address, "ipv4_mapped", None) or address)


def split_host(text: str) -> tuple[str, int | None]:
    """
    Return host and port of an entry of ``media_hosts``; the port is None if any will do.

    :param text: A host name or an address, IPv6 in brackets if a port follows.
    :raises ValueError: It is something else.
    """
    host, separator, port = text.rpartition(":")
    if not separator or (":" in host and not host.endswith("]")) or text.endswith("]"):
        host, port = text, ""
    if not _is_host(host) or (separator and port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(text)
    return canonical_host(host), int(port) if port else None


def _is_media_host(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(split_host(value))
    except ValueError:
        return False


def _is_public_url(value: Any) -> bool:
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        rest = parts.path.strip("/") or parts.port == 0 or any(mark in value for mark in "?#@") or value[-1:] == ":"
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and _is_host(parts.hostname) and not rest


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def _check(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _OPTIONAL and value is None:
        return
    if name == "keys" and not (isinstance(value, list) and all(map(_is_key, value))):
        raise ValueError("keys: a list of texts of visible ASCII characters, none of which is shown here")
    valid = (
        (name in _INTEGERS and number and isinstance(value, int))
        or (name in _NUMBERS and number and math.isfinite(value) and (name != "speed" or value > 0))
        or (name in _SWITCHES and isinstance(value, bool))
        or (name == "mode" and value in {"seconds", "polls"})
        or (name == "user_group" and isinstance(value, str))
        or name == "keys"
        or (name == "public_url" and _is_public_url(value))
        or (name == "media_hosts" and isinstance(value, list) and all(map(_is_media_host, value)))
        or (name == "allowed_hosts" and isinstance(value, list) and all(map(_is_host, value)))
    )
    if not valid or (number and value < _MINIMUM.get(name, -math.inf)):
        raise ValueError(f"{name}: invalid value {value!r}{_HINTS.get(name, '')}")
