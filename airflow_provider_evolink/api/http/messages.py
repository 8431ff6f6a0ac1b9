"""What came back from a call, before anybody reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor, sanitize


@dataclass(frozen=True)
class Response:
    """What came back: status, headers (lower-case names) and at most ``MAX_BODY`` bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def request_id(answer: Response) -> str | None:
    """
    Return EvoLink's id of a call, for their support.

    :param answer: What came back.
    """
    value = answer.headers.get("x-request-id") or answer.headers.get("x-oneapi-request-id")
    return sanitize(value, 80) if value else None


def describe_body(answer: Response) -> str:
    """
    Say what an answer is that is not EvoLink's JSON.

    :param answer: What came back.
    """
    head = answer.content[:200].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return " (an HTML page)"
    if 300 <= answer.status < 400:
        return " (a redirect, not followed)"
    return " (empty)" if not head else ""


@dataclass(frozen=True)
class Call:
    """
    One HTTP call to make.

    :param content: The request body as bytes of JSON.
    :param redactor: Hides what no error may quote from the body, such as the prompt.
    :param paid: Accepting it costs credits: it is never sent twice unless provably not accepted.
    """

    name: str
    method: str
    path: str
    content: bytes | None = None
    redactor: Redactor = LINKS_ONLY
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    paid: bool = False

    @property
    def key(self) -> str | None:
        """The idempotency key of an order."""
        return self.headers.get("Idempotency-Key")


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
    code = sanitize(code, 80) or None if code else None
    return code, f"{message} (field {sanitize(param, 80)})" if message and param else message


def _word(value: Any) -> str | None:
    """Return a text or number as text, anything else as ``None``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None
