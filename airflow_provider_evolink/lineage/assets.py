"""Asset events of the archive: one per job, so that a DAG can be scheduled on what arrives."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_evolink.storage.object_store import public_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.storage.media_file import MediaFile

log = logging.getLogger(__name__)

_TAKES_NESTED = AIRFLOW_V_3_1_PLUS
_OF_A_FILE = {"sha256", "size", "content_type", "index", "width", "height", "duration"}


def event_extras(staged: Iterable[MediaFile], archived: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    Return what the asset event of each archived job holds. It has no prompt and no result link.

    :param staged: The files as they were downloaded: they know what their job cost.
    :param archived: The files in the archive, as the archive task returns them.
    :return: One entry per job: ``uri`` (its folder), ``job_id``, ``model``, ``credits``, ``manifest`` and ``files``;
        ``missing`` lists results that could not be fetched (``on_missing="deliver"``).
    """
    jobs = {file.job_id: file.job for file in staged}
    extras: dict[str, dict[str, Any]] = {}
    for file in archived:
        job, manifest = jobs[file["job_id"]], public_uri(file["manifest"])
        extra = extras.setdefault(
            file["job_id"],
            {
                "uri": manifest.rpartition("/")[0],
                "job_id": file["job_id"],
                "model": file.get("model"),
                "credits": job.credits,
                "manifest": manifest,
                "files": [],
            },
        )
        if missing := (job.model_extra or {}).get("missing"):
            extra["missing"] = [entry.get("index") for entry in missing]
        known = {name: file[name] for name in sorted(_OF_A_FILE) if file.get(name) is not None}
        extra["files"].append({"uri": public_uri(file["uri"]), **known})
    return list(extras.values())


def record_events(context: Context, outlets: Iterable[Any], root: str, extras: list[dict[str, Any]]) -> None:
    """
    Hand the events of this task to Airflow, which stores them when the task succeeds.

    An alias gets one event per job, of the asset of the archive's root: an asset per job would stay in Airflow's
    database for ever. An asset among the outlets has one event per task, so several jobs share its ``extra``.

    :param context: Airflow's context.
    :param outlets: The outlets of the operator.
    :param root: URI of the archive.
    :param extras: What :func:`event_extras` returns.
    """
    events: Any = context.get("outlet_events")
    for outlet in outlets if events is not None and extras else ():
        try:
            _record(events[outlet], outlet, root, extras)
        except Exception as error:  # noqa: BLE001 - the files are archived, and that counts
            log.warning("The archive is complete, but its asset event is not recorded (%s)", type(error).__name__)


def flat(extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return metadata for Airflow before 3.1, which fails the task if a value is a list or a dict: they become JSON.

    :param extra: An entry of :func:`event_extras`.
    """
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in extra.items()}


def _record(event: Any, outlet: Any, root: str, extras: list[dict[str, Any]]) -> None:
    if isinstance(outlet, AssetAlias):
        for extra in extras:
            event.add(Asset(public_uri(root).rstrip("/")), extra=extra if _TAKES_NESTED else flat(extra))
    elif isinstance(outlet, Asset):
        event.extra.update(extras[0] if len(extras) == 1 else {"jobs": extras})
