"""The same for many jobs, a few at a time: what fails for one of them holds back none of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from airflow_provider_evolink.api.errors import EvoLinkAuthError, EvoLinkError, EvoLinkRateLimited, EvoLinkUnavailable
from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side
from airflow_provider_evolink.storage.object_store import public_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

T = TypeVar("T")
R = TypeVar("R")

_OF_ALL = (EvoLinkAuthError, EvoLinkRateLimited, EvoLinkUnavailable)  # what one job meets, the others meet as well
_MAX_LISTED = 20


def for_each_job(
    act: Callable[[T], R], jobs: Mapping[str, T], folder: ObjectStoragePath, *, done: str, needs_all: bool = True
) -> list[R]:
    """
    Do something for each of some jobs, for several at a time, and return what it gave in their order.

    :param act: What to do. What is done already it finds done.
    :param jobs: By job ID.
    :param folder: Where the files go.
    :param done: What was done then, in errors: "fetched".
    :param needs_all: Whether a job that failed is an error; otherwise only if all of them failed.
    :raises EvoLinkError: it failed for some, and the others are done; or it failed in a way that concerns all.
    """
    found, errors = dict[str, R](), dict[str, EvoLinkError]()

    def one(job_id: str) -> None:
        try:
            found[job_id] = act(jobs[job_id])
        except _OF_ALL:
            raise
        except EvoLinkError as error:
            errors[job_id] = error

    side_by_side(one, jobs)
    if errors and (needs_all or not found):
        raise _why(errors, list(jobs), folder, done)
    return [found[job_id] for job_id in jobs if job_id in found]


def _why(errors: Mapping[str, EvoLinkError], jobs: list[str], folder: ObjectStoragePath, done: str) -> EvoLinkError:
    """Return the error for jobs that failed: which of how many, and why; of a single one its own error."""
    failed = [job_id for job_id in jobs if job_id in errors]
    first = errors[failed[0]]
    if len(jobs) == 1:
        return first
    count = len(jobs)
    each = [f"job {jobs.index(job_id) + 1} of {count} ({job_id}): {errors[job_id].message}" for job_id in failed]
    more = f"; and {len(each) - _MAX_LISTED} more" if len(each) > _MAX_LISTED else ""
    left = count - len(failed)
    others = f", and the other {left} are in {public_uri(folder)} and are not {done} again" if left else ""
    text = f"{len(failed)} of {count} jobs could not be {done}{others}: {'; '.join(each[:_MAX_LISTED])}{more}"
    return first.amended(message=text, permanent=all(error.permanent for error in errors.values()))
