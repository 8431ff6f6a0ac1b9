"""What the emulator fetches for a request: media of this machine, for callers on this machine, and nothing else."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from airflow_provider_evolink.emulator.orders import input_media

REMOTE = {"X-Forwarded-For": "203.0.113.9"}  # uvicorn believes a proxy on this machine
buffer = io.BytesIO()
Image.new("RGB", (640, 360), "green").save(buffer, "PNG")
PNG = buffer.getvalue()
FILES = {
    "/a.png": PNG,
    "/secret.json": b'{"password": "s3cret"}',
    "/list.txt": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "/list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "/line.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


class Neighbor(BaseHTTPRequestHandler):
    """Another server on this machine."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = FILES.get(self.path, PNG)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path == "/cut":
            self.wfile.write(content[:50])
            self.close_connection = True
        elif self.path == "/drip":
            with contextlib.suppress(OSError):
                for number in range(40):
                    self.wfile.write(content[number : number + 1])
                    time.sleep(0.05)
        else:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def neighbor():
    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbor) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def by_upload(client, url, headers=None):
    """Return whether a file was taken by the file API."""
    response = client.post("/api/v1/files/upload/url", json={"file_url": url}, headers=headers)
    assert response.status_code == (200 if response.json()["success"] else 400)
    return response.json()["success"]


def by_order(client, url, headers=None):
    """Return whether a job was not failed for its input."""
    body = {"model": "wan2.7-image-to-video", "prompt": "x", "duration": 2, "image_start": url}
    response = client.post("/v1/videos/generations", json=body, headers=headers)
    if response.status_code != 200:
        assert response.status_code == 400
        return False
    return client.get(f"/v1/tasks/{response.json()['id']}").json()["status"] == "completed"


WAYS = pytest.mark.parametrize("way", [by_upload, by_order])


@WAYS
def test_media_of_this_machine_are_fetched_for_callers_on_it(client, neighbor, way):
    assert way(client, f"{neighbor.url}/a.png")
    assert neighbor.asked == ["/a.png"]


@WAYS
@pytest.mark.parametrize("headers", [REMOTE, {"X-Forwarded-For": "203.0.113.9, 10.0.0.1"}, {"X-Forwarded-For": "::2"}])
def test_a_caller_elsewhere_reaches_nothing_on_this_machine(client, neighbor, way, headers):
    assert way(client, f"{neighbor.url}/a.png", headers) is (way is by_order)  # counts as reachable, as a public one
    assert neighbor.asked == []


@WAYS
def test_a_caller_elsewhere_may_use_what_it_uploaded(client, way):
    files = {"file": ("a.png", PNG)}
    uploaded = client.post("/api/v1/files/upload/stream", files=files, headers=REMOTE).json()["data"]["file_url"]

    assert way(client, uploaded, REMOTE) is (way is by_order)


@WAYS
@pytest.mark.parametrize("path", ["/secret.json", "/list.txt", "/list.m3u8", "/line.sdp", "/moved", "/cut"])
def test_only_whole_media_files_are_taken(client, neighbor, way, path):
    assert not way(client, neighbor.url + path)
    assert neighbor.asked == [path]


def test_a_playlist_does_not_lead_to_files_of_others(client, neighbor, finished, monkeypatch):
    link = finished(duration=2)["results"][0]
    assert client.get(link, headers={"Range": "bytes=0-3"}).status_code == 206  # rendered, in the emulator's folder
    job_id = link.split("/media/")[1].split("/")[0]
    monkeypatch.setitem(FILES, "/list.txt", f"ffconcat version 1.0\nfile {job_id}-1.mp4\n".encode())

    assert not by_order(client, f"{neighbor.url}/list.txt")


@WAYS
def test_a_server_that_drips_does_not_hold_the_emulator(client, neighbor, way, monkeypatch):
    monkeypatch.setattr(input_media, "_TOTAL_SECONDS", 0.2)
    began = time.monotonic()

    assert not way(client, f"{neighbor.url}/drip")
    assert time.monotonic() - began < 2


@WAYS
@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:99999/a.png", "http://127.0.0.1:x/a.png", "http://127.0.0.1:-1/a.png"),
        *("http://[::1/a.png", "http://[::1]:1/a.png", "http://127.0.0.1:1/a\u0000b", "http://127.0.0.1:1/a b"),
        *("http://127.0.0.1:1/ü.png", "http://localhost:1/a.png", "http://127.0.0.1:0/a.png"),
    ],
)
def test_an_unusable_address_is_no_error_of_the_emulator(client, way, url):
    assert not way(client, url)


@pytest.mark.parametrize("url", ["http://[::1/a.png", "http://127.0.0.1:x/a.png", "http://127.0.0.1:99999/a"])
def test_nor_is_it_for_a_model_whose_rules_are_not_checked(client, url):
    body = {"model": "kling-o3-image-to-video", "prompt": "x", "image_start": url}
    assert client.post("/v1/videos/generations", json=body).status_code < 500


@pytest.mark.parametrize("path", ["/_emulator/books", "/v1/tasks", "/api/v1/files/list"])
def test_the_emulator_does_not_read_itself_for_a_caller(client, emulator, path):
    assert not by_upload(client, emulator.url + path)
    assert not by_order(client, emulator.url + path)
