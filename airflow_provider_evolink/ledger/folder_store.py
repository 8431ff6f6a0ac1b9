"""The record of a generation as a file in object storage: on S3 each write is on a condition, and calls are few."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLedgerError
from airflow_provider_evolink.ledger.lease import LEASE_SECONDS
from airflow_provider_evolink.ledger.record import Record, TaskIdentity, merge_over, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import ObjectStoragePath

MAX_RECORD_BYTES = 64 * 1024
FRESH_SECONDS = LEASE_SECONDS / 2  # a step on the way to an order may take longer
_NEVER = float("-inf")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class LastRead(Enum):
    """What the last read of a folder found."""

    FOUND = "found"
    MISSING = "missing"
    FORBIDDEN = "forbidden"  # 403: S3's word for a missing object, too, where the role may not list


class FolderStore:
    """
    A folder in object storage with one file per generation. Unlike the task state store, it accepts any write.

    But where the last read found no record, an intent only creates its file, and replaces none. So a role that may not
    list, to which S3 reports a missing record and one that may not be read alike, pays once only. On S3 an intent also
    replaces only the record that was last read (``If-Match``).

    :param root: URI of the folder; it may name a connection, as in ``s3://conn_id@bucket/ledger``.
    :param identity: Whose record it is.
    """

    name = "ledger folder"

    def __init__(self, root: str, identity: TaskIdentity) -> None:
        self._root = root
        self._owner = list(identity.path)
        self._last_read = LastRead.FOUND
        self._last: Any | None = None
        self._tag: str | None = None
        self._read_at = (_NEVER, _NEVER)
        self._honors_conditions = False

    def get(self) -> Any | None:
        """Return the record as JSON, or ``None`` if the file does not exist, as far as this role can tell."""
        self._forget()
        path, began = self._path(), _now()
        self._last_read = LastRead.FOUND
        content, self._tag = self._content(path)
        self._last = None if content is None else self._parsed(path, content)
        self._read_at = began
        return self._last

    def set(self, value: dict[str, Any]) -> None:
        """Store it; this package never deletes it."""
        from airflow_provider_evolink.storage.writable import not_writable

        try:
            self._write(value)
        except FileExistsError:
            self._accept_only(value)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise not_writable(error, self._root, "ledger_path") from error

    def last_read(self) -> tuple[Any | None] | None:
        """
        Return what the last read found, where nobody needs another before an intent; ``None``: read again.

        In a store that is known to honor conditions, that the read was a moment ago is enough: the write fails if there
        is another record by then.
        """
        age = max(now - then for now, then in zip(_now(), self._read_at, strict=True))
        return (self._last,) if age <= FRESH_SECONDS and self._honors_conditions else None

    def prove(self, proof: Callable[[str], str], proven: AbstractSet[str]) -> None:
        """
        Find out whether the store honors the conditions of writes. One that does needs two reads less.

        :param proof: Proves that a folder takes files, and returns the endpoint of an S3 that has refused a write on a
            condition.
        :param proven: Endpoints that have done so in this run: they are not asked again.
        """
        from airflow_provider_evolink.storage import s3

        path = self._path()
        if path.protocol in s3.PROTOCOLS:
            endpoint = s3.identity(path)[0]
            self._honors_conditions = endpoint in proven or proof(self._root) == endpoint

    def replace_last_read(self, record: Record) -> bool:
        """
        Write a record over the one that was last read, in one call, where the store is known to refuse it otherwise.

        :param record: The record.
        :return: Whether it is written. If not, read first.
        """
        from airflow_provider_evolink.storage import object_store, s3

        path, last, tag = self._path(), self._last, self._tag
        if last is None or tag is None or not self._honors_conditions:
            return False
        if (merged := merge_over(read_record(last), record)) is None:
            return False
        self._forget()
        content = object_store.json_bytes({"of": self._owner, "record": merged.to_json()})
        try:
            s3.replace(path, content, tag, object_store.JSON_TYPE)
        except FileExistsError:
            return False
        return True

    def _content(self, path: ObjectStoragePath) -> tuple[bytes | None, str | None]:
        """Return what is in the file, and what S3 calls this content."""
        from airflow_provider_evolink.storage import s3
        from airflow_provider_evolink.storage.object_store import read_bytes

        is_s3 = path.protocol in s3.PROTOCOLS
        try:
            if is_s3:
                return s3.read_tagged(path, MAX_RECORD_BYTES + 1)
            return read_bytes(path, MAX_RECORD_BYTES + 1), None
        except FileNotFoundError:
            self._last_read = LastRead.MISSING
        except PermissionError:
            if not is_s3:
                raise
            self._last_read = LastRead.FORBIDDEN
        return None, None

    def _parsed(self, path: ObjectStoragePath, content: bytes) -> Any:
        from airflow_provider_evolink.storage.object_store import parse_json

        try:
            found = parse_json(content, f"{path.name} in the ledger folder")
            if found["of"] == self._owner:
                return found["record"]
        except (ValueError, KeyError, TypeError):
            pass
        raise EvoLinkConfigError(
            f"{path.name} in the ledger folder is not the record of this task, so nothing was submitted. What to do: "
            "check the file; delete it to submit, and pay, again"
        )

    def _write(self, value: dict[str, Any]) -> None:
        from airflow_provider_evolink.storage import object_store, s3

        document, path, tag = {"of": self._owner, "record": value}, self._path(), self._tag
        self._forget()
        if tag is not None:
            s3.replace(path, object_store.json_bytes(document), tag, object_store.JSON_TYPE)
            return
        if self._last_read is LastRead.FOUND or value.get("job_id"):
            object_store.publish_json(document, path)
            return
        if self._last_read is LastRead.FORBIDDEN:
            self._check_creates_only()
        try:
            object_store.create_json(document, path)
        except s3.UnknownConditionError:  # nothing was there a moment ago, for certain
            object_store.publish_json(document, path)

    def _accept_only(self, value: dict[str, Any]) -> None:
        """There is a file that the last read did not find: it may be this very record, if a response was lost."""
        if self.get() == value:
            return
        if self._last_read is LastRead.FORBIDDEN:
            raise EvoLinkConfigError(
                "the ledger folder has a record of this task that this role may not read (403), so nothing was "
                "submitted. What to do: grant the right to get objects below ledger_path, and clear the task"
            )
        text = (
            "another try has just written its record to the ledger folder, so nothing was submitted. What to do: see "
        )
        raise EvoLinkLedgerError(f"{text}the latest try of this task")

    def _check_creates_only(self) -> None:
        from airflow_provider_evolink.storage.object_store import open_folder
        from airflow_provider_evolink.storage.s3 import can_create_only

        if not can_create_only(open_folder(self._root, what="ledger_path")):
            raise EvoLinkConfigError(
                "the ledger folder answers 403 where no record may be, and its store takes no create-only writes, so a "
                "missing record cannot be told from one that may not be read; nothing was submitted. What to do: grant "
                "the right to list (s3:ListBucket) on ledger_path, and clear the task"
            )

    def _path(self) -> ObjectStoragePath:
        return file_of(self._root, self._owner, ".json")

    def _forget(self) -> None:
        self._last, self._tag, self._read_at = None, None, (_NEVER, _NEVER)


def file_of(root: str, owner: list[Any], suffix: str) -> ObjectStoragePath:
    """
    Return the file of a generation or batch in the ledger folder.

    :param root: URI of the folder.
    :param owner: DAG, run, task, map index, and of a request of a batch its number.
    :param suffix: What the file holds.
    """
    from airflow_provider_evolink.storage.object_store import below, open_folder

    digest = hashlib.sha256(json.dumps(owner).encode()).hexdigest()[:40]
    names = (_UNSAFE.sub("_", str(part))[:80] for part in (owner[0], owner[2]))
    return below(open_folder(root, what="ledger_path"), *names, f"{digest}{suffix}")


def _now() -> tuple[float, float]:
    """Return both clocks: one may stop while the machine sleeps, the other may be set."""
    return time.monotonic(), time.time()
