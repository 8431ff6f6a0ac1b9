"""Local files as inputs: checked, uploaded once, then submitted. Real HTTP throughout."""

from __future__ import annotations

import hashlib
import io
import json
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath, TaskDeferred
from evolink_support import Scene, die
from PIL import Image

from airflow_provider_evolink.api.errors import (
    EvoLinkAPIError,
    EvoLinkConfigError,
    EvoLinkInputError,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.files import upload as upload_module
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkUploadOperator,
)

Make = Callable[..., Callable[[], Any]]
SECRETS = ("xylophonist", "test-key-0123456789", "/files/airflow/", "secret-key")


def png(width: int = 640, height: int = 360, color: str = "green") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def mp4(seconds: float = 3.0, width: int = 320, height: int = 240) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(round(seconds * 10)):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "xylophonist.png"
    path.write_bytes(png())
    return path


@pytest.fixture
def clip(s3: Any) -> str:
    """Return the address of a clip in a local S3, reached through the Airflow connection ``store``."""
    s3.create_bucket(Bucket="clips")
    s3.put_object(Bucket="clips", Key="xylophonist.mp4", Body=mp4())
    return "s3://store@clips/xylophonist.mp4"


def uploads(emulator: EmulatorServer) -> int:
    return int(emulator.books()["requests"].get("upload", 0))


def first_frame(make: Make, frame: Any, **given: Any) -> Callable[[], Any]:
    fields = {"image_start": str(frame), "prompt": "a xylophonist", "duration": 2}
    return make(EvoLinkImageToVideoOperator, **{**fields, **given})


def ours(logs: Any) -> str:
    """Return what we have logged; libraries of stores log names of files at DEBUG."""
    theirs = ("botocore", "aiobotocore", "s3fs", "fsspec", "werkzeug", "uvicorn", "boto", "urllib3", "asyncio", "moto")
    return "\n".join(line for line in logs.lines if not line.startswith(theirs))


def sent_bodies(emulator: EmulatorServer) -> list[dict[str, Any]]:
    return [job["body"] for job in emulator.books()["jobs"]]


# --- from end to end


def test_a_local_png_and_a_clip_in_s3_become_links_that_evolink_can_open(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, clip: str, logs: Any
) -> None:
    """The clip is continued, up to an end frame on the worker's disk."""
    operator = make(
        EvoLinkImageToVideoOperator, video_urls=[clip], image_end=frame.as_uri(), prompt="a xylophonist", duration=5
    )
    result = stage.run(operator)
    assert result["status"] == "completed"
    [body] = sent_bodies(emulator)
    for link in (body["image_end"], *body["video_urls"]):
        assert link.startswith(f"{emulator.url}/files/airflow/")
    assert (emulator.books()["orders"], uploads(emulator)) == (1, 2)
    assert result["request"]["video_urls"][0].startswith("s3://clips/xylophonist.mp4#sha256=")
    for secret in (*SECRETS, "s3://", "file://"):
        assert secret not in ours(logs)
    assert "store@" not in json.dumps(result)


def test_a_clear_submits_again_and_uploads_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, clip: str
) -> None:
    operator = make(EvoLinkImageToVideoOperator, video_urls=[clip], image_end=str(frame), duration=5)
    first = stage.run(operator)
    second = stage.clear().run(operator)
    assert first["job_id"] != second["job_id"]
    assert (emulator.books()["orders"], uploads(emulator)) == (2, 2)
    assert sent_bodies(emulator)[0] == sent_bodies(emulator)[1]


def test_links_are_sent_unchanged(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    stage.run(first_frame(make, "https://example.com/a.png?signature=1"))
    assert sent_bodies(emulator)[0]["image_start"] == "https://example.com/a.png?signature=1"
    assert uploads(emulator) == 0
    assert list(stage.store.rows) == ["evolink_generation"]


def test_files_are_found_in_paths_lists_and_maps(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    """The same content is uploaded once, under however many names."""
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png())
    voice = tmp_path / "voice.wav"
    with wave.open(str(voice), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(2 * 8000 * 2))
    stage.run(
        make(
            EvoLinkReferenceVideoOperator,
            prompt="Image 1 greets Image 2",
            image_urls=[ObjectStoragePath((tmp_path / "a.png").as_uri()), tmp_path / "b.png", "https://example.com/c"],
            voice_bindings={"image1": voice.as_uri()},
        )
    )
    [body] = sent_bodies(emulator)
    assert body["image_urls"][0] == body["image_urls"][1] != body["image_urls"][2] == "https://example.com/c"
    assert body["model_params"]["voice_bindings"]["image1"].startswith(emulator.url)
    assert uploads(emulator) == 2


def test_a_kind_of_media_that_the_catalog_only_names(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path
) -> None:
    stage.run(make(EvoLinkImageOperator, model="gpt-image-2", prompt="p", image_urls=[frame.as_uri()]))
    assert sent_bodies(emulator)[0]["image_urls"][0].startswith(emulator.url)


# --- paid once, uploaded once


def test_a_kill_between_upload_and_order_leaves_one_upload_and_one_order(scene: Scene, frame: Path) -> None:
    fields = {"image_start": str(frame), "duration": 2}
    operator = scene.make
    scene.make = lambda **given: operator(EvoLinkImageToVideoOperator, **given)
    scene.dies(Ledger, "write_intent", die, **fields)
    assert (scene.orders, uploads(scene.emulator)) == (0, 1)
    assert scene.stage.retry().run(scene.make(**fields))["status"] == "completed"
    assert (scene.orders, uploads(scene.emulator)) == (1, 1)


def test_an_attach_uploads_nothing_even_if_the_file_no_longer_exists(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    frame.unlink()
    assert stage.retry().run(first_frame(make, frame))["request"]["image_start"] == str(frame)
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_an_attach_needs_only_the_record_if_the_file_no_longer_exists(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    stage.store.rows = {"evolink_generation": stage.store.rows["evolink_generation"]}
    frame.unlink()
    assert stage.retry().run(first_frame(make, frame))["request"]["image_start"] == str(frame)
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_another_file_that_cannot_be_read_stops_an_open_order(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(first_frame(make, frame.with_name("other.png")))
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_other_parameters_stop_an_open_order_if_the_file_no_longer_exists(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    frame.unlink()
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(first_frame(make, frame, duration=3))
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


@pytest.mark.parametrize("given", [None, ""])
def test_a_record_without_uris_stops_a_retry_if_the_file_no_longer_exists(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, given: Any
) -> None:
    """An older version of this package has written it."""
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    record = {name: value for name, value in stage.store.record.items() if name != "uri_fingerprint"}
    stage.store.rows.clear()
    stage.store.set("evolink_generation", record if given is None else record | {"uri_fingerprint": given})
    frame.unlink()
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(first_frame(make, frame))
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_a_record_holds_neither_name_nor_content_of_a_file(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    text = json.dumps(stage.store.record)
    assert len(text) < 1000
    assert frame.name not in text
    assert hashlib.sha256(png()).hexdigest()[:16] not in text


def test_of_two_files_the_remaining_one_is_not_compared_by_content(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, tmp_path: Path
) -> None:
    """The record holds one hash for all files, so their URIs are all that can be compared then."""
    end = tmp_path / "end.png"
    end.write_bytes(png(color="blue"))
    operator = first_frame(make, frame, image_end=str(end))
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    frame.unlink()
    end.write_bytes(png(color="red"))
    request = stage.retry().run(operator)["request"]
    assert (request["image_start"], request["image_end"]) == (str(frame), str(end)), "no checksum of what was not sent"
    assert (slow.books()["orders"], uploads(slow)) == (1, 2)


def test_a_replay_whose_file_no_longer_exists_submits_nothing(scene: Scene, frame: Path) -> None:
    """Its link is known by the content only, and another link under the same key would be another order."""
    scene.says_the_key_is_honoured()
    operator = scene.make
    scene.make = lambda **given: operator(EvoLinkImageToVideoOperator, **given)
    fields = {"image_start": str(frame), "duration": 2, "on_unknown_submit": "replay"}
    scene.dies(Ledger, "write_submitted", die, **fields)
    content = frame.read_bytes()
    frame.unlink()
    with pytest.raises(EvoLinkInputError, match=r"cannot be read any more.*put it back"):
        scene.stage.retry().run(scene.make(**fields))
    assert (scene.orders, uploads(scene.emulator), scene.emulator.books()["requests"]["submit"]) == (1, 1, 1)
    frame.write_bytes(content)
    assert scene.stage.retry().run(scene.make(**fields))["status"] == "completed"
    assert (scene.orders, uploads(scene.emulator), scene.emulator.books()["replays"]) == (1, 1, 1)


def test_in_a_batch_every_missing_file_is_compared_by_uri(
    stage: Any, make: Make, slow: EmulatorServer, tmp_path: Path
) -> None:
    frames = [tmp_path / f"{number}.png" for number in range(26)]
    for number, frame in enumerate(frames):
        Image.new("RGB", (640, 360), (number, 0, 0)).save(frame)
    requests = [{"image_start": str(frame), "duration": 2} for frame in frames]
    operator = make(EvoLinkBatchOperator, model="wan2.7-image-to-video", requests=requests)
    with pytest.raises(TaskDeferred):
        operator().execute(stage.context())
    for frame in frames:
        frame.unlink()
    results = stage.retry().run(operator)
    assert [result["request"]["image_start"].partition("#")[0] for result in results] == [
        str(frame) for frame in frames
    ]
    assert (slow.books()["orders"], uploads(slow)) == (26, 26)


def test_a_missing_file_is_compared_by_uri_where_only_the_folder_is_left(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, tmp_path: Path
) -> None:
    given = {"ledger_path": tmp_path.joinpath("ledger").as_uri()}
    with pytest.raises(TaskDeferred):
        first_frame(make, frame, **given)().execute(stage.context())
    stage.store.rows.clear()
    frame.unlink()
    assert stage.retry().run(first_frame(make, frame, **given))["status"] == "completed"
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


@pytest.mark.parametrize("error", [EvoLinkConfigError("no such extra"), RuntimeError("no secrets")])
def test_a_file_whose_store_cannot_be_opened_is_compared_by_uri(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())

    def closed(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("airflow_provider_evolink.storage.input_files.open_folder", closed)
    assert stage.retry().run(first_frame(make, frame))["status"] == "completed"
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_a_store_that_keeps_nothing_leaves_the_folder(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = stage.store.set

    def full(key: str, value: Any, **more: Any) -> None:
        if key != "evolink_generation":
            raise OSError
        keep(key, value, **more)

    monkeypatch.setattr(stage.store, "set", full)
    given = {"ledger_path": tmp_path.joinpath("ledger").as_uri()}
    with pytest.raises(TaskDeferred):
        first_frame(make, frame, **given)().execute(stage.context())
    frame.unlink()
    assert stage.retry().run(first_frame(make, frame, **given))["status"] == "completed"
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


@pytest.mark.parametrize("case", ["its own upload", "an upload of another task", "no store"])
def test_no_error_holds_the_link_of_an_upload(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, tmp_path: Path, logs: Any, case: str
) -> None:
    given = {} if case == "its own upload" else {"ledger_path": tmp_path.joinpath("ledger").as_uri()}
    if case == "an upload of another task":
        other = type(stage)()
        other.ti.task_id = "other"
        other.run(first_frame(make, frame, **given))
    if case == "no store":
        stage.store = None
    with pytest.raises(TaskDeferred) as deferred:
        first_frame(make, frame, **given)().execute(stage.context())
    job = slow.books()["jobs"][-1]
    link = job["body"]["image_start"]
    slow.job(job["id"], state="failed", code="image_processing_error", message=f"cannot decode {link}")
    with pytest.raises(AirflowFailException, match="cannot decode …") as told:
        stage.resume(first_frame(make, frame, **given), deferred.value)
    assert uploads(slow) == 1
    assert link.rpartition("/")[2] not in f"{told.value} {ours(logs)}"


def test_another_content_under_the_same_name_stops_an_open_order(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    frame.write_bytes(png(color="red"))
    with pytest.raises(AirflowFailException, match="inputs of this task have changed"):
        stage.retry().run(first_frame(make, frame))
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


def test_another_link_of_the_same_content_is_the_same_order(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path
) -> None:
    with pytest.raises(TaskDeferred):
        first_frame(make, frame)().execute(stage.context())
    stage.store.delete("evolink_uploads")
    stage.retry().run(first_frame(make, frame))
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)


@pytest.mark.parametrize("left", [60, 11 * 3600])
def test_an_upload_near_its_end_is_not_trusted(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, left: int
) -> None:
    emulator.settings(file_seconds=left)
    emulator.fault("status", on="submit", status=429, times=3)
    with pytest.raises(EvoLinkAPIError):
        stage.run(first_frame(make, frame))
    stage.store.delete("evolink_generation")  # as if the worker had died before the intent
    assert stage.retry().run(first_frame(make, frame))["status"] == "completed"
    assert (emulator.books()["orders"], uploads(emulator)) == (1, 2)


def test_after_a_refused_order_files_are_uploaded_again(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path
) -> None:
    """EvoLink may have lost the file: its link is not tried forever."""
    emulator.fault("status", on="submit", status=400)
    with pytest.raises(AirflowFailException):
        stage.run(first_frame(make, frame))
    assert stage.clear().run(first_frame(make, frame))["status"] == "completed"
    assert (emulator.books()["orders"], uploads(emulator)) == (1, 2)


def test_a_ledger_folder_shares_uploads_between_tasks_and_runs(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, tmp_path: Path
) -> None:
    folder = tmp_path.joinpath("ledger").as_uri()
    stage.run(first_frame(make, frame, ledger_path=folder))
    for name, other in (("task_id", "other"), ("run_id", "later")):
        another = type(stage)()
        setattr(another.ti, name, other)
        another.run(first_frame(make, frame, ledger_path=folder))
    assert (emulator.books()["orders"], uploads(emulator)) == (3, 1)
    alone = type(stage)()
    alone.ti.run_id = "alone"
    alone.run(first_frame(make, frame))
    assert uploads(emulator) == 2
    assert frame.name not in "".join(path.read_text() for path in (tmp_path / "ledger").rglob("*.json"))


def test_another_account_uploads_for_itself(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(first_frame(make, frame))
    facts = {"conn_type": "evolink", "host": emulator.url, "password": "another-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts))
    stage.clear().run(first_frame(make, frame))
    assert uploads(emulator) == 2


def test_a_replay_sends_the_links_it_sent_before(scene: Scene, frame: Path) -> None:
    """Another link under the same key would be another order."""
    scene.says_the_key_is_honoured()
    operator = scene.make
    scene.make = lambda **given: operator(EvoLinkImageToVideoOperator, **given)
    fields = {"image_start": str(frame), "duration": 2, "on_unknown_submit": "replay"}
    scene.emulator.settings(file_seconds=3600)
    scene.dies(Ledger, "write_submitted", die, **fields)
    assert scene.stage.retry().run(scene.make(**fields))["status"] == "completed"
    assert (scene.orders, uploads(scene.emulator), scene.emulator.books()["replays"]) == (1, 1, 1)


@pytest.mark.parametrize(
    "edited", [{"url": "file:///etc/passwd", "expires": 0}, {"url": "https://a/", "expires": 1e12}, 7, {}]
)
def test_an_edited_record_of_uploads_is_not_trusted(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, edited: Any
) -> None:
    stage.run(first_frame(make, frame))
    if isinstance(edited, dict) and edited.get("expires") == 0:
        edited["expires"] = time.time() + 70 * 3600
    stage.store.set("evolink_uploads", dict.fromkeys(stage.store.get("evolink_uploads"), edited))
    stage.clear().run(first_frame(make, frame))
    assert uploads(emulator) == 2
    assert all(body["image_start"].startswith(emulator.url) for body in sent_bodies(emulator))


# --- checked first


def not_media(path: Path) -> None:
    path.write_text("[secrets]\nfernet_key = xylophonist\n")


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.write(png())
        file.truncate(21 * 1024 * 1024)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda path: path.unlink(), "image_start: the file does not exist"),
    "text": (not_media, "image_start: the file is not in a known media format"),
    "empty": (lambda path: path.write_bytes(b""), "image_start: the file is empty"),
    "a clip": (lambda path: path.write_bytes(mp4(2)), r"image_start: must be jpeg or .*, got video/mp4"),
    "a gif": (lambda path: Image.new("P", (300, 300)).save(path, "GIF"), r"must be jpeg or .*, got image/gif"),
    "too large": (too_large, r"image_start: must be at most 20 MB, got 21.0 MB"),
    "too small": (lambda path: path.write_bytes(png(200, 300)), r"must have sides of at least 240 pixels, got 200x300"),
    "too wide": (lambda path: path.write_bytes(png(2700, 300)), r"must have a ratio of at most 8:1, got 2700x300"),
    "a cut clip": (lambda path: path.write_bytes(mp4(2)[:-40]), "image_start: the media file is "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_before_anything_is_sent(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, case: str
) -> None:
    change, told = WRONG[case]
    change(frame)
    with pytest.raises(AirflowFailException, match=told):
        stage.run(first_frame(make, frame))
    assert emulator.books()["requests"] == {}
    assert stage.store.rows == {}


def test_all_problems_of_files_and_request_are_reported_together(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path
) -> None:
    not_media(frame)
    with pytest.raises(AirflowFailException) as told:
        stage.run(first_frame(make, frame, duration=99, audio_urls=[str(frame)] * 2))
    text = str(told.value)
    assert "duration: " in text
    assert "image_start: " in text
    assert "audio_urls[1]: " in text
    assert "audio_urls: must have exactly 1 item" in text
    assert "input.invalid" not in text
    assert emulator.books()["requests"] == {}


@pytest.mark.parametrize("seconds", [1.5, 10.5])
def test_length_of_a_clip(stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, seconds: float) -> None:
    (tmp_path / "clip.mp4").write_bytes(mp4(seconds, 320, 240))
    with pytest.raises(AirflowFailException, match=rf"video_urls\[0\]: must be at .* s long, got {seconds} s"):
        stage.run(make(EvoLinkImageToVideoOperator, video_urls=[str(tmp_path / "clip.mp4")], duration=15))
    assert emulator.books()["requests"] == {}


@pytest.mark.parametrize(("duration", "rule"), [(4, "which is 4 s"), (None, "which is 5 s"), (6, None)])
def test_a_clip_fits_into_the_requested_length(
    stage: Any, make: Make, tmp_path: Path, duration: int | None, rule: str | None
) -> None:
    (tmp_path / "clip.mp4").write_bytes(mp4(5.5))
    operator = make(EvoLinkImageToVideoOperator, video_urls=[str(tmp_path / "clip.mp4")], duration=duration)
    if rule is None:
        assert stage.run(operator)["status"] == "completed"
        return
    with pytest.raises(AirflowFailException, match=rf"must not be longer than duration, {rule}, got 5.5 s"):
        stage.run(operator)


def test_without_the_extra_a_warning_and_the_limits_by_structure(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    monkeypatch.setattr("airflow_provider_evolink.api.files.packets.can_measure", lambda: False)
    path = tmp_path / "clip.mp4"
    operator = make(EvoLinkImageToVideoOperator, video_urls=[str(path)], duration=5)
    path.write_bytes(mp4(1.5, 320, 238))
    with pytest.raises(AirflowFailException, match=r"got 320x238(?s:.)*got 1\.5 s"):
        stage.run(operator)
    path.write_bytes(mp4(3))
    assert stage.run(operator)["status"] == "completed"
    assert any("the extra media (PyAV) is not installed" in line for line in logs.told)


def test_warn_sends_what_off_does_not_check_and_neither_sends_what_is_not_media(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, logs: Any
) -> None:
    emulator.settings(polls=10_000, estimated_time=60)
    frame.write_bytes(png(200, 300))
    for number, mode in enumerate(("warn", "off")):
        logs.told.clear()
        with pytest.raises(TaskDeferred):
            first_frame(make, frame, validation=mode, durable=False)().execute(stage.retry().context())
        assert emulator.books()["orders"] == number + 1
        assert any("sides of at least 240" in line for line in logs.told) is (mode == "warn")
    Image.new("P", (300, 300)).save(frame, "GIF")
    with pytest.raises(TaskDeferred):
        first_frame(make, frame, validation="off", durable=False)().execute(stage.retry().context())
    not_media(frame)
    for mode in ("warn", "off"):
        with pytest.raises(AirflowFailException, match="the file is not in a known media format"):
            first_frame(make, frame, validation=mode, durable=False)().execute(stage.retry().context())
    assert emulator.books()["orders"] == 3


# --- what goes wrong while a file is sent


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"max_upload_bytes": 50}, AirflowFailException, "too large for EvoLink's files API"),
        ({"max_files": 0}, EvoLinkUnavailable, "as many files as it may"),
    ],
)
def test_a_refused_upload_submits_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, changes: Any, kind: Any, told: str, logs: Any
) -> None:
    emulator.settings(**changes)
    with pytest.raises(kind, match=told) as error:
        stage.run(first_frame(make, frame))
    assert "submit" not in emulator.books()["requests"]
    assert "evolink_generation" not in stage.store.rows
    for secret in SECRETS:
        assert secret not in str(error.value)


def test_a_clip_that_the_files_api_does_not_take_is_reported(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(files_images_only=True)
    (tmp_path / "clip.mp4").write_bytes(mp4())
    with pytest.raises(AirflowFailException, match="does not accept this type of file; give a link"):
        stage.run(make(EvoLinkImageToVideoOperator, video_urls=[str(tmp_path / "clip.mp4")]))
    assert "submit" not in emulator.books()["requests"]


def test_transient_failures_of_an_upload_are_retried_and_a_bad_key_is_not(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path
) -> None:
    emulator.fault("status", on="upload", status=503, times=2)
    assert stage.run(first_frame(make, frame))["status"] == "completed"
    assert uploads(emulator) == 3
    emulator.reset()
    emulator.fault("status", on="upload", status=401)
    stage.store.rows.clear()
    with pytest.raises(AirflowFailException, match="check the API key"):
        stage.run(first_frame(make, frame))
    assert uploads(emulator) == 1


def test_a_store_that_does_not_respond_uses_retries(
    stage: Any, make: Make, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, clip: str
) -> None:
    facts = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    facts |= {"extra": {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}}}
    monkeypatch.setenv("AIRFLOW_CONN_DEAD", json.dumps(facts))
    other = "s3://dead@clips/another.mp4"
    with pytest.raises(EvoLinkInputError, match="cannot be read") as told:
        stage.run(make(EvoLinkImageToVideoOperator, video_urls=[other], duration=5))
    assert "another" not in str(told.value)
    assert emulator.books()["requests"] == {}


def test_a_file_that_changes_while_it_is_read_is_not_sent(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_evolink.storage import input_files

    inspect = input_files.InputSource.inspect

    def changed_after(self: Any, kind: str | None = None) -> Any:
        found = inspect(self, kind)
        frame.write_bytes(png(color="red"))
        return found

    monkeypatch.setattr(input_files.InputSource, "inspect", changed_after)
    with pytest.raises(EvoLinkInputError, match="changed while it was being read"):
        stage.run(first_frame(make, frame))
    assert emulator.books()["requests"] == {}


def test_a_file_that_changes_before_it_is_uploaded_again_is_not_sent(
    scene: Scene, frame: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay has one key for one content."""
    from airflow_provider_evolink.storage import input_files

    scene.says_the_key_is_honoured()
    operator = scene.make
    scene.make = lambda **given: operator(EvoLinkImageToVideoOperator, **given)
    fields = {"image_start": str(frame), "duration": 2}
    scene.after("lost_answer").fails(**fields)
    scene.stage.store.delete("evolink_uploads")
    checksum = input_files.InputSource.checksum

    def changed_after(self: Any) -> str:
        found = checksum(self)
        frame.write_bytes(png(color="red"))
        return found

    monkeypatch.setattr(input_files.InputSource, "checksum", changed_after)
    scene.stage.retry()
    assert "changed while it was being read" in scene.fails(**fields, on_unknown_submit="replay")
    assert (uploads(scene.emulator), scene.emulator.books()["requests"]["submit"]) == (1, 1)


def test_a_large_file_is_streamed(stage: Any, emulator: EmulatorServer, tmp_path: Path) -> None:
    """A file of 60 MB does not grow the memory. The emulator runs in this process, so only reading is measured."""
    import tracemalloc

    path = tmp_path / "long.mp4"
    box = mp4(1)
    with path.open("wb") as file:
        file.write(box)
        file.write((60 * 1024 * 1024).to_bytes(4, "big") + b"free" + bytes(60 * 1024 * 1024 - 8))
    from airflow_provider_evolink.api.settings import ClientSettings
    from airflow_provider_evolink.storage.input_files import InputSource

    source = InputSource(str(path))
    tracemalloc.start()
    facts = source.inspect()
    with source.copy(facts):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    settings = ClientSettings(api_key="test-key-0123456789", base_url=emulator.url, files_url=emulator.url)
    assert upload_module.upload(settings, path, facts).url.startswith(emulator.url)


# --- the operator


def upload_operator(path: Any, **given: Any) -> Callable[[], Any]:
    return lambda: EvoLinkUploadOperator(task_id="task", path=path, **given)


def test_the_operator_returns_what_it_has_uploaded(
    stage: Any, emulator: EmulatorServer, clip: str, frame: Path, logs: Any
) -> None:
    found = stage.run(upload_operator(clip.replace("store@", ""), path_conn_id="store"))
    assert found["url"].startswith(f"{emulator.url}/files/airflow/")
    assert found["url"].endswith(".mp4")
    assert (found["content_type"], len(found["sha256"])) == ("video/mp4", 64)
    assert found["file_id"].startswith("file_")
    again = stage.clear().run(upload_operator(ObjectStoragePath(clip)))
    assert again["url"] == found["url"]
    assert uploads(emulator) == 1
    assert stage.clear().run(upload_operator(clip, reuse=False))["url"] != found["url"]
    for secret in SECRETS:
        assert secret not in ours(logs)


def test_its_link_is_an_input(stage: Any, make: Make, emulator: EmulatorServer, frame: Path) -> None:
    link = stage.run(upload_operator(str(frame)))["url"]
    assert type(stage)().run(first_frame(make, link))["status"] == "completed"
    assert uploads(emulator) == 1


def test_the_operator_refuses_what_is_not_media_and_names_the_field(
    stage: Any, emulator: EmulatorServer, frame: Path
) -> None:
    not_media(frame)
    with pytest.raises(AirflowFailException, match="path: the file is not in a known media format"):
        stage.run(upload_operator(str(frame)))
    frame.unlink()
    with pytest.raises(AirflowFailException, match="path: the file does not exist"):
        stage.run(upload_operator(str(frame)))
    with pytest.raises(AirflowFailException, match="scheme"):
        stage.run(upload_operator("nosuch://bucket/a.png"))
    assert emulator.books()["requests"] == {}


def test_the_key_goes_to_the_files_host_and_nowhere_else(
    stage: Any, make: Make, emulator: EmulatorServer, frame: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmulatorServer(polls=2, estimated_time=1, fps=6) as files:
        facts = {"conn_type": "evolink", "host": emulator.url, "password": "test-key-0123456789"}
        monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts | {"extra": {"files_host": files.url}}))
        stage.run(first_frame(make, frame))
        assert (uploads(files), uploads(emulator)) == (1, 0)
        assert sent_bodies(emulator)[0]["image_start"].startswith(files.url)
    monkeypatch.setenv(
        "AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(facts | {"extra": {"files_host": "https://files.example.com"}})
    )
    refusal = r"files_host: host files\.example\.com is not in \[evolink\] allowed_hosts"
    with pytest.raises(AirflowFailException, match=refusal):
        stage.clear().run(first_frame(make, frame))


def test_without_a_store_it_uploads_each_time(stage: Any, emulator: EmulatorServer, frame: Path) -> None:
    stage.store = None
    for _ in range(2):
        stage.run(upload_operator(str(frame)))
    assert uploads(emulator) == 2


def test_a_missing_file_is_compared_by_uri_with_a_folder_alone(
    stage: Any, make: Make, slow: EmulatorServer, frame: Path, tmp_path: Path
) -> None:
    """Before Airflow 3.3 the ledger folder is all there is."""
    stage.store = None
    given = {"ledger_path": tmp_path.joinpath("ledger").as_uri()}
    with pytest.raises(TaskDeferred):
        first_frame(make, frame, **given)().execute(stage.context())
    frame.unlink()
    assert stage.retry().run(first_frame(make, frame, **given))["status"] == "completed"
    assert (slow.books()["orders"], uploads(slow)) == (1, 1)
