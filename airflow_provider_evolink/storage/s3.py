"""S3 with the rights to put and get alone: every object in one request, streamed, whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import uuid
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

PROTOCOLS = frozenset({"s3", "s3a"})
MAX_PUT = 5 * 1024**3  # what one request may carry; a larger file goes in parts, which a kill can leave behind
PART = 16 * 1024 * 1024
# A write that no store may take, as its checksum is not that of its content and nothing has that ETag.
_WRONG_MD5 = base64.b64encode(hashlib.md5(b"not the content", usedforsecurity=False).digest()).decode()
_NO_ETAG = '"00000000000000000000000000000000"'
_REFUSED_BY_CONDITION = frozenset({"PreconditionFailed", "NoSuchKey", "BadDigest", "412"})
_CREATE_ONLY_TEST = ".evolink-create-only"

log = logging.getLogger(__name__)


def write(target: ObjectStoragePath, source: IO[bytes], size: int, details: Mapping[str, Any]) -> None:
    """
    Put an object. A kill in the middle leaves nothing behind, no open multipart upload either.

    :param target: Where it goes.
    :param source: Its content, at its start.
    :param size: Of the content, in bytes.
    :param details: ``content_type`` and ``metadata``.
    :raises OSError: the store did not take it.
    """
    headers = {"ContentType": details["content_type"], "Metadata": dict(details["metadata"])}
    if size <= MAX_PUT:
        _call(target, "put_object", Body=source, **headers)
    else:
        target.fs.put_file(f"/dev/fd/{source.fileno()}", target.path, chunksize=PART, max_concurrency=1, **headers)
    target.fs.invalidate_cache(target.path)


def create(target: ObjectStoragePath, content: bytes, content_type: str) -> None:
    """
    Put an object where none is.

    :param target: Where it goes.
    :param content: Its content.
    :param content_type: Its media type.
    :raises FileExistsError: there is one already.
    :raises OSError: the store did not take it.
    """
    _call(target, "put_object", Body=content, ContentType=content_type, IfNoneMatch="*")


def can_create_only(root: ObjectStoragePath) -> bool:
    """
    Find out whether a store honors create-only writes. This leaves one small object in the folder, for good.

    :param root: A folder that may be written.
    """
    test = root / _CREATE_ONLY_TEST
    for _ in range(2):
        try:
            create(test, b"{}\n", "application/json")
        except FileExistsError:
            return True
    return False


def read(source: ObjectStoragePath, limit: int) -> bytes:
    """
    Read an object, or its first bytes.

    :param source: The object.
    :param limit: Maximum number of bytes.
    :raises FileNotFoundError: it does not exist, for certain.
    :raises PermissionError: it may not be read, or it does not exist and this role may not list.
    """
    content: bytes = _call(source, "get_object", limit=limit)["Body"]
    return content


def head(source: ObjectStoragePath) -> Mapping[str, Any] | None:
    """
    Return what S3 knows about an object; ``None`` if it does not exist or may not be read.

    :param source: The object.
    """
    try:
        found: Mapping[str, Any] = _call(source, "head_object")
    except (FileNotFoundError, PermissionError):
        return None
    return found


def prove_writable(folder: ObjectStoragePath) -> None:
    """
    Prove that objects may be put into a folder, by a write that is refused for its content, not for its rights.

    Nothing is left behind. That needs no right but to put; a store that ignores both conditions must allow to delete.

    :param folder: Where objects are to go.
    :raises OSError: they may not be put there.
    """
    target = folder / f".evolink-write-test-{uuid.uuid4().hex}"
    try:
        _call(target, "put_object", Body=b"test", ContentMD5=_WRONG_MD5, IfMatch=_NO_ETAG)
    except OSError as error:
        if code_of(error) in _REFUSED_BY_CONDITION:
            return
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        _start_and_abort(target)  # the store knows one of the conditions not at all
    else:
        with contextlib.suppress(OSError):
            _call(target, "delete_object")


def code_of(error: BaseException) -> str:
    """
    Return S3's code of an error that this module raised.

    :param error: The error.
    """
    return str(error.args[-1]) if error.args else type(error).__name__


def _start_and_abort(target: ObjectStoragePath) -> None:
    started = _call(target, "create_multipart_upload")
    try:
        _call(target, "abort_multipart_upload", UploadId=started["UploadId"])
    except OSError as error:
        log.warning("An empty multipart upload is left open in the store, since its abort failed (%s)", code_of(error))


def _call(path: ObjectStoragePath, method: str, **arguments: Any) -> Any:
    """
    Call S3 by the client of s3fs, whose own retries would send a stream from where it was left.

    botocore's retries begin it anew.
    """
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    return sync(path.fs.loop, _send, path.fs, method, path.path, arguments)


async def _send(fs: Any, method: str, path: str, arguments: dict[str, Any]) -> Any:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    limit = arguments.pop("limit", 0)
    await fs.set_session()
    bucket, key, _ = fs.split_path(path)
    call = getattr(await fs.get_s3(bucket), method)
    try:
        response = await call(**fs._get_s3_method_kwargs(call, Bucket=bucket, Key=key, **arguments))
    except ClientError as error:
        raise translated(error.response) from None
    if limit:
        async with response["Body"] as body:
            return {**response, "Body": await body.read(limit)}
    return response


def translated(response: Mapping[str, Any]) -> OSError:
    """
    Return the error for a refusal by S3. It holds the code, and no name of bucket, key or account.

    :param response: What botocore read.
    """
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    kinds: dict[int, type[OSError]] = {403: PermissionError, 404: FileNotFoundError, 412: FileExistsError}
    return kinds.get(status or 0, OSError)(code or str(status))
