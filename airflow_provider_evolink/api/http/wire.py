"""
The wire: build a call, read its answer. Pure, no I/O.

Both clients, on the worker and in the triggerer, take every decision from here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from airflow_provider_evolink.api.errors import (
    EvoLinkRequestError,
    Violation,
)
from airflow_provider_evolink.api.http.failures import (
    _refusal,
    unreadable,
)
from airflow_provider_evolink.api.http.messages import Call, Response, describe_body, json_object, reason
from airflow_provider_evolink.api.jobs.credits import Credits
from airflow_provider_evolink.api.jobs.job import JOB_ID, MAX_LINK, MAX_RESULTS, Job
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot, read_snapshot
from airflow_provider_evolink.api.redaction import Redactor

MAX_BATCH = 50


MAX_BODY = 1024 * 1024
MAX_LISTED = 50
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._-]{16,96}")


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
        redactor = Redactor.of(body)
    except (TypeError, ValueError, RecursionError):
        rule = "must be JSON: text without broken characters, finite numbers, lists and objects"
        raise EvoLinkRequestError(model, [Violation("body", rule)]) from None
    headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
    return Call("order", "POST", path, content, redactor, headers, paid=True)


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


def listed_from(call: Call, answer: Response) -> list[tuple[str, float]]:
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


def job_from(call: Call, answer: Response) -> Job:
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


def credits_from(call: Call, answer: Response) -> Credits:
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


def success(call: Call, answer: Response) -> dict[str, Any]:
    """
    Return the JSON object of a success, or raise what the answer means.

    :param call: The call that was made.
    :param answer: What came back.
    """
    if not 200 <= answer.status < 300:
        raise _refusal(call, answer)
    payload = json_object(answer.content)
    if payload is None:
        unreadable(call, answer, "the answer is not EvoLink's JSON" + describe_body(answer))
    return payload


def read_jobs(job_ids: Sequence[str]) -> Call:
    """
    Build the look at many jobs at once (undocumented; EvoLink's own clients use it).

    :param job_ids: At most ``MAX_BATCH`` of EvoLink's ids.
    """
    content = json.dumps({"task_ids": list(job_ids)}).encode()
    return Call("job status", "POST", "/v1/tasks/batch", content, headers={"Content-Type": "application/json"})


def jobs_from(call: Call, answer: Response) -> dict[str, Job | JobSnapshot]:
    """
    Read the jobs in an answer by their ids. One that is not in it, or not readable, must be read singly.

    :param call: The call that was made.
    :param answer: What came back.
    """
    rows = success(call, answer).get("data")
    if not isinstance(rows, list):
        unreadable(call, answer, "the answer holds no jobs")
    found: dict[str, Job | JobSnapshot] = {}
    for row in rows:
        if seen := read_snapshot(row):
            found[seen.job_id] = seen
            continue
        with suppress(ValidationError):
            job = Job.model_validate(row)
            if len(job.results) <= MAX_RESULTS and all(len(link) <= MAX_LINK for link in job.results):
                found[job.job_id] = job
    return found


def seen_from(call: Call, answer: Response) -> Job | JobSnapshot:
    """
    Read the job in an answer; if it runs, at a glance.

    :param call: The call that was made.
    :param answer: What came back.
    :raises EvoLinkAPIError: refused, or unreadable.
    """
    seen = read_snapshot(success(call, answer))
    return seen if seen is not None and seen.job_id == call.job_id else job_from(call, answer)
