"""
Where a job goes in the archive. Pure and light: a layout is checked while a DAG file is parsed.

The names in a layout belong to the job alone, so that a job has one folder whoever archives it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.redaction import describe_value
from airflow_provider_evolink.arguments.layout import DEFAULT_LAYOUT, INDEX, NAMES, PLACE, layout_fault

MANIFEST = "manifest.json"
UNDATED = "undated"
_MAX_NAME = 200
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DAY = re.compile(r"\{(?:yyyy|mm|dd)\}(?:[-_./]?\{(?:yyyy|mm|dd)\})*")


def check_layout(layout: object) -> str:
    """
    Return a layout that is safe: it stays inside the archive, and no two jobs share a folder.

    :param layout: Folders with the names ``{model}``, ``{yyyy}``, ``{mm}``, ``{dd}`` and ``{job_id}``.
    :raises EvoLinkConfigError: it is none.
    """
    why = layout_fault(layout)
    if why:
        raise EvoLinkConfigError(
            f"layout {why}, got {describe_value(layout)}. What to do: name folders by letters, digits, . _ = - and "
            f"{', '.join(f'{{{name}}}' for name in NAMES)}, as in {DEFAULT_LAYOUT}"
        )
    return str(layout)


def job_folder(layout: str, model: str | None, created: datetime | None, job_id: str) -> tuple[str, ...]:
    """
    Return the folders of a job, each safe: what comes from EvoLink chooses no path.

    :param layout: A layout that was checked.
    :param model: EvoLink's name of the model.
    :param created: When EvoLink created the job; without it the date is ``undated``.
    :param job_id: EvoLink's ID of the job.
    """
    dated = layout if created else _DAY.sub(UNDATED, layout)
    moment = _utc(created) if created else datetime.fromtimestamp(0, UTC)
    values = {
        "model": safe_name(model or "unknown-model"),
        "yyyy": f"{moment.year:04}",
        "mm": f"{moment.month:02}",
        "dd": f"{moment.day:02}",
        "job_id": unique_name(job_id),
    }
    folders = PLACE.sub(lambda found: values[found[1]], dated).split("/")
    first = f"job{folders[0]}" if folders[0].lower().startswith(INDEX) else folders[0]
    return first, *folders[1:]


def day_of(created: datetime | None) -> str:
    """
    Return the day under which the index holds a job, UTC.

    :param created: When EvoLink created the job.
    """
    return _utc(created).strftime("%Y-%m-%d") if created else UNDATED


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def file_name(job_id: str, index: int, uri: str) -> str:
    """
    Return the name of a file in the folder of its job.

    :param job_id: EvoLink's ID of the job.
    :param index: Number of the result, from 0.
    :param uri: The staged file, whose extension it keeps.
    """
    suffix = PurePosixPath(uri).suffix
    return f"{safe_name(job_id)}-{index}{suffix if re.fullmatch(r'[.][a-z0-9]{2,5}', suffix) else '.bin'}"


def poster_name(name: str) -> str:
    """
    Return the name of the poster of a file.

    :param name: Name of the file.
    """
    return f"{PurePosixPath(name).stem}.poster.jpg"


def safe_name(name: str) -> str:
    """
    Return a name that is no path, no hidden file and no parent.

    :param name: Any text.
    """
    return _UNSAFE.sub("_", name).strip(".")[:_MAX_NAME] or "_"


def unique_name(name: str) -> str:
    """
    Return a safe name that no other text shares: one that had to be changed gets a checksum.

    :param name: Any text.
    """
    safe = safe_name(name)
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
