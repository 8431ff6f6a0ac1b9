"""What a generate operator returns, and the check that a job is the one that was ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.ledger.decisions import misfit
from airflow_provider_evolink.storage.media_file import DownloadedFile  # noqa: TC001 - for get_type_hints

if TYPE_CHECKING:
    from airflow_provider_evolink.api.jobs.snapshot import JobReading
    from airflow_provider_evolink.ledger.record import Record


class RequestResult(TypedDict):
    """
    What XCom holds of a request, whether it has a result or, in a batch, none.

    :param model: EvoLink's name of the model.
    :param kind: ``video``, ``image`` or ``audio``.
    :param status: ``completed``; of a request without a result that of its job as last polled, such as ``failed`` or
        ``processing``, and without a job ``refused``, or ``unknown`` where EvoLink may have accepted the request.
    :param results: Links to the media; EvoLink deletes them after 24 hours.
    :param outputs: What each link is: ``kind`` and, where EvoLink states them, title, duration and the like.
    :param made: Names that later requests take instead of media, such as a voice or an element.
    :param credits: The final charge where EvoLink states it, else the credits reserved.
    :param credits_reserved: Credits held for the job.
    :param credits_charged: Credits charged in the end; ``None`` where EvoLink does not state them.
    :param created: When EvoLink accepted the order, ISO 8601, UTC.
    :param expires_at: Until when the links live at least, ISO 8601, UTC.
    :param request: What was submitted, links without their query; ``None`` if the inputs have changed since. With
        ``hide_prompt`` its free texts are checksums.
    :param fingerprint: Hash of what was submitted: files by content, links without query. Equal requests have the same.
    :param submitted: When the order was sent, ISO 8601, UTC.
    :param completed: When a worker first took the finished job, ISO 8601, UTC.
    :param request_id: EvoLink's ID of the call that ordered, for their support; ``None`` where it is not known.
    """

    model: str | None
    kind: str | None
    status: str
    results: list[str]
    outputs: list[dict[str, Any]]
    made: dict[str, Any]
    credits: float | None
    credits_reserved: float | None
    credits_charged: float | None
    created: str | None
    expires_at: str | None
    request: dict[str, Any] | None
    fingerprint: str | None
    submitted: str | None
    completed: str | None
    request_id: str | None


class GenerationResult(RequestResult, total=False):
    """
    What a generate operator returns: the job, as XCom holds it.

    :param job_id: EvoLink's id.
    :param reused: With ``reuse``, true: an archived result, for which this task submitted nothing.
    :param files: With ``destination``: the downloaded files.
    """

    job_id: str
    files: list[DownloadedFile]
    reused: bool


def check_job(record: Record | None, job: JobReading | None) -> None:
    """
    Refuse a job that cannot be the one of the record: its result is another request's.

    :param record: The record, if there is one.
    :param job: The job as just polled, if it could be read.
    :raises EvoLinkConfigError: it is another job.
    """
    if record is None or job is None or not (why := misfit(record, job)):
        return
    raise EvoLinkConfigError(
        f"the record of this task names a job that is not its order of {sanitize(record.model, 80)}: {why}. Nothing is "
        "submitted, and its result is not returned. What to do: check the record (evolink_generation) in the Storage "
        "tab of this task instance and in the ledger folder: it was edited, or is that of another task. Delete it to "
        "submit, and pay, again",
        job_id=job.job_id,
    )
