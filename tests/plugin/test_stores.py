"""Media in an object store: through the connection that the deployment names, in ranges, or one line."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow_rows import Run
from ui_samples import CONTENT, archived

numbers = itertools.count()


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """Start one S3 for the module."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a fresh bucket, whose folder ``media`` may be shown, over the connection ``media_store``."""
    import boto3

    extra = {"endpoint_url": s3_address, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "key", "password": "secret-key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MEDIA_STORE", json.dumps(connection))
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret-key"}
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_address, region_name="us-east-1", **keys).create_bucket(Bucket=name)
    monkeypatch.setenv("AIRFLOW__EVOLINK__UI_ROOTS", f"s3://media_store@{name}/media")
    return name


@pytest.fixture
def run() -> Run:
    """Return a fresh run of a fresh DAG."""
    return Run(f"store_{next(numbers)}")


def fetch(client: Any, run: Run, **headers: str) -> Any:
    """Request the file of the archive task."""
    return client.get(run.address("file", "archive", number=0), headers=headers)


def test_a_clip_is_streamed_from_the_store(admin: Any, run: Run, bucket: str) -> None:
    """Whole, and in ranges; the tab has a player, and the place without the connection's secrets."""
    run.hands("archive", [archived(f"s3://media_store@{bucket}/media", run.dag_id)])
    assert fetch(admin, run).content == CONTENT
    part = fetch(admin, run, Range="bytes=1000-1999")
    assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    page = admin.get(run.address("task", "archive")).text
    assert "<video" in page
    assert "secret-key" not in page


@pytest.mark.parametrize(
    "place",
    [
        "s3://media_store@{bucket}/other",
        "s3://media_store@{bucket}/media/../other",
        "s3://media_store@{bucket}/media%2f..%2fother",
        "s3://media_store@{bucket}/media/%2e%2e/other",
        "s3://media_store@{bucket}/media//",
        "s3://{bucket}/media",
        "s3://other@{bucket}/media",
        "s3a://other@{bucket}/media",
        "s3://media_store@other/media",
        "gs://media_store@{bucket}/media",
    ],
)
def test_other_places_open_nothing(place: str, admin: Any, run: Run, bucket: str) -> None:
    """Neither another folder, nor another bucket, nor the same name over another connection."""
    file = archived(f"s3://media_store@{bucket}/media", run.dag_id)
    archived(f"s3://media_store@{bucket}/other", run.dag_id)
    tail = file["uri"].partition("/media/")[2]
    run.hands("archive", [{**file, "uri": f"{place.format(bucket=bucket)}/{tail}"}])
    response = fetch(admin, run)
    assert response.status_code == 404
    assert CONTENT not in response.content


@pytest.mark.parametrize("fault", ["no connection", "no object", "no bucket", "no server"])
def test_a_store_that_cannot_be_read_is_one_line(
    fault: str, admin: Any, run: Run, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tab says so with the place, and knows all else; never an error of ours."""
    root = f"s3://media_store@{bucket}/media"
    file = archived(root, run.dag_id)
    if fault == "no connection":
        monkeypatch.delenv("AIRFLOW_CONN_MEDIA_STORE")
    elif fault == "no object":
        file = {**file, "uri": file["uri"].replace(".mp4", "-gone.mp4")}
    elif fault == "no bucket":
        root = root.replace(bucket, f"{bucket}-gone")
        file = {**file, "uri": file["uri"].replace(bucket, f"{bucket}-gone")}
        monkeypatch.setenv("AIRFLOW__EVOLINK__UI_ROOTS", root)
    else:
        extra = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}
        extra["config_kwargs"] = {"retries": {"max_attempts": 0}, "connect_timeout": 1}  # type: ignore[assignment]
        lost = {"conn_type": "aws", "login": "k", "password": "s", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MEDIA_STORE_LOST", json.dumps(lost))
        monkeypatch.setenv("AIRFLOW__EVOLINK__UI_ROOTS", root.replace("media_store", "media_store_lost"))
        file = {**file, "uri": file["uri"].replace("media_store", "media_store_lost")}
    run.hands("archive", [file])
    page = admin.get(run.address("task", "archive"))
    assert page.status_code == 200
    assert "27.2 credits" in page.text or "1280" in page.text
    assert "cannot be opened in the API server" in page.text or "nothing beside it" in page.text
    assert bucket in page.text
    assert fetch(admin, run).status_code == 404
