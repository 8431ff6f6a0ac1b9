"""What a failed job means: whether submitting again can succeed, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_evolink.api.errors import EvoLinkJobError, EvoLinkJobFailed, EvoLinkNoResults
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.redaction import Redactor, sanitize


@dataclass(frozen=True)
class FailureCode:
    """
    One ``error.code`` of a failed job.

    :param code: EvoLink's code.
    :param repeatable: The same request may succeed later, so an Airflow retry submits it again.
    :param advice: What the user can do.
    """

    code: str
    repeatable: bool
    advice: str


FAILURE_CODES = {
    row.code: row
    for row in (
        FailureCode("content_policy_violation", False, "change the prompt or the media: content review rejected them"),
        FailureCode("invalid_parameters", False, "correct the parameters"),
        FailureCode("image_processing_error", False, "check that the image is valid and public"),
        FailureCode("image_dimension_mismatch", False, "use an image of the size the model requires"),
        FailureCode("request_cancelled", False, "clear the task to submit again if this was not intended"),
        FailureCode("generation_failed_no_content", False, "try another prompt: the model returned no content"),
        FailureCode("service_error", True, "a retry after about a minute may succeed"),
        FailureCode("generation_timeout", True, "a retry may succeed, or a simpler request"),
        FailureCode("resource_exhausted", True, "a retry after some minutes may succeed"),
        FailureCode("quota_exceeded", True, "submit more slowly, or check the balance; then a retry may succeed"),
        FailureCode("service_unavailable", True, "a retry after some minutes may succeed"),
        FailureCode("resource_not_found", False, "check the ids and links in the request"),
        FailureCode("unknown_error", False, "contact EvoLink's support with the job id"),
    )
}

_UNLISTED = FailureCode("", False, "the code is not documented, so nothing is submitted again: check the job first")


def failure_code(code: str | None) -> FailureCode:
    """
    Return what the code of a failed job means; an unknown code never leads to another submit.

    :param code: ``error.code`` of the job, or ``None`` if EvoLink sent none.
    """
    return FAILURE_CODES.get(code or "", _UNLISTED)


def job_error(job: Job, redactor: Redactor | None = None) -> EvoLinkJobError | None:
    """
    Return the error of a job that has ended, or ``None`` if it has a result.

    :param job: A job whose status is completed, failed or cancelled.
    :param redactor: Hides quotes of the request in EvoLink's reason. Default: only links are removed.
    """
    if job.status is JobStatus.COMPLETED:
        return None if job.has_output else _no_results(job)
    code = job.error.code if job.error else None
    row = failure_code(code or ("request_cancelled" if job.status is JobStatus.CANCELLED else None))
    stated = job.error.message if job.error else None
    message = sanitize((redactor or Redactor()).apply(stated)) if stated else ""
    charged = job.credits_charged
    cost = "EvoLink did not report a charge" if charged is None else f"{charged:g} credits were charged"
    return EvoLinkJobFailed(
        f"EvoLink reported the job as {job.status}: “{message or 'no reason given'}”; {cost}. What to do: {row.advice}",
        repeatable=row.repeatable,
        code=code,
        job_id=job.job_id,
    )


def _no_results(job: Job) -> EvoLinkNoResults:
    return EvoLinkNoResults(
        "EvoLink reported the job as completed, but without results. It may have been charged, so nothing is "
        "submitted again. What to do: check the job on the EvoLink dashboard, or contact their support",
        job_id=job.job_id,
    )
