"""
The index of the archive: a row per job, and a look-up object per request. What they hold is pure; writing is thin.

A row is made from the manifest alone, so every repeat writes the same one, and all can be built again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_evolink.arguments.layout import INDEX
from airflow_provider_evolink.storage.archive.layout import MANIFEST, day_of, unique_name
from airflow_provider_evolink.storage.object_store import below, publish_json, read_json

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.manifest import Manifest

VERSION = 1
_OF_RUN = ("dag_id", "run_id", "task_id", "map_index", "try_number", "owner")


class RowFile(BaseModel):
    """A file in a row; names and meanings are those of the manifest."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    size: int
    content_type: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    frame_rate: float | None = None
    audio: bool | None = None
    poster: str | None = None


class Row(BaseModel):
    """
    What the index holds of a job. Times are ISO 8601, UTC; paths count from the root of the archive.

    :param day: Day the job was created, UTC, by which rows are folded; ``undated`` where it is not known.
    :param prompt: The prompt, or its checksum with ``hide_prompt``.
    :param seed: As text.
    :param folder: The folder of the job.
    :param manifest: Its manifest.
    :param files: Its files.
    :param size: Of all files, in bytes.
    """

    model_config = ConfigDict(frozen=True)

    version: int = VERSION
    job_id: str
    day: str
    model: str | None = None
    kind: str | None = None
    prompt: str | None = None
    seed: str | None = None
    fingerprint: str | None = None
    request_id: str | None = None
    credits: float | None = None
    price_as_of: str | None = None
    created: str | None = None
    submitted: str | None = None
    completed: str | None = None
    downloaded: str | None = None
    archived: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    owner: str | None = None
    folder: str
    manifest: str
    size: int
    files: list[RowFile] = []


class Lookup(BaseModel):
    """
    What the index holds of a request: the newest job that was archived for it.

    :param fingerprint: Hash of the request.
    :param job_id: EvoLink's ID of the job.
    :param model: EvoLink's name of the model.
    :param created: When EvoLink created the job.
    :param manifest: Its manifest, from the root of the archive.
    :param archived: When it was archived.
    """

    model_config = ConfigDict(frozen=True)

    version: int = VERSION
    fingerprint: str
    job_id: str
    model: str | None = None
    created: str | None = None
    manifest: str
    archived: str | None = None


def row_of(manifest: Manifest, folder: str) -> Row:
    """
    Return the row of a job.

    :param manifest: Its manifest.
    :param folder: Its folder, from the root of the archive.
    """
    plain = manifest.to_json()
    same = {name: plain[name] for name in Row.model_fields.keys() & plain.keys() - {"files", "version", "seed"}}
    return Row(
        **same,
        **{name: plain["airflow"].get(name) for name in _OF_RUN},
        day=day_of(manifest.created),
        prompt=_prompt(manifest.request),
        seed=None if manifest.seed is None else str(manifest.seed),
        folder=folder,
        manifest=f"{folder}/{MANIFEST}",
        size=sum(file.size for file in manifest.files),
        files=[RowFile.model_validate(file.model_dump(include=set(RowFile.model_fields))) for file in manifest.files],
    )


def _prompt(request: dict[str, Any] | None) -> str | None:
    texts = [(request or {}).get(name) for name in ("prompt", "input", "voice_prompt")]
    return next((text for text in texts if isinstance(text, str)), None)


def lookup_of(row: Row) -> Lookup | None:
    """
    Return the look-up object of a job; ``None`` where its request is not known.

    :param row: The row of the job.
    """
    if not row.fingerprint:
        return None
    return Lookup.model_validate(row.model_dump(include=set(Lookup.model_fields) - {"version"}))


def index_root(archive: ObjectStoragePath) -> ObjectStoragePath:
    """
    Return the folder of the index.

    :param archive: Root of the archive.
    """
    return archive / INDEX


def row_path(archive: ObjectStoragePath, day: str, job_id: str) -> ObjectStoragePath:
    """
    Return where the row of a job is until it is folded.

    :param archive: Root of the archive.
    :param day: The day of the row.
    :param job_id: EvoLink's ID of the job.
    """
    return below(archive, INDEX, "rows", day, f"{unique_name(job_id)}.json")


def lookup_path(archive: ObjectStoragePath, fingerprint: str) -> ObjectStoragePath:
    """
    Return where the look-up object of a request is.

    :param archive: Root of the archive.
    :param fingerprint: Hash of the request.
    """
    name = unique_name(fingerprint)
    return below(archive, INDEX, "requests", name[:2], f"{name}.json")


def find_request(archive: ObjectStoragePath, fingerprint: str) -> Lookup | None:
    """
    Return the newest archived job of a request; one read, however large the archive is.

    :param archive: Root of the archive.
    :param fingerprint: Hash of the request.
    """
    try:
        found = Lookup.model_validate(read_json(lookup_path(archive, fingerprint)))
    except ValidationError:
        return None
    return found if found.fingerprint == fingerprint else None


def read_row(value: Any) -> Row | None:
    """
    Return a row, or ``None`` for what is none.

    :param value: Plain JSON, or a line of a folded day.
    """
    try:
        return Row.model_validate(value)
    except ValidationError:
        return None


def write_index(archive: ObjectStoragePath, row: Row) -> None:
    """
    Write what the index holds of a job, unless it is there: first the look-up object, then the row.

    :param archive: Root of the archive.
    :param row: The row of the job.
    """
    wanted = lookup_of(row)
    if wanted is not None:
        found = find_request(archive, wanted.fingerprint)
        if found != wanted and not _is_newer(found, wanted):
            publish_json(wanted.model_dump(), lookup_path(archive, wanted.fingerprint), indent=None)
    target = row_path(archive, row.day, row.job_id)
    if read_row(read_json(target)) != row:
        publish_json(row.model_dump(), target, indent=None)


def _is_newer(found: Lookup | None, wanted: Lookup) -> bool:
    """Tell whether another job of the same request was created later."""
    return found is not None and found.job_id != wanted.job_id and (found.created or "") > (wanted.created or "")
