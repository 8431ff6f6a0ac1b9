"""What a copy is made of and how it was made. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Literal

CHECKSUM = "evolink-sha256"  # name of the metadata

By = Literal["store", "kernel", "worker"]


@dataclass(frozen=True)
class Wanted:
    """
    What a copy must be.

    :param sha256: Checksum, in hexadecimal.
    :param size: Number of bytes.
    :param content_type: Media type, for stores that keep one.
    :param metadata: What to keep beside it, in stores that can.
    """

    sha256: str
    size: int
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Copied:
    """
    How a file was copied, and what of the copy was verified afterwards.

    :param by: ``store``: inside the store; ``kernel``: on this disk, by the operating system; ``worker``: through this
        machine.
    :param verified: ``sha256``: of the whole copy, by this machine or by the store. ``size``: the store gives no
        checksum of so large an object; it copied each part on the condition of the ETag of the source.
    :param sha256: Checksum that was found, if one was.
    """

    by: By
    verified: Literal["sha256", "size"]
    sha256: str | None = None

    def is_right(self, wanted: Wanted) -> bool:
        """
        Return whether the copy is what it must be, as far as it was verified.

        :param wanted: What it must be.
        """
        return self.verified == "size" or self.sha256 == wanted.sha256

    def checked(self, sha256: str) -> Copied:
        """
        Return the same with the checksum of the whole copy.

        :param sha256: Checksum, in hexadecimal.
        """
        return replace(self, verified="sha256", sha256=sha256)


class Evidence(Enum):
    """What a store's words about an object say of its content."""

    RIGHT = auto()
    WRONG = auto()
    NONE = auto()  # only its bytes can show it


def evidence(found: Mapping[str, Any], wanted: Wanted) -> Evidence:
    """
    Judge a staged object by what S3 knows about it: its size, the checksum that S3 made, else the one kept beside it.

    :param found: The response to ``HeadObject``.
    :param wanted: What it must be.
    """
    if found["ContentLength"] != wanted.size:
        return Evidence.WRONG
    kept = whole_sha256(found) or (found.get("Metadata") or {}).get(CHECKSUM)
    if not kept:
        return Evidence.NONE
    return Evidence.RIGHT if kept == wanted.sha256 else Evidence.WRONG


def whole_sha256(found: Mapping[str, Any]) -> str | None:
    """
    Return the SHA-256 that S3 made of a whole object, in hexadecimal; ``None`` if it made none, or one of its parts.

    :param found: The response to ``HeadObject``, or the result of ``CopyObject``.
    """
    try:
        digest = base64.b64decode(str(found.get("ChecksumSHA256") or ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == 32 and found.get("ChecksumType") != "COMPOSITE" else None


def ranges(size: int, step: int) -> list[tuple[int, int]]:
    """
    Return the parts of an object, as first and last byte.

    :param size: Of the object, in bytes.
    :param step: Of a part.
    """
    return [(start, min(start + step, size) - 1) for start in range(0, size, step)]
