"""
Uploaded files, so that the same content is not uploaded again while EvoLink has it.

Airflow's task state store holds them for the tries of a task instance; the ledger folder, if there is one, for all
tasks. No payment depends on them: what cannot be read or written is uploaded again. The entries hold links, which give
access to the file, as the XCom of an upload does; never a key, a prompt or the name of a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.files.upload import Uploaded, is_usable
from airflow_provider_evolink.ledger.ledger import ledger_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_evolink.api.settings import ClientSettings

STORE_KEY = "evolink_uploads"
MIN_SECONDS_LEFT = 12 * 3600.0  # of an upload for a new order: the job may wait in EvoLink's queue
MAX_SECONDS_LEFT = 80 * 3600.0  # EvoLink keeps a file for 72 hours; an entry with more was edited
MAX_UPLOADS = 50  # in the task state store

log = logging.getLogger(__name__)


class UploadCache:
    """
    The uploads of a task instance, and of all that share its ledger folder, by the content of the file.

    :param context: Context of ``execute``.
    :param path: The ledger folder. Default: ``[evolink] ledger_path``.
    """

    def __init__(self, context: Context, path: str | None = None) -> None:
        self._store = context.get("task_state_store")
        self._root = ledger_root(path)

    def get(
        self, sha256: str, settings: ClientSettings, *, min_seconds_left: float = MIN_SECONDS_LEFT
    ) -> Uploaded | None:
        """
        Return an upload of the same content that does not expire too soon.

        :param sha256: Checksum of the file.
        :param settings: Key and host: uploads of another account are not used.
        :param min_seconds_left: How long it must still be available.
        """
        key = _key(settings.files_url, settings.api_key, sha256)
        found = [_uploaded(entry, settings) for entry in (self._stored().get(key), self._filed(key))]
        usable = [one for one in found if one is not None and one.expires - time.time() >= min_seconds_left]
        return max(usable, key=lambda one: one.expires, default=None)

    def put(self, sha256: str, settings: ClientSettings, uploaded: Uploaded) -> None:
        """
        Remember an upload, where that is possible.

        :param sha256: Checksum of the file.
        :param settings: Key and host.
        :param uploaded: The upload.
        """
        key = _key(settings.files_url, settings.api_key, sha256)
        entry = {"url": uploaded.url, "expires": uploaded.expires, "file_id": uploaded.file_id}
        _logged(partial(self._store_entry, key, entry))
        _logged(partial(self._file_entry, key, entry))

    def _stored(self) -> dict[str, Any]:
        if self._store is None:
            return {}
        try:
            found = self._store.get(STORE_KEY)
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            log.info("The uploads of earlier tries cannot be read (%s)", type(error).__name__)
            return {}
        return found if isinstance(found, dict) else {}

    def _filed(self, key: str) -> Any:
        from airflow_provider_evolink.storage.object_store import read_json

        if not self._root:
            return None
        try:
            return read_json(self._file(key))
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            log.info("The uploads in the ledger folder cannot be read (%s)", type(error).__name__)
            return None

    def _store_entry(self, key: str, entry: dict[str, Any]) -> None:
        if self._store is None:
            return
        others = [(name, other) for name, other in self._stored().items() if name != key]
        self._store.set(STORE_KEY, dict([*others, (key, entry)][-MAX_UPLOADS:]))

    def _file_entry(self, key: str, entry: dict[str, Any]) -> None:
        from airflow_provider_evolink.storage.object_store import publish_json

        if self._root:
            publish_json(entry, self._file(key))

    def _file(self, key: str) -> ObjectStoragePath:
        from airflow_provider_evolink.storage.object_store import below, open_folder

        return below(open_folder(self._root, what="ledger_path"), "uploads", f"{key}.json")


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _logged(write: Callable[[], None]) -> None:
    try:
        write()
    except Exception as error:  # noqa: BLE001 - every store has its own errors
        log.warning("An upload could not be remembered (%s); a retry may upload it again", type(error).__name__)


def _uploaded(entry: Any, settings: ClientSettings) -> Uploaded | None:
    """Validate an entry: anyone with access to the DAG may have edited it."""
    try:
        url, expires, file_id = entry["url"], float(entry["expires"]), entry.get("file_id")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not is_usable(url, settings) or not expires < time.time() + MAX_SECONDS_LEFT:
        return None
    return Uploaded(url, expires, file_id if isinstance(file_id, str) else None)
