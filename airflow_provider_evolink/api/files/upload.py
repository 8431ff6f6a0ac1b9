"""
Upload a local file to EvoLink's files API: streamed, so that memory stays flat. Free; the link lives for 72 hours.

EvoLink's pages promise images only; its own clients send audio and video as well. What it does not accept, it refuses.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError, field_validator

from airflow_provider_evolink.api.addresses import is_local_host, link_fault
from airflow_provider_evolink.api.catalog.media_limits import InputFile
from airflow_provider_evolink.api.http.failures import refusal_error, unreadable
from airflow_provider_evolink.api.http.messages import Call, Response
from airflow_provider_evolink.api.http.retries import retrying
from airflow_provider_evolink.api.http.transport import build_client, exchange, ssl_context
from airflow_provider_evolink.api.http.wire import read_success
from airflow_provider_evolink.api.jobs.result_links import MAX_LINK
from airflow_provider_evolink.api.settings import ClientSettings

UPLOAD_FOLDER = "airflow"
LINK_LIFETIME = 72 * 3600.0  # seconds, by EvoLink's documentation
RESPONSE_TIMEOUT = 120.0  # seconds, as EvoLink's clients wait; a large file gets more
MIN_RATE = 256 * 1024  # bytes per second
_CALL = Call(
    "upload",
    "POST",
    "/api/v1/files/upload/stream",
    consequence="; nothing was submitted",
    advice={
        "40001": "the file is too large for EvoLink's files API",
        "40002": "EvoLink's files API does not accept this type of file; give a link to it instead",
        "40003": "the account has as many files as it may; they expire after 72 hours, or delete some",
    },
)


@dataclasses.dataclass(frozen=True)
class Uploaded:
    """
    A file that EvoLink has.

    :param url: Opens without a key: whoever has it may read the file.
    :param expires: Epoch seconds, by our clock, when it is gone.
    :param file_id: EvoLink's id of the file.
    """

    url: str = dataclasses.field(repr=False)
    expires: float
    file_id: str | None = None


class _StoredFile(BaseModel):
    """``data`` of the response."""

    file_url: str
    file_id: str | None = None
    file_size: int | None = None
    upload_time: datetime | None = None
    expires_at: datetime | None = None

    @field_validator("upload_time", "expires_at", mode="wrap")
    @classmethod
    def _or_nothing(cls, value: Any, read: Any) -> Any:
        try:
            return read(value)
        except ValidationError:
            return None

    def lifetime(self) -> float:
        """Return the seconds it lives: a span, so that a clock that is wrong does no harm."""
        if self.upload_time is None or self.expires_at is None:
            return LINK_LIFETIME
        try:
            return min((self.expires_at - self.upload_time).total_seconds(), LINK_LIFETIME)
        except TypeError:
            return LINK_LIFETIME


def upload(settings: ClientSettings, path: Path, file: InputFile) -> Uploaded:
    """
    Send a file to EvoLink and return its link. Free. The key goes to the files host and nowhere else.

    :param settings: Key, hosts and timeouts.
    :param path: The file, on this machine.
    :param file: What was found out about it.
    :raises EvoLinkAPIError: EvoLink refused it, or could not be reached; nothing was submitted.
    """
    # A new name each time: EvoLink replaces a file of the same name, and its caches notice late.
    name = f"{uuid.uuid4().hex}{file.extension}"
    files_api = dataclasses.replace(settings, base_url=settings.files_url)
    limits = httpx.Limits(max_keepalive_connections=0)
    with build_client(httpx.Client, files_api, ssl_context(settings.network), limits) as http:

        def attempt() -> Uploaded:
            began = time.time()
            with path.open("rb") as content:
                response = exchange(
                    http,
                    _CALL,
                    files_api,
                    seconds=RESPONSE_TIMEOUT + file.size / MIN_RATE,
                    files={"file": (name, content, file.content_type)},
                    data={"upload_path": UPLOAD_FOLDER, "file_name": name},
                    timeout=httpx.Timeout(
                        RESPONSE_TIMEOUT, connect=settings.connect_timeout, write=settings.submit_timeout
                    ),
                )
            stored = _stored_file(response, file, settings)
            return Uploaded(stored.file_url, began + stored.lifetime(), stored.file_id)

        return retrying(_CALL, settings)(attempt)


def _stored_file(response: Response, file: InputFile, settings: ClientSettings) -> _StoredFile:
    payload = read_success(_CALL, response)
    if payload.get("success") is not True:
        raise refusal_error(_CALL, response)
    try:
        stored = _StoredFile.model_validate(payload.get("data"))
    except ValidationError:
        stored = None
    if stored is None or not is_usable(stored.file_url, settings):
        unreadable(_CALL, response, "the response holds no usable link")
    if stored.file_size not in (None, file.size):
        unreadable(_CALL, response, f"EvoLink stored {stored.file_size} of {file.size} bytes")
    return stored


def is_usable(url: Any, settings: ClientSettings) -> bool:
    """
    Return whether a text may be the link of an uploaded file.

    :param url: What a response or a record holds.
    :param settings: Key, hosts and timeouts; only the emulator has links without TLS.
    """
    if not isinstance(url, str) or len(url) > MAX_LINK or link_fault(url):
        return False
    return url.startswith("https://") or is_local_host(urlsplit(settings.files_url).hostname)
