"""A role without a right on gs:// or abfs:// is told so: what their libraries raise, word by word, is one kind."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkMediaError
from airflow_provider_evolink.operators import EvoLinkArchiveOperator
from airflow_provider_evolink.storage.denials import is_denied
from airflow_provider_evolink.storage.object_store import holds, open_folder, read_json
from airflow_provider_evolink.storage.writable import prove_writable

URL = "https://storage.googleapis.com/b/o"


class HttpError(Exception):
    """As gcsfs.retry has it."""

    def __init__(self, code: Any, message: str) -> None:
        self.code, self.message = code, f"{message}, {code}"
        super().__init__(self.message)


class HttpResponseError(Exception):
    """As azure.core.exceptions has it."""

    def __init__(self, status_code: int, message: str) -> None:
        self.status_code, self.message = status_code, message
        super().__init__(message)


class ClientAuthenticationError(HttpResponseError):
    """As azure.core.exceptions has it."""


class DefaultCredentialsError(Exception):
    """As google.auth.exceptions has it."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


AZURE = HttpResponseError(403, "This request is not authorized to perform this operation using this permission.")
DENIED = {
    "gcsfs, 403": OSError(f"Forbidden: {URL}\nx@y does not have storage.objects.create access to the object."),
    "gcsfs, 403 without a body": OSError(f"Forbidden: {URL}\n"),
    "gcsfs, 401": HttpError(401, "Anonymous caller does not have storage.objects.get access"),
    "gcsfs, 401 as text": HttpError("401", "Invalid Credentials"),
    "Google, no login": DefaultCredentialsError("Your default credentials were not found."),
    "Azure, 403": AZURE,
    "Azure, login": ClientAuthenticationError(401, "Server failed to authenticate the request."),
    "adlfs, at the end of a block": caused(RuntimeError(f"Failed to upload block: {AZURE}!"), AZURE),
    "adlfs, at the account": caused(ValueError(f"unable to connect to account for {AZURE}"), AZURE),
}
OTHER = {
    "gcsfs, 403 of a rate limit": OSError(
        f"Forbidden: {URL}\nThe project exceeded the rate limit for creating buckets."
    ),
    "gcsfs, 403 of a quota": OSError(f"Forbidden: {URL}\nQuota exceeded for the project."),
    "gcsfs, 429": HttpError(429, "slow down"),
    "gcsfs, 500": HttpError("500", "backend error"),
    "Azure, 503": HttpResponseError(503, "The server is busy."),
    "adlfs, 500": caused(RuntimeError("Failed to upload block: x!"), HttpResponseError(500, "x")),
    "a full disk": OSError(28, "Forbidden: no space"),
    "time": TimeoutError("Forbidden"),
}


@pytest.mark.parametrize("name", [*DENIED, *OTHER])
def test_what_is_a_denial(name):
    assert is_denied({**DENIED, **OTHER}[name]) is (name in DENIED)


class Store(MemoryFileSystem):  # type: ignore[misc]
    """A store whose every operation raises the same."""

    cachable = False

    def __init__(self, protocol: str, error: Exception) -> None:
        super().__init__()
        self.protocol, self.error = (protocol,), error

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise self.error

    info = open = _open = pipe_file = put_file = cat_file = ls = _refuse


@pytest.fixture
def bucket(request: Any) -> str:
    protocol = "gs" if request.param.startswith(("gcsfs", "Google")) else "abfs"
    attach(protocol, conn_id=f"of_{abs(hash(request.param))}", fs=Store(protocol, {**DENIED, **OTHER}[request.param]))
    return f"{protocol}://of_{abs(hash(request.param))}@bucket/folder"


@pytest.mark.parametrize("bucket", DENIED, indirect=True)
def test_a_denied_destination_is_for_a_person_to_change(bucket):
    with pytest.raises(
        EvoLinkConfigError, match=r"takes no files .the store denies access .*grant the right"
    ) as caught:
        prove_writable(bucket)
    assert caught.value.permanent


@pytest.mark.parametrize("bucket", [name for name in OTHER if "," in name], indirect=True)
def test_a_store_that_is_busy_may_be_well_at_the_next_try(bucket):
    with pytest.raises(EvoLinkConfigError, match="a retry tries again") as caught:
        prove_writable(bucket)
    assert not caught.value.permanent


@pytest.mark.parametrize("bucket", DENIED, indirect=True)
def test_a_denied_reading_never_means_that_there_is_nothing(bucket):
    for reading in (read_json, lambda path: holds(path, sha256="0" * 64, size=1)):
        with pytest.raises(PermissionError, match="the store denies access"):
            reading(open_folder(bucket) / "record.json")


@pytest.mark.parametrize("bucket", list(DENIED)[:1], indirect=True)
def test_a_staged_file_that_may_not_be_read_is_named_so(bucket, stage, tmp_path):
    row = {"uri": f"{bucket}/task-1-0.mp4", "sha256": "0" * 64, "size": 1, "content_type": "video/mp4", "index": 0}
    operator = EvoLinkArchiveOperator(
        task_id="archive", files=[{**row, "job_id": "task-1"}], archive_path=f"file://{tmp_path}"
    )
    with pytest.raises((EvoLinkMediaError, AirflowFailException), match="role may not read it"):
        operator.execute(stage.context())
