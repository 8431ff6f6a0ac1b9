"""
An archived result of the same request, in place of an order.

It counts only while it is there: the manifest, and each file in its size and with the checksum that the store keeps.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.storage.archive.archiving import staged_files
from airflow_provider_evolink.storage.archive.index import find_request
from airflow_provider_evolink.storage.archive.manifest import read_manifest
from airflow_provider_evolink.storage.copying.checked_copy import copy_checked
from airflow_provider_evolink.storage.media_file import JobInfo, MediaFile
from airflow_provider_evolink.storage.object_store import about, below, is_there, open_folder, public_uri, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.index import Lookup
    from airflow_provider_evolink.storage.archive.manifest import Manifest, ManifestFile
    from airflow_provider_evolink.storage.media_file import ArchivedFile, DownloadedFile

log = logging.getLogger(__name__)


def find_archived(archive: ObjectStoragePath, fingerprint: str) -> dict[str, Any] | None:
    """
    Return the archived result of a request as a generate operator returns one, or ``None``.

    :param archive: Root of the archive.
    :param fingerprint: Hash of the request.
    :return: The result: ``reused`` is true, ``results`` are files of the archive, and ``files`` what the archive task
        returned for them. Its credits were paid when it was made.
    :raises EvoLinkConfigError: the manifest is of a newer version.
    """
    lookup = find_request(archive, fingerprint)
    if lookup is None:
        return None
    path = _inside(archive, lookup)
    manifest = read_manifest(read_json(path), public_uri(path), lookup.job_id) if path is not None else None
    if path is None or manifest is None or not _is_whole(manifest, fingerprint, path.parent):
        log.warning("EvoLink job %s was archived for this request, and is not there in full any more", lookup.job_id)
        return None
    return _result(manifest, path)


def _inside(archive: ObjectStoragePath, lookup: Lookup) -> ObjectStoragePath | None:
    """Return the path of the manifest; anybody who may write to the archive can have edited where it is."""
    names = lookup.manifest.split("/")
    return None if {"", ".", ".."} & set(names) else below(archive, *names)


def _is_whole(manifest: Manifest, fingerprint: str, folder: ObjectStoragePath) -> bool:
    if manifest.fingerprint != fingerprint or not manifest.files or manifest.missing:
        return False
    return all(is_there(folder / file.name, sha256=file.sha256, size=file.size) for file in manifest.files)


def _result(manifest: Manifest, path: ObjectStoragePath) -> dict[str, Any]:
    files = archived_entries(manifest, path)
    plain = manifest.to_json()
    same = ("job_id", "model", "kind", "created", "request", "fingerprint", "submitted", "completed", "request_id")
    return {
        **{name: plain[name] for name in same},
        "status": "completed",
        "results": [file["uri"] for file in files],
        "outputs": [{"kind": file["content_type"].partition("/")[0], "url": file["uri"]} for file in files],
        "made": {},
        "credits": manifest.credits,
        "credits_reserved": None,
        "credits_charged": None,
        "expires_at": None,
        "files": files,
        "reused": True,
    }


def archived_entries(manifest: Manifest, path: ObjectStoragePath) -> list[ArchivedFile]:
    """
    Return what an archive task returned for the files of a job.

    :param manifest: Its manifest.
    :param path: Where that is.
    """
    return [_entry(manifest, file, number, path) for number, file in enumerate(manifest.files)]


def _entry(manifest: Manifest, file: ManifestFile, number: int, path: ObjectStoragePath) -> ArchivedFile:
    known = file.model_dump(include={"sha256", "size", "content_type", "verified", "width", "height", "duration"})
    index = number if file.index is None else file.index
    entry = MediaFile(
        uri=str(path.parent / file.name), index=index, job_id=manifest.job_id, model=manifest.model, **known
    )
    return entry.archived(entry.uri, str(path))


def copy_reused(result: Mapping[str, Any], folder: ObjectStoragePath) -> list[DownloadedFile]:
    """
    Copy the files of a reused result into a folder, as a download would have put them there; EvoLink is not contacted.

    :param result: A generate operator's result with ``reused``.
    :param folder: Where they go. A file that is there in full stays.
    :return: What a download returns.
    :raises EvoLinkMediaError: a file is not in the archive any more, or has changed.
    """
    known = JobInfo.of(result).model_copy(update={"credits": result.get("credits"), "reused": True})
    info = JobInfo.model_validate({**known.model_dump(), "created": result.get("created")})
    return [_copy(file, folder).downloaded(info) for file in staged_files(result.get("files"))]


def _copy(file: MediaFile, folder: ObjectStoragePath) -> MediaFile:
    source = open_folder(file.uri, what="archived file")
    target = folder / f"{file.job_id}-{file.index}.{source.suffix.lstrip('.') or 'bin'}"
    if not is_there(target, sha256=file.sha256, size=file.size):
        copy_checked(source, target, file=file.model_dump(), metadata=about(file.job_id, file.sha256))
    return file.model_copy(update={"uri": str(target)})
