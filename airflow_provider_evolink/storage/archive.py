"""The archive: one folder per job, with its files and a manifest."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pendulum
from pydantic import ValidationError

from airflow_provider_evolink.api.catalog.parameter import is_list
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.storage.media_file import MediaFile
from airflow_provider_evolink.storage.object_store import (
    about,
    below,
    copy_checked,
    holds,
    is_shallow,
    open_folder,
    public_uri,
    publish_json,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MANIFEST = "manifest.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def archive_files(files: Any, archive: ObjectStoragePath, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Copy staged files into the archive and write their manifests. Files that are archived already stay as they are.

    :param files: What the download returned; they may belong to several jobs.
    :param archive: Root of the archive.
    :param run: The DAG run that archives, for the manifest.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.MediaFile` as JSON for each file.
    :raises EvoLinkConfigError: ``files`` is not what a download returns.
    :raises EvoLinkMediaError: a staged file no longer exists or has changed.
    """
    jobs: dict[str, list[MediaFile]] = {}
    for file in _validate(files):
        jobs.setdefault(file.job_id, []).append(file)
    return [entry for group in jobs.values() for entry in _archive_job(group, archive, run)]


def _archive_job(files: list[MediaFile], archive: ObjectStoragePath, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    folder = _folder(files[0], archive)
    manifest = folder / MANIFEST
    listed = {name: row.get("sha256") for name, row in _listed(read_json(manifest)).items()}
    for file in files:
        target = folder / _name(file)
        if listed.get(target.name) != file.sha256 or not holds(target, sha256=file.sha256, size=file.size):
            staged, kept = open_folder(file.uri, what="staged file"), about(file.job_id, file.sha256)
            copy_checked(staged, target, file=file.model_dump(), metadata=kept)
    if any(listed.get(_name(file)) != file.sha256 for file in files):
        publish_json(_manifest(files, run, read_json(manifest)), manifest)
    return [file.archived(str(folder / _name(file)), str(manifest)) for file in files]


def _folder(file: MediaFile, archive: ObjectStoragePath) -> ObjectStoragePath:
    """Return the folder of a job. The names come from EvoLink, so they are made safe: none may choose a path."""
    created = file.job.created
    day = pendulum.instance(created).in_timezone("UTC").format("YYYY/MM/DD") if created else "undated"
    return below(archive, _safe(file.model or "unknown-model"), *day.split("/"), _safe(file.job_id), MANIFEST).parent


def _name(file: MediaFile) -> str:
    suffix = PurePosixPath(file.uri).suffix
    return f"{_safe(file.job_id)}-{file.index}{suffix if re.fullmatch(r'[.][a-z0-9]{2,5}', suffix) else '.bin'}"


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip(".") or "_"


def _manifest(files: list[MediaFile], run: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """Return the manifest of a job: these files, and what an earlier manifest says, which may know more of the job."""
    first = files[0]
    rows = {
        _name(file): {
            "name": _name(file),
            **file.model_dump(include={"sha256", "size", "content_type", "verified", "width", "height", "duration"}),
            "staged_from": public_uri(file.uri),
        }
        for file in files
    }
    request = first.job.request
    written = before if isinstance(before, dict) else {}
    fresh = {
        "version": 1,
        "job_id": first.job_id,
        "model": first.model,
        "request": request,
        "seed": (request or {}).get("seed"),
        "credits": first.job.credits,
        "created": first.job.created.isoformat() if first.job.created else None,
        "archived": datetime.now(UTC).isoformat(timespec="seconds"),
        "airflow": dict(run),
    }
    return {
        **fresh,
        **{name: written[name] for name in fresh if written.get(name) is not None},
        "files": sorted({**_listed(before), **rows}.values(), key=lambda row: row["name"]),
    }


def _listed(manifest: Any) -> dict[str, dict[str, Any]]:
    """Return the files in a manifest, by name."""
    try:
        return {str(row["name"]): dict(row) for row in manifest["files"]}
    except (KeyError, TypeError, ValueError):
        return {}


def _validate(files: Any) -> list[MediaFile]:
    if not is_list(files):
        raise EvoLinkConfigError(f"files must be the list that a download returns, not {type(files).__name__}")
    # A mapped download gives a list of its lists, which Airflow reads when it is walked.
    each = [file for entry in files for file in (entry if is_list(entry) else [entry])]
    if not is_shallow(each):
        raise EvoLinkConfigError("files is not what a download returns: its values are nested too deep")
    try:
        return [MediaFile.model_validate(file) for file in each]
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(str(key) for key in detail["loc"]) for detail in error.errors()}))
        raise EvoLinkConfigError(f"files is not what a download returns: check {fields}") from None
