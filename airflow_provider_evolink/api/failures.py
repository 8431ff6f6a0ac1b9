"""
What EvoLink's codes mean and what to do: of a refused call, and of a failed job.

`FAILURE_CODES` has one row per documented code of a failed job (EvoLink's error page); the same rows make the table
in the documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.errors import (
    EvoLinkAccessError,
    EvoLinkAPIError,
    EvoLinkAuthError,
    EvoLinkContentError,
    EvoLinkCreditsError,
    EvoLinkInvalidError,
    EvoLinkJobError,
    EvoLinkJobFailed,
    EvoLinkNoResults,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.models import Job, JobStatus
from airflow_provider_evolink.api.texts import clean_text, without

REFUSAL_STATUS: dict[int, type[EvoLinkAPIError]] = {
    400: EvoLinkInvalidError,
    401: EvoLinkAuthError,
    402: EvoLinkCreditsError,
    403: EvoLinkAccessError,
    404: EvoLinkNotFoundError,
    405: EvoLinkInvalidError,
    410: EvoLinkInvalidError,
    413: EvoLinkInvalidError,
    415: EvoLinkInvalidError,
    422: EvoLinkInvalidError,
    429: EvoLinkRateLimited,
}
# Statuses that a proxy or a firewall sends as well: they are EvoLink's word only with EvoLink's error body.
_NEEDS_BODY = frozenset({400, 403, 404, 405, 410, 413, 415, 422})
# Codes that say more than the status (evolink-api: error codes of the gateway, read by EvoLink's own clients).
_BY_CODE: dict[str, type[EvoLinkAPIError]] = {
    code: kind
    for kind, codes in (
        (
            EvoLinkContentError,
            "content_policy_violation content_filter sensitive_content moderation_blocked input_moderation_failed",
        ),
        (EvoLinkAuthError, "invalid_token key_disabled key_expired user_disabled"),
        (EvoLinkAccessError, "key_model_not_allowed model_access_denied ip_restricted"),
        (
            EvoLinkCreditsError,
            (
                "insufficient_quota insufficient_user_quota quota_not_enough account_balance_insufficient "
                "insufficient_token_quota key_quota_exhausted token_daily_quota_exceeded key_daily_quota_exhausted"
            ),
        ),
        (EvoLinkUnavailable, "no_available_channel model_unavailable channel_selection_failed service_unavailable"),
    )
    for code in codes.split()
}
MAY_HAVE_PAID = frozenset({"idempotency_conflict", "paid_outcome_unknown"})
REFUSAL_ADVICE: dict[type[EvoLinkAPIError], str] = {
    EvoLinkAuthError: "check the API key in the connection's password; it may be expired or disabled",
    EvoLinkAccessError: "give the key access to this model, or use another key or model",
    EvoLinkCreditsError: "top up the account or raise the key's limit, then clear the task",
    EvoLinkInvalidError: "correct the request",
    EvoLinkContentError: "change the prompt or the media; the content review refused them",
    EvoLinkNotFoundError: "check the id and that the key belongs to the account that ordered the job",
    EvoLinkRateLimited: "call less often, or let fewer tasks run at once (a pool)",
    EvoLinkUnavailable: "try again later",
}


def refusal(status: int, code: str | None) -> type[EvoLinkAPIError]:
    """
    Return the error class of an answer that refuses a call.

    :param status: HTTP status; a success with an error body is told by its code alone.
    :param code: Code in EvoLink's error body; ``None`` where the body is not EvoLink's.
    """
    if status in _NEEDS_BODY and code is None:
        return EvoLinkUnavailable
    if status < 400 and code is not None and re.fullmatch("[45][0-9]{2}", code):
        status = int(code)
    kind = REFUSAL_STATUS.get(status, EvoLinkUnavailable)
    return _BY_CODE.get(code or "", kind) if kind is not EvoLinkUnavailable or status < 400 else kind


def refused_before_charging(status: int, payload: dict[str, Any] | None) -> bool:
    """
    Tell whether an order was certainly not accepted: a documented status with EvoLink's own error body.

    :param status: HTTP status.
    :param payload: The JSON object of the answer, if it is one.
    """
    if status not in REFUSAL_STATUS or payload is None or reason(payload)[0] is None:
        return False
    inner = payload.get("error")
    words = [place.get(name) for place in (payload, inner) if isinstance(place, dict) for name in ("code", "type")]
    return not any(str(word).strip().lower() in MAY_HAVE_PAID for word in words)


def json_object(content: bytes) -> dict[str, Any] | None:
    """
    Read a JSON object; anything else, however broken, is ``None``.

    :param content: Body of an answer.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def reason(payload: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """
    Return code and message of an error body in any of EvoLink's envelopes; no code if it is not one.

    :param payload: The JSON object of an answer.
    """
    if payload is None:
        return None, None
    error = payload.get("error")
    if isinstance(error, str) and error.strip():
        error = {**payload, "message": error}
    elif not isinstance(error, dict) or not error:
        error = payload
    message = _word(error.get("message")) or _word(error.get("msg"))
    code = _word(error.get("code"))
    if code is None and (message or error is not payload or payload.get("success") is False):
        code = _word(error.get("type")) or "unnamed"
    param = _word(error.get("param"))
    code = clean_text(code, 80) or None if code else None
    return code, f"{message} (field {clean_text(param, 80)})" if message and param else message


def _word(value: Any) -> str | None:
    """Return a text or number as text, anything else as ``None``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


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


def job_error(job: Job, private: Sequence[str] = ()) -> EvoLinkJobError | None:
    """
    Return the error of a job that is over, or ``None`` if it has results.

    :param job: A job whose status is completed, failed or cancelled.
    :param private: Texts of the order that the error must not repeat.
    """
    if job.status is JobStatus.COMPLETED:
        return None if job.has_output else _no_results(job)
    code = job.error.code if job.error else None
    row = failure_code(code or ("request_cancelled" if job.status is JobStatus.CANCELLED else None))
    said = clean_text(without(tuple(private), job.error.message)) if job.error and job.error.message else ""
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
