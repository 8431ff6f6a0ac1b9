"""Uploaded files: what is accepted, where it lies, when it dies."""

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


class UploadRefused(Exception):
    """
    The file is not taken.

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
    at: float
    expires: float
    path: Path
    account: str

    def public(self, base: str) -> dict[str, Any]:
        """
        Describe the file as the file API does.

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
            "upload_time": _stamp(self.at),
            "expires_at": _stamp(self.expires),
        }

    def public_path(self) -> str:
        """Return what follows ``/files/`` in the address."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class Uploads:
    """
    The files of all accounts.

    :param folder: Where the bytes go.
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
        Take a file. An earlier one of the same name is replaced.

        :param content: The bytes.
        :param account: Whose it is.
        :param settings: The knobs in force.
        :param now: Unix seconds.
        :param name: File name; empty for one of our choice.
        :param folder: ``upload_path``.
        :param original: What the sender calls the file.
        :raises UploadRefused: Too large, of a type not allowed, or one too many.
        """
        if len(content) > settings.max_upload_bytes:
            raise UploadRefused(40001, "file too large")
        mime_type = sniff(content)
        allowed = _IMAGES if settings.files_images_only else _IMAGES | _OTHERS
        if mime_type is None or mime_type not in allowed:
            raise UploadRefused(40002, "file type not allowed")
        if len(self.of(account, now)) >= settings.max_files:
            raise UploadRefused(40003, "file quota used up")
        number = secrets.token_hex(8)
        stored = _clean(name) or f"{number}.{allowed[mime_type]}"
        path = self._folder / f"upload-{number}"
        path.write_bytes(content)
        upload = Upload(
            id=f"file_{number}",
            name=stored,
            original_name=original or name or stored,
            folder="/".join(filter(None, map(_clean, folder.split("/")))),
            mime_type=mime_type,
            size=len(content),
            at=now,
            expires=now + settings.file_seconds,
            path=path,
            account=account,
        )
        self._by_path[upload.public_path()] = upload
        return upload

    def of(self, account: str, now: float) -> list[Upload]:
        """
        List the living files of an account, newest first.

        :param account: The account.
        :param now: Unix seconds.
        """
        mine = [upload for upload in self._by_path.values() if upload.account == account and upload.expires > now]
        return sorted(mine, key=lambda upload: upload.at, reverse=True)

    def at(self, public_path: str, now: float) -> Upload | None:
        """
        Find a living file by its address or by ``download/<id>``.

        :param public_path: What follows ``/files/``.
        :param now: Unix seconds.
        """
        found = self._by_path.get(public_path)
        if found is None and public_path.startswith("download/"):
            wanted = public_path.removeprefix("download/")
            found = next((upload for upload in self._by_path.values() if upload.id == wanted), None)
        return found if found is not None and found.expires > now else None

    def remove(self, file_id: str, account: str) -> bool:
        """
        Delete a file.

        :param file_id: Its id.
        :param account: Whose it must be.
        """
        for path, upload in self._by_path.items():
            if upload.id == file_id and upload.account == account:
                del self._by_path[path]
                return True
        return False


def sniff(content: bytes) -> str | None:
    """
    Tell the type of a file from its first bytes.

    :param content: The file.
    """
    for start, mime_type in _STARTS:
        if content.startswith(start):
            return mime_type
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return "video/quicktime" if content[8:10] == b"qt" else "video/mp4"
    is_mp3 = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0
    return "audio/mpeg" if is_mp3 else None


_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:120]


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, _SHANGHAI).isoformat(timespec="seconds")
