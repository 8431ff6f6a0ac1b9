"""Files in object storage: publish a whole file or nothing, read small JSON documents, copy with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import tempfile
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_evolink.api.files.transfer.side_by_side import check_stopped
from airflow_provider_evolink.storage import local_folder, s3
from airflow_provider_evolink.storage.copying import s3_parts
from airflow_provider_evolink.storage.copying.copied import CHECKSUM
from airflow_provider_evolink.storage.denials import one_word_for_denials

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

CHUNK = 1024 * 1024
MAX_JSON = 64 * CHUNK
MAX_DEPTH = 64  # of a document; EvoLink's requests have four levels
READ_AHEAD = 4 * CHUNK
UPLOAD_PART = 8 * CHUNK
JSON_TYPE = "application/json"
NO_METADATA: Mapping[str, str] = MappingProxyType({})
# Stores in which an object appears only when it is complete. Elsewhere a file is written under another name first.
_ATOMIC = frozenset({"gs", "gcs", "abfs", "abfss", "adl", "az"})
_USER_INFO = re.compile(r"^([a-z0-9+.-]+://)[^/@]*@")


def open_folder(uri: str, conn_id: str | None = None, *, what: str = "destination") -> ObjectStoragePath:
    """
    Return a path in object storage, and fail now rather than after a paid job if it cannot be used.

    :param uri: For example ``s3://bucket/videos`` or ``file:///data/videos``; a plain path means ``file``.
    :param conn_id: Connection for the object store, if required.
    :param what: Its name in errors.
    :raises EvoLinkConfigError: it is empty, its scheme is unknown, or the package for the scheme is missing.
    """
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

    if not uri or not uri.strip():
        raise EvoLinkConfigError(f"the {what} is empty: give a folder, e.g. s3://bucket/videos")
    if uri.rstrip("/").endswith(("#", "?")):
        raise EvoLinkConfigError(
            f"the {what} {public_uri(uri)} must not end with # or ?, which the libraries below drop without a word. "
            "What to do: name another folder"
        )
    try:
        folder = ObjectStoragePath(uri, conn_id=conn_id) if conn_id else ObjectStoragePath(uri)
        _ = folder.fs
    except (ValueError, ImportError) as error:
        raise EvoLinkConfigError(
            f"{what} {public_uri(uri)} cannot be opened ({type(error).__name__}): check the scheme and that the "
            "provider of this store is installed (extras s3, gcs, azure)"
        ) from error
    return folder


def public_uri(uri: object) -> str:
    """
    Return a URI without the connection id that Airflow writes into it.

    :param uri: ``s3://conn@bucket/key``, for example.
    """
    return _USER_INFO.sub(r"\1", str(uri))


def below(root: ObjectStoragePath, *names: str) -> ObjectStoragePath:
    """
    Return a path below a folder. On ``file://`` no symbolic link leads out of the folder, which may be one itself.

    :param root: The folder.
    :param names: Folders and a name, each safe.
    :raises EvoLinkConfigError: a folder on the way is a symbolic link.
    """
    path = root.joinpath(*names)
    if is_local(root) and (link := local_folder.link_below(Path(root.path), Path(path.parent.path))):
        from airflow_provider_evolink.api.errors import EvoLinkConfigError

        raise EvoLinkConfigError(
            f"{link} is a symbolic link inside {public_uri(root)}, and is not followed. What to do: put a folder in "
            "its place, or name the folder that it leads to"
        )
    return path


def is_local(path: ObjectStoragePath) -> bool:
    """
    Return whether a path is on this machine or on a disk that it shares.

    :param path: The path.
    """
    return path.protocol in local_folder.PROTOCOLS


def publish(
    local: Path,
    target: ObjectStoragePath,
    *,
    content_type: str = "application/octet-stream",
    metadata: Mapping[str, str] = NO_METADATA,
) -> None:
    """
    Publish a local file. Readers see all of it or nothing.

    :param local: The file, verified.
    :param target: Where it goes; an existing file is replaced.
    :param content_type: Its media type, for stores that keep one.
    :param metadata: What to keep beside it, in stores that can: see :func:`about`.
    """
    with local.open("rb") as source:
        write_open(target, source, content_type, metadata)


def about(job_id: str, sha256: str) -> dict[str, str]:
    """
    Return the metadata of a job's file, by which it can be told without its receipt.

    :param job_id: EvoLink's ID of the job.
    :param sha256: Checksum of the file.
    """
    return {"evolink-job-id": job_id, CHECKSUM: sha256}


def publish_json(value: Any, target: ObjectStoragePath, *, indent: int | None = 2) -> None:
    """
    Publish a JSON document.

    :param value: Plain JSON.
    :param target: Where it goes; an existing file is replaced.
    :param indent: Blanks of each level; ``None``: one line, as tools for tables want it.
    """
    publish_bytes(json_bytes(value, indent), target, content_type=JSON_TYPE)


def publish_bytes(
    content: bytes, target: ObjectStoragePath, *, content_type: str, metadata: Mapping[str, str] = NO_METADATA
) -> None:
    """
    Publish a small file. A kill leaves nothing of it on this machine, as its temporary file has no name.

    :param content: All of it.
    :param target: Where it goes; an existing file is replaced.
    :param content_type: Its media type, for stores that keep one.
    :param metadata: What to keep beside it, in stores that can.
    """
    with tempfile.TemporaryFile() as source:
        source.write(content)
        source.seek(0)
        write_open(target, source, content_type, metadata)


def create_json(value: Any, target: ObjectStoragePath) -> None:
    """
    Publish a JSON document where none is, as far as the store can tell.

    :param value: Plain JSON.
    :param target: Where it goes.
    :raises FileExistsError: there is a file already. Stores other than S3 and folders replace it.
    """
    if is_local(target):
        local_folder.create(Path(target.path), json_bytes(value))
    elif target.protocol in s3.PROTOCOLS:
        s3.create(target, json_bytes(value), JSON_TYPE)
    else:
        publish_json(value, target)


def read_json(source: ObjectStoragePath) -> Any | None:
    """
    Read a JSON document; ``None`` if it does not exist, may not be read or is not JSON.

    :param source: The document.
    :raises EvoLinkConfigError: its values are nested deeper than any document of this package.
    """
    try:
        return parse_json(read_bytes(source, MAX_JSON), public_uri(source))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except PermissionError:  # S3's word for a missing object, too, where the role may not list
        if source.protocol in s3.PROTOCOLS:
            return None
        raise


def read_bytes(source: ObjectStoragePath, limit: int) -> bytes:
    """
    Read a file, or its first bytes.

    :param source: The file.
    :param limit: Maximum number of bytes.
    :raises FileNotFoundError: it does not exist, for certain.
    :raises PermissionError: it may not be read; on S3 it may also not exist, where the role may not list.
    """
    if source.protocol in s3.PROTOCOLS:
        return s3.read(source, limit)
    with open_to_read(source) as file:
        return file.read(limit)


def parse_json(content: bytes, name: str) -> Any:
    """
    Parse JSON from a place where people can edit it.

    :param content: The document.
    :param name: Its name in errors.
    :raises ValueError: it is not JSON.
    :raises EvoLinkConfigError: its values are nested deeper than any document of this package.
    """
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

    try:
        value = json.loads(content)
    except RecursionError:
        pass
    else:
        if is_shallow(value):
            return value
    raise EvoLinkConfigError(
        f"the values in {name} are nested deeper than {MAX_DEPTH} levels, which nothing here writes. What to do: "
        "check who changed the file; delete it to have it written again"
    )


def is_shallow(value: Any) -> bool:
    """
    Return whether a value can be handled without running out of stack.

    :param value: Plain JSON.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        nested = [one for one in level if isinstance(one, dict | list)]
        level = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return True
    return False


@contextlib.contextmanager
def open_to_read(source: ObjectStoragePath) -> Iterator[BinaryIO]:
    """
    Open a file to read it from its start: of an object store no more than a few MB are held in memory.

    :param source: The file.
    :raises PermissionError: it may not be read.
    """
    ahead = {} if is_local(source) else {"block_size": READ_AHEAD, "cache_type": "readahead"}
    with one_word_for_denials(), source.open("rb", **ahead) as file:  # type: ignore[no-untyped-call]
        yield cast("BinaryIO", file)


def holds(path: ObjectStoragePath, *, sha256: str, size: int) -> bool:
    """
    Return whether a file is there with this content: by the checksum kept beside it, else by reading it.

    :param path: The file; on ``file://`` a symbolic link is none.
    :param sha256: Its expected checksum.
    :param size: Its expected size in bytes.
    """
    kept = _size_and_checksum(path)
    return kept is not None and kept[0] == size and (kept[1] or checksum_of(path, size)) == sha256


def is_there(path: ObjectStoragePath, *, sha256: str, size: int) -> bool:
    """
    Return whether a file is there in its size, and with the checksum that the store keeps, where it keeps one.

    :param path: The file; on ``file://`` a symbolic link is none.
    :param sha256: Its expected checksum.
    :param size: Its expected size in bytes.
    """
    kept = _size_and_checksum(path)
    return kept is not None and kept[0] == size and kept[1] in (None, sha256)


def _size_and_checksum(path: ObjectStoragePath) -> tuple[int, str | None] | None:
    """Return what a store knows about a file; ``None`` if there is none."""
    if path.protocol in s3.PROTOCOLS:
        found = s3.head(path)
        return None if found is None else (found["ContentLength"], found["Metadata"].get(CHECKSUM))
    if is_local(path):
        size = local_folder.size_of(Path(path.path))
        return None if size is None else (size, None)
    try:
        with one_word_for_denials():
            info = path.fs.info(path.path)
    except FileNotFoundError:
        return None
    return info["size"], (info.get("metadata") or {}).get(CHECKSUM)


def checksum_of(source: ObjectStoragePath, size: int, out: IO[bytes] | None = None) -> str:
    """
    Return the SHA-256 of a file, of which no more than one byte too many is read.

    :param source: The file.
    :param size: Its expected size in bytes.
    :param out: Where it is copied meanwhile.
    """
    digest, left = hashlib.sha256(), size + 1
    with contextlib.closing(_chunks(source)) as chunks:
        while left > 0 and (chunk := next(chunks, b"")[:left]):
            check_stopped()
            left -= len(chunk)
            digest.update(chunk)
            if out is not None:
                out.write(chunk)
    return digest.hexdigest()


def _chunks(source: ObjectStoragePath) -> Generator[bytes, None, None]:
    if source.protocol in s3.PROTOCOLS:
        yield from s3.chunks(source, CHUNK)
        return
    with open_to_read(source) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def json_bytes(value: Any, indent: int | None = 2) -> bytes:
    """
    Return a JSON document as it is published.

    :param value: Plain JSON.
    :param indent: Blanks of each level; ``None``: one line.
    """
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()


def write_open(target: ObjectStoragePath, source: IO[bytes], content_type: str, metadata: Mapping[str, str]) -> None:
    """
    Publish an open file. Readers see all of it or nothing.

    :param target: Where it goes; an existing file is replaced.
    :param source: The file, at its start.
    :param content_type: Its media type.
    :param metadata: What to keep beside it.
    """
    if is_local(target):
        local_folder.write(Path(target.path), source)
    elif target.protocol in s3.PROTOCOLS:
        size, details = os.fstat(source.fileno()).st_size, {"content_type": content_type, "metadata": metadata}
        if size <= s3.MAX_PUT:
            s3.write(target, source, details)
        else:
            s3_parts.put(target, source, size, details)
    else:
        with one_word_for_denials():
            _write_elsewhere(target, source, content_type, metadata)


def _write_elsewhere(
    target: ObjectStoragePath, source: IO[bytes], content_type: str, metadata: Mapping[str, str]
) -> None:
    if target.protocol in _ATOMIC:  # no mkdir: it would try to create the bucket
        target.fs.put_file(_reopened(source), target.path, **_kept_with_it(target, content_type, metadata))
    else:
        _write_and_move(target, source)


def _reopened(file: IO[bytes]) -> str:
    """Return a path by which an open file can be opened again, even if it has no name."""
    return f"/dev/fd/{file.fileno()}"


def _kept_with_it(target: ObjectStoragePath, content_type: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of gcsfs or adlfs for a media type and metadata, and for few bytes in memory."""
    if target.protocol in ("gs", "gcs"):
        return {"content_type": content_type, "metadata": dict(metadata), "chunksize": UPLOAD_PART}
    settings = importlib.import_module("azure.storage.blob").ContentSettings(content_type=content_type)
    return {"content_settings": settings, "max_concurrency": 1}


def _write_and_move(target: ObjectStoragePath, source: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
    try:
        target.fs.put_file(_reopened(source), part.path)
        target.fs.mv(part.path, target.path)
    finally:
        if part.exists():
            part.unlink()
