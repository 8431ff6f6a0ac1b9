"""Files in object storage: publish a whole file or nothing, read small JSON documents, copy with a checksum."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1024 * 1024
MAX_JSON = 64 * CHUNK
# Stores in which an object appears only when it is complete. Elsewhere a file is written under another name first.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az"})
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


def publish(local: Path, target: ObjectStoragePath) -> None:
    """
    Publish a local file. Readers see all of it or nothing.

    :param local: The file, verified.
    :param target: Where it goes; an existing file is replaced.
    """
    if target.protocol in _ATOMIC:  # no mkdir: it would try to create the bucket
        target.fs.put_file(str(local), target.path)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
    try:
        target.fs.put_file(str(local), part.path)
        if target.protocol in ("file", "local"):
            Path(part.path).replace(target.path)
        else:
            target.fs.mv(part.path, target.path)
    finally:
        if part.exists():
            part.unlink()


def publish_json(value: Any, target: ObjectStoragePath) -> None:
    """
    Publish a JSON document.

    :param value: Plain JSON.
    :param target: Where it goes.
    """
    with spool() as local:
        local.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        publish(local, target)


def read_json(source: ObjectStoragePath) -> Any | None:
    """
    Read a JSON document; ``None`` if it does not exist or is not JSON.

    :param source: The document.
    """
    if not source.exists():
        return None
    try:
        with source.open("rb") as file:  # type: ignore[no-untyped-call]
            return json.loads(file.read(MAX_JSON))
    except ValueError:
        return None


def copy_checked(source: ObjectStoragePath, target: ObjectStoragePath, *, sha256: str, size: int) -> None:
    """
    Copy a file through this machine, and publish it only if its checksum is right.

    :param source: A staged file.
    :param target: Where it goes.
    :param sha256: Its expected checksum.
    :param size: Its expected size in bytes; no more are ever read.
    :raises EvoLinkMediaError: the staged file no longer exists, or its content has changed.
    """
    from airflow_provider_evolink.api.errors import EvoLinkMediaError

    digest = hashlib.sha256()
    with spool() as local:
        try:
            with source.open("rb") as file, local.open("wb") as out:  # type: ignore[no-untyped-call]
                left = size + 1
                while left > 0 and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    digest.update(chunk)
                    out.write(chunk)
        except (FileNotFoundError, IsADirectoryError):
            raise EvoLinkMediaError(
                f"staged file {public_uri(source)} no longer exists: run the download again"
            ) from None
        if digest.hexdigest() != sha256:
            raise EvoLinkMediaError(
                f"staged file {public_uri(source)} has changed since it was downloaded (SHA-256 differs), so it is not "
                "archived: run the download again"
            )
        publish(local, target)


@contextmanager
def spool() -> Iterator[Path]:
    """Provide the path of a private local file that is deleted on every exit."""
    with tempfile.TemporaryDirectory(prefix="evolink-") as folder:
        yield Path(folder) / "spool"
