"""A request for media, and who sent it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Self

_KEY_FORMAT = re.compile(r"[A-Za-z0-9._-]{16,96}")


def is_valid_idempotency_key(key: str) -> bool:
    """Return whether an idempotency key has the accepted length and characters."""
    return _KEY_FORMAT.fullmatch(key) is not None


@dataclass(frozen=True)
class Caller:
    """
    Who is calling.

    :param key_fingerprint: Identifies the API key without revealing it.
    :param account: The account the key belongs to.
    """

    key_fingerprint: str
    account: str

    @classmethod
    def from_key(cls, key: str) -> Self:
        """
        Return the caller behind an API key.

        :param key: Keys that contain "other-account" belong to a second account, all others to the first.
        """
        fingerprint = hashlib.sha256(key.encode()).hexdigest()[:12]
        return cls(fingerprint, "other" if "other-account" in key else "main")


@dataclass(frozen=True)
class Order:
    """
    One request for media.

    :param caller: Who sent it.
    :param idempotency_key: The key of the header; None without one, or if the emulator ignores it.
    :param kind: ``video``, ``image`` or ``audio``.
    :param body: The request as sent.
    :param effective: The request as EvoLink uses it: long texts are cut.
    """

    caller: Caller
    idempotency_key: str | None
    kind: str
    body: dict[str, Any]
    effective: dict[str, Any]

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return str(self.body["model"])
