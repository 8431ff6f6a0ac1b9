"""A poller's looks: one job or many, and no more of a running job than a wait needs. Pure, no I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from airflow_provider_evolink.api import wire
from airflow_provider_evolink.api.answers import Answer
from airflow_provider_evolink.api.glance import Glance, glance
from airflow_provider_evolink.api.models import MAX_LINK, MAX_RESULTS, Job

MAX_BATCH = 50


def read_jobs(job_ids: Sequence[str]) -> wire.Call:
    """
    Build the look at many jobs at once (undocumented; EvoLink's own clients use it).

    :param job_ids: At most ``MAX_BATCH`` of EvoLink's ids.
    """
    content = json.dumps({"task_ids": list(job_ids)}).encode()
    return wire.Call("job status", "POST", "/v1/tasks/batch", content, headers={"Content-Type": "application/json"})


def jobs_from(call: wire.Call, answer: Answer) -> dict[str, Job | Glance]:
    """
    Read the jobs in an answer by their ids. One that is not in it, or not readable, must be read singly.

    :param call: The call that was made.
    :param answer: What came back.
    """
    rows = wire.success(call, answer).get("data")
    if not isinstance(rows, list):
        wire.unreadable(call, answer, "the answer holds no jobs")
    found: dict[str, Job | Glance] = {}
    for row in rows:
        if seen := glance(row):
            found[seen.job_id] = seen
            continue
        with suppress(ValidationError):
            job = Job.model_validate(row)
            if len(job.results) <= MAX_RESULTS and all(len(link) <= MAX_LINK for link in job.results):
                found[job.job_id] = job
    return found


def seen_from(call: wire.Call, answer: Answer) -> Job | Glance:
    """
    Read the job in an answer; if it runs, at a glance.

    :param call: The call that was made.
    :param answer: What came back.
    :raises EvoLinkAPIError: refused, or unreadable.
    """
    seen = glance(wire.success(call, answer))
    return seen if seen is not None and seen.job_id == call.job_id else wire.job_from(call, answer)
