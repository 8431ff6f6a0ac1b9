"""
The wire: build a call, read its answer. Pure, no I/O.

Both clients, on the worker and in the triggerer, take every decision from here.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from airflow_provider_evolink.api.answers import Answer, looks_like, request_id
from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkRequestError,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
    Violation,
)
from airflow_provider_evolink.api.failures import REFUSAL_ADVICE, json_object, reason, refusal, refused_before_charging
from airflow_provider_evolink.api.models import JOB_ID, MAX_LINK, MAX_RESULTS, Credits, Job
from airflow_provider_evolink.api.outcomes import retry_after
from airflow_provider_evolink.api.texts import clean_text, private_texts, without

MAX_BODY = 1024 * 1024
MAX_LISTED = 50
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._-]{16,96}")


@dataclass(frozen=True)
class Call:
    """
    One HTTP call to make.

    :param content: The request body as bytes of JSON.
    :param private: Texts of the body that no error may show, such as the prompt.
    :param paid: Accepting it costs credits: it is never sent twice unless provably not accepted.
    """

    name: str
    method: str
    path: str
    content: bytes | None = None
    private: tuple[str, ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    paid: bool = False

    @property
    def key(self) -> str | None:
        """The idempotency key of an order."""
        return self.headers.get("Idempotency-Key")


def submit(path: str, body: Mapping[str, Any], idempotency_key: str) -> Call:
    """
    Build an order.

    :param path: Endpoint of the model's kind, e.g. ``/v1/videos/generations``.
    :param body: Checked request body.
    :param idempotency_key: 16-96 characters; EvoLink answers a repeated key with the first job (undocumented).
    :raises EvoLinkRequestError: the body names no model or is not JSON, or the key cannot be used.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise EvoLinkRequestError("an unnamed model", [Violation("model", "must name a model")])
    if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        rule = "16 to 96 letters, digits, dots, underscores or hyphens"
        raise EvoLinkRequestError(model, [Violation("idempotency_key", rule)])
    try:
        content = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        private = tuple(private_texts(body))
    except (TypeError, ValueError, RecursionError):
        rule = "must be JSON: text without broken characters, finite numbers, lists and objects"
        raise EvoLinkRequestError(model, [Violation("body", rule)]) from None
    headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
    return Call("order", "POST", path, content, private, headers, paid=True)


def read_job(job_id: str) -> Call:
    """
    Build the look at one job.

    :param job_id: EvoLink's id; percent-encoded, so it cannot leave the path.
    :raises EvoLinkRequestError: EvoLink gives no such ids.
    """
    if not JOB_ID.fullmatch(job_id):
        rule = "must be an id as EvoLink gives them: at most 128 letters, digits, dots, underscores, colons, hyphens"
        raise EvoLinkRequestError("a job's status", [Violation("job_id", rule)])
    return Call("job status", "GET", f"/v1/tasks/{quote(job_id, safe='')}", job_id=job_id)


def list_jobs(model: str) -> Call:
    """
    Build the look at the account's newest jobs of a model (undocumented; EvoLink's own clients use it).

    :param model: EvoLink's name of the model.
    """
    return Call("job list", "GET", f"/v1/tasks?model={quote(model, safe='')}&page=1&page_size={MAX_LISTED}")


def listed_from(call: Call, answer: Answer) -> list[tuple[str, float]]:
    """
    Read ids and times of a list of jobs. It holds neither prompts nor links.

    :param call: The call that was made.
    :param answer: What came back.
    """
    rows = success(call, answer).get("data")
    if not isinstance(rows, list):
        unreadable(call, answer, "the answer holds no list")
    found = []
    for row in rows:
        with suppress(ValidationError, TypeError):
            job = Job.model_validate({**row, "created": row.get("created_at")})
            found.append((job.job_id, job.created or 0.0))
    return found


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
    payload = success(call, answer)
    try:
        job = Job.model_validate(payload)
    except ValidationError:
        if reason(payload)[0]:
            raise _refusal(call, answer) from None
        unreadable(call, answer, "the answer names no job")
    if call.job_id and job.job_id != call.job_id:
        unreadable(call, answer, "the answer is about another job")
    if len(job.results) > MAX_RESULTS or any(len(link) > MAX_LINK for link in job.results):
        if call.paid:
            return job.model_copy(update={"results": (), "outputs": ()})
        unreadable(call, answer, f"the answer has more than {MAX_RESULTS} links or a link over {MAX_LINK} characters")
    return job


def credits_from(call: Call, answer: Answer) -> Credits:
    """
    Read the balance in an answer.

    :param call: The call that was made.
    :param answer: What came back; HTTP 200 with ``success: false`` is a failure too.
    """
    payload = success(call, answer)
    if payload.get("success") is False:
        raise _refusal(call, answer)
    if not isinstance(payload.get("data"), dict):
        unreadable(call, answer, "the answer holds no balance")
    return Credits.model_validate(payload["data"])


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


def success(call: Call, answer: Answer) -> dict[str, Any]:
    """
    Return the JSON object of a success, or raise what the answer means.

    :param call: The call that was made.
    :param answer: What came back.
    """
    if not 200 <= answer.status < 300:
        raise _refusal(call, answer)
    payload = json_object(answer.content)
    if payload is None:
        unreadable(call, answer, "the answer is not EvoLink's JSON" + looks_like(answer))
    return payload


def _refusal(call: Call, answer: Answer) -> EvoLinkError:
    """Turn an error answer into the error of its reaction."""
    payload = json_object(answer.content)
    code, message = reason(payload)
    facts: dict[str, Any] = {"code": code, "status_code": answer.status, "request_id": request_id(answer)}
    said = f": “{clean_text(without(call.private, message))}”" if message else ""
    if call.paid and not refused_before_charging(answer.status, payload):
        return _unknown(call, f"HTTP {answer.status}{looks_like(answer)}{said}", **facts)
    kind = refusal(answer.status, code)
    if call.paid and kind is EvoLinkNotFoundError:
        kind = EvoLinkInvalidError
    what = f"no usable answer{looks_like(answer)}" if kind is EvoLinkUnavailable else "EvoLink refused"
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


def unreadable(call: Call, answer: Answer, why: str) -> NoReturn:
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
