"""Staging and archive in Azure Blob Storage, against a server of its protocol (Azurite). See ``make azure``."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.storage.archive import EvoLinkArchive

KEY = base64.b64encode(os.urandom(48)).decode()
ANOTHER_KEY = base64.b64encode(os.urandom(48)).decode()
CONTEXT: Any = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)}


def connection(port: int, key: str) -> str:
    address = f"http://127.0.0.1:{port}/films"
    return f"DefaultEndpointsProtocol=http;AccountName=films;AccountKey={key};BlobEndpoint={address};"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run Azurite, with an account of this run alone."""
    program = Path(os.environ["AZURITE"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    command = [shutil.which("node") or "node", str(program), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command += ["--blobPort", str(number), "--location", str(tmp_path_factory.mktemp("azurite"))]
    with subprocess.Popen(command, env={**os.environ, "AZURITE_ACCOUNTS": f"films:{KEY}"}) as server:
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", number)).close()
                    break
                except OSError:
                    time.sleep(0.3)
            yield number
        finally:
            server.terminate()


@pytest.fixture
def blobs(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the client of a container, which the connection ``az`` reaches, and ``stranger`` does not."""
    for name, key in (("AZ", KEY), ("STRANGER", ANOTHER_KEY)):
        extra = {"connection_string": connection(port, key)}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "wasb", "extra": extra}))
    container = BlobServiceClient.from_connection_string(connection(port, KEY)).get_container_client("box")
    container.create_container()
    yield container
    container.delete_container()


@pytest.fixture
def job_id(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Order a clip, and return its job."""
    with EmulatorServer() as server:
        server.settings(polls=0)
        conn = {"conn_type": "evolink", "host": server.url, "password": "test-key-0123456789"}
        monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(conn))
        with EvoLinkClient(ClientSettings(api_key="test-key-0123456789", base_url=server.url)) as client:
            yield client.submit({"model": "wan2.7-text-to-video", "prompt": "a boat", "duration": 2}).job_id


def names(blobs: Any) -> list[str]:
    return sorted(blob.name for blob in blobs.list_blobs())


def download(job_id: str, destination: str) -> list[dict[str, Any]]:
    return list(EvoLinkDownloadOperator(task_id="download", job=job_id, destination=destination).execute(CONTEXT))


def archive(files: list[dict[str, Any]], path: str, **given: Any) -> list[dict[str, Any]]:
    return list(EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=path, **given).execute(CONTEXT))


def test_a_clip_is_downloaded_archived_and_found(blobs: Any, job_id: str) -> None:
    (staged,) = download(job_id, "abfs://az@box/staging")
    (kept,) = archive([staged], "abfs://az@box/archive")
    blob = blobs.get_blob_client(kept["uri"].partition("box/")[2])
    content = blob.download_blob().readall()
    assert hashlib.sha256(content).hexdigest() == staged["sha256"] == kept["sha256"]
    assert blob.get_blob_properties().content_settings.content_type == "video/mp4"
    (row,) = EvoLinkArchive("abfs://az@box/archive").find(model="wan2.7-text-to-video")
    assert row["job_id"] == job_id
    assert any(name.endswith("manifest.json") for name in names(blobs))


def test_both_tasks_again_change_nothing(blobs: Any, job_id: str) -> None:
    first = archive(download(job_id, "abfs://az@box/staging"), "abfs://az@box/archive")
    before = {blob.name: blob.etag for blob in blobs.list_blobs() if blob.name.endswith(".mp4")}
    again = archive(download(job_id, "abfs://az@box/staging"), "abfs://az@box/archive")
    assert [one["uri"] for one in again] == [one["uri"] for one in first]
    assert {blob.name: blob.etag for blob in blobs.list_blobs() if blob.name.endswith(".mp4")} == before


def test_a_move_leaves_no_staged_clip(blobs: Any, job_id: str) -> None:
    archive(download(job_id, "abfs://az@box/staging"), "abfs://az@box/archive", move=True)
    assert [name for name in names(blobs) if name.startswith("staging/") and name.endswith(".mp4")] == []
    assert len([name for name in names(blobs) if name.startswith("archive/") and name.endswith(".mp4")]) == 1


@pytest.mark.parametrize("step", ["download", "archive"])
def test_a_wrong_key_is_a_clear_error_and_leaves_nothing_half_written(blobs: Any, job_id: str, step: str) -> None:
    staged = download(job_id, "abfs://az@box/staging")
    before = names(blobs)
    steps = {
        "download": lambda: download(job_id, "abfs://stranger@box/elsewhere"),
        "archive": lambda: archive(staged, "abfs://stranger@box/archive"),
    }
    with pytest.raises(PermissionError, match="the store denies access") as raised:
        steps[step]()
    assert KEY not in str(raised.value)
    assert ANOTHER_KEY not in str(raised.value)
    assert names(blobs) == before
