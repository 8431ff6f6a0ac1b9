"""Uploaded files: which are accepted, where they are kept, when they expire."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_evolink.emulator.settings import Settings

_SHANGHAI = timezone(timedelta(hours=8))
_IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}
_OTHERS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
}


class UploadRejected(Exception):
    """
    The file is not accepted.

    :param code: Code in the file API's envelope.
    :param message: ``msg`` in the envelope.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Upload:
    """One uploaded file."""

    id: str
    name: str
    original_name: str
    folder: str
    mime_type: str
    size: int
    uploaded: float
    expires: float
    path: Path
    account: str

    def public(self, base: str) -> dict[str, Any]:
        """
        Return the file as the file API describes it.

        :param base: Scheme, host and port of the emulator.
        """
        return {
            "file_id": self.id,
            "file_name": self.name,
            "original_name": self.original_name,
            "file_size": self.size,
            "mime_type": self.mime_type,
            "upload_path": self.folder,
            "file_url": f"{base}/files/{quote(self.public_path())}",
            "download_url": f"{base}/files/download/{self.id}",
            "upload_time": _timestamp(self.uploaded),
            "expires_at": _timestamp(self.expires),
        }

    def public_path(self) -> str:
        """Return the part of its address after ``/files/``."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class UploadStore:
    """
    The files of all accounts.

    :param folder: Where they are stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_path: dict[str, Upload] = {}

    def add(
        self,
        content: bytes,
        account: str,
        settings: Settings,
        now: float,
        *,
        name: str = "",
        folder: str = "",
        original: str = "",
    ) -> Upload:
        """
        Store a file. An earlier one with the same path is replaced.

        :param content: The file.
        :param account: Its owner.
        :param settings: The current settings.
        :param now: Unix seconds.
        :param name: File name; empty for a generated one.
        :param folder: ``upload_path``.
        :param original: The sender's name of the file.
        :raises UploadRejected: The file is too large, its type is not allowed, or the quota is used up.
        """
        if len(content) > settings.max_upload_bytes:
            raise UploadRejected(40001, "file too large")
        mime_type = detect_type(content)
        allowed = _IMAGES if settings.files_images_only else _IMAGES | _OTHERS
        if mime_type is None or mime_type not in allowed:
            raise UploadRejected(40002, "file type not allowed")
        if len(self.owned_by(account, now)) >= settings.max_files:
            raise UploadRejected(40003, "file quota used up")
        self._delete_old(now, settings.file_seconds)
        number = secrets.token_hex(8)
        stored = _safe_name(name) or f"{number}.{allowed[mime_type]}"
        path = self._folder / f"upload-{number}"
        path.write_bytes(content)
        upload = Upload(
            id=f"file_{number}",
            name=stored,
            original_name=original or name or stored,
            folder="/".join(filter(None, map(_safe_name, folder.split("/")))),
            mime_type=mime_type,
            size=len(content),
            uploaded=now,
            expires=now + settings.file_seconds,
            path=path,
            account=account,
        )
        self._by_path[upload.public_path()] = upload
        return upload

    def _delete_old(self, now: float, grace: float) -> None:
        """Delete files that expired long ago: a job whose input one was may be rendered later."""
        for path, upload in list(self._by_path.items()):
            if upload.expires + grace < now:
                del self._by_path[path]
                upload.path.unlink(missing_ok=True)

    def owned_by(self, account: str, now: float) -> list[Upload]:
        """
        Return the files of an account that have not expired, newest first.

        :param account: The account.
        :param now: Unix seconds.
        """
        owned = [upload for upload in self._by_path.values() if upload.account == account and upload.expires > now]
        return sorted(owned, key=lambda upload: upload.uploaded, reverse=True)

    def find(self, public_path: str, now: float) -> Upload | None:
        """
        Return a file by its address or by ``download/<id>``; None if there is none or it has expired.

        :param public_path: The part of the address after ``/files/``.
        :param now: Unix seconds.
        """
        found = self._by_path.get(public_path)
        if found is None and public_path.startswith("download/"):
            wanted = public_path.removeprefix("download/")
            found = next((upload for upload in self._by_path.values() if upload.id == wanted), None)
        return found if found is not None and found.expires > now else None

    def remove(self, file_id: str, account: str) -> bool:
        """
        Delete a file and return whether there was one.

        :param file_id: Its id.
        :param account: Its owner.
        """
        for path, upload in self._by_path.items():
            if upload.id == file_id and upload.account == account:
                del self._by_path[path]
                return True
        return False


def detect_type(content: bytes) -> str | None:
    """Return the MIME type of a file by its first bytes; None for a type that is never accepted."""
    for signature, mime_type in _SIGNATURES:
        if content.startswith(signature):
            return mime_type
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return "video/quicktime" if content[8:10] == b"qt" else "video/mp4"
    is_mp3 = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0
    return "audio/mpeg" if is_mp3 else None


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)


def _safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:120]


def _timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, _SHANGHAI).isoformat(timespec="seconds")
