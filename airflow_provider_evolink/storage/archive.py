"""The archive: where files of a job lie, and the manifest beside them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pendulum
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.jobs.job import JobId  # noqa: TC001 - pydantic reads it
from airflow_provider_evolink.storage.object_store import copy_checked, open_folder, public_uri, publish_json, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MANIFEST = "manifest.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class _JobFacts(BaseModel):
    """What the download says of the job: enough for the manifest."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    created: datetime | None = None
    credits: float | None = None
    request: dict[str, Any] | None = None


class _Staged(BaseModel):
    """One staged file. It comes from an XCom, which people can edit, so it is checked."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    uri: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=1)
    content_type: str
    index: int = Field(ge=0)
    job_id: JobId
    model: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    job: _JobFacts = _JobFacts()

    @property
    def name(self) -> str:
        suffix = PurePosixPath(self.uri).suffix
        return f"{_safe(self.job_id)}-{self.index}{suffix if re.fullmatch(r'[.][a-z0-9]{2,5}', suffix) else '.bin'}"


def archive_files(
    files: list[dict[str, Any]], archive: ObjectStoragePath, run: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """
    Copy staged files into the archive and write their manifests. What is there already stays as it is.

    :param files: What the download returned; they may belong to several jobs.
    :param archive: Root of the archive.
    :param run: Which DAG run archives, for the manifest.
    :raises EvoLinkConfigError: ``files`` is not what a download returns.
    :raises EvoLinkMediaError: a staged file is gone or has changed.
    """
    staged = _read(files)
    jobs: dict[str, list[_Staged]] = {}
    for file in staged:
        jobs.setdefault(file.job_id, []).append(file)
    return [row for group in jobs.values() for row in _archive_job(group, archive, run)]


def _archive_job(files: list[_Staged], archive: ObjectStoragePath, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    folder = _folder(files[0], archive)
    manifest = folder / MANIFEST
    listed = _listed(read_json(manifest))
    known = {name: row.get("sha256") for name, row in listed.items()}
    for file in files:
        target = folder / file.name
        if known.get(file.name) != file.sha256 or not target.exists() or target.stat().st_size != file.size:
            copy_checked(open_folder(file.uri, what="staged file"), target, sha256=file.sha256, size=file.size)
    if any(known.get(file.name) != file.sha256 for file in files):
        publish_json(_manifest(files, run, read_json(manifest)), manifest)
    return [
        {
            **file.model_dump(mode="json", exclude={"job"}),
            "uri": str(folder / file.name),
            "manifest": str(manifest),
        }
        for file in files
    ]


def _folder(file: _Staged, archive: ObjectStoragePath) -> ObjectStoragePath:
    """Return the folder of a job. The names come from EvoLink, so nothing in them may choose a path."""
    created = file.job.created
    day = pendulum.instance(created).in_timezone("UTC").format("YYYY/MM/DD") if created else "undated"
    return archive / _safe(file.model or "unknown-model") / day / _safe(file.job_id)


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip(".") or "_"


def _manifest(files: list[_Staged], run: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """Return the manifest of a job: these files, and what another task wrote before, which may know more of the job."""
    first = files[0]
    rows = {
        file.name: {
            "name": file.name,
            **file.model_dump(include={"sha256", "size", "content_type", "width", "height", "duration"}),
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
    """Return the files that a manifest lists already, by name."""
    try:
        return {str(row["name"]): dict(row) for row in manifest["files"]}
    except (KeyError, TypeError, ValueError):
        return {}


def _read(files: Any) -> list[_Staged]:
    if not isinstance(files, list):
        raise EvoLinkConfigError(f"files must be the list a download returns, not {type(files).__name__}")
    try:
        return [_Staged.model_validate(file) for file in files]
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(str(part) for part in row["loc"]) for row in error.errors()}))
        raise EvoLinkConfigError(f"files is not what a download returns: check {fields}") from None
