"""What a call that was refused, lost or not understood means: one error of ours for each, with advice. Pure."""

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
# Statuses that a proxy or a firewall sends as well: they count as EvoLink's only with EvoLink's error body.
_NEEDS_BODY = frozenset({400, 403, 404, 405, 410, 413, 415, 422})
# Codes that are more precise than the status, as EvoLink's own clients read them. Numbers are those of the files API:
# a full quota (40003) is transient, since files expire, although it comes with HTTP 400.
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
        (
            EvoLinkUnavailable,
            "no_available_channel model_unavailable channel_selection_failed service_unavailable 40003 50001",
        ),
    )
    for code in codes.split()
}
_CODE = re.compile(r"[\w.:+-]{1,80}", re.ASCII)  # anything else is a text, which may quote the request
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
    Return the error class of a response that refuses a call.

    :param status: HTTP status; of a success with an error body only the code counts.
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
    Return whether an order was certainly not accepted: a documented status with EvoLink's own error body.

    :param status: HTTP status.
    :param payload: The JSON object of the response, if it is one.
    """
    if status not in REFUSAL_STATUS or payload is None or reason(payload)[0] is None:
        return False
    inner = payload.get("error")
    codes = [body.get(name) for body in (payload, inner) if isinstance(body, dict) for name in ("code", "type")]
    return not any(str(code).strip().lower() in MAY_HAVE_PAID for code in codes)


def network_error(call: Call, error: Exception) -> EvoLinkError:
    """
    Return what a failure of the network means for a call.

    :param call: The call.
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
    cause = "its certificate was not accepted" if is_certificate_error(error) else type(error).__name__
    if call.paid and not unsent:
        return _unknown_outcome(call, f"the connection ended without a response ({cause})")
    return EvoLinkUnavailable(
        f"{call.name}: EvoLink could not be reached ({cause})" + ("; nothing was sent" if unsent else ""),
        unsent=unsent,
        job_id=call.job_id,
    )


def is_certificate_error(error: BaseException | None) -> bool:
    """Return whether a connection failed because of the server's certificate."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def refusal_error(call: Call, response: Response) -> EvoLinkError:
    """
    Return the error of a response that refuses a call.

    :param call: The call.
    :param response: Any response that is not a success.
    """
    payload = json_object(response.content)
    code, message = reason(payload)
    shown = code if code is None or _CODE.fullmatch(code) else call.redactor.apply(code)
    details: dict[str, Any] = {"code": shown, "status_code": response.status, "request_id": request_id(response)}
    quoted = f": “{call.redactor.apply(message)}”" if message and not call.redactor.hides_all else ""
    if call.paid and not refused_before_charging(response.status, payload):
        return _unknown_outcome(call, f"HTTP {response.status}{describe_body(response)}{quoted}", **details)
    kind = refusal(response.status, code)
    if call.paid and kind is EvoLinkNotFoundError:
        kind = EvoLinkInvalidError
    is_refused = kind is not EvoLinkUnavailable or code in call.advice
    what = "EvoLink refused" if is_refused else f"no usable response{describe_body(response)}"
    advice = call.advice.get(code or "", REFUSAL_ADVICE[kind])
    return kind(
        f"{call.name}: {what}{quoted}{call.consequence}. What to do: {advice}",
        job_id=call.job_id,
        retry_after=retry_after(response.headers),
        **details,
    )


def _unknown_outcome(call: Call, why: str, **details: Any) -> EvoLinkSubmissionUnknown:
    return EvoLinkSubmissionUnknown(
        f"the order was sent and its outcome is unknown: {why}. It may be running and cost credits, so it is not "
        "sent again. What to do: look for it on the EvoLink dashboard (by time and model) before submitting again; "
        f"its idempotency key is {call.key}",
        idempotency_key=call.key,
        **details,
    )


def unreadable(call: Call, response: Response, why: str) -> NoReturn:
    """
    Raise what a success that cannot be read means.

    :param call: The call.
    :param response: A response with the status of a success.
    :param why: What is wrong with it.
    :raises EvoLinkSubmissionUnknown: the call was an order.
    :raises EvoLinkUnavailable: it was not.
    """
    if call.paid:
        raise _unknown_outcome(call, why, status_code=response.status, request_id=request_id(response))
    raise EvoLinkUnavailable(
        f"{call.name}: {why}; try again later",
        status_code=response.status,
        request_id=request_id(response),
        job_id=call.job_id,
    )
