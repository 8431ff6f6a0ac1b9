"""An emulator that runs for months forgets old jobs and their files, and keeps its books."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from airflow_provider_evolink.emulator.server import EmulatorServer

T2V = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
DAY = 86400.0
buffer = io.BytesIO()
Image.new("RGB", (640, 360), "green").save(buffer, "PNG")
PNG = buffer.getvalue()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An emulator that keeps jobs for two days, and what is in its folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmulatorServer(polls=0, fps=2, keep_hours=48, media_hosts=["127.0.0.1"]) as server:
        headers = {"Authorization": "Bearer team-film-1"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            yield server, client, lambda: [path for path in tmp_path.rglob("*") if path.is_file()]


def run(client, **headers):
    submitted = client.post("/v1/videos/generations", json=T2V, headers=headers)
    assert submitted.status_code == 200, submitted.text
    job = client.get(f"/v1/tasks/{submitted.json()['id']}").json()
    return job["id"], job["results"][0]


def test_old_jobs_and_their_files_are_forgotten_and_the_books_kept(kept):
    server, client, files = kept
    key = {"Idempotency-Key": "evolink-0123456789abcdef"}
    old, link = run(client, **key)
    assert client.get(link).status_code == 200
    server.settings(clock_shift=1.9 * DAY)
    assert run(client, **key)[0] == old, "its key is known"
    assert client.get(f"/v1/tasks/{old}").status_code == 200
    held = client.post("/v1/videos/generations", json=T2V).json()["id"]
    server.job(held, state="processing")

    server.settings(clock_shift=4.1 * DAY)
    new, _ = run(client)

    assert client.get(f"/v1/tasks/{old}").status_code == 404
    assert client.get(f"/v1/tasks/{held}").status_code == 200, "it has not ended"
    assert files() == []
    books = server.books()
    assert (books["orders"], books["replays"], len(books["jobs"])) == (3, 1, 2)
    assert run(client, **key)[0] not in {old, new}, "and its key is free again"


def test_inputs_that_were_fetched_and_uploads_that_expired_are_deleted(kept, emulator):
    server, client, files = kept
    with httpx.Client(base_url=emulator.url, headers=client.headers, trust_env=False) as other:
        sent = other.post("/api/v1/files/upload/stream", files={"file": ("a.png", PNG)}).json()["data"]["file_url"]
    body = T2V | {"model": "wan2.7-image-to-video", "image_start": sent}
    assert client.post("/v1/videos/generations", json=body).status_code == 200
    assert client.post("/api/v1/files/upload/url", json={"file_url": sent}).json()["success"]
    assert len(files()) == 2, "the input of the job and the upload"

    server.settings(clock_shift=7 * DAY)
    run(client)
    assert client.post("/api/v1/files/upload/stream", files={"file": ("b.png", PNG)}).json()["success"]

    assert len(files()) == 1


def test_by_default_nothing_is_forgotten(emulator, client):
    old, _ = run(client)
    emulator.settings(clock_shift=400 * DAY)
    run(client)
    assert client.get(f"/v1/tasks/{old}").status_code == 200
