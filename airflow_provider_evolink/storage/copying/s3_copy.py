"""Copies inside S3: one request up to 5 GB, parts beyond, each on the condition that the source is still the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.copying.copied import Copied, Evidence, Wanted, evidence, ranges, whole_sha256
from airflow_provider_evolink.storage.copying.open_uploads import OpenUpload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MAX_COPY = 5 * 1024**3  # what one request may copy
PART = 1024**3
_CHUNK = 1024 * 1024


def copy(source: ObjectStoragePath, target: ObjectStoragePath, wanted: Wanted) -> Copied | None:
    """
    Copy a staged object inside the store; ``None`` where only its bytes show whether it is the right one.

    :param source: The staged object.
    :param target: Where it goes; an existing object is replaced.
    :param wanted: What it must be.
    :raises OSError: the store refuses.
    """
    found = s3.head(source, ChecksumMode="ENABLED")
    if found is None or evidence(found, wanted) is not Evidence.RIGHT:
        return None
    given: dict[str, Any] = {
        "CopySource": {"Bucket": source.bucket, "Key": source.key},
        "CopySourceIfMatch": found["ETag"],
    }
    details: dict[str, Any] = {"ContentType": wanted.content_type, "Metadata": dict(wanted.metadata)}
    if wanted.size > MAX_COPY:
        return _in_parts(target, given, details, wanted)
    return _in_one(target, given, details)


def _in_one(target: ObjectStoragePath, given: Mapping[str, Any], details: Mapping[str, Any]) -> Copied:
    done = s3.call(target, "copy_object", **given, **details, MetadataDirective="REPLACE", ChecksumAlgorithm="SHA256")
    return Copied("store", "sha256", whole_sha256(done.get("CopyObjectResult") or {}) or _by_store(target))


def _by_store(target: ObjectStoragePath) -> str | None:
    """Return the checksum of a copy that a store made without one in its response; it is read if the store has none."""
    found = s3.head(target, ChecksumMode="ENABLED")
    if found is not None and (sha256 := whole_sha256(found)):
        return sha256
    digest = hashlib.sha256()
    for chunk in s3.chunks(target, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _in_parts(
    target: ObjectStoragePath, given: Mapping[str, Any], details: Mapping[str, Any], wanted: Wanted
) -> Copied:
    with OpenUpload(target) as upload:
        upload.start(target, **details)
        for number, (start, last) in enumerate(ranges(wanted.size, PART), 1):
            upload.copy_part(number, CopySourceRange=f"bytes={start}-{last}", **given)
        upload.complete()
    found = s3.head(target)
    if found is None or found["ContentLength"] != wanted.size:
        raise OSError("the copy does not have the size of its source")
    return Copied("store", "size")
