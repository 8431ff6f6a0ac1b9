"""Files larger than one request to S3 may carry, in parts: visible when they are whole, and aborted otherwise."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from airflow_provider_evolink.api.files.transfer.side_by_side import check_stopped
from airflow_provider_evolink.storage.copying.copied import ranges
from airflow_provider_evolink.storage.copying.open_uploads import OpenUpload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

PART = 16 * 1024 * 1024  # bytes, of which two or three parts are in memory
MAX_PARTS = 10_000  # of an object, by S3


def put(target: ObjectStoragePath, source: IO[bytes], size: int, details: Mapping[str, Any]) -> None:
    """
    Put a large object. What a kill leaves open, the next try for the same object on this machine aborts.

    :param target: Where it goes.
    :param source: Its content, verified, at its start.
    :param size: Of the content, in bytes.
    :param details: ``content_type`` and ``metadata``.
    :raises OSError: the store did not take it.
    """
    with OpenUpload(target) as upload:
        headers = {"ContentType": details["content_type"], "Metadata": dict(details["metadata"])}
        upload.start(target, **headers, ChecksumAlgorithm="CRC32")
        for number, (start, last) in enumerate(ranges(size, max(PART, -(-size // MAX_PARTS))), 1):
            check_stopped()
            upload.put_part(number, source.read(last - start + 1))
        upload.complete()
    target.fs.invalidate_cache(target.path)
