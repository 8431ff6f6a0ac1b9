"""All records of a ledger folder: for the recovery of paid jobs that no task waits for any more. Read only."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError
from airflow_provider_evolink.ledger.folder_store import MAX_RECORD_BYTES
from airflow_provider_evolink.ledger.ledger import ledger_root, reason_of
from airflow_provider_evolink.ledger.record import read_record
from airflow_provider_evolink.storage.denials import one_word_for_denials
from airflow_provider_evolink.storage.object_store import is_local, open_folder, parse_json, public_uri, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.ledger.record import Record

_PLACE = re.compile(r"[^/]+/[^/]+/[0-9a-f]{40}\.json")  # DAG, task and the digest of the task instance
_PARALLEL = 16  # reads of an object store at a time
_CLOCKS = 3600.0  # seconds that the clocks of store and workers may differ
_TIMES = ("mtime", "LastModified", "last_modified", "updated")  # of a file, in the words of fsspec's stores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRecord:
    """
    A record with the task instance that it is of.

    :param owner: DAG, run, task and map index; then which request of a batch.
    :param record: The record.
    """

    owner: tuple[str | int, ...]
    record: Record


@dataclass(frozen=True)
class Damaged:
    """
    A file in the place of a record that is none, or that could not be read.

    :param name: Its path below the folder.
    :param reason: Why.
    :param is_unread: Whether it could not be read, so that it may be the record of a paid job.
    :param is_denied: Whether that is for want of a right.
    """

    name: str
    reason: str
    is_unread: bool = False
    is_denied: bool = False


def read_folder(path: Any, since: float | None = None) -> tuple[list[StoredRecord], list[Damaged]]:
    """
    Return the records of a ledger folder, and the files that should be records and are none.

    :param path: The folder; ``None``: ``[evolink] ledger_path``.
    :param since: Epoch seconds. Files that have not been written since are not read: no later order is in them.
    :raises EvoLinkConfigError: there is no such setting, or the folder may not be listed.
    """
    uri = ledger_root(path)
    if not uri:
        raise EvoLinkConfigError(
            "there is no ledger folder to read. What to do: set [evolink] ledger_path, or give ledger_path or job_ids"
        )
    root = open_folder(uri, what="ledger_path")
    names = _names(root, None if since is None else since - _CLOCKS)
    if is_local(root):
        found = [_read(root, name) for name in names]
    else:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            found = list(pool.map(partial(_read, root), names))
    records = [one for one in found if isinstance(one, StoredRecord)]
    damaged = [one for one in found if isinstance(one, Damaged)]
    log.info("%d records in %s, %d files damaged or not read", len(records), public_uri(root), len(damaged))
    return records, damaged


def _names(root: ObjectStoragePath, since: float | None) -> list[str]:
    """Return the files of records below a folder; symbolic links are none."""
    base = root.path.rstrip("/")
    found = _listed(root)
    below = {key.removeprefix(base).strip("/"): info for key, info in found.items() if not info.get("islink")}
    return sorted(name for name, info in below.items() if _PLACE.fullmatch(name) and _is_since(info, since))


def _listed(root: ObjectStoragePath) -> Mapping[str, Mapping[str, Any]]:
    """Return every file below a folder, with what its store knows of it."""
    root.fs.invalidate_cache(root.path)
    try:
        with one_word_for_denials():
            found: Mapping[str, Mapping[str, Any]] = root.fs.find(root.path, detail=True)
    except PermissionError as error:
        raise EvoLinkConfigError(
            f"the ledger folder {public_uri(root)} may not be listed. What to do: grant the right to list it "
            "(s3:ListBucket) to this role"
        ) from error
    except FileNotFoundError as error:
        raise EvoLinkConfigError(
            f"the ledger folder {public_uri(root)} does not exist. What to do: correct ledger_path"
        ) from error
    except Exception as error:
        raise EvoLinkLedgerError(
            f"the ledger folder {public_uri(root)} could not be listed ({reason_of(error)}). A retry tries again"
        ) from error
    return found


def _is_since(info: Mapping[str, Any], since: float | None) -> bool:
    written = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(written, str):
        written = datetime.fromisoformat(written)
    moment = written.timestamp() if isinstance(written, datetime) else written
    return since is None or moment is None or float(moment) >= since


def _read(root: ObjectStoragePath, name: str) -> StoredRecord | Damaged | None:
    """Read one file; ``None``: it was deleted meanwhile."""
    path = root.joinpath(*name.split("/"))
    try:
        found = parse_json(read_bytes(path, MAX_RECORD_BYTES + 1), name)
        return StoredRecord(_owner(found["of"]), read_record(found["record"]))
    except FileNotFoundError:
        return None
    except EvoLinkConfigError:
        return Damaged(name, "it holds no record of a generation")
    except (ValueError, KeyError, TypeError):
        return Damaged(name, "it is no record")
    except Exception as error:  # noqa: BLE001 - every store has its own errors, and one file is not the folder
        is_denied = isinstance(error, PermissionError)
        return Damaged(name, f"it cannot be read ({reason_of(error)})", is_unread=True, is_denied=is_denied)


def _owner(value: Any) -> tuple[str | int, ...]:
    texts, map_index, item = value[:3], value[3], value[4:]
    if not isinstance(value, list) or len(item) > 1 or not all(isinstance(text, str) for text in [*texts, *item]):
        raise ValueError("it is of no task instance")
    return (*texts, int(map_index), *item)
