"""What a task has handed on, as its XCom holds it: jobs and files. XCom can be edited, so all of it is validated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WrapValidator

from airflow_provider_evolink.api.jobs.job import JobId, Number, Text
from airflow_provider_evolink.plugins.views.policy import origin_of
from airflow_provider_evolink.storage.media_file import MediaFile, Moment, or_none
from airflow_provider_evolink.storage.object_store import is_shallow

MAX_ENTRIES = 10_000  # of one task
_HASHED = "sha256:"
_MARKS = frozenset({"status", "results", "credits_reserved"})  # that every result of a request has


def _in_utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


_When = Annotated[Moment | None, WrapValidator(or_none), AfterValidator(_in_utc)]
_Entries = Annotated[dict[str, Any] | None, WrapValidator(or_none)]


class JobEntry(BaseModel):
    """
    A request and its job, as a generate or batch task returns it. What is not of its kind counts as not known.

    :param results: Links.
    :param request: What was submitted.
    :param error: Name of the error of a request without a result.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    job_id: Annotated[JobId | None, WrapValidator(or_none)] = None
    model: Text = None
    kind: Text = None
    status: Text = None
    results: Annotated[list[Any], WrapValidator(lambda value, handler: or_none(value, handler) or [])] = []
    credits: Number = None
    credits_reserved: Number = None
    credits_charged: Number = None
    expires_at: _When = None
    made: _Entries = None
    request: _Entries = None
    created: _When = None
    submitted: _When = None
    completed: _When = None
    error: Text = None
    error_code: Text = None
    reused: Any = None

    @property
    def links(self) -> list[str]:
        """The links that a browser may follow."""
        return [link for link in self.results if origin_of(link)]


@dataclass(frozen=True)
class Handed:
    """
    What one task instance has handed on.

    :param jobs: Its jobs.
    :param files: Its files; their place in here is their number in addresses.
    """

    jobs: tuple[JobEntry, ...] = ()
    files: tuple[MediaFile, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of ours was handed on."""
        return not self.jobs and not self.files


def read_handed(value: Any) -> Handed:
    """
    Return the jobs and files in a value of XCom; whatever else is in it counts as nothing.

    :param value: Plain JSON.
    """
    if not is_shallow(value):
        return Handed()
    jobs: list[JobEntry] = []
    files: list[MediaFile] = []
    for entry in _entries(value):
        if entry.keys() >= _MARKS:
            jobs += [JobEntry.model_validate(entry)]
            files += [file for inner in _entries(entry.get("files")) if (file := _file(inner))]
        elif file := _file(entry):
            files += [file]
    return Handed(tuple(jobs), tuple(files))


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    listed = value if isinstance(value, list) else [value]
    yield from (entry for entry in listed[:MAX_ENTRIES] if isinstance(entry, dict))


def _file(entry: dict[str, Any]) -> MediaFile | None:
    try:
        return MediaFile.model_validate(entry)
    except ValidationError:
        return None


def prompt_of(request: dict[str, Any] | None) -> str | None:
    """
    Return the prompt of a request; ``None``: it has none, or the task hides it.

    :param request: The request.
    """
    text = (request or {}).get("prompt")
    return text if isinstance(text, str) and not text.startswith(_HASHED) else None


def is_hidden(request: dict[str, Any] | None) -> bool:
    """
    Return whether the task hides the prompt of its request.

    :param request: The request.
    """
    return str((request or {}).get("prompt") or "").startswith(_HASHED)


def parameters_of(request: dict[str, Any] | None) -> list[tuple[str, str]]:
    """
    Return the other fields of a request, each as short text.

    :param request: The request.
    """
    fields = {name: value for name, value in (request or {}).items() if name not in ("prompt", "model")}
    return [(str(name)[:60], _short(value)) for name, value in list(fields.items())[:40]]


def _short(value: Any) -> str:
    text = "hidden" if isinstance(value, str) and value.startswith(_HASHED) else str(value)
    return text if len(text) <= 300 else f"{text[:299]}…"
