"""
Results of earlier tasks as input media: a job, or what a download or archive task returned, where a link could stand.

A file is uploaded, so it can be used for ever. A result of a job is named by job ID and number in records and
fingerprints; its link is read when the request is sent, since links expire.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from airflow_provider_evolink.api.catalog.media_fields import MediaField, replace_media, replace_strings
from airflow_provider_evolink.api.catalog.parameter import is_list
from airflow_provider_evolink.api.errors import (
    EvoLinkAuthError,
    EvoLinkError,
    EvoLinkInputError,
    EvoLinkNotFoundError,
    EvoLinkRequestError,
    Violation,
)
from airflow_provider_evolink.api.jobs.job import LINK_LIFETIME, JobStatus
from airflow_provider_evolink.api.jobs.job_id import JOB_ID, OUTPUT, job_of, output_name
from airflow_provider_evolink.api.redaction import sanitize
from airflow_provider_evolink.execution.inputs.origins import is_entry
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.parameter import Parameter
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.jobs.job import Job

_BARE_ID = re.compile(r"task-[A-Za-z0-9_-]{1,123}")
_MAX_RENDERED = 1_000_000  # characters
_ARTICLES = {"image": "an image", "video": "a video", "audio": "a sound"}


@dataclass(frozen=True)
class Output:
    """
    One medium that an earlier task made.

    :param name: URI of the file, or the job and its number as :func:`output_name` writes them.
    :param kind: ``video``, ``image`` or ``audio``; ``None``: not known yet.
    :param origin: Which job, for errors.
    :param wants: The kind that the field takes, of a result that is yet to be read.
    """

    name: str
    kind: str | None
    origin: str = ""
    wants: str | None = None

    @property
    def is_of_job(self) -> bool:
        """Whether it is a result of a job, to be read when the request is sent."""
        return self.name.startswith(OUTPUT)


@dataclass
class JobOutputs:
    """
    The results of jobs in a request, under each name that they have on the way to EvoLink.

    :param outputs: The results, by name.
    """

    outputs: dict[str, Output] = field(default_factory=dict)

    def resolve(self, parameters: Mapping[str, Parameter], given: Mapping[str, Any], model: str) -> dict[str, Any]:
        """
        Return a request with files by URI, and with a placeholder link for each result of a job.

        :param parameters: Parameters of its model.
        :param given: The request, as the user gave it.
        :param model: The model, for errors.
        :raises EvoLinkRequestError: a job made another kind of media, or several where the field takes one.
        """
        violations: list[Violation] = []

        def change(media: MediaField, value: Any, takes_many: bool) -> Any:
            try:
                return self._resolved(media, value, takes_many)
            except _UnfitError as error:
                violations.append(error.violation)
                return value

        fields = replace_media(parameters, given, change)
        if violations:
            raise EvoLinkRequestError(sanitize(model, 80), violations)
        return fields

    def to_names(self, body: dict[str, Any]) -> dict[str, Any]:
        """
        Return a body with a name for each placeholder.

        :param body: As the catalog built it.
        """
        return dict(replace_strings(body, {link: name for name, link in self._placeholders.items()}))

    def to_links(self, body: dict[str, Any], evolink_conn_id: str) -> dict[str, Any]:
        """
        Return a body with a fresh link for each name. Reads each job once; nothing is sent before all can be used.

        :param body: With the names of the results.
        :param evolink_conn_id: Connection of type ``evolink``.
        :raises EvoLinkError: a job cannot be read, has no such result, or its links have expired.
        """
        with EvoLinkHook(evolink_conn_id).get_conn() as client:
            jobs = {job_id: _read(client, job_id) for job_id in dict.fromkeys(map(job_of, self.outputs)) if job_id}
        links = {name: _link(output, jobs[job_of(name) or ""]) for name, output in self.outputs.items()}
        return dict(replace_strings(body, links))

    @property
    def _placeholders(self) -> dict[str, str]:
        return {name: f"https://output.invalid/{number}" for number, name in enumerate(self.outputs)}

    def _resolved(self, media: MediaField, value: Any, takes_many: bool) -> Any:
        value = _parsed(value)
        entries = list(_entries(value)) if takes_many or not isinstance(value, str) else [value]
        if not any(map(_is_of_task, entries)):
            return value
        chosen = [one for entry in entries for one in _chosen(media, entry)]
        if takes_many:
            return [self._placed(media, one) for one in chosen]
        if len(chosen) != 1:
            origin = next(one.origin for one in chosen if isinstance(one, Output))
            raise _UnfitError(
                media,
                f"takes one {media.kind}, and is given {len(chosen)}, of {origin}: choose one file, or set `index` "
                "(from 0) beside the job_id",
            )
        return self._placed(media, chosen[0])

    def _placed(self, media: MediaField, value: Any) -> Any:
        if not isinstance(value, Output):
            return value
        if not value.is_of_job:
            return value.name
        self.outputs[value.name] = Output(value.name, value.kind, value.origin, media.kind)
        return self._placeholders[value.name]


class _UnfitError(Exception):
    def __init__(self, media: MediaField, rule: str, value: str | None = None) -> None:
        super().__init__(rule)
        self.violation = Violation(media.path, rule, value)


def _parsed(value: Any) -> Any:
    """Return a result that a template has rendered to text: ``{{ ti.xcom_pull(...) }}`` writes it as Python does."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and len(value) <= _MAX_RENDERED:
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return value


def _entries(value: Any) -> Iterator[Any]:
    """Yield the entries of lists at every depth, such as those of mapped downloads."""
    if not is_list(value):
        yield value
        return
    for entry in value:
        yield from _entries(_parsed(entry))


def _chosen(media: MediaField, entry: Any) -> list[Any]:
    """Return what a field takes of one entry: of the results of a job, those of its kind."""
    found = list(_outputs(entry))
    fitting = [one for one in found if not isinstance(one, Output) or one.kind in (None, media.kind)]
    if fitting:
        return fitting
    kinds = " and ".join(sorted({_ARTICLES.get(one.kind, str(one.kind)) for one in found})) or "no file"
    origin = found[0].origin if found else "a job that has no results"
    raise _UnfitError(media, f"must be {_ARTICLES[media.kind or 'image']}, and is given {kinds}, of {origin}")


def _outputs(entry: Any) -> Iterator[Any]:
    """Yield the media of one entry; what is no result of a task is yielded as it is."""
    if isinstance(entry, str) and _BARE_ID.fullmatch(entry):
        yield Output(output_name(entry), None, f"job {entry}")
    elif not isinstance(entry, Mapping):
        yield entry
    elif is_entry(entry):
        yield _file(entry)
    elif _is_job(entry):
        yield from _of_job(entry)
    else:
        yield entry


def _is_job(entry: Mapping[str, Any]) -> bool:
    return "job_id" in entry and ("results" in entry or "status" in entry)


def _is_of_task(entry: Any) -> bool:
    if isinstance(entry, Mapping):
        return is_entry(entry) or _is_job(entry)
    return isinstance(entry, str) and _BARE_ID.fullmatch(entry) is not None


def _of_job(job: Mapping[str, Any]) -> Iterator[Output]:
    job_id, files = job["job_id"], job.get("files")
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        return  # a request of a batch that has no job
    number = job.get("index")
    if is_list(files) and files:
        for at, entry in enumerate(files):
            if number in (None, at) and isinstance(entry, Mapping) and is_entry(entry):
                yield _file(entry)
        return
    origin = f"job {job_id}" + (f" ({job['model']})" if job.get("model") else "")
    kinds = _kinds(job)
    for at, kind in enumerate(kinds):
        if number in (None, at):
            yield Output(output_name(job_id, at), kind, sanitize(origin, 160))


def _kinds(job: Mapping[str, Any]) -> Sequence[str | None]:
    described, count = _list(job.get("outputs")), len(_list(job.get("results")))
    described += [None] * (count - len(described))
    return [(one.get("kind") if isinstance(one, Mapping) else None) or job.get("kind") for one in described[:count]]


def _list(value: Any) -> list[Any]:
    return list(value) if is_list(value) else []


def _file(entry: Mapping[str, Any]) -> Output:
    kind = str(entry["content_type"]).partition("/")[0]
    job = entry.get("job_id")
    return Output(str(entry["uri"]), kind, f"a file of job {sanitize(job, 128)}" if job else "a downloaded file")


# On the worker, when the request is about to be sent ------------------------------------------------------------------


def _read(client: EvoLinkClient, job_id: str) -> Job:
    try:
        job = client.get_job(job_id)
    except (EvoLinkNotFoundError, EvoLinkAuthError) as error:
        raise EvoLinkInputError(
            f"the input is a result of job {job_id}, which cannot be read ({error.message}), so nothing was submitted"
        ).amended(permanent=True) from None
    except EvoLinkError as error:
        raise EvoLinkInputError(
            f"the input is a result of job {job_id}, which cannot be read now ({type(error).__name__}), so nothing was "
            "submitted. A retry reads it again",
            retry_after=error.retry_after,
        ) from None
    if job.status.is_failure:
        raise _unusable(job_id, f"has {job.status}", "clear the task that submits it")
    if job.status is not JobStatus.COMPLETED or not job.results:
        raise EvoLinkInputError(
            f"the input is a result of job {job_id}, which is still {job.status}, so nothing was submitted. What to "
            "do: let this task run after the one that waits for it"
        )
    if job.created is not None and time.time() - job.created > LINK_LIFETIME.total_seconds():
        raise _unusable(
            job_id,
            "is older than 24 hours, so its links have expired",
            "pass what a download or archive task returned for it, which is uploaded",
        )
    return job


def _link(output: Output, job: Job) -> str:
    _, _, number = output.name.partition("/")
    fitting = [at for at, kind in enumerate(_kinds(job.summary())) if kind in (None, output.wants)]
    places = [int(number)] if number else fitting
    if len(places) != 1 or not 0 <= places[0] < len(job.results):
        raise _unusable(
            job.job_id,
            f"has {len(fitting)} results that the field can take",
            "pass what the generate task returned, with `index` for one of several results",
        )
    if places[0] not in fitting:
        raise _unusable(job.job_id, f"has no {output.wants} there", "pass a result of the kind that the field takes")
    return job.results[places[0]]


def _unusable(job_id: str, why: str, todo: str) -> EvoLinkInputError:
    return EvoLinkInputError(
        f"the input is a result of job {job_id}, which {why}, so nothing was submitted. What to do: {todo}"
    ).amended(permanent=True)
