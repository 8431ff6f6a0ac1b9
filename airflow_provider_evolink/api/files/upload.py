"""
A file of the user's to EvoLink's files API: streamed, so that memory stays flat. Free; the link lives for 72 hours.

EvoLink's pages promise images only; its own clients send audio and video as well. What it does not take, it refuses.
"""

from __future__ import annotations

import dataclasses
import random
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import tenacity
from pydantic import BaseModel, ValidationError, field_validator

from airflow_provider_evolink.api.addresses import host_of, is_local_host, link_fault
from airflow_provider_evolink.api.catalog.media_limits import InputFile
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkUnavailable
from airflow_provider_evolink.api.http import retries, wire
from airflow_provider_evolink.api.http.failures import REFUSAL_ADVICE, network_error, refusal
from airflow_provider_evolink.api.http.messages import Call, Response, json_object, reason, request_id
from airflow_provider_evolink.api.http.transport import TooLong, Watchdog, answer, build, ssl_context
from airflow_provider_evolink.api.jobs.job import MAX_LINK
from airflow_provider_evolink.api.redaction import LINKS_ONLY
from airflow_provider_evolink.api.settings import ClientSettings

PATH = "/api/v1/files/upload/stream"
FOLDER = "airflow"
LIFE = 72 * 3600.0  # seconds, as EvoLink's page says
PATIENCE = 120.0  # seconds, as EvoLink's clients wait; a long file gets more
SLOWEST = 256 * 1024  # bytes per second
_ADVICE = {
    "40001": "the file is too large for EvoLink's files API",
    "40002": "EvoLink's files API does not take this type of file; give a link to it instead",
    "40003": "the account has as many files as it may; they go after 72 hours, or delete some",
}


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


class _Stored(BaseModel):
    """``data`` of the answer."""

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

    def life(self) -> float:
        """Return the seconds it lives: a span, so that a clock that is wrong does no harm."""
        if self.upload_time is None or self.expires_at is None:
            return LIFE
        try:
            return min((self.expires_at - self.upload_time).total_seconds(), LIFE)
        except TypeError:
            return LIFE


def upload(settings: ClientSettings, path: Path, file: InputFile) -> Uploaded:
    """
    Send a file to EvoLink and return its link. Free. The key goes to the files host and nowhere else.

    :param settings: Key, hosts and time-outs.
    :param path: The file, on this machine.
    :param file: What it is.
    :raises EvoLinkAPIError: EvoLink refused it, or could not be reached; nothing was ordered.
    """
    # A name of its own: EvoLink replaces a file of the same name, and its caches notice late.
    name = f"{uuid.uuid4().hex}{file.extension}"
    call = Call("upload", "POST", PATH)
    here = dataclasses.replace(settings, base_url=settings.files_url)
    with build(httpx.Client, here, ssl_context(), httpx.Limits(max_keepalive_connections=0)) as http:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: retries.may_send_again(error, paid=False)),
            wait=lambda state: _pause(state, settings) or 0.0,
            stop=lambda state: _pause(state, settings) is None,
            reraise=True,
        ):
            with attempt:
                began = time.time()
                return _read(call, _send(call, http, here, _Form(path, name, file)), file, began, settings)
    raise AssertionError("unreachable")


def _pause(state: tenacity.RetryCallState, settings: ClientSettings) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return retries.wait_before_retry(
        error,
        state.attempt_number,
        longest=settings.retry_wait,
        jitter=random.random(),  # noqa: S311
    )


@dataclasses.dataclass(frozen=True)
class _Form:
    """What is sent: the file, on this machine, and its name at EvoLink."""

    path: Path
    name: str
    file: InputFile


def _send(call: Call, http: httpx.Client, settings: ClientSettings, form: _Form) -> Response:
    with form.path.open("rb") as content, Watchdog(PATIENCE + form.file.size / SLOWEST) as watchdog:
        try:
            with http.stream(
                call.method,
                call.path,
                files={"file": (form.name, content, form.file.content_type)},
                data={"upload_path": FOLDER, "file_name": form.name},
                timeout=httpx.Timeout(PATIENCE, connect=settings.connect_timeout, write=settings.submit_timeout),
                extensions={"trace": watchdog.trace},
            ) as response:
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > wire.MAX_BODY:
                        raise TooLong
                return answer(response, body, settings)
        except httpx.HTTPError as error:
            raise network_error(call, httpx.ReadTimeout("") if watchdog.has_cut else error) from None


def _read(call: Call, came: Response, file: InputFile, began: float, settings: ClientSettings) -> Uploaded:
    payload = json_object(came.content)
    if not 200 <= came.status < 300 or payload is None or payload.get("success") is not True:
        raise _refusal(call, came, payload)
    try:
        stored = _Stored.model_validate(payload.get("data"))
    except ValidationError:
        stored = None
    if stored is None or not is_usable(stored.file_url, settings):
        raise _unusable(call, came, "the answer holds no usable link")
    if stored.file_size not in (None, file.size):
        raise _unusable(call, came, f"EvoLink stored {stored.file_size} of {file.size} bytes")
    return Uploaded(stored.file_url, began + stored.life(), stored.file_id)


def is_usable(url: Any, settings: ClientSettings) -> bool:
    """
    Tell whether a text may be the link of an uploaded file.

    :param url: What an answer or a record says.
    :param settings: Key, hosts and time-outs; only the emulator has links without TLS.
    """
    if not isinstance(url, str) or len(url) > MAX_LINK or link_fault(url):
        return False
    return url.startswith("https://") or is_local_host(host_of(settings.files_url))


def _unusable(call: Call, came: Response, why: str) -> EvoLinkUnavailable:
    return EvoLinkUnavailable(
        f"{call.name}: {why}; try again later", status_code=came.status, request_id=request_id(came)
    )


def _refusal(call: Call, came: Response, payload: dict[str, Any] | None) -> EvoLinkError:
    code, message = reason(payload)
    # 40003 passes, as files go by themselves; the files API says HTTP 400 to it all the same.
    kind = EvoLinkUnavailable if code in ("40003", "50001") else refusal(came.status, code)
    said = f": “{LINKS_ONLY.apply(message)}”" if message else ""
    return kind(
        f"{call.name}: EvoLink did not take the file{said}; nothing was ordered. What to do: "
        f"{_ADVICE.get(code or '', REFUSAL_ADVICE[kind])}",
        code=code,
        status_code=came.status,
        request_id=request_id(came),
        retry_after=retries.retry_after(came.headers),
    )
