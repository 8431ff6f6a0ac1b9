"""A file of a job: what XCom, receipts and manifests hold of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from airflow_provider_evolink.api.jobs.job import JobId  # noqa: TC001 - pydantic reads it

Moment = Annotated[datetime, PlainSerializer(datetime.isoformat, when_used="json")]
OF_ORDER = ("fingerprint", "submitted", "completed", "request_id")


def or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """
    Take a value that is not of its kind for one that is not known.

    :param value: The value.
    :param handler: Validates it.
    """
    try:
        return handler(value)
    except ValidationError:
        return None


class MissingEntry(TypedDict):
    """
    A result of a job that could not be fetched, as XCom holds it.

    :param index: Number of the result in its job, from 0.
    :param error: Why, for people to read.
    """

    index: int
    error: str


class FileJob(TypedDict):
    """
    What a downloaded file says about its job, as XCom holds it.

    :param created: When EvoLink accepted the order, ISO 8601, UTC.
    :param credits: What it cost.
    :param request: What was submitted, links without their query; ``None``: not known.
    :param fingerprint: Hash of what was submitted; ``None``: not known.
    :param submitted: When the order was sent, ISO 8601, UTC.
    :param completed: When a worker first took the finished job, ISO 8601, UTC.
    :param request_id: EvoLink's ID of the call that ordered.
    :param missing: The other results of the job, with ``on_missing="deliver"`` and if there are any.
    """

    created: str | None
    credits: float | None
    request: dict[str, Any] | None
    fingerprint: str | None
    submitted: str | None
    completed: str | None
    request_id: str | None
    missing: NotRequired[list[MissingEntry]]


class StoredFile(TypedDict):
    """
    A file of a job, as XCom holds it.

    :param uri: Where the file is.
    :param sha256: Checksum of its content, hexadecimal.
    :param size: In bytes.
    :param content_type: By its content, for example ``video/mp4``.
    :param index: Number of the result in its job, from 0.
    :param job_id: EvoLink's ID of the job.
    :param model: EvoLink's name of the model.
    :param verified: How far it was read: ``packets``, ``structure`` or ``length``.
    :param width: In pixels, as a player shows it.
    :param height: In pixels.
    :param duration: In seconds.
    """

    uri: str
    sha256: str
    size: int
    content_type: str
    index: int
    job_id: str
    model: str | None
    verified: str | None
    width: int | None
    height: int | None
    duration: float | None


class DownloadedFile(StoredFile):
    """
    A file as a download returns it.

    :param job: About its job, for the manifest of the archive.
    """

    job: FileJob


class ArchivedFile(StoredFile):
    """
    A file as the archive returns it.

    :param manifest: URI of the manifest beside it.
    """

    manifest: str


class JobInfo(BaseModel):
    """
    What is known about the job of a file.

    :param created: When EvoLink created the job (UTC).
    :param credits: What it cost.
    :param request: What was submitted, without secrets; ``None``: not known, as where only a job ID was given.
    :param fingerprint: Hash of the request: files by content, links without query.
    :param submitted: When the order was sent (UTC).
    :param completed: When a worker first took the finished job (UTC).
    :param request_id: EvoLink's ID of the call that ordered.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    created: Moment | None = None
    credits: float | None = None
    request: dict[str, Any] | None = None
    fingerprint: Annotated[str | None, WrapValidator(or_none)] = Field(default=None, pattern=r"^[0-9a-f]{16,64}$")
    submitted: Annotated[Moment | None, WrapValidator(or_none)] = None
    completed: Annotated[Moment | None, WrapValidator(or_none)] = None
    request_id: Annotated[str | None, WrapValidator(or_none)] = Field(default=None, max_length=128)

    @classmethod
    def of(cls, job: Any) -> JobInfo:
        """
        Return what a job, as a generate operator returns it, says beyond what EvoLink reports.

        :param job: The job, or its ID. What is not of its kind in it is left out.
        """
        given = job if isinstance(job, dict) else {}
        request = given.get("request")
        return cls(
            request=request if isinstance(request, dict) else None, **{name: given.get(name) for name in OF_ORDER}
        )


class MediaFile(BaseModel):
    """
    One verified file of a job: an entry of the list that a download or an archive task returns, as XCom holds it.

    XCom can be edited, so it is validated when it is read. Fields that are not listed here are passed on.

    :param uri: The file.
    :param sha256: Checksum of its content.
    :param size: In bytes.
    :param content_type: By its content, for example ``video/mp4``.
    :param index: Number of the result in its job, from 0.
    :param job_id: EvoLink's ID of the job.
    :param model: EvoLink's name of the model.
    :param verified: How far it was read: ``packets``, ``structure`` or ``length``; ``None``: by an older version.
    :param width: In pixels, as a player shows it.
    :param height: In pixels.
    :param duration: In seconds.
    :param job: About the job; downloads only.
    :param manifest: URI of the manifest; archived files only.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    uri: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=1)
    content_type: str
    index: int = Field(ge=0)
    job_id: JobId
    model: str | None = None
    verified: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    job: JobInfo = JobInfo()
    manifest: str | None = None

    def downloaded(self, job: JobInfo) -> DownloadedFile:
        """
        Return what a download task returns for this file.

        :param job: About its job.
        """
        found = self.model_copy(update={"job": job}).model_dump(mode="json", exclude={"manifest"})
        return cast("DownloadedFile", found)

    def archived(self, uri: str, manifest: str) -> ArchivedFile:
        """
        Return what an archive task returns for this file.

        :param uri: The file in the archive.
        :param manifest: The manifest beside it.
        """
        found = self.model_copy(update={"uri": uri, "manifest": manifest}).model_dump(mode="json", exclude={"job"})
        return cast("ArchivedFile", found)


class MissingResult(BaseModel):
    """
    One result of a job that could not be fetched.

    :param index: Number of the result in its job, from 0.
    :param error: Why.
    """

    index: int = Field(ge=0)
    error: str


class Receipt(BaseModel):
    """
    What a download writes beside its files: with it a second run needs neither links nor the job.

    :param job_id: EvoLink's ID of the job.
    :param job: About the job, without its request.
    :param files: The files of the job that are there.
    :param missing: Its results that are not; empty in the end.
    :param moved: Where files are that an archive has moved, by index.
    """

    version: int = 1
    job_id: JobId
    job: JobInfo
    files: list[MediaFile]
    missing: list[MissingResult] = []
    moved: dict[int, str] = {}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        of_order = {"request", *OF_ORDER}
        value = self.model_dump(mode="json", exclude={"job": of_order, "files": {"__all__": {"job", "manifest"}}})
        return {name: part for name, part in value.items() if part or name not in ("missing", "moved")}
