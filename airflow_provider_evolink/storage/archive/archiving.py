"""From downloaded files to the archive: files, posters, manifest, index; nothing can be found before it is whole."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.parameter import is_list
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side, transfer_turn
from airflow_provider_evolink.arguments.given import is_nothing, returned_nothing
from airflow_provider_evolink.arguments.layout import DEFAULT_LAYOUT
from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.archive.index import row_of, write_index
from airflow_provider_evolink.storage.archive.layout import MANIFEST, check_layout, file_name, job_folder
from airflow_provider_evolink.storage.archive.manifest import Manifest, merged, new_manifest, read_manifest
from airflow_provider_evolink.storage.archive.moving import remove_staged
from airflow_provider_evolink.storage.archive.posters import with_poster
from airflow_provider_evolink.storage.copying.checked_copy import copy_checked
from airflow_provider_evolink.storage.many_jobs import for_each_job
from airflow_provider_evolink.storage.media_file import ArchivedFile, MediaFile
from airflow_provider_evolink.storage.object_store import (
    about,
    below,
    holds,
    is_shallow,
    open_folder,
    public_uri,
    publish_json,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

_TURNS = [threading.Lock() for _ in range(64)]  # to write the look-up object of a request: it names its latest job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archiving:
    """
    How files are archived.

    :param layout: The folder of a job, see :func:`~airflow_provider_evolink.storage.archive.layout.check_layout`.
    :param move: Remove what was staged once it is verified in the archive.
    :param posters: Make a small picture of each clip and picture.
    """

    layout: str = DEFAULT_LAYOUT
    move: bool = False
    posters: bool = True


def archive_files(
    files: Any,
    archive: ObjectStoragePath,
    run: Mapping[str, Any],
    how: Archiving = Archiving(),
) -> list[ArchivedFile]:
    """
    Archive downloaded files, several at a time: copy, poster, manifest, index. What is archived already stays as it is.

    A job that cannot be archived holds back none of the others.

    :param files: What the download returned; they may belong to several jobs.
    :param archive: Root of the archive.
    :param run: The task that archives, for the manifest.
    :param how: Layout and what becomes of the staged files.
    :return: A :class:`~airflow_provider_evolink.storage.media_file.ArchivedFile` for each file.
    :raises EvoLinkConfigError: ``files`` is not what a download returns, or the layout is none, or a manifest is of a
        newer version or another job.
    :raises EvoLinkMediaError: a staged file no longer exists or has changed.
    """
    check_layout(how.layout)
    jobs: dict[str, list[MediaFile]] = {}
    for file in staged_files(files):
        jobs.setdefault(file.job_id, []).append(file)
    done = for_each_job(lambda group: _JobArchive(group, archive, how).run(run), jobs, archive, done="archived")
    return [entry for entries in done for entry in entries]


@dataclass(frozen=True)
class _JobArchive:
    """One job on its way into the archive."""

    files: list[MediaFile]
    archive: ObjectStoragePath
    how: Archiving

    @property
    def folder(self) -> ObjectStoragePath:
        first = self.files[0]
        names = job_folder(self.how.layout, first.model, first.job.created, first.job_id)
        return below(self.archive, *names, MANIFEST).parent

    def run(self, run: Mapping[str, Any]) -> list[ArchivedFile]:
        folder, job_id = self.folder, self.files[0].job_id
        path = folder / MANIFEST
        targets = [folder / file_name(file.job_id, file.index, file.uri) for file in self.files]
        before = read_manifest(read_json(path), public_uri(path), job_id)
        pairs = list(zip(self.files, targets, strict=True))
        side_by_side(lambda pair: self._copy(*pair, before), pairs)
        manifest = self._manifest(folder, [target.name for target in targets], before, run)
        text = manifest.to_json()
        if before is None or text != read_json(path):
            publish_json(text, path)
        row = row_of(manifest, _below(self.archive, folder))
        with _TURNS[hash(row.fingerprint) % len(_TURNS)]:
            write_index(self.archive, row)
        if self.how.move:
            for file, target in pairs:
                remove_staged(file, target)
        return [file.archived(str(target), str(path)) for file, target in pairs]

    def _copy(self, file: MediaFile, target: ObjectStoragePath, before: Manifest | None) -> None:
        listed = before.file(target.name) if before else None
        is_listed = listed is not None and listed.sha256 == file.sha256
        if is_listed and holds(target, sha256=file.sha256, size=file.size):
            return
        staged, kept = open_folder(file.uri, what="staged file"), about(file.job_id, file.sha256)
        with transfer_turn():
            copy_checked(staged, target, file=file.model_dump(), metadata=kept)

    def _manifest(
        self, folder: ObjectStoragePath, names: list[str], before: Manifest | None, run: Mapping[str, Any]
    ) -> Manifest:
        """Return the manifest as it is to be: of files that it lists already, nothing is looked up again."""
        staged = [file.model_copy(update={"uri": public_uri(file.uri)}) for file in self.files]
        price, downloaded = _price_day(self.files[0].model), None if before else _staged_at(self.files[0].uri)
        fresh = new_manifest(staged, names, run, price=price, downloaded=downloaded)
        rows = []
        for row in fresh.files:
            listed = before.file(row.name) if before else None
            if listed is not None and listed.sha256 == row.sha256 and listed.index is not None:
                rows.append(listed)
            else:
                rows.append(with_poster(row, folder) if self.how.posters else row)
        return merged(before, fresh.model_copy(update={"files": rows}))


def _below(root: ObjectStoragePath, folder: ObjectStoragePath) -> str:
    """Return a path from the root of the archive."""
    return folder.path.removeprefix(root.path.rstrip("/")).strip("/")


def _staged_at(uri: str) -> datetime | None:
    """Return when a file was staged, as its store has it; ``None`` where it does not say, or the file is gone."""
    try:
        path = open_folder(uri, what="staged file")
        known = s3.head(path) if path.protocol in s3.PROTOCOLS else None
        found: datetime = known["LastModified"] if known else path.fs.modified(path.path)
        return found.astimezone(UTC).replace(microsecond=0)
    except Exception as error:  # noqa: BLE001 - every store has its own errors, and it is only for show
        log.info("When a file was staged is not known (%s)", type(error).__name__)
        return None


def _price_day(model: str | None) -> str | None:
    spec = catalog.find_spec(model) if model else None
    return spec.price.as_of if spec and spec.price else None


def staged_files(files: Any) -> list[MediaFile]:
    """
    Return the files that a download, or several, returned.

    :param files: The list, or a list of lists.
    :raises EvoLinkConfigError: it is neither.
    """
    if is_nothing(files):
        raise returned_nothing("files", "clear that task: a download fetches what is missing and submits nothing")
    if not is_list(files):
        raise EvoLinkConfigError(f"files must be the list that a download returns, not {type(files).__name__}")
    # A mapped download gives a list of its lists, which Airflow reads when it is walked.
    each = [file for entry in files for file in (entry if is_list(entry) else [entry])]
    if not is_shallow(each):
        raise EvoLinkConfigError(
            "files is not what a download returns: its values are nested too deep. What to do: pass download.output, "
            "unchanged"
        )
    try:
        return [MediaFile.model_validate(file) for file in each]
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(str(key) for key in detail["loc"]) for detail in error.errors()}))
        raise EvoLinkConfigError(
            f"files is not what a download returns: check {fields}. What to do: pass download.output, unchanged"
        ) from None
