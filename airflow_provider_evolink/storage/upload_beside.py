"""
Puts a result into S3 while it still arrives: bounded parts go up, and the object appears only after verification.

The bytes land in the spool all the same, from where a later try goes on, and where the whole file is verified.
"""

from __future__ import annotations

import logging
import os
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Self

from airflow_provider_evolink.api.files.containers import HEAD_SIZE, likely_type
from airflow_provider_evolink.api.files.formats.structure import EXTENSIONS
from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side
from airflow_provider_evolink.storage import s3
from airflow_provider_evolink.storage.copying import s3_copy
from airflow_provider_evolink.storage.copying.open_uploads import OpenUpload

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_evolink.api.files.transfer.part import Part
    from airflow_provider_evolink.storage.copying.copied import Wanted

START = 16 * 1024 * 1024  # bytes; a smaller file is one request, and no upload that a kill could leave open
PART = 8 * 1024 * 1024
_MARGIN = 64 * 1024  # what may still be in the buffer of the file that is written
_PAUSE = 0.05  # seconds
_AT_A_TIME = threading.BoundedSemaphore(2)  # parts of all results of this process: each is in memory about twice

log = logging.getLogger(__name__)


class UploadBeside:
    """
    The upload of one result beside its download. Elsewhere than on S3, and for small files, it does nothing.

    :param folder: Where the result goes.
    :param name: Of the result, without extension.
    :param part: Where its bytes arrive.
    """

    def __init__(self, folder: ObjectStoragePath, name: str, part: Part) -> None:
        self._folder, self._name, self._part = folder, name, part
        self._target: ObjectStoragePath | None = None
        self._count = 0
        self._cuts = part.cuts
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._upload: OpenUpload | None = None

    def __enter__(self) -> Self:
        if self._folder.protocol in s3.PROTOCOLS:
            self._upload = OpenUpload(self._folder, f"{self._folder.conn_id}:{self._folder.path}/{self._name}")
            self._upload.__enter__()
            self._thread = threading.Thread(target=copy_context().run, args=(self._run,), daemon=True)
            self._thread.name = "evolink-upload"
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if self._upload is not None:
            self._upload.__exit__()

    def finish(self, target: ObjectStoragePath, wanted: Wanted) -> bool:
        """
        Complete the upload of a file that was verified; ``False``: it is to be put in another way.

        :param target: The object that it becomes.
        :param wanted: What it must be.
        """
        self._stop()
        if self._upload is None or self._target is None or str(self._target) != str(target) or self._is_cut:
            return False
        try:
            side_by_side(self._put, range(self._count, -(-wanted.size // PART)), 2)
            etag = self._upload.complete()
            target.fs.invalidate_cache(target.path)
            return s3_copy.label(target, etag, wanted).is_right(wanted)
        except OSError as error:
            log.info("The upload beside the download failed (%s), so the file is put anew", s3.code_of(error))
            return False

    @property
    def _is_cut(self) -> bool:
        return self._part.cuts != self._cuts

    def _run(self) -> None:
        try:
            while not self._ended.wait(_PAUSE):
                if self._part.size >= START and self._target is None:
                    self._begin()
                while not self._ended.is_set() and self._has_next():
                    self._put(self._count)
                    self._count += 1
        except Exception as error:  # noqa: BLE001 - the file is put anew, which shows what is wrong
            self._target = None
            log.info(
                "The upload beside the download stopped (%s); the file is put when it is whole", type(error).__name__
            )

    def _begin(self) -> None:
        content_type = likely_type(os.pread(self._part.descriptor, HEAD_SIZE, 0))
        if self._upload is None or content_type is None or self._is_cut:
            self._ended.set()
            return
        target = self._folder / f"{self._name}{EXTENSIONS[content_type]}"
        self._upload.start(target, ContentType=content_type, ChecksumAlgorithm="CRC32")
        self._target = target

    def _has_next(self) -> bool:
        is_there = self._part.size >= (self._count + 1) * PART + _MARGIN
        return self._target is not None and is_there and not self._is_cut

    def _put(self, index: int) -> None:
        with _AT_A_TIME:
            body = os.pread(self._part.descriptor, PART, index * PART)
            if self._upload is None or not body:
                raise OSError("the part is gone")
            self._upload.put_part(index + 1, body)

    def _stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
