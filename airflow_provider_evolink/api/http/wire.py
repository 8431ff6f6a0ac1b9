"""
The calls to EvoLink and how their responses are read. Pure, no I/O.

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

from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation
from airflow_provider_evolink.api.http.failures import refusal_error, unreadable
from airflow_provider_evolink.api.http.messages import Call, Response, describe_body, json_object, reason
from airflow_provider_evolink.api.jobs.credits import Credits
from airflow_provider_evolink.api.jobs.envelope import job_in
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.jobs.job_id import JOB_ID
from airflow_provider_evolink.api.jobs.result_links import MAX_RESULTS
from airflow_provider_evolink.api.jobs.snapshot import JobSnapshot, read_snapshot
from airflow_provider_evolink.api.redaction import Redactor

MAX_BATCH = 50  # jobs in one read
MAX_LISTED = 50
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._-]{16,96}")
_JSON = {"Content-Type": "application/json"}

# Calls ----------------------------------------------------------------------------------------------------------------


def submit(path: str, body: Mapping[str, Any], idempotency_key: str) -> Call:
    """
    Build the paid call.

    :param path: Endpoint of the model's kind, e.g. ``/v1/videos/generations``.
    :param body: Checked request body.
    :param idempotency_key: 16-96 characters; EvoLink responds to a repeated key with the first job (undocumented).
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
    headers = {"Idempotency-Key": idempotency_key, **_JSON}
    return Call("order", "POST", path, content, redactor, headers, paid=True)


def read_job(job_id: str) -> Call:
    """
    Build the call that reads one job. No error quotes what EvoLink says about it: that may be the prompt.

    :param job_id: EvoLink's id; percent-encoded, so it cannot leave the path.
    :raises EvoLinkRequestError: EvoLink issues no such ids.
    """
    if not JOB_ID.fullmatch(job_id):
        rule = "must be an id as EvoLink issues them: up to 128 letters, digits, dots, underscores, colons, hyphens"
        raise EvoLinkRequestError("a job's status", [Violation("job_id", rule)])
    path = f"/v1/tasks/{quote(job_id, safe='')}"
    return Call("job status", "GET", path, redactor=Redactor.everything(), job_id=job_id)


def read_jobs(job_ids: Sequence[str]) -> Call:
    """
    Build the call that reads many jobs (undocumented; EvoLink's own clients use it).

    :param job_ids: Up to ``MAX_BATCH`` of EvoLink's ids.
    """
    content = json.dumps({"task_ids": list(job_ids)}).encode()
    return Call("job status", "POST", "/v1/tasks/batch", content, Redactor.everything(), _JSON)


def list_jobs(model: str | None = None, page: int = 1) -> Call:
    """
    Build the call that lists the account's jobs, newest first (undocumented; EvoLink's own clients use it).

    :param model: EvoLink's name of the model; ``None``: of all models.
    :param page: Which page, from 1.
    """
    of_model = "" if model is None else f"model={quote(model, safe='')}&"
    path = f"/v1/tasks?{of_model}page={page}&page_size={MAX_LISTED}"
    return Call("job list", "GET", path, redactor=Redactor.everything())


def read_credits() -> Call:
    """Build the call that reads the balance: free, changes nothing."""
    return Call("credits", "GET", "/v1/credits")


# Responses ------------------------------------------------------------------------------------------------------------


def read_success(call: Call, response: Response) -> dict[str, Any]:
    """Return the JSON object of a success, or raise what the response means."""
    if not 200 <= response.status < 300:
        raise refusal_error(call, response)
    payload = json_object(response.content)
    if payload is None:
        unreadable(call, response, "the response is not EvoLink's JSON" + describe_body(response))
    return payload


def job_from(call: Call, response: Response) -> Job:
    """
    Read the job in a response.

    :param call: The call.
    :param response: Its response.
    :raises EvoLinkAPIError: refused, or a read that cannot be understood.
    :raises EvoLinkSubmissionUnknown: an order whose response names no job.
    """
    payload = read_success(call, response)
    try:
        job = Job.model_validate(job_in(payload, call.job_id))
    except ValidationError:
        if reason(payload)[0]:
            raise refusal_error(call, response) from None
        unreadable(call, response, "the response names no job")
    if call.job_id and job.job_id != call.job_id:
        unreadable(call, response, "the response is about another job")
    if len(job.results) > MAX_RESULTS:
        if call.paid:
            return job.model_copy(update={"results": (), "outputs": ()})
        unreadable(call, response, f"the response has more than {MAX_RESULTS} links")
    return job


def reading_from(call: Call, response: Response) -> Job | JobSnapshot:
    """
    Read the job in a response; while it runs, no further than a wait needs.

    :param call: The call.
    :param response: Its response.
    :raises EvoLinkAPIError: refused, or not understood.
    """
    snapshot = read_snapshot(read_success(call, response))
    return snapshot if snapshot is not None and snapshot.job_id == call.job_id else job_from(call, response)


def readings_from(call: Call, response: Response) -> dict[str, Job | JobSnapshot]:
    """
    Read the jobs in a response by their ids. One that is missing or unreadable must be read alone.

    :param call: The call.
    :param response: Its response.
    """
    rows = read_success(call, response).get("data")
    if not isinstance(rows, list):
        unreadable(call, response, "the response holds no jobs")
    found: dict[str, Job | JobSnapshot] = {}
    for row in rows:
        if snapshot := read_snapshot(row):
            found[snapshot.job_id] = snapshot
            continue
        with suppress(ValidationError):
            job = Job.model_validate(job_in(row) if isinstance(row, dict) else row)
            if len(job.results) <= MAX_RESULTS:
                found[job.job_id] = job
    return found


def listed_from(call: Call, response: Response) -> list[Job]:
    """Read a list of jobs: their ids, models and times. It holds neither prompts nor links."""
    rows = read_success(call, response).get("data")
    if not isinstance(rows, list):
        unreadable(call, response, "the response holds no list")
    found = []
    for row in rows:
        with suppress(ValidationError, TypeError):
            found.append(Job.model_validate({**row, "created": row.get("created_at")}))
    return found


def credits_from(call: Call, response: Response) -> Credits:
    """Read the balance in a response. HTTP 200 with ``success: false`` is a failure too."""
    payload = read_success(call, response)
    if payload.get("success") is False:
        raise refusal_error(call, response)
    if not isinstance(payload.get("data"), dict):
        unreadable(call, response, "the response holds no balance")
    return Credits.model_validate(payload["data"])
