"""What one argument may be. Pure and light: neither pydantic nor httpx, no catalog, no storage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

# Compiled when they are first used: not at import.
_NUMBER = r"\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*"
_WHOLE = r"\s*[+-]?[0-9]{1,20}(\.0+)?\s*"
_SCHEME = r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(.*)"
_TEMPLATE_MARKS = ("{{", "{%", "{#")


class UnfitValueError(ValueError):
    """
    A value that an argument cannot be.

    :param rule: What the argument must be, to follow its name.
    :param position: Which entry of a list it is; ``None``: the whole value.
    """

    def __init__(self, rule: str, position: int | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.position = position


class Rule:
    """
    What one argument may be. A plain class: a dozen dataclasses would double the time that an import takes.

    :param settings: Class attributes with other values.
    """

    is_optional = False  # None will do
    is_for_literals = False  # for what stands in a DAG file only: on the worker the model's rules judge the value
    if_nothing = ""  # what to do where the task that gives the value returned nothing
    is_private = False  # the value may hold a prompt or a link, so errors show its type only

    def __init__(self, **settings: Any) -> None:
        if unknown := [name for name in settings if not hasattr(type(self), name)]:
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(unknown)}")
        vars(self).update(settings)

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:
        """
        Return a value as it is used.

        :param value: What was given.
        :param is_parsing: Parts of it may still be templates.
        :raises UnfitValueError: the argument cannot be that.
        """
        raise NotImplementedError


def is_template(value: Any) -> bool:
    """
    Return whether a value is one only when the task runs: a template, or what another task returns.

    :param value: An argument.
    """
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE_MARKS)
    return hasattr(value, "resolve") and not _is_path(value)


def _is_path(value: Any) -> bool:
    """Return whether a value is a ``pathlib.Path`` or an ``ObjectStoragePath``, without importing the latter."""
    return isinstance(value, PurePath) or (hasattr(value, "joinpath") and hasattr(value, "protocol"))


def is_absolute(uri: str) -> bool:
    """
    Return whether a path or URI means the same place on every worker.

    :param uri: As it was given.
    """
    found = re.fullmatch(_SCHEME, uri.strip())
    if found and found[1].lower() not in ("file", "local"):
        return True
    return (found[2] if found else uri.strip()).startswith("/")


class Number(Rule):
    """
    A number, or a number as text: forms, and the arguments of mapped task groups, give it so.

    :param unit: What it counts; a ``timedelta`` is taken where that is seconds.
    """

    maximum: float = 10**15
    minimum: float = 0
    unit = ""
    is_optional = True
    is_whole = False
    is_positive = False

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the number."""
        if value is None and self.is_optional:
            return None
        number = value.total_seconds() if isinstance(value, timedelta) and self.unit else value
        if isinstance(value, str) and re.fullmatch(_NUMBER, value):
            number = float(value)
        if self.is_whole and isinstance(number, float) and number.is_integer():
            number = int(number)
        if not self._fits(number):
            raise UnfitValueError(f"must be {self._text()}")
        return number

    def _fits(self, number: Any) -> bool:
        kinds = int if self.is_whole else int | float
        if isinstance(number, bool) or not isinstance(number, kinds) or not self.minimum <= number <= self.maximum:
            return False
        return number > 0 or not self.is_positive

    def _text(self) -> str:
        lowest = "more than 0" if self.is_positive else f"{self.minimum}"
        return f"a {'whole ' if self.is_whole else ''}number{self.unit} from {lowest} to {self.maximum:.0f}"


class Choice(Rule):
    """
    One of some words.

    :param refused: Words that are among them elsewhere, and why they are not here.
    """

    words: tuple[str, ...] = ()
    refused: Mapping[str, str] = MappingProxyType({})

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the word."""
        if value is None and self.is_optional:
            return None
        allowed = [word for word in self.words if word not in self.refused]
        if not isinstance(value, str) or value not in allowed:
            reason = self.refused.get(value, "") if isinstance(value, str) else ""
            raise UnfitValueError(f"must be one of {', '.join(allowed)}{reason and f' ({reason})'}")
        return value


class Flag(Rule):
    """True or False: ``"false"`` would count as true."""

    takes_text = False

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the value."""
        is_text = self.takes_text and isinstance(value, str) and value.strip().lower() in ("true", "false")
        if isinstance(value, bool) or is_text or (value is None and self.is_optional):
            return value
        raise UnfitValueError("must be True or False")


class Text(Rule):
    """A text."""

    may_be_blank = False

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the text."""
        if value is None and self.is_optional:
            return None
        if isinstance(value, str) and (value.strip() or self.may_be_blank):
            return value
        raise UnfitValueError("must be a text" if self.may_be_blank else "must be a text that is not empty")


class Folder(Rule):
    """
    A place in object storage that every worker finds: a relative one is in the directory of one worker.

    :param blank_is_none: An empty text means that there is none: a template may render to it.
    """

    blank_is_none = False

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return its URI."""
        if value is None and self.is_optional:
            return None
        if value == "" and self.blank_is_none:
            return None
        text = str(value).strip() if isinstance(value, str) or _is_path(value) else None
        if not text or is_template(text) or not is_absolute(text):
            raise UnfitValueError("must be an absolute path or URI, such as s3://bucket/folder or file:///srv/folder")
        if text.rstrip("/").endswith(("#", "?")):
            raise UnfitValueError("must not end with # or ?, which the libraries below drop without a word")
        return text


class Layout(Rule):
    """The folders of a job in an archive."""

    is_optional = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the layout."""
        from airflow_provider_evolink.arguments.layout import layout_fault

        if value is not None and (fault := layout_fault(value)):
            raise UnfitValueError(fault)
        return value


class InputFile(Rule):
    """A file to be uploaded: its path or URI, or what a download or archive task returned for it."""

    is_for_literals = True
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the value."""
        if _is_path(value) or isinstance(value, Mapping) or (isinstance(value, str) and value.strip()):
            return value
        raise UnfitValueError("must be a path, a URI, or what a download or archive task returned for a file")


class JobReference(Rule):
    """A job as a generate operator returns it, or its ID; or a list of them."""

    may_be_many = False
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:
        """Return the job's ID, or a list of IDs."""
        if self.may_be_many and _is_list(value) and len(value):
            return JobReferences().read(value, is_parsing=is_parsing)
        from airflow_provider_evolink.api.jobs.job_id import JOB_ID

        job_id = value.get("job_id") if isinstance(value, Mapping) else value
        if is_parsing and is_template(job_id):
            return job_id
        if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
            return job_id
        if isinstance(value, Mapping) and value.get("error") and job_id is None:
            raise _has_no_job(value["error"])
        raise UnfitValueError(
            "must be the output of a generate operator (pass generate.output, not a template string) or a job ID"
        )


class JobReferences(Rule):
    """Jobs as generate operators return them, or their IDs: a list, or a text of IDs."""

    is_optional = True
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:
        """Return the IDs, each once; none for nothing and for a text of nothing, to which a template may render."""
        entries = _split(value) if isinstance(value, str) else value
        if entries is None:
            return []
        if not _is_list(entries):
            raise UnfitValueError("must be job IDs: a list, or a text with commas or blanks between them")
        found = {}
        for position, entry in enumerate(entries):
            try:
                read = self.read(entry) if _is_list(entry) else [JobReference().read(entry, is_parsing=is_parsing)]
            except UnfitValueError as error:
                raise UnfitValueError("must be jobs, or their IDs", position) from error
            found.update(dict.fromkeys(read))
        return list(found)


def _split(text: str) -> list[str] | None:
    """Return the IDs in a text, which may be a list as a template renders it."""
    bare = [part.strip("'\"") for part in re.split(r"[\s,]+", text.strip().strip("[]"))]
    return [part for part in bare if part not in ("", "None", "null")] or None


class Time(Rule):
    """A moment: a time, or a text as ISO 8601; without a zone it is UTC."""

    is_optional = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return it in epoch seconds."""
        if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
            return None
        try:
            moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
            if isinstance(moment, datetime):
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
        raise UnfitValueError("must be a time, such as 2026-11-30T12:00:00Z")


def _has_no_job(error: Any) -> EvoLinkConfigError:
    from airflow_provider_evolink.api.errors import EvoLinkConfigError
    from airflow_provider_evolink.api.redaction import sanitize

    return EvoLinkConfigError(
        f"job is a request of a batch that has no job ({sanitize(error, 80)}), so there is no result. What to do: "
        "leave out the entries without a job_id, or submit that request again"
    )


class Fields(Rule):
    """Fields of a request by name."""

    is_optional = True
    is_for_literals = True
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the fields."""
        if value is None and self.is_optional:
            return None
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return value
        raise UnfitValueError("must be a dict of fields, named by texts")


class Rows(Rule):
    """
    A list of dicts, or what another task returned as one.

    :param what: What it holds.
    :param may_nest: A list of such lists will do: a mapped task returns that.
    """

    what = ""
    may_nest = False
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:
        """Return the list, each entry read once: those of a mapped task come from Airflow one by one."""
        if not _is_list(value):
            raise UnfitValueError(f"must be a list of {self.what}")
        rows = list(value)
        for position, row in enumerate(rows):
            is_row = isinstance(row, Mapping) and all(isinstance(name, str) for name in row)
            if not is_row and not (is_parsing and is_template(row)) and not (self.may_nest and _is_list(row)):
                raise UnfitValueError(f"must be a list of {self.what}", position)
        return rows


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


class Whole(Rule):
    """A whole number of a request, whose range is the model's."""

    words: tuple[str, ...] = ()
    is_for_literals = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the value."""
        is_text = isinstance(value, str) and (bool(re.fullmatch(_WHOLE, value)) or value in self.words)
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if value is None or is_text or (is_whole and not isinstance(value, bool)):
            return value
        raise UnfitValueError("".join(["must be a whole number", *(f" or {word}" for word in self.words)]))


class Media(Rule):
    """Links, files or jobs of a request: whatever they are, they are no numbers."""

    is_list = False
    is_for_literals = True
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the value."""
        if isinstance(value, bool | int | float | bytes):
            what = "a list of links, files or jobs" if self.is_list else "a link, a file or a job"
            raise UnfitValueError(f"must be {what}")
        return value


class Callback(Rule):
    """An address that EvoLink may call."""

    is_for_literals = True
    is_private = True

    def read(self, value: Any, *, is_parsing: bool = False) -> Any:  # noqa: ARG002 - the protocol's
        """Return the address."""
        from airflow_provider_evolink.api.addresses import callback_fault

        if value is None:
            return None
        if fault := callback_fault(value) if isinstance(value, str) else "a text":
            raise UnfitValueError(f"must be an HTTPS URL that EvoLink can call: {fault}")
        return value
