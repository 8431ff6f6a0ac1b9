"""S3 with the rights to put and get alone: every object in one request, streamed, whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import logging
from typing import IO, TYPE_CHECKING, Any

from fsspec.asyn import sync  # type: ignore[import-untyped]

from airflow_provider_evolink.storage.copying.copied import CHECKSUM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

PROTOCOLS = frozenset({"s3", "s3a"})
MAX_PUT = 5 * 1024**3  # what one request may carry
READ_TIMEOUT = 300  # seconds; the 15 of s3fs are too few for a store that checks 4 GB before it responds
RESUMPTIONS = 4  # of a download from the store
_NO_ETAG = '"00000000000000000000000000000000"'
_REFUSED_BY_CONDITION = frozenset({"PreconditionFailed", "NoSuchKey", "412"})
_UNKNOWN_CONDITION = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest"})
_WRITE_TEST = ".evolink-write-test"
_CREATE_ONLY_TEST = ".evolink-create-only"

log = logging.getLogger(__name__)


class UnknownConditionError(OSError):
    """A store does not know the condition of a write, and has refused the write."""


def write(target: ObjectStoragePath, source: IO[bytes], details: Mapping[str, Any]) -> None:
    """
    Put an object in one request. A kill in the middle leaves nothing behind, no open multipart upload either.

    :param target: Where it goes.
    :param source: Its content, at its start; not more than ``MAX_PUT``.
    :param details: ``content_type`` and ``metadata``.
    :raises OSError: the store did not take it.
    """
    headers = {"ContentType": details["content_type"], "Metadata": dict(details["metadata"])}
    _call(target, "put_object", Body=source, **headers, **_checksum_header(details["metadata"].get(CHECKSUM)))
    target.fs.invalidate_cache(target.path)


def _checksum_header(sha256: str | None) -> dict[str, str]:
    """Let the store verify what arrives, and keep its checksum: no other one is then computed on the way."""
    return {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()} if sha256 else {}


def create(target: ObjectStoragePath, content: bytes, content_type: str) -> None:
    """
    Put an object where none is.

    :param target: Where it goes.
    :param content: Its content.
    :param content_type: Its media type.
    :raises FileExistsError: there is one already.
    :raises UnknownConditionError: the store cannot tell.
    :raises OSError: the store did not take it.
    """
    try:
        _call(target, "put_object", Body=content, ContentType=content_type, IfNoneMatch="*")
    except OSError as error:
        if code_of(error) in _UNKNOWN_CONDITION:
            raise UnknownConditionError(*error.args) from None
        raise


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
        except UnknownConditionError:
            return False
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


def chunks(source: ObjectStoragePath, size: int) -> Iterator[bytes]:
    """
    Read an object in one request, and in a further one from where it broke off.

    :param source: The object.
    :param size: Of a chunk, in bytes.
    :raises OSError: it cannot be read, or broke off too often.
    """
    offset = 0
    rest: dict[str, str] = {}
    for is_last in (False,) * RESUMPTIONS + (True,):
        found = _call(source, "get_object", **rest)
        try:
            while chunk := sync(source.fs.loop, found["Body"].read, size):
                offset += len(chunk)
                yield chunk
        except Exception as error:
            if is_last:
                raise OSError(f"the object broke off ({type(error).__name__})") from error
            rest = {"Range": f"bytes={offset}-", "IfMatch": found["ETag"]}
        else:
            return
        finally:
            found["Body"].close()


def head(source: ObjectStoragePath, **details: Any) -> Mapping[str, Any] | None:
    """
    Return what S3 knows about an object; ``None`` if it does not exist or may not be read.

    :param source: The object.
    :param details: Further arguments of ``HeadObject``.
    """
    try:
        found: Mapping[str, Any] = _call(source, "head_object", **details)
    except (FileNotFoundError, PermissionError):
        return None
    return found


def prove_writable(folder: ObjectStoragePath) -> bool:
    """
    Prove that objects may be put into a folder, by a write on a condition that no object meets. It leaves nothing.

    In a store that ignores the condition the object is deleted; without that right it stays, one in each folder.

    :param folder: Where objects are to go.
    :return: Whether the store honors the condition.
    :raises OSError: they may not be put there.
    """
    target = folder / _WRITE_TEST
    try:
        _call(target, "put_object", Body=b"test", IfMatch=_NO_ETAG)
    except OSError as error:
        if code_of(error) in _REFUSED_BY_CONDITION:
            return True
        if code_of(error) not in _UNKNOWN_CONDITION:
            raise
        _start_and_abort(target)
    else:
        with contextlib.suppress(OSError):
            _call(target, "delete_object")
    return False


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


def identity(path: ObjectStoragePath) -> tuple[str, str]:
    """
    Return the endpoint of a store and the ID of the key that it is called with.

    :param path: A path in the store.
    """
    found: tuple[str, str] = sync(path.fs.loop, _identity, path.fs)
    return found


async def _identity(fs: Any) -> tuple[str, str]:
    client = await fs.set_session()
    credentials = await fs.session.get_credentials()
    return str(client.meta.endpoint_url), str(getattr(credentials, "access_key", ""))


def delete(path: ObjectStoragePath) -> None:
    """
    Delete an object.

    :param path: The object.
    :raises OSError: it may not be deleted.
    """
    _call(path, "delete_object")
    path.fs.invalidate_cache(path.path)


def call(path: ObjectStoragePath, method: str, *, at: str | None = None, **arguments: Any) -> Any:
    """
    Call an operation of S3.

    :param path: The object; or any path in the store, with ``at``.
    :param method: Its name in botocore.
    :param at: Bucket and key, if not those of the path.
    :param arguments: Of the operation, besides bucket and key.
    :raises OSError: the store refuses.
    """
    return _call(path, method, **({"at": at} if at else {}), **arguments)


def _call(path: ObjectStoragePath, method: str, **arguments: Any) -> Any:
    """
    Call S3 by the client of s3fs, whose own retries would send a stream from where it was left.

    botocore's retries begin it anew.
    """
    return sync(path.fs.loop, _send, path.fs, method, arguments.pop("at", path.path), arguments)


async def _send(fs: Any, method: str, path: str, arguments: dict[str, Any]) -> Any:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    limit = arguments.pop("limit", 0)
    fs.read_timeout = max(fs.read_timeout, READ_TIMEOUT)  # of the session, where this call opens it
    await fs.set_session()
    bucket, key, _ = fs.split_path(path)
    call = getattr(await fs.get_s3(bucket), method)
    try:
        response = await call(**fs._get_s3_method_kwargs(call, **{"Bucket": bucket, "Key": key, **arguments}))
    except ClientError as error:
        raise translated(error.response) from None
    if limit:
        async with response["Body"]:  # older clients enter the body of aiohttp, which reads otherwise
            return {**response, "Body": await _first_bytes(response["Body"], limit)}
    return response


async def _first_bytes(body: Any, limit: int) -> bytes:
    """Return so many bytes, or all if there are fewer: a single read returns what has arrived so far."""
    parts: list[bytes] = []
    while limit > 0 and (part := await body.read(limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def translated(response: Mapping[str, Any]) -> OSError:
    """
    Return the error for a refusal by S3. It holds the code, and no name of bucket, key or account.

    :param response: What botocore read.
    """
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    kinds: dict[int, type[OSError]] = {403: PermissionError, 404: FileNotFoundError, 412: FileExistsError}
    return kinds.get(status or 0, OSError)(code or str(status))


def read_tagged(source: ObjectStoragePath, limit: int) -> tuple[bytes, str]:
    """
    Read an object, and return what tells this content from any other.

    :param source: The object.
    :param limit: Maximum number of bytes.
    :raises FileNotFoundError: it does not exist.
    """
    found = _call(source, "get_object", limit=limit)
    return found["Body"], found["ETag"]


def replace(target: ObjectStoragePath, content: bytes, tag: str | None, content_type: str) -> None:
    """
    Put an object in place of one that was read, or where none was.

    :param target: Where it goes.
    :param content: Its content.
    :param tag: What :func:`read_tagged` returned; ``None``: there was none.
    :param content_type: Its media type.
    :raises FileExistsError: another object is there now. A store that knows no such condition replaces it.
    """
    condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
    try:
        _call(target, "put_object", Body=content, ContentType=content_type, **condition)
    except FileNotFoundError as error:  # the object that was read is gone
        raise FileExistsError(*error.args) from None
    except OSError as error:
        if code_of(error) not in _UNKNOWN_CONDITION:
            raise
        _call(target, "put_object", Body=content, ContentType=content_type)
    target.fs.invalidate_cache(target.path)
