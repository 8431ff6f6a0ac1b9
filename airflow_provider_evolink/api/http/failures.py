"""
What EvoLink's codes mean and what to do: of a refused call, and of a failed job.

`FAILURE_CODES` has one row per documented code of a failed job (EvoLink's error page); the same rows make the table
in the documentation.
"""

from __future__ import annotations

import re
import ssl
from typing import Any, NoReturn

import httpx

from airflow_provider_evolink.api.errors import (
    EvoLinkAccessError,
    EvoLinkAPIError,
    EvoLinkAuthError,
    EvoLinkContentError,
    EvoLinkCreditsError,
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.http.messages import Call, Response, describe_body, json_object, reason, request_id
from airflow_provider_evolink.api.http.retries import retry_after

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


def network_error(call: Call, error: Exception) -> EvoLinkError:
    """
    Say what a failure of the network means for a call.

    :param call: The call that was under way.
    :param error: What the HTTP library raised.
    """
    unsent = isinstance(
        error,
        httpx.ConnectError
        | httpx.ConnectTimeout
        | httpx.PoolTimeout
        | httpx.ProxyError
        | httpx.UnsupportedProtocol
        | httpx.LocalProtocolError,
    )
    what = "its certificate is not accepted" if _is_certificate(error) else type(error).__name__
    if call.paid and not unsent:
        return _unknown(call, f"the connection ended without an answer ({what})")
    return EvoLinkUnavailable(
        f"{call.name}: EvoLink could not be reached ({what})" + ("; nothing was sent" if unsent else ""),
        unsent=unsent,
        job_id=call.job_id,
    )


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refusal(call: Call, answer: Response) -> EvoLinkError:
    """Turn an error answer into the error of its reaction."""
    payload = json_object(answer.content)
    code, message = reason(payload)
    facts: dict[str, Any] = {"code": code, "status_code": answer.status, "request_id": request_id(answer)}
    said = f": “{call.redactor.apply(message)}”" if message else ""
    if call.paid and not refused_before_charging(answer.status, payload):
        return _unknown(call, f"HTTP {answer.status}{describe_body(answer)}{said}", **facts)
    kind = refusal(answer.status, code)
    if call.paid and kind is EvoLinkNotFoundError:
        kind = EvoLinkInvalidError
    what = f"no usable answer{describe_body(answer)}" if kind is EvoLinkUnavailable else "EvoLink refused"
    return kind(
        f"{call.name}: {what}{said}. What to do: {REFUSAL_ADVICE[kind]}",
        job_id=call.job_id,
        retry_after=retry_after(answer.headers),
        **facts,
    )


def _unknown(call: Call, why: str, **facts: Any) -> EvoLinkSubmissionUnknown:
    return EvoLinkSubmissionUnknown(
        f"the order was sent and its outcome is unknown: {why}. It may be running and cost credits, so it is not "
        "sent again. What to do: look for it on the EvoLink dashboard (by time and model) before ordering again; "
        f"its idempotency key is {call.key}",
        idempotency_key=call.key,
        **facts,
    )


def unreadable(call: Call, answer: Response, why: str) -> NoReturn:
    """
    Raise what a success that cannot be read means.

    :param call: The call that was made.
    :param answer: What came back.
    :param why: What is wrong with it.
    """
    if call.paid:
        raise _unknown(call, why, status_code=answer.status, request_id=request_id(answer))
    raise EvoLinkUnavailable(
        f"{call.name}: {why}; try again later",
        status_code=answer.status,
        request_id=request_id(answer),
        job_id=call.job_id,
    )
