"""What came back from a call, before anybody reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_evolink.api.texts import clean_text


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (lower-case names) and at most ``MAX_BODY`` bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def request_id(answer: Answer) -> str | None:
    """
    Return EvoLink's id of a call, for their support.

    :param answer: What came back.
    """
    value = answer.headers.get("x-request-id") or answer.headers.get("x-oneapi-request-id")
    return clean_text(value, 80) if value else None


def looks_like(answer: Answer) -> str:
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
