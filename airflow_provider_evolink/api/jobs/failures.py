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

_UNDOCUMENTED = "the status is not one that EvoLink documents, so nothing is submitted again: check the job first"
_UNLISTED = FailureCode("", False, "the code is not documented, so nothing is submitted again: check the job first")


def failure_code(code: str | None) -> FailureCode:
    """
    Return what the code of a failed job means; an unknown code never leads to another submit.

    :param code: ``error.code`` of the job, or ``None`` if EvoLink sent none.
    """
    return FAILURE_CODES.get(code or "", _UNLISTED)


def is_repeatable(job: Job) -> bool:
    """
    Return whether the same request may succeed if it is submitted again.

    :param job: A job without a result. A status that EvoLink does not document proves nothing that may cost money.
    """
    return job.has_documented_status and failure_code(job.error.code if job.error else None).repeatable


def job_error(job: Job, redactor: Redactor | None = None) -> EvoLinkJobError | None:
    """
    Return the error of a job that has ended, or ``None`` if it has a result.

    :param job: A job whose status is completed, failed or cancelled.
    :param redactor: Hides quotes of the request in EvoLink's reason. Default: only links are removed.
    """
    if job.status is JobStatus.COMPLETED:
        return None if job.has_output else _no_results(job, redactor)
    code = job.error.code if job.error else None
    row = failure_code(code or ("request_cancelled" if job.status is JobStatus.CANCELLED else None))
    charged = job.credits_charged
    cost = "EvoLink did not report a charge" if charged is None else f"{charged:g} credits were charged"
    return EvoLinkJobFailed(
        f"EvoLink reported the job as {_status(job)}: “{_reason(job, redactor) or 'no reason given'}”; {cost}. What to "
        f"do: {row.advice if job.has_documented_status or not row.repeatable else _UNDOCUMENTED}",
        repeatable=is_repeatable(job),
        credits_charged=charged,
        code=code,
        job_id=job.job_id,
    )


def remarks(job: Job, redactor: Redactor) -> list[str]:
    """
    Return what is odd about a job that has ended, one line each for the log.

    :param job: The job as just read.
    :param redactor: Hides quotes of the request.
    """
    if not job.status.is_over:
        return []
    lines = [] if job.has_documented_status else [f"EvoLink reports it as {_status(job)}"]
    lines += [f"{unusable[:1].upper()}{unusable[1:]}" for unusable in job.unusable]
    if job.has_output and (reason := _reason(job, redactor)):
        lines.append(f"EvoLink remarks on it: “{reason}”")
    return lines


def _status(job: Job) -> str:
    """Return the status; with EvoLink's word where that is not documented."""
    if job.has_documented_status:
        return str(job.status)
    return f"{job.status} (its word is “{job.status_text}”, which it does not document)"


def _reason(job: Job, redactor: Redactor | None) -> str:
    stated = job.error.message if job.error else None
    return sanitize((redactor or Redactor()).apply(stated)) if stated else ""


def _no_results(job: Job, redactor: Redactor | None) -> EvoLinkNoResults:
    reason = _reason(job, redactor)
    why = (f": “{reason}”" if reason else "") + (f" ({'; '.join(job.unusable[:3])})" if job.unusable else "")
    kind = "usable results" if job.unusable else "results"
    return EvoLinkNoResults(
        f"EvoLink reported the job as completed, but without {kind}{why}. It may have been charged, so nothing is "
        "submitted again. What to do: check the job on the EvoLink dashboard, or contact their support",
        job_id=job.job_id,
    )
