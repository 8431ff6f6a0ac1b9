"""The manifest of a job, version 2: what it was made from, when, by whom, and its files. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.jobs.job import JobId  # noqa: TC001 - pydantic reads it
from airflow_provider_evolink.storage.media_file import MediaFile, Moment, or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 2
SCHEMA = Path(__file__).with_name("manifest.schema.json")
_SHA256 = r"^[0-9a-f]{64}$"
_Moment = Annotated[Moment | None, WrapValidator(or_none)]
_Text = Annotated[str | None, WrapValidator(or_none)]
_Number = Annotated[float | None, WrapValidator(or_none)]
_Whole = Annotated[int | None, WrapValidator(or_none)]
_OF_FILE = ("index", "sha256", "size", "content_type", "verified", "width", "height", "duration")
_NEWER = (
    "{uri} is a manifest of version {version}, and this release writes version {ours}, so nothing of it is changed. "
    "What to do: install the newer release of the provider on this worker, too"
)


class ManifestFile(BaseModel):
    """
    A file of a job in the archive, and its poster.

    :param name: Its name, beside the manifest.
    :param index: Number of the result in its job, from 0; ``None`` in a manifest that was of version 1.
    :param sha256: Checksum of its content.
    :param size: In bytes.
    :param content_type: By its content, for example ``video/mp4``.
    :param verified: How far it was read: ``packets``, ``structure`` or ``length``.
    :param width: In pixels, as a player shows it.
    :param height: In pixels, likewise.
    :param duration: In seconds.
    :param frame_rate: Frames per second of a clip, on average.
    :param codecs: FFmpeg's names of its tracks' codecs, for example ``h264`` and ``aac``.
    :param audio: Whether it has sound; ``None``: not known.
    :param poster: Name of the picture that shows it, beside the manifest; ``None``: none could be made.
    :param staged_from: Where the download put it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[^/\\]+$")
    index: _Whole = None
    sha256: str = Field(pattern=_SHA256)
    size: int = Field(ge=1)
    content_type: str
    verified: _Text = None
    width: _Whole = None
    height: _Whole = None
    duration: _Number = None
    frame_rate: _Number = None
    codecs: list[str] = []
    audio: bool | None = None
    poster: Annotated[str | None, WrapValidator(or_none)] = Field(default=None, pattern=r"^[^/\\]+$")
    staged_from: _Text = None


class Run(BaseModel):
    """
    The Airflow task that archived a job first. Of a recovered job it is the task that ordered it, where that is known,
    and ``recovered_by`` is there, too: the recovering task, as DAG, task, run and map index.

    :param dag_id: Its DAG.
    :param run_id: Its run.
    :param task_id: Its task.
    :param map_index: Its number among mapped tasks; -1: it is not mapped.
    :param try_number: Its try.
    :param owner: The owner of the task.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    dag_id: _Text = None
    run_id: _Text = None
    task_id: _Text = None
    map_index: _Whole = None
    try_number: _Whole = None
    owner: _Text = None


class Manifest(BaseModel):
    """
    The manifest of a job.

    :param version: Of this format.
    :param job_id: EvoLink's ID of the job.
    :param model: EvoLink's name of the model.
    :param kind: ``video``, ``image`` or ``audio``: what the first file is.
    :param fingerprint: Hash of the request, the same for equal requests: files by content, links without query.
    :param request_id: EvoLink's ID of the call that ordered.
    :param request: The validated fields of the request, links without query; with ``hide_prompt`` its free texts are
        ``sha256:`` and their checksum. ``None``: not known.
    :param seed: The seed in the request.
    :param credits: What the job cost.
    :param price_as_of: Day of the price in the catalog, where it has one for the model.
    :param created: When EvoLink created the job (UTC).
    :param submitted: When the order was sent (UTC).
    :param completed: When a worker first took the finished job (UTC).
    :param downloaded: When its files were downloaded and verified (UTC).
    :param archived: When it was archived first (UTC).
    :param airflow: The task that archived it first.
    :param missing: Numbers of its results that could not be fetched (``on_missing="deliver"``).
    :param files: Its files, by name.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[2] = 2
    job_id: JobId
    model: _Text = None
    kind: _Text = None
    fingerprint: _Text = None
    request_id: _Text = None
    request: Annotated[dict[str, Any] | None, WrapValidator(or_none)] = None
    seed: Annotated[int | str | None, WrapValidator(or_none)] = None
    credits: _Number = None
    price_as_of: _Text = None
    created: _Moment = None
    submitted: _Moment = None
    completed: _Moment = None
    downloaded: _Moment = None
    archived: _Moment = None
    airflow: Run = Run()
    missing: Annotated[list[int] | None, WrapValidator(or_none)] = None
    files: list[ManifestFile] = []

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return self.model_dump(mode="json")

    def file(self, name: str) -> ManifestFile | None:
        """
        Return the entry of a file.

        :param name: Its name.
        """
        return next((file for file in self.files if file.name == name), None)


def read_manifest(value: Any, uri: str, job_id: str | None = None) -> Manifest | None:
    """
    Read a manifest of version 1 or 2; ``None`` for what is none, which the next archiving replaces.

    :param value: Plain JSON.
    :param uri: Its name in errors.
    :param job_id: The job whose manifest it must be.
    :raises EvoLinkConfigError: it is of a newer version, or of another job.
    """
    if not isinstance(value, dict):
        return None
    version = value.get("version")
    if isinstance(version, int) and version > VERSION:
        raise EvoLinkConfigError(_NEWER.format(uri=uri, version=version, ours=VERSION))
    found = _lenient({**value, "version": VERSION})
    if found is not None and job_id is not None and found.job_id != job_id:
        raise EvoLinkConfigError(
            f"{uri} is the manifest of another job, so nothing is archived beside it. What to do: check who changed "
            "it, or archive into another folder",
            job_id=job_id,
        )
    return found


def _lenient(value: dict[str, Any]) -> Manifest | None:
    """Read what can be read: a damaged entry of a file is left out, and archived anew."""
    files = value.get("files")
    rows = [row for row in (files if isinstance(files, list) else []) if _is_valid(ManifestFile, row)]
    run = value.get("airflow")
    try:
        return Manifest.model_validate({**value, "files": rows, "airflow": run if isinstance(run, dict) else {}})
    except ValidationError:
        return None


def _is_valid(model: type[BaseModel], value: Any) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


def new_manifest(
    files: Sequence[MediaFile],
    names: Sequence[str],
    run: Mapping[str, Any],
    *,
    price: str | None = None,
    downloaded: datetime | None = None,
) -> Manifest:
    """
    Return the manifest of files of one job.

    :param files: The files.
    :param names: Their names in the archive.
    :param run: The task that archives, see :class:`Run`.
    :param price: Day of the catalog's price of the model.
    :param downloaded: When the first of the files was staged.
    """
    first, now = files[0], datetime.now(UTC).replace(microsecond=0)
    about = first.job.model_dump(
        include={"created", "credits", "request", "fingerprint", "submitted", "completed", "request_id"}
    )
    rows = [
        ManifestFile(name=name, staged_from=file.uri, **file.model_dump(include=set(_OF_FILE)))
        for file, name in zip(files, names, strict=True)
    ]
    return Manifest(
        job_id=first.job_id,
        model=first.model,
        kind=first.content_type.partition("/")[0],
        seed=seed_of(first.job.request),
        price_as_of=price,
        downloaded=downloaded,
        archived=now,
        airflow=Run.model_validate(dict(run)),
        missing=[entry["index"] for entry in (first.job.model_extra or {}).get("missing", ())] or None,
        files=rows,
        **about,
    )


def seed_of(request: Mapping[str, Any] | None) -> Any:
    """
    Return the seed of a request; some models take it among their own parameters.

    :param request: The request.
    """
    inner = (request or {}).get("model_params")
    return next((part["seed"] for part in (request, inner) if isinstance(part, dict) and "seed" in part), None)


def merged(before: Manifest | None, fresh: Manifest) -> Manifest:
    """
    Return a manifest with what an earlier one says, which may know more of the job, and with the files of both.

    :param before: What is in the archive.
    :param fresh: What this task knows.
    """
    if before is None:
        return _sorted(fresh, {})
    known = {name: value for name, value in before if value is not None and name not in ("files", "version")}
    return _sorted(fresh.model_copy(update=known), {file.name: file for file in before.files})


def _sorted(manifest: Manifest, others: dict[str, ManifestFile]) -> Manifest:
    rows = {**others, **{file.name: file for file in manifest.files}}
    missing = sorted({*(manifest.missing or ())} - {file.index for file in rows.values()})
    return manifest.model_copy(update={"missing": missing or None, "files": [rows[name] for name in sorted(rows)]})


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}


def schema_text() -> str:
    """Return the JSON Schema as it is shipped, in ``manifest.schema.json``."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
