"""
What was uploaded, so that it is not uploaded again while EvoLink has it.

Airflow's task state store remembers it for the tries of a task instance; the ledger folder, where there is one, for all
tasks. Nothing paid depends on it: what cannot be read or written is uploaded again. It holds links, which open the
file to whoever has them, as the XCom of an upload does; never a key, a prompt or the name of a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.files.upload import Uploaded, is_usable
from airflow_provider_evolink.compat import task_state_store
from airflow_provider_evolink.ledger.record import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_evolink.api.settings import ClientSettings

STORE_KEY = "evolink_uploads"
INPUTS_KEY = "evolink_inputs"
ENOUGH = 12 * 3600.0  # seconds that an upload must have left for a new order: the job may wait in EvoLink's queue
MOST = 50  # uploads remembered for one task instance

log = logging.getLogger(__name__)


class UploadCache:
    """
    What a task instance, and others that share its ledger folder, have uploaded.

    :param context: Context of ``execute``.
    :param path: The ledger folder. Default: ``[evolink] ledger_path``.
    """

    def __init__(self, context: Context, path: str | None = None) -> None:
        self._store = task_state_store(context)
        self._root = path or str(conf.get("evolink", "ledger_path", fallback="") or "")
        self._place = list(TaskIdentity.of(context).path)

    def find(self, sha256: str, settings: ClientSettings, *, enough: float = ENOUGH) -> Uploaded | None:
        """
        Return an upload of the same content that has enough time left.

        :param sha256: Checksum of the file.
        :param settings: Key and host: what another account uploaded is not ours.
        :param enough: Seconds it must have left.
        """
        key = _key(settings.files_url, settings.api_key, sha256)
        found = [_read(row, settings) for row in (self._stored(STORE_KEY).get(key), self._filed(key))]
        alive = [one for one in found if one is not None and one.expires - time.time() >= enough]
        return max(alive, key=lambda one: one.expires, default=None)

    def keep(self, sha256: str, settings: ClientSettings, uploaded: Uploaded) -> None:
        """
        Remember an upload.

        :param sha256: Checksum of the file.
        :param settings: Key and host.
        :param uploaded: The upload.
        """
        key = _key(settings.files_url, settings.api_key, sha256)
        row = {"url": uploaded.url, "expires": uploaded.expires, "file_id": uploaded.file_id}
        rows = [*((name, old) for name, old in self._stored(STORE_KEY).items() if name != key), (key, row)]
        self._write(key, row, STORE_KEY, dict(rows[-MOST:]))

    def saw(self, sums: Mapping[str, str]) -> None:
        """
        Remember the content of a request's files at the time of its order.

        :param sums: Checksum of each file, by where it lies.
        """
        key = _key(*self._place, *sorted(sums))
        row = {_key(uri): sha256 for uri, sha256 in sums.items()}
        # A name for each set of files: the requests of a batch share the store, and none may drive out another.
        self._write(key, row, f"{INPUTS_KEY}_{key}", row)

    def contents_of(self, uris: Collection[str]) -> dict[str, str]:
        """
        Return what :meth:`saw` was told of a request's files, for those that cannot be read any more.

        :param uris: Where they lay, all of them.
        """
        key = _key(*self._place, *sorted(uris))
        row = self._stored(f"{INPUTS_KEY}_{key}") or self._filed(key)
        found = {uri: row.get(_key(uri)) for uri in uris} if isinstance(row, dict) else {}
        return {uri: sha256 for uri, sha256 in found.items() if isinstance(sha256, str)}

    def _stored(self, name: str) -> dict[str, Any]:
        if self._store is None:
            return {}
        try:
            found = self._store.get(name)
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            log.info("Uploads of earlier tries are not known (%s)", type(error).__name__)
            return {}
        return found if isinstance(found, dict) else {}

    def _filed(self, key: str) -> Any:
        from airflow_provider_evolink.storage.object_store import read_json

        if not self._root:
            return None
        try:
            return read_json(self._file(key))
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            log.info("The ledger folder does not tell of uploads (%s)", type(error).__name__)
            return None

    def _write(self, key: str, row: dict[str, Any], name: str, value: dict[str, Any]) -> None:
        """Write a row to the ledger folder, and a value to the store: what fails at one does not keep it from both."""
        from airflow_provider_evolink.storage.object_store import publish_json

        puts: list[Callable[[], None]] = []
        if self._store is not None:
            puts.append(partial(self._store.set, name, value))
        if self._root:
            puts.append(lambda: publish_json(row, self._file(key)))
        for put in puts:
            try:
                put()
            except Exception as error:  # noqa: BLE001 - every store has its own errors
                log.warning("An upload could not be remembered (%s); a retry may upload it again", type(error).__name__)

    def _file(self, key: str) -> ObjectStoragePath:
        from airflow_provider_evolink.storage.object_store import open_folder

        return open_folder(self._root, what="ledger_path") / "uploads" / f"{key}.json"


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _read(row: Any, settings: ClientSettings) -> Uploaded | None:
    """Check a row: anybody with access to the DAG may have edited it."""
    try:
        url, expires, file_id = row["url"], float(row["expires"]), row.get("file_id")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not is_usable(url, settings) or not expires < time.time() + 80 * 3600.0:
        return None
    return Uploaded(url, expires, file_id if isinstance(file_id, str) else None)
