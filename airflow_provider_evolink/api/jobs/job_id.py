"""What an ID of EvoLink's looks like, and how a result of a job is named. Light: used when a DAG file is parsed."""

from __future__ import annotations

import re

JOB_ID = re.compile(r"(?=.{1,128}\Z)[._:-]*[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)
OUTPUT = "evolink-job:"


def output_name(job_id: str, number: int | None = None) -> str:
    """
    Return how a result of a job is named in records and fingerprints.

    :param job_id: The job.
    :param number: Which of its results, from 0; ``None``: the only one of the kind that the field takes.
    """
    return f"{OUTPUT}{job_id}" + ("" if number is None else f"/{number}")


def job_of(name: str) -> str | None:
    """
    Return the job that a name of a result is of; ``None``: it is no such name.

    :param name: A text of a request.
    """
    return name.removeprefix(OUTPUT).partition("/")[0] if name.startswith(OUTPUT) else None
