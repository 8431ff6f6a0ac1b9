"""What a failed job means: whether it is worth repeating, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_evolink.api.errors import EvoLinkJobError, EvoLinkJobFailed, EvoLinkNoResults
from airflow_provider_evolink.api.jobs.job import Job, JobStatus
from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor


@dataclass(frozen=True)
class FailureCode:
    """
    One ``error.code`` of a failed job.

    :param code: EvoLink's code.
    :param repeatable: The same order may succeed later, so an Airflow retry orders anew.
    :param advice: What the user can do.
    """

    code: str
    repeatable: bool
    advice: str


FAILURE_CODES = {
    row.code: row
    for row in (
        FailureCode("content_policy_violation", False, "change the prompt or the media: review refused them"),
        FailureCode("invalid_parameters", False, "correct the parameters"),
        FailureCode("image_processing_error", False, "check that the image opens without login and is valid"),
        FailureCode("image_dimension_mismatch", False, "use an image of the size the model asks for"),
        FailureCode("request_cancelled", False, "clear the task to order again if this was not intended"),
        FailureCode("generation_failed_no_content", False, "try another prompt: the model gave nothing"),
        FailureCode("service_error", True, "a retry after about a minute may succeed"),
        FailureCode("generation_timeout", True, "a retry may succeed, or a simpler request"),
        FailureCode("resource_exhausted", True, "a retry after some minutes may succeed"),
        FailureCode("quota_exceeded", True, "order slower, or check the balance; then a retry may succeed"),
        FailureCode("service_unavailable", True, "a retry after some minutes may succeed"),
        FailureCode("resource_not_found", False, "check the ids and links in the request"),
        FailureCode("unknown_error", False, "ask EvoLink's support, naming the job id"),
    )
}

_UNLISTED = FailureCode("", False, "not a documented code, so it is not ordered again: look at the job first")


def failure_code(code: str | None) -> FailureCode:
    """
    Return what a failed job's code means; an unknown code is never worth repeating on our own.

    :param code: ``error.code`` of the job, or ``None`` where EvoLink gave no reason.
    """
    return FAILURE_CODES.get(code or "", _UNLISTED)


def job_error(job: Job, redactor: Redactor = LINKS_ONLY) -> EvoLinkJobError | None:
    """
    Return the error of a job that is over, or ``None`` if it has results.

    :param job: A job whose status is completed, failed or cancelled.
    :param redactor: Hides what the error must not quote from the request.
    """
    if job.status is JobStatus.COMPLETED:
        return None if job.has_output else _no_results(job)
    code = job.error.code if job.error else None
    row = failure_code(code or ("request_cancelled" if job.status is JobStatus.CANCELLED else None))
    said = redactor.apply(job.error.message) if job.error and job.error.message else ""
    reason = said or "no reason given"
    charged = job.credits_charged
    money = "EvoLink does not say what was charged" if charged is None else f"{charged:g} credits were charged"
    return EvoLinkJobFailed(
        f"EvoLink ended the job as {job.status}: “{reason}”; {money}. What to do: {row.advice}",
        repeatable=row.repeatable,
        code=code,
        job_id=job.job_id,
    )


def _no_results(job: Job) -> EvoLinkNoResults:
    return EvoLinkNoResults(
        "EvoLink says the job is completed but gives no links. It may be charged, so it is not ordered again. "
        "What to do: look at the job on the EvoLink dashboard or ask their support",
        job_id=job.job_id,
    )
