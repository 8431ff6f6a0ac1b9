"""Input media of hosts that the configuration lists, such as an object store of the staging deployment."""

from __future__ import annotations

import io
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from PIL import Image

from airflow_provider_evolink.emulator.certificate import self_signed
from airflow_provider_evolink.emulator.orders.input_media import may_fetch
from airflow_provider_evolink.emulator.server import EmulatorServer

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9", "Authorization": "Bearer team-film-1"}  # uvicorn believes a local proxy
T2V = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
buffer = io.BytesIO()
Image.new("RGB", (640, 360), "green").save(buffer, "PNG")
PNG = buffer.getvalue()


class Store(BaseHTTPRequestHandler):
    """An object store; ``/slow`` takes its time."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/slow":
            self.server.release.wait(20)
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/a.png")
        self.send_header("Content-Length", str(len(PNG)))
        self.end_headers()
        self.wfile.write(PNG)

    def log_message(self, *_):
        pass


@pytest.fixture
def store():
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        server.asked, server.release = [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()


@contextmanager
def client_elsewhere(**settings):
    """Give a client on another machine, of an emulator with these settings."""
    with (
        EmulatorServer(polls=0, fps=2, **settings) as server,
        httpx.Client(base_url=server.url, headers=ELSEWHERE, trust_env=False, timeout=30) as client,
    ):
        yield client


def by_upload(client, url):
    """Return whether a file was taken by the file API."""
    return client.post("/api/v1/files/upload/url", json={"file_url": url}).json()["success"]


def by_order(client, url):
    """Return whether a job was not failed for its input."""
    body = T2V | {"model": "wan2.7-image-to-video", "image_start": url}
    job_id = client.post("/v1/videos/generations", json=body).json()["id"]
    return client.get(f"/v1/tasks/{job_id}").json()["status"] == "completed"


@pytest.mark.parametrize("listed", ["localhost", "LOCALHOST:{port}", "localhost.:{port}", "127.0.0.1 localhost"])
def test_they_are_fetched_for_callers_elsewhere(store, listed):
    hosts = listed.format(port=store.server_port).split()
    signed, moved = (f"http://localhost:{store.server_port}/{path}" for path in ("a.png?X-Amz-Signature=f00d", "moved"))
    with client_elsewhere(media_hosts=hosts) as client:
        assert [way(client, url) for way in (by_upload, by_order) for url in (signed, moved)] == [True, False] * 2
    assert store.asked == ["/a.png?X-Amz-Signature=f00d", "/moved"] * 2


@pytest.mark.parametrize("listed", ["", "localhost:1", "localhost.example", "xlocalhost", "127.0.0.1"])
def test_those_of_other_hosts_and_ports_are_not(store, listed):
    url = f"http://localhost:{store.server_port}/a.png"
    with client_elsewhere(media_hosts=listed.split()) as client:
        assert not by_upload(client, url)
        assert by_order(client, url), "it counts as reachable, as a public one"
    assert store.asked == []


def test_over_https_they_are_fetched_from_whom_the_machine_trusts(store, tmp_path, monkeypatch):
    file = tmp_path / "store.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = self_signed(file, ["localhost"])
    context.load_cert_chain(file, key)
    store.socket = context.wrap_socket(store.socket, server_side=True)
    with client_elsewhere(media_hosts=["localhost"]) as client:
        url = f"https://localhost:{store.server_port}/a.png"
        assert not by_upload(client, url)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert by_upload(client, url)
        assert by_order(client, url)


def test_a_store_that_hangs_holds_up_no_other_order(store):
    """Fifteen orders wait for it; a submission that waited behind them would end as an unknown outcome."""
    with client_elsewhere(media_hosts=["localhost"]) as client:
        url = f"http://localhost:{store.server_port}/slow"
        threads = [threading.Thread(target=by_order, args=(client, url)) for _ in range(15)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 15
        while len(store.asked) < 15 and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
        assert client.post("/v1/videos/generations", json=T2V).status_code == 200
        took = time.monotonic() - began
        store.release.set()
        for thread in threads:
            thread.join()
    assert took < 4


@pytest.mark.parametrize("listed", ["::1", "[::1]", "0:0:0:0:0:0:0:1", "[0:0:0:0:0:0:0:1]:9000"])
@pytest.mark.parametrize("written", ["[::1]", "[0:0:0:0:0:0:0:1]"])
def test_an_address_is_the_same_however_it_is_written(listed, written):
    assert may_fetch(f"http://{written}:9000/a.png", [listed], local=False)
