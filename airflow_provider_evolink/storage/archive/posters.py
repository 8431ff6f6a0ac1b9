"""The poster of a clip and the thumbnail of a picture. What goes wrong with one never fails an archive."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_evolink.api.files.posters import can_show, make_poster
from airflow_provider_evolink.storage.archive.layout import poster_name
from airflow_provider_evolink.storage.copying.copied import CHECKSUM
from airflow_provider_evolink.storage.object_store import is_local, open_to_read, publish_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.storage.archive.manifest import ManifestFile

PIECE = 4 * 1024 * 1024  # of the beginning and of the end of a clip: all that its first frame needs
MAX_PICTURE = 64 * 1024 * 1024  # a picture is read whole

log = logging.getLogger(__name__)


def with_poster(row: ManifestFile, folder: ObjectStoragePath) -> ManifestFile:
    """
    Publish a small picture of an archived file, and return its entry with the poster and what its tracks are.

    :param row: The entry of the file.
    :param folder: The folder of its job.
    """
    if not can_show(row.content_type):
        return row
    try:
        with _at_hand(folder / row.name, row) as file:
            found = make_poster(file, row.content_type)
        if found is None:
            return row
        tracks = {"codecs": list(found.codecs), "frame_rate": found.frame_rate, "audio": found.audio}
        name = _publish(found.jpeg, folder / poster_name(row.name)) if found.jpeg else None
        return row.model_copy(update={**tracks, "poster": name})
    except Exception as error:  # noqa: BLE001 - whatever a store or a file does, the archive itself is whole
        log.warning("No poster of %s was made (%s); the file itself is archived", row.name, type(error).__name__)
        return row


def _publish(jpeg: bytes, target: ObjectStoragePath) -> str:
    publish_bytes(jpeg, target, content_type="image/jpeg", metadata={CHECKSUM: hashlib.sha256(jpeg).hexdigest()})
    return target.name


@contextmanager
def _at_hand(path: ObjectStoragePath, row: ManifestFile) -> Iterator[BinaryIO]:
    """Provide a file on this machine; of a clip in an object store its beginning and its end, at their places."""
    if is_local(path):
        with Path(path.path).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile(prefix="evolink-") as copy, open_to_read(path) as source:
        copy.truncate(row.size)
        for start, length in _pieces(row):
            source.seek(start)
            copy.seek(start)
            copy.write(source.read(length))
        copy.flush()
        yield copy


def _pieces(row: ManifestFile) -> list[tuple[int, int]]:
    whole = row.content_type.startswith("image/") and row.size <= MAX_PICTURE
    if whole or row.size <= 2 * PIECE:
        return [(0, row.size)]
    return [(0, PIECE), (row.size - PIECE, PIECE)]
