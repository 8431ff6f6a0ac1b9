"""
The wire: build a call, read its answer, say which failures may be sent again. Pure, no I/O.

Both clients, on the worker and in the triggerer, take every decision from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
from pydantic import ValidationError

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
    clean_text,
)
from airflow_provider_evolink.api.models import MAX_LINK, MAX_RESULTS, Credits, Job

MAX_BODY = 1024 * 1024
TRIES = 3
MAX_RETRY_AFTER = 3600.0


@dataclass(frozen=True)
class Call:
    """
    One HTTP call to make.

    :param paid: Accepting it costs credits: it is never sent twice unless provably not accepted.
    """

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    paid: bool = False

    @property
    def key(self) -> str | None:
        """The idempotency key of an order."""
        return self.headers.get("Idempotency-Key")


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (lower-case names) and at most ``MAX_BODY`` bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def submit(path: str, body: Mapping[str, Any], idempotency_key: str) -> Call:
    """
    Build an order.

    :param path: Endpoint of the model's kind, e.g. ``/v1/videos/generations``.
    :param body: Checked request body.
    :param idempotency_key: 16-96 characters; EvoLink answers a repeated key with the first job (undocumented).
    """
    return Call("order", "POST", path, body, {"Idempotency-Key": idempotency_key}, paid=True)


def read_job(job_id: str) -> Call:
    """
    Build the look at one job.

    :param job_id: EvoLink's id; percent-encoded, so it cannot leave the path.
    """
    return Call("job status", "GET", f"/v1/tasks/{quote(job_id, safe='')}", job_id=job_id)


def read_credits() -> Call:
    """Build the look at the balance: free, changes nothing."""
    return Call("credits", "GET", "/v1/credits")


def job_from(call: Call, answer: Answer) -> Job:
    """
    Read the job in an answer.

    :param call: The call that was made.
    :param answer: What came back.
    :raises EvoLinkAPIError: refused, or unreadable on a read.
    :raises EvoLinkSubmissionUnknown: an order whose answer names no job.
    """
    payload = _payload(call, answer)
    try:
        job = Job.model_validate(payload)
    except ValidationError:
        _unreadable(call, answer, "the answer names no job")
    if call.job_id and job.job_id != call.job_id:
        _unreadable(call, answer, "the answer is about another job")
    if len(job.results) > MAX_RESULTS or any(len(link) > MAX_LINK for link in job.results):
        _unreadable(call, answer, f"the answer has more than {MAX_RESULTS} links or a link over {MAX_LINK} characters")
    return job


def credits_from(call: Call, answer: Answer) -> Credits:
    """
    Read the balance in an answer.

    :param call: The call that was made.
    :param answer: What came back; HTTP 200 with ``success: false`` is a failure too.
    """
    payload = _payload(call, answer)
    if payload.get("success") is False or not isinstance(payload.get("data"), dict):
        raise _refusal(call, Answer(answer.status if answer.status >= 400 else 502, answer.headers, answer.content))
    try:
        return Credits.model_validate(payload["data"])
    except ValidationError:
        _unreadable(call, answer, "the answer holds no balance")


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
    what = type(error).__name__
    if call.paid and not unsent:
        return _unknown(call, f"the connection ended without an answer ({what})")
    return EvoLinkUnavailable(
        f"{call.name}: EvoLink could not be reached ({what})" + ("; nothing was sent" if unsent else ""),
        unsent=unsent,
        job_id=call.job_id,
    )


def may_send_again(call: Call, error: BaseException) -> bool:
    """
    Tell whether a call may be sent once more after an error.

    A read may after every passing fault. An order only if EvoLink provably did not accept it.

    :param call: The call that failed.
    :param error: What came of it.
    """
    if isinstance(error, EvoLinkRateLimited):
        return True
    return isinstance(error, EvoLinkUnavailable) and (error.unsent or not call.paid)


def wait_before_retry(error: BaseException | None, tries: int, *, longest: float, jitter: float) -> float | None:
    """
    Return the seconds to wait before the next try, or ``None`` to give up.

    :param error: The last failure.
    :param tries: How often the call was sent so far.
    :param longest: A longer ``Retry-After`` is left to the caller.
    :param jitter: A random number from 0 to 1.
    """
    if tries >= TRIES:
        return None
    asked = error.retry_after if isinstance(error, EvoLinkError) else None
    if asked is not None:
        return asked if asked <= longest else None
    return float(min(8.0, 2.0**tries) * (0.25 + 0.75 * jitter))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """
    Read ``Retry-After`` (seconds or an HTTP date); nonsense counts as absent, an hour is the most.

    :param headers: Headers of the answer, lower-case names.
    :param now: Present moment, for tests.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return None
        seconds = max(0.0, seconds)
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


_BY_STATUS: dict[int, type[EvoLinkAPIError]] = {
    400: EvoLinkInvalidError,
    401: EvoLinkAuthError,
    402: EvoLinkCreditsError,
    403: EvoLinkAccessError,
    404: EvoLinkNotFoundError,
    405: EvoLinkInvalidError,
    413: EvoLinkInvalidError,
    415: EvoLinkInvalidError,
    422: EvoLinkInvalidError,
    429: EvoLinkRateLimited,
}
# Codes that say more than the status (evolink-api: error codes of the gateway, read by EvoLink's own clients).
_BY_CODE: dict[str, type[EvoLinkAPIError]] = {
    **dict.fromkeys(
        (
            "content_policy_violation",
            "content_filter",
            "sensitive_content",
            "moderation_blocked",
            "input_moderation_failed",
        ),
        EvoLinkContentError,
    ),
    **dict.fromkeys(("invalid_token", "key_disabled", "key_expired", "user_disabled"), EvoLinkAuthError),
    **dict.fromkeys(("key_model_not_allowed", "model_access_denied", "ip_restricted"), EvoLinkAccessError),
    **dict.fromkeys(("no_available_channel", "model_unavailable", "channel_selection_failed"), EvoLinkUnavailable),
}
_MAY_HAVE_PAID = frozenset({"idempotency_conflict", "paid_outcome_unknown"})
_ADVICE: dict[type[EvoLinkAPIError], str] = {
    EvoLinkAuthError: "check the API key in the connection's password; it may be expired or disabled",
    EvoLinkAccessError: "give the key access to this model, or use another key or model",
    EvoLinkCreditsError: "top up the account or raise the key's limit, then clear the task",
    EvoLinkInvalidError: "correct the request",
    EvoLinkContentError: "change the prompt or the media; the content review refused them",
    EvoLinkNotFoundError: "check the id and that the key belongs to the account that ordered the job",
    EvoLinkRateLimited: "call less often, or let fewer tasks run at once (a pool)",
    EvoLinkUnavailable: "try again later",
}


def _payload(call: Call, answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a success, or raise what the answer means."""
    if answer.status != 200:
        raise _refusal(call, answer)
    payload = _json(answer.content)
    if payload is None:
        _unreadable(call, answer, "the answer is not EvoLink's JSON" + _looks_like(answer))
    return payload


def _refusal(call: Call, answer: Answer) -> EvoLinkError:
    """Turn an error answer into the error of its reaction."""
    code, message = _reason(_json(answer.content))
    facts: dict[str, Any] = {"code": code, "status_code": answer.status, "request_id": _request_id(answer)}
    if call.paid and not _refused_before_charging(answer, code):
        return _unknown(call, f"HTTP {answer.status}{_looks_like(answer)}", **facts)
    kind = _BY_STATUS.get(answer.status, EvoLinkUnavailable)
    if kind is not EvoLinkUnavailable:
        kind = _BY_CODE.get(code or "", kind)
    if call.paid and kind is EvoLinkNotFoundError:
        kind = EvoLinkInvalidError
    said = f": “{clean_text(message)}”" if message else ""
    return kind(
        f"{call.name}: EvoLink refused{said}. What to do: {_ADVICE[kind]}",
        job_id=call.job_id,
        retry_after=retry_after(answer.headers),
        **facts,
    )


def _refused_before_charging(answer: Answer, code: str | None) -> bool:
    """Tell whether an order was certainly not accepted: a documented status with EvoLink's own error body."""
    return answer.status in _BY_STATUS and code is not None and code not in _MAY_HAVE_PAID


def _unknown(call: Call, why: str, **facts: Any) -> EvoLinkSubmissionUnknown:
    return EvoLinkSubmissionUnknown(
        f"the order was sent and its outcome is unknown: {why}. It may be running and cost credits, so it is not "
        "sent again. What to do: look for it on the EvoLink dashboard (by time and model) before ordering again; "
        f"its idempotency key is {call.key}",
        idempotency_key=call.key,
        **facts,
    )


def _unreadable(call: Call, answer: Answer, why: str) -> NoReturn:
    if call.paid:
        raise _unknown(call, why, status_code=answer.status, request_id=_request_id(answer))
    raise EvoLinkUnavailable(
        f"{call.name}: {why}; try again later",
        status_code=answer.status,
        request_id=_request_id(answer),
        job_id=call.job_id,
    )


def _json(content: bytes) -> dict[str, Any] | None:
    """Read a JSON object; anything else, however broken, is ``None``."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _reason(payload: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """Return code and message of an error body in any of EvoLink's envelopes."""
    if payload is None:
        return None, None
    error = payload.get("error", payload)
    if not isinstance(error, dict):
        return "unnamed", str(error)
    code = error.get("code")
    if not isinstance(code, str | int) or isinstance(code, bool) or code == "":
        code = error.get("type") or "unnamed"
    message = error.get("message") or error.get("msg")
    param = error.get("param")
    text = str(message) if message else None
    return clean_text(code, 80), f"{text} (field {clean_text(param, 80)})" if text and param else text


def _request_id(answer: Answer) -> str | None:
    value = answer.headers.get("x-request-id") or answer.headers.get("x-oneapi-request-id")
    return clean_text(value, 80) if value else None


def _looks_like(answer: Answer) -> str:
    head = answer.content[:200].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return " (an HTML page)"
    return " (empty)" if not head else ""
