"""Results: their links, how they are served, and the content of the files."""

from __future__ import annotations

import io
import struct
import threading
import time
import wave
from concurrent.futures import ThreadPoolExecutor

import av
import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from airflow_provider_evolink.emulator.rendering.drawing import Scene
from airflow_provider_evolink.emulator.rendering.render import render_video

PICTURE = (640, 960)


@pytest.fixture
def link(finished):
    return finished()["results"][0]


def decoded(content):
    """Return width, height, seconds, codecs and all frames of a video."""
    with av.open(io.BytesIO(content)) as container:
        video = container.streams.video[0]
        codecs = [stream.codec_context.name for stream in container.streams]
        pixels = video.codec_context.pix_fmt
        seconds = container.duration / 1_000_000
        frames = [frame.to_image() for frame in container.decode(video)]
    return (video.width, video.height), seconds, codecs, pixels, frames


def difference(one, other):
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def picture(color="red", size=PICTURE):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def upload(client):
    def send(content, name="x.png"):
        return client.post("/api/v1/files/upload/stream", files={"file": (name, content)}).json()["data"]["file_url"]

    return send


def test_a_result_is_served_with_its_headers(browser, link):
    response = browser.get(link)

    assert response.status_code == 200
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.content[4:8] == b"ftyp"
    head = browser.head(link)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(response.content)))
    assert head.headers["etag"] == response.headers["etag"]


@pytest.mark.parametrize("wanted", ["0-99", "100-", "-50", "0-0"])
def test_ranges(browser, link, wanted):
    whole = browser.get(link).content
    part = browser.get(link, headers={"Range": f"bytes={wanted}"})
    start, _, end = wanted.partition("-")
    first = int(start) if start else len(whole) - int(end)
    last = min(int(end), len(whole) - 1) if start and end else len(whole) - 1

    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert part.content == whole[first : last + 1]


def test_a_range_past_the_end_is_416(browser, link):
    length = browser.head(link).headers["content-length"]
    response = browser.get(link, headers={"Range": f"bytes={length}-"})

    assert response.status_code == 416
    assert response.headers["content-range"].endswith(f"*/{length}")


def test_if_range_needs_the_right_etag(browser, link):
    etag = browser.head(link).headers["etag"]
    headers = {"Range": "bytes=5-9"}

    assert browser.get(link, headers=headers | {"If-Range": etag}).status_code == 206
    assert browser.get(link, headers=headers | {"If-Range": '"other"'}).status_code == 200


def test_links_expire_and_a_poll_returns_a_new_one(emulator, client, browser, finished):
    job = finished()
    emulator.settings(clock_shift=86_399)
    assert browser.head(job["results"][0]).status_code == 200
    emulator.settings(clock_shift=86_401)
    dead = browser.get(job["results"][0])

    assert (dead.status_code, dead.headers["content-type"]) == (403, "application/xml")
    assert b"<Message>Request has expired</Message>" in dead.content
    fresh = client.get(f"/v1/tasks/{job['id']}").json()["results"][0]
    assert browser.head(fresh).status_code == 200


def test_without_resigning_a_link_stays_expired(emulator, client, browser, finished):
    emulator.settings(resign_links=False, link_seconds=60)
    job = finished()
    emulator.settings(clock_shift=61)
    again = client.get(f"/v1/tasks/{job['id']}").json()

    assert again["results"] == job["results"]
    assert browser.get(job["results"][0]).status_code == 403


def test_the_control_plane_can_expire_links(emulator, client, browser, finished):
    job = finished()
    emulator.job(job["id"], expire_links=True)

    assert b"expired" in browser.get(job["results"][0]).content
    assert browser.head(client.get(f"/v1/tasks/{job['id']}").json()["results"][0]).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.partition("?")[0],
        lambda link: link[:-1] + ("0" if link[-1] != "0" else "1"),
        lambda link: link.replace("expires=", "expires=9"),
        lambda link: link.replace("/1.mp4", "/2.mp4"),
        lambda link: link.replace("expires=", "expires=x"),
        lambda link: link.replace("signature=", "signature=%C3%A4"),
    ],
)
def test_a_tampered_link_is_403(browser, link, change):
    response = browser.get(change(link))

    assert response.status_code == 403
    assert b"SignatureDoesNotMatch" in response.content


def test_results_of_unfinished_jobs_are_404(browser, order):
    job_id = order().json()["id"]

    assert browser.get(f"/media/{job_id}/1.mp4").status_code == 404


def test_pythons_default_user_agent_is_refused(browser, link):
    response = browser.get(link, headers={"User-Agent": "Python-urllib/3.11"})

    assert (response.status_code, response.text) == (403, "error code: 1010")


def test_a_key_sent_to_the_media_host_is_counted(emulator, client, browser, link):
    browser.get(link)
    assert emulator.books()["media_requests_with_authorization"] == 0
    client.get(link)
    assert emulator.books()["media_requests_with_authorization"] == 1


@pytest.mark.parametrize(
    ("quality", "ratio", "size"),
    [
        ("720p", "16:9", (1280, 720)),
        ("720p", "9:16", (720, 1280)),
        ("720p", "1:1", (960, 960)),
        ("720p", "3:4", (832, 1104)),
        ("1080p", "4:3", (1648, 1248)),
    ],
)
def test_a_video_has_the_requested_size_and_length(browser, finished, quality, ratio, size):
    job = finished(quality=quality, aspect_ratio=ratio, duration=3)
    content = browser.get(job["results"][0]).content
    shape, seconds, codecs, pixels, frames = decoded(content)

    assert (shape, pixels) == (size, "yuv420p")
    assert codecs == ["h264", "aac"]
    assert seconds == pytest.approx(3, abs=0.001)
    assert len(frames) == 12
    assert content.index(b"moov") < content.index(b"mdat")


def test_frames_move_and_videos_differ(browser, finished):
    shots = [
        decoded(browser.get(finished(prompt=prompt, seed=seed)["results"][0]).content)[4]
        for prompt, seed in (("a red door", 1), ("a blue sea", 1), ("a red door", 2))
    ]

    for frames in shots:
        assert difference(frames[0], frames[-1]) > 0.5
    assert difference(shots[0][0], shots[1][0]) > 10
    assert difference(shots[0][0], shots[2][0]) > 10


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " ",
        "一只小猫在月光下奔跑" * 60,
        "🎬" * 300,
        "x" * 4000,
        "a\x00b\u202ec\ud7ff\n\t",
        "العربية",
        "e\u0301" * 50,
    ],
)
def test_every_prompt_can_be_rendered(tmp_path, prompt):
    scene = Scene(prompt, "wan2.7-text-to-video", "task-unified-1-a", 7, 720, 1280, 1, 2)
    render_video(scene, tmp_path / "x.mp4")

    assert (tmp_path / "x.mp4").stat().st_size > 1000


def test_the_same_scene_gives_the_same_bytes(tmp_path):
    scene = Scene("a door", "wan2.7-text-to-video", "task-unified-1-a", 7, 1280, 720, 2, 4)
    render_video(scene, tmp_path / "a.mp4")
    render_video(scene, tmp_path / "b.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_audio_is_not_silent(browser, link):
    with av.open(io.BytesIO(browser.get(link).content)) as container:
        samples = b"".join(bytes(frame.planes[0]) for frame in container.decode(audio=0))

    assert max(abs(sample[0]) for sample in struct.iter_unpack("f", samples)) > 0.02


def test_full_frame_rate_is_rendered_in_time(emulator, browser, finished):
    emulator.settings(fps=24)
    job = finished(duration=5)
    start = time.monotonic()
    frames = decoded(browser.get(job["results"][0]).content)[4]

    assert len(frames) == 120
    assert time.monotonic() - start < 30


def test_other_requests_are_served_while_a_video_is_rendered(emulator, browser, client, finished):
    emulator.settings(fps=24)
    link = finished(duration=4, quality="1080p")["results"][0]
    done = threading.Event()

    def fetch():
        httpx.get(link, timeout=60, trust_env=False)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(fetch)
        time.sleep(0.2)
        responses = 0
        while not done.is_set() and responses < 5:
            assert client.get("/v1/credits", timeout=2).status_code == 200
            responses += 1
        assert not done.is_set()
        assert responses == 5


def test_a_start_image_determines_shape_and_background(client, browser, upload, finished):
    body = {"model": "wan2.7-image-to-video", "image_start": upload(picture("red")), "duration": 2}
    job_id = client.post("/v1/videos/generations", json=body).json()["id"]
    link = client.get(f"/v1/tasks/{job_id}").json()["results"][0]
    shape, _, _, _, frames = decoded(browser.get(link).content)

    assert shape == (832, 1104)
    red, green, blue = frames[0].getpixel((10, shape[1] // 2))
    assert red > 200 > 60 > max(green, blue)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image_start": "/files/none.png"}, "image_processing_error"),
        ({"image_start": "/media/task-unified-1-a/1.png?expires=1&signature=x"}, "image_processing_error"),
        ({"image_start": "/elsewhere"}, "image_processing_error"),
        ({"video_urls": ["/files/none.mp4"]}, "video_probe_failed"),
    ],
)
def test_missing_input_media_fail_the_job(emulator, client, body, code):
    body = {
        name: [emulator.url + value[0]] if name == "video_urls" else emulator.url + value
        for name, value in body.items()
    }
    job_id = client.post("/v1/videos/generations", json={"model": "wan2.7-image-to-video"} | body).json()["id"]
    job = client.get(f"/v1/tasks/{job_id}").json()

    assert (job["status"], job["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize("size", [(200, 300), (250, 2500)])
def test_an_image_of_the_wrong_size_fails_the_job(client, upload, size):
    body = {"model": "wan2.7-image-to-video", "image_start": upload(picture(size=size))}
    job_id = client.post("/v1/videos/generations", json=body).json()["id"]

    assert client.get(f"/v1/tasks/{job_id}").json()["error"]["code"] == "image_dimension_mismatch"


def test_a_continuation_begins_with_the_clip(client, browser, finished):
    clip = finished(duration=2, aspect_ratio="9:16", seed=3)["results"][0]
    body = {"model": "wan2.7-image-to-video", "video_urls": [clip], "prompt": "and then", "duration": 4, "seed": 9}
    created = client.post("/v1/videos/generations", json=body).json()
    assert created["usage"]["credits_reserved"] == 21.76
    link = client.get(f"/v1/tasks/{created['id']}").json()["results"][0]
    shape, seconds, _, _, frames = decoded(browser.get(link).content)
    source = decoded(browser.get(clip).content)[4]

    assert (shape, seconds, len(frames)) == ((720, 1280), pytest.approx(4, abs=0.001), 16)
    for number in (0, 7):
        assert difference(frames[number], source[number]) < 6
    assert difference(frames[8], source[7]) > 10


def test_a_continuation_shorter_than_its_clip_is_refused(emulator, client, finished):
    clip = finished(duration=5)["results"][0]
    body = {"model": "wan2.7-image-to-video", "video_urls": [clip], "duration": 4}
    response = client.post("/v1/videos/generations", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "duration")
    assert client.post("/v1/videos/generations", json=body | {"duration": 5}).status_code == 200


def test_an_edit_keeps_length_and_shape(emulator, client, browser, finished):
    clip = finished(duration=3, aspect_ratio="1:1", seed=3)["results"][0]
    body = {"model": "wan2.7-video-edit", "video_urls": [clip], "prompt": "as a pencil drawing"}
    created = client.post("/v1/videos/generations", json=body).json()
    assert created["usage"]["credits_reserved"] == 70.72
    job = client.get(f"/v1/tasks/{created['id']}").json()
    shape, seconds, _, _, frames = decoded(browser.get(job["results"][0]).content)

    assert (shape, seconds) == ((960, 960), pytest.approx(3, abs=0.001))
    assert job["usage"]["credits_used"] == 32.64
    source = decoded(browser.get(clip).content)[4]
    assert difference(frames[5].crop((0, 0, 960, 800)), source[5].crop((0, 0, 960, 800))) < 6
    assert difference(frames[5], source[5]) > 1


def test_an_input_clip_that_is_too_long_fails_the_job(client, upload, browser, finished):
    clip = finished(duration=12)["results"][0]
    body = {"model": "wan2.7-image-to-video", "video_urls": [clip], "duration": 15}
    job_id = client.post("/v1/videos/generations", json=body).json()["id"]

    assert client.get(f"/v1/tasks/{job_id}").json()["error"]["code"] == "invalid_parameters"


def test_input_videos_are_measured(client, finished):
    clip = finished(duration=2)["results"][0]
    body = {"model": "wan2.7-reference-video", "prompt": "x", "video_urls": [clip], "duration": 5}
    created = client.post("/v1/videos/generations", json=body).json()

    assert created["usage"]["credits_reserved"] == 38.08


def test_images_and_audio(client, browser):
    def results(path, body):
        job_id = client.post(f"/v1/{path}/generations", json=body).json()["id"]
        job = client.get(f"/v1/tasks/{job_id}").json()
        return [browser.get(link) for link in job["results"]]

    pictures = results("images", {"model": "wan2.5-text-to-image", "prompt": "a door", "n": 2, "seed": 1})
    (tune,) = results("audios", {"model": "tune", "duration": 3})
    (plain,) = results("audios", {"model": "tune", "duration": 1, "format": "wav"})

    assert [response.headers["content-type"] for response in pictures] == ["image/png"] * 2
    shown = [Image.open(io.BytesIO(response.content)) for response in pictures]
    assert [image.size for image in shown] == [(1280, 720)] * 2
    assert difference(*shown) > 5
    assert tune.headers["content-type"] == "audio/mpeg"
    with av.open(io.BytesIO(tune.content)) as container:
        assert container.duration / 1_000_000 == pytest.approx(3, abs=0.1)
    with wave.open(io.BytesIO(plain.content)) as sound:
        assert sound.getnframes() == sound.getframerate() == 48_000
