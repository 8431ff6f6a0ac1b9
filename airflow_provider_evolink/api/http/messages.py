"""A call to EvoLink and its response, before anybody interprets it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor, sanitize

MAX_BODY = 1024 * 1024  # bytes of a response


@dataclass(frozen=True)
class Call:
    """
    One HTTP call to make.

    :param name: What error texts call it.
    :param content: The request body as bytes of JSON.
    :param redactor: Hides what no error may quote from the body, such as the prompt.
    :param job_id: The job that the call is about.
    :param paid: Accepting it costs credits: it is never sent twice unless provably not accepted.
    :param consequence: What a refusal means for the user, where that is not obvious.
    :param advice: What to do about some of EvoLink's codes, where the general advice does not help.
    """

    name: str
    method: str
    path: str
    content: bytes | None = None
    redactor: Redactor = LINKS_ONLY
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    paid: bool = False
    consequence: str = ""
    advice: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        """The idempotency key of an order."""
        return self.headers.get("Idempotency-Key")


@dataclass(frozen=True)
class Response:
    """Status, headers (lower-case names) and at most ``MAX_BODY`` bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def request_id(response: Response) -> str | None:
    """Return EvoLink's id of a call, for their support."""
    value = response.headers.get("x-request-id") or response.headers.get("x-oneapi-request-id")
    return sanitize(value, 80) if value else None


def describe_body(response: Response) -> str:
    """Describe a body that is not EvoLink's JSON."""
    head = response.content[:200].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return " (an HTML page)"
    if 300 <= response.status < 400:
        return " (a redirect, not followed)"
    return " (empty)" if not head else ""


def json_object(content: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; anything else, however broken, is ``None``."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def reason(payload: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """
    Return code and message of an error body in any of EvoLink's envelopes; no code if it is not one.

    :param payload: The JSON object of a response.
    """
    if payload is None:
        return None, None
    error = payload.get("error")
    if isinstance(error, str) and error.strip():
        error = {**payload, "message": error}
    elif not isinstance(error, dict) or not error:
        error = payload
    message = _text(error.get("message")) or _text(error.get("msg"))
    code = _text(error.get("code"))
    if code is None and (message or error is not payload or payload.get("success") is False):
        code = _text(error.get("type")) or "unnamed"
    param = _text(error.get("param"))
    code = sanitize(code, 80) or None if code else None
    return code, f"{message} (field {sanitize(param, 80)})" if message and param else message


def _text(value: Any) -> str | None:
    """Return a text or number as text, anything else as ``None``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None
