"""The layout of an archive: folders with the names of what a job has. Pure; checked when a DAG file is parsed."""

from __future__ import annotations

import re

DEFAULT_LAYOUT = "{model}/{yyyy}/{mm}/{dd}/{job_id}"
INDEX = "_evolink"
DATE = ("yyyy", "mm", "dd")
NAMES = ("model", *DATE, "job_id")
_MAX_SEGMENTS, _MAX_LENGTH = 12, 200
_SEGMENT = re.compile(r"(?:[A-Za-z0-9_=-]|\{(?:%s)\})(?:[A-Za-z0-9._=-]|\{(?:%s)\})*" % (("|".join(NAMES),) * 2))
PLACE = re.compile(r"\{([a-z_]+)\}")


def layout_fault(layout: object) -> str | None:
    """
    Return what is wrong with a layout, if anything.

    :param layout: What was given.
    """
    if not isinstance(layout, str) or not layout:
        return "must be a text"
    segments = layout.split("/")
    if len(layout) > _MAX_LENGTH or len(segments) > _MAX_SEGMENTS:
        return f"must have at most {_MAX_LENGTH} characters and {_MAX_SEGMENTS} folders"
    if not all(_SEGMENT.fullmatch(segment) and not segment.endswith(".") for segment in segments):
        return "must be folders, separated by single slashes, of safe characters and known names"
    if segments[0].lower().startswith(INDEX):
        return f"must not begin with {INDEX}, where the index is"
    if "{job_id}" not in segments and not _ends_with_job(segments[-1]):
        return "must have a folder {job_id}, or {job_id} in its last folder beside nothing but the date and fixed texts"
    return None


def _ends_with_job(segment: str) -> bool:
    """Tell whether each job has its own folder: what stands beside its ID has the same length for every job."""
    names = PLACE.findall(segment)
    return names.count("job_id") == 1 and all(name == "job_id" or name in DATE for name in names)
