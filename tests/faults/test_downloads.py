"""F11 to F13, F23, F24 in a download: the length of the file or the file itself is not what is said."""

from __future__ import annotations

from pathlib import Path

import evolink_media_server as media
import pytest

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.download import DownloadLimits, download

CLIP = media.mp4()
LIMITS = DownloadLimits(connect_timeout=2, read_timeout=2, total_timeout=20, backoff=0.01)


@pytest.fixture
def host():
    """Return a maker of media hosts on raw sockets."""
    made = []

    def start(*plays):
        made.append(media.MediaServer(*plays))
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture
def out(tmp_path):
    """Return the folder results go to."""
    return tmp_path / "out"


def published(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("[!.]*")) if out.exists() else []


def fetched(server, folder):
    with download(server.url(), allow_loopback=True, limits=LIMITS, spool_dir=folder) as found:
        return found.path.read_bytes()


def is_whole(files, scene):
    (file,) = files
    path = Path(file["uri"].removeprefix("file://"))
    assert path.stat().st_size == file["size"]
    with download(scene.link, allow_loopback=True) as found:
        assert found.path.read_bytes() == path.read_bytes()
        assert found.sha256 == file["sha256"]


def rejected_then_delivered(scene, out, match, kept=()):
    """Run a try whose download is refused: nothing is published, nothing is lost, and the next try delivers."""
    scene.fails(EvoLinkMediaError, match, destination=f"file://{out}")
    assert scene.met()
    assert [name.partition("-0.")[2] for name in published(out)] == list(kept)
    assert (scene.orders, scene.state) == (1, "submitted")
    scene.emulator.clear_faults()
    result = scene.retry().run_to_end(destination=f"file://{out}")
    assert (scene.orders, scene.requests("submit"), scene.state) == (1, 1, "delivered")
    scene.link = result["results"][0]
    is_whole(result["files"], scene)


def test_f11_no_length(scene, out):
    scene.emulator.fault("no_length", times=-1)
    result = scene.delivers(destination=f"file://{out}")
    scene.link = result["results"][0]
    scene.emulator.clear_faults()
    is_whole(result["files"], scene)


def test_f11_http_1_0_to_the_close(host, tmp_path):
    said = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\n\r\n"
    assert fetched(host(media.say(said + CLIP)), tmp_path) == CLIP
    with pytest.raises(EvoLinkMediaError, match="cannot be verified"):
        fetched(host(media.say(said + CLIP[:-1])), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_f12_length_larger_than_the_body(scene, out):
    scene.emulator.fault("wrong_length", by=1000)
    result = scene.delivers(destination=f"file://{out}")
    assert scene.met()
    assert scene.requests("media") >= 2
    scene.link = result["results"][0]
    is_whole(result["files"], scene)


def test_f12_length_always_larger_than_the_body(scene, out):
    scene.emulator.fault("wrong_length", by=1000, times=-1)
    result = scene.delivers(destination=f"file://{out}")
    scene.emulator.clear_faults()
    scene.link = result["results"][0]
    is_whole(result["files"], scene)


def test_f13_length_smaller_than_the_body(scene, out):
    scene.emulator.fault("wrong_length", by=-1000, times=-1)
    rejected_then_delivered(scene, out, "the media file is (truncated|damaged).* kept as", kept=["damaged"])


@pytest.mark.parametrize("second", [len(CLIP) - 1, len(CLIP) + 1])
def test_f13_two_lengths(host, tmp_path, second):
    lengths = [("Content-Length", str(len(CLIP))), ("Content-Length", str(second))]
    server = host(media.say(media.head(200, lengths) + CLIP))
    with pytest.raises(EvoLinkMediaError):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert 1 <= len(server.requests) <= LIMITS.max_resumes + 1


def test_f23_html_page_for_a_clip(scene, out):
    scene.emulator.fault("html", on="media", times=-1)
    rejected_then_delivered(scene, out, "HTML page")


def test_f23_html_page_declared_as_a_clip(scene, out):
    page = "<!DOCTYPE html><html><body>" + "One moment. " * 9000 + "</body></html>"
    headers = {"Content-Type": "video/mp4"}
    scene.emulator.fault("status", status=200, body=page, headers=headers, on="media", times=-1)
    rejected_then_delivered(scene, out, "HTML page")


@pytest.mark.parametrize("content_type", ["application/json", "video/mp4"])
def test_f24_json_for_a_clip(scene, out, content_type):
    body = {"error": {"code": "not_ready", "message": "x" * 5000}}
    headers = {"Content-Type": content_type}
    scene.emulator.fault("status", status=200, body=body, headers=headers, on="media", times=-1)
    rejected_then_delivered(scene, out, "not in a known media format")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", ""])
def test_f24_a_clip_of_another_type_is_recognized_by_its_content(scene, out, content_type):
    scene.emulator.fault("headers", headers={"content-type": content_type}, on="media", times=-1)
    result = scene.delivers(destination=f"file://{out}")
    assert scene.met()
    assert [(file["content_type"], Path(file["uri"]).suffix) for file in result["files"]] == [("video/mp4", ".mp4")]
