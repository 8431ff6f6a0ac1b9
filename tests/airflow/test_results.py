"""What was paid for arrives: several results, expired links, files that stay damaged, and tries that go on."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import io
import json
import os
import signal
import sys
import time
import uuid
import wave
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from evolink_support import MAPPED

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files.transfer.part import Part
from airflow_provider_evolink.operators import EvoLinkDownloadOperator
from airflow_provider_evolink.storage import result_fetch, spool

_spec = importlib.util.spec_from_file_location("evolink_gateway", Path(__file__).with_name("gateway.py"))
assert _spec
assert _spec.loader
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)
Gateway, media, left = _module.Gateway, _module.media, _module.left

FILE = media.png()
N = len(FILE)
GIF = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"  # one pixel
STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"


def wav() -> bytes:
    """Return a second of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return out.getvalue()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve jobs and media, and point the connection there; what is not there yet comes within moments."""
    server = Gateway()
    connection = {"conn_type": "evolink", "host": f"http://127.0.0.1:{server.port}", "password": "test-key-0123456789"}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(result_fetch, "pauses", lambda: iter([0.02] * 4))
    yield server
    server.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the destination."""
    return tmp_path / "out"


@pytest.fixture
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the spool folder of this test."""
    monkeypatch.setenv("AIRFLOW__EVOLINK__SPOOL_FOLDER", str(tmp_path / "spool"))
    return tmp_path / "spool" / "evolink-spool"


def download(job: str, where: Path | str, **given: Any) -> list[dict[str, Any]]:
    destination = f"file://{where}" if isinstance(where, Path) else where
    operator = EvoLinkDownloadOperator(task_id="download", job=job, destination=destination, **given, **MAPPED)
    files = operator.execute({})
    assert json.loads(json.dumps(files)) == files
    return files


def types(files: list[dict[str, Any]]) -> list[str]:
    return [file["content_type"] for file in files]


def content(file: dict[str, Any]) -> bytes:
    with ObjectStoragePath(file["uri"]).open("rb") as opened:  # type: ignore[no-untyped-call]
        found: bytes = opened.read()
    return found


# several results


KINDS = {
    "clip and its last frame": ("video", [media.mp4(), FILE], ["video/mp4", "image/png"]),
    "song and cover": ("audio", [wav(), FILE], ["audio/wav", "image/png"]),
    "gif of a video model": ("video", [GIF], ["image/gif"]),
    "picture of an audio model": ("audio", [FILE], ["image/png"]),
    "picture and gif": ("image", [FILE, GIF], ["image/png", "image/gif"]),
}


@pytest.mark.parametrize(("kind", "bodies", "expected"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("by", ["path", "query"])
def test_results_of_several_kinds_have_their_own_types(gateway, out, kind, bodies, expected, by):
    paths = [f"/{n}" if by == "path" else f"/file?n={n}" for n in range(len(bodies))]
    links = [gateway.link(path, media.whole(body)) for path, body in zip(paths, bodies, strict=True)]
    files = download(gateway.job("task-kinds", links, kind=kind), out)
    assert types(files) == expected
    assert [content(file) for file in files] == bodies


@pytest.mark.parametrize(("turn", "sides"), [(0, (320, 240)), (90, (240, 320)), (180, (320, 240)), (270, (240, 320))])
def test_a_turned_clip_has_the_sides_that_a_player_shows(gateway, out, turn, sides):
    one = 1 << 16
    upright, quarter, half = (one, 0, 0, 0, one), (0, one, 0, -one, 0), (-one, 0, 0, 0, -one)
    turns = {0: upright, 90: quarter, 180: half, 270: tuple(-number for number in quarter)}
    body = media.mp4()
    at = body.index(b"tkhd") + 44
    matrix = b"".join(number.to_bytes(4, "big", signed=True) for number in turns[turn])
    turned = body[:at] + matrix + body[at + len(matrix) :]
    (file,) = download(gateway.job("task-turned", [gateway.link("/f", media.whole(turned))]), out)
    assert (file["width"], file["height"]) == sides


@pytest.fixture
def two_of_three(gateway) -> str:
    links = [gateway.link("/f?a", media.whole(FILE)), gateway.link("/f?b", media.whole(GIF))]
    return gateway.job("task-three", [*links, gateway.link("/dead", media.answer(403))])


def test_one_dead_result_of_three_does_not_cost_the_others(gateway, out, two_of_three):
    for _ in range(2):
        with pytest.raises(EvoLinkLinkExpired, match=r"1 of 3 results .* result 3 of 3 \(index 2\)") as caught:
            download(two_of_three, out)
        assert "other 2 are in" in str(caught.value)
        assert 'on_missing="deliver"' in str(caught.value)
    assert [len(gateway.fetched(path)) for path in ("/f?a", "/f?b")] == [1, 1]
    assert left(out) == ["task-three-0.png", "task-three-1.gif", "task-three.json"]
    gateway.paths["/dead"] = [media.whole(FILE)]
    assert types(download(two_of_three, out)) == ["image/png", "image/gif", "image/png"]
    assert [len(gateway.fetched(path)) for path in ("/f?a", "/f?b")] == [1, 1]
    receipt = json.loads((out / "task-three.json").read_text())
    assert "missing" not in receipt
    assert left(out) == ["task-three-0.png", "task-three-1.gif", "task-three-2.png", "task-three.json"]


def test_the_others_are_handed_on_where_that_is_wanted(gateway, out, two_of_three):
    files = download(two_of_three, out, on_missing="deliver")
    assert [(file["index"], file["content_type"]) for file in files] == [(0, "image/png"), (1, "image/gif")]
    for file in files:
        (missing,) = file["job"]["missing"]
        assert missing["index"] == 2
        assert "EvoLinkLinkExpired" in missing["error"]
    assert download(two_of_three, out, on_missing="deliver") == files, "a second run finds the same"


def test_nothing_at_all_is_no_delivery(gateway, out):
    job = gateway.job("task-none", [gateway.link("/a", media.answer(403)), gateway.link("/b", media.answer(410))])
    with pytest.raises(EvoLinkLinkExpired, match="2 of 2 results"):
        download(job, out, on_missing="deliver")
    assert left(out) == []


def test_the_others_are_handed_on_though_evolink_has_forgotten_the_job(gateway, out, two_of_three):
    files = download(two_of_three, out, on_missing="deliver")
    gateway.paths["/v1/tasks/task-three"] = []
    gateway.jobs["task-three"] = [{"id": "task-three"}]
    error = {"error": {"code": "task_not_found", "message": "no", "type": "invalid_request_error"}}
    gone = media.answer(
        404, json.dumps(error).encode(), [("Content-Type", "application/json"), ("Connection", "close")]
    )
    gateway.plays = [gone]
    assert download(two_of_three, out, on_missing="deliver") == files
    with pytest.raises(EvoLinkError, match="not"):
        download(two_of_three, out)


DATA = "data:image/png;base64,iVBORw0KGgo="
UNUSABLE = {"inline data": DATA, "9,000 characters": f"https://cdn.example/{'x' * 9000}", "no link": "clip.mp4"}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_result_without_a_usable_link_is_missing(gateway, out, unusable, place):
    links = [gateway.link("/a", media.whole(FILE)), gateway.link("/b", media.whole(GIF))]
    links.insert(place, unusable)
    job, others = gateway.job("task-three", links), [index for index in range(3) if index != place]
    for _ in range(2):
        with pytest.raises(
            EvoLinkMediaError, match=rf"1 of 3 results .* result {place + 1} of 3 \(index {place}\)"
        ) as caught:
            download(job, out)
        assert "other 2 are in" in str(caught.value)
        assert not caught.value.permanent
    assert [len(gateway.fetched(path)) for path in ("/a", "/b")] == [1, 1], "what is there is kept"
    files = download(job, out, on_missing="deliver")
    assert [file["index"] for file in files] == others
    assert types(files) == ["image/png", "image/gif"]
    assert [missing["index"] for missing in files[0]["job"]["missing"]] == [place]
    links[place] = gateway.link("/c", media.whole(wav()))
    gateway.job(job, links)
    assert types(sorted(download(job, out), key=lambda file: file["index"] == place)) == [
        "image/png",
        "image/gif",
        "audio/wav",
    ], "a later reading may hold it, and the others keep their places"
    assert [len(gateway.fetched(path)) for path in ("/a", "/b", "/c")] == [1, 1, 1]


@pytest.mark.parametrize("place", [0, 1])
def test_what_stands_elsewhere_as_a_link_is_not_missing(gateway, out, place):
    links = [gateway.link("/a", media.whole(FILE)), gateway.link("/b", media.whole(GIF))]
    results = [*links[:place], DATA, *links[place + 1 :]]
    job = gateway.job("task-two", results, result_data=[{"url": link} for link in links])
    assert types(download(job, out)) == ["image/png", "image/gif"]


@pytest.mark.parametrize(
    "given",
    [
        {"on_missing": "ignore"},
        {"on_missing": None},
        {"total_timeout": 0},
        {"total_timeout": "soon"},
        {"total_timeout": "an hour"},
        {"total_timeout": ""},
        {"total_timeout": "None"},
        {"max_bytes": 1.5},
        {"max_bytes": timedelta(1)},
        {"total_timeout": float("nan")},
        {"max_bytes": -1},
        {"min_rate": True},
        {"min_rate": float("inf")},
    ],
)
def test_an_argument_that_cannot_be_is_refused(gateway, out, given):
    with pytest.raises(AirflowFailException, match=next(iter(given))):
        download("task-x", out, **given)
    assert gateway.requests == []


def test_limits_are_arguments(gateway, out):
    job = gateway.job("task-large", [gateway.link("/f", media.whole(FILE))])
    with pytest.raises(EvoLinkMediaError, match=f"larger than the {N - 1} bytes"):
        download(job, out, max_bytes=N - 1)
    assert types(download(job, out, max_bytes=N, total_timeout=60, min_rate=1)) == ["image/png"]


# links that have expired


XML = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>x</Message></Error>"
EXPIRED = {
    **{f"status {status}": media.answer(status) for status in (400, 401, 402, 403, 404, 405, 409, 410, 416, 451)},
    **{f"status {status} without a file": media.answer(status) for status in (200, 202, 204, 302, 304)},
    **{
        f"400 {code}": media.answer(400, XML % code.encode(), [("Content-Type", "application/xml")])
        for code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
    },
    **{f"200 {code}": media.answer(200, XML % code.encode()) for code in ("AccessDenied", "ExpiredToken", "NoSuchKey")},
    "200 JSON": media.answer(200, b'{"error": {"message": "expired"}}', [("Content-Type", "application/json")]),
    "200 JSON that says it is a clip": media.answer(200, b'{"code": 403}', [("Content-Type", "video/mp4")]),
    "200 HTML": media.answer(200, b"<html>expired</html>", [("Content-Type", "text/html")]),
    "200 text": media.answer(200, b"Request has expired\n", [("Content-Type", "text/plain")]),
    "200 in chunks": media.chunked(b'{"error": "expired"}'),
    "to a page over plain HTTP": media.moved("http://93.184.216.34/expired.html"),
    "to a host inside": media.moved("https://10.0.0.1/login"),
}


@pytest.mark.parametrize("dead", EXPIRED.values(), ids=EXPIRED)
def test_for_every_form_of_expiry_there_is_a_fresh_link(gateway, out, dead):
    job = gateway.job("task-old", [gateway.link("/old", dead)], [gateway.link("/new", media.whole(FILE))])
    (file,) = download(job, out)
    assert content(file) == FILE
    assert len(gateway.fetched("/old")) == 1
    assert left(out) == ["task-old-0.png", "task-old.json"]


@pytest.mark.parametrize("dead", EXPIRED.values(), ids=EXPIRED)
def test_what_stays_expired_is_an_error_and_leaves_nothing(gateway, out, dead):
    job = gateway.job("task-old", [gateway.link("/old", dead)])
    with pytest.raises((EvoLinkMediaError, AirflowFailException)):
        download(job, out)
    assert left(out) == []
    assert len(gateway.fetched("/v1/tasks/task-old")) == 2


LATE = {f"status {status}": media.answer(status) for status in (202, 204, 404)}
LATE |= {"empty": media.answer(200), "no chunk": media.chunked(b"")}


@pytest.mark.parametrize("early", LATE.values(), ids=LATE)
def test_a_file_that_is_not_there_yet_is_waited_for(gateway, out, early):
    job = gateway.job("task-late", [gateway.link("/late", early, early, early, media.whole(FILE))], age=5)
    (file,) = download(job, out)
    assert content(file) == FILE
    assert len(gateway.fetched("/late")) == 4


@pytest.mark.parametrize(("age", "attempts"), [(5, 6), (86_000, 6), (90_000, 2)])
def test_patience_is_for_jobs_of_a_day(gateway, out, age, attempts):
    job = gateway.job("task-late", [gateway.link("/late", media.answer(404))], age=age)
    with pytest.raises(EvoLinkLinkExpired):
        download(job, out)
    assert len(gateway.fetched("/late")) == attempts


def test_what_is_there_does_not_wait_for_what_is_late(gateway, out):
    links = [gateway.link("/late", media.answer(404)), gateway.link("/file", media.whole(FILE))]
    with pytest.raises(EvoLinkLinkExpired, match=r"result 1 of 2"):
        download(gateway.job("task-late", links), out)
    paths = [request.path for request in gateway.requests]
    third_attempt = [place for place, path in enumerate(paths) if path == "/late"][2]
    assert paths.index("/file") < third_attempt


# files that are damaged


DAMAGED = {
    "cut": FILE[: N // 2],
    "first bytes lost": b"\0" * 100 + FILE[100:],
    "text behind a mark": b"GIF89a is not all that a file needs",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_stays_damaged_is_kept_and_not_handed_on(gateway, out, body):
    job = gateway.job("task-bad", [gateway.link("/old", media.whole(body))], [gateway.link("/new", media.whole(body))])
    with pytest.raises(EvoLinkMediaError, match=r"kept as file://.*/task-bad-0\.damaged"):
        download(job, out)
    assert [len(gateway.fetched(path)) for path in ("/old", "/new")] == [1, 1]
    assert (out / "task-bad-0.damaged").read_bytes() == body
    assert [name for name in left(out) if not name.startswith(".")] == ["task-bad-0.damaged"]
    gateway.paths["/new"] = [media.whole(FILE)]
    (file,) = download(job, out)
    assert content(file) == FILE
    assert left(out) == ["task-bad-0.png", "task-bad.json"]


def test_a_file_that_is_whole_behind_a_fresh_link_is_delivered(gateway, out):
    links = [gateway.link("/old", media.whole(FILE[:-9]))], [gateway.link("/new", media.whole(FILE))]
    (file,) = download(gateway.job("task-bad", *links), out)
    assert content(file) == FILE
    assert left(out) == ["task-bad-0.png", "task-bad.json"]


def test_a_damaged_file_among_others(gateway, out):
    links = [gateway.link("/a", media.whole(FILE)), gateway.link("/b", media.whole(FILE[:-9]))]
    (file,) = download(gateway.job("task-bad", links), out, on_missing="deliver")
    assert content(file) == FILE
    assert "task-bad-1.damaged" in file["job"]["missing"][0]["error"]
    assert [file["index"]] == [0]


@pytest.fixture
def bucket(s3: Any, spool_folder: Path) -> Iterator[str]:
    """Return a folder in a bucket of its own; no upload may be left open there."""
    name = f"results-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    yield f"s3://store@{name}/out"
    assert s3.list_multipart_uploads(Bucket=name).get("Uploads", []) == []


def keys(s3: Any, folder: str) -> list[str]:
    name = folder.partition("@")[2].partition("/")[0]
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=name).get("Contents", [])]


def test_a_damaged_file_is_kept_in_a_store(gateway, bucket, s3, spool_folder):
    job = gateway.job("task-bad", [gateway.link("/f", media.whole(FILE[:-9]))])
    with pytest.raises(EvoLinkMediaError, match=r"kept as s3://results-\w+/out/task-bad-0\.damaged"):
        download(job, bucket)
    assert keys(s3, bucket) == ["out/task-bad-0.damaged"]
    gateway.paths["/f"] = [media.whole(FILE)]
    download(job, bucket)
    assert keys(s3, bucket) == ["out/task-bad-0.png", "out/task-bad.json"]
    assert left(spool_folder) == []


# tries that go on


def places(request: pytest.FixtureRequest, where: str) -> Path | str:
    return request.getfixturevalue("out" if where == "file" else "bucket")


@pytest.mark.parametrize("where", ["file", "s3"])
@pytest.mark.parametrize("headers", [[("ETag", '"1"')], [("ETag", 'W/"1"'), ("Last-Modified", STAMP)]])
def test_the_next_try_requests_only_what_is_missing(gateway, request, where, headers, monkeypatch, spool_folder):
    monkeypatch.setattr(spool, "_SHARED", 0o644)
    place = places(request, where)
    cut = media.whole(FILE, headers=headers, cut=100_000)
    rest = media.say(
        media.head(206, [*headers, media.content_range(100_000, N), ("Content-Length", str(N - 100_000))])
        + FILE[100_000:]
    )
    job = gateway.job(
        "task-slow", [gateway.link("/f?sign=1", cut, media.answer(503))], [gateway.link("/f?sign=2", rest)]
    )
    with pytest.raises(EvoLinkMediaError, match=r"longer than|gave up"):
        download(job, place, total_timeout=1)
    (file,) = download(job, place)
    assert content(file) == FILE
    assert [sent.start for sent in gateway.fetched("/f?sign=2")] == [100_000]
    if where == "file":
        assert left(place) == ["task-slow-0.png", "task-slow.json"]
        assert (place / "task-slow-0.png").stat().st_mode & 0o777 == 0o644
    else:
        assert left(spool_folder) == []


@pytest.mark.parametrize("where", ["file", "s3"])
def test_a_slow_line_comes_over_several_tries(gateway, request, where, spool_folder):
    def slow(connection: Any, sent: Any) -> None:
        start = sent.start
        headers = [("ETag", '"v"'), ("Content-Length", str(N - start))]
        connection.sendall(
            media.head(206 if start else 200, [*headers, *([media.content_range(start, N)] if start else [])])
        )
        for at in range(start, N, 20_000):
            connection.sendall(FILE[at : at + 20_000])
            time.sleep(0.03)

    place, job = places(request, where), gateway.job("task-slow", [gateway.link("/f", slow)])
    for _ in range(10):
        try:
            (file,) = download(job, place, total_timeout=0.25)
        except EvoLinkMediaError:
            continue
        break
    assert content(file) == FILE
    starts = [sent.start for sent in gateway.fetched("/f")]
    assert starts == sorted(set(starts))
    assert 2 <= len(starts) <= 8


class TaskTimeout(BaseException):
    """As Airflow's: no ``Exception``."""


def test_a_timeout_of_the_task_keeps_what_has_arrived(gateway, out):
    def slow(connection: Any, sent: Any) -> None:
        connection.sendall(media.head(200, [("ETag", '"v"'), ("Content-Length", str(N))]) + FILE[:50_000])
        time.sleep(3)

    def over(*_: Any) -> None:
        raise TaskTimeout

    job = gateway.job("task-slow", [gateway.link("/f", slow, media.ranged(FILE, etag='"v"'))])
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with pytest.raises(TaskTimeout):
            download(job, out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    (file,) = download(job, out)
    assert content(file) == FILE
    assert gateway.fetched("/f")[1].start == 50_000


@pytest.mark.parametrize("note", ["gone", "broken", "deep", "of another file", "wrong types"])
def test_a_part_without_its_note_is_gone_on_with_by_comparing(gateway, out, note):
    job = gateway.job("task-x", [gateway.link("/f", media.ranged(FILE))])
    out.mkdir()
    (out / ".task-x-0.part").write_bytes(FILE[:100_000])
    texts = {
        "broken": "{",
        "deep": "[" * 100_000,
        "of another file": json.dumps({"source": "x", "total": N, "etag": '"v1"'}),
        "wrong types": json.dumps({"source": "x", "total": "1", "etag": 7, "published": [], "expires": "x"}),
    }
    if note in texts:
        (out / ".task-x-0.part.json").write_text(texts[note])
    (file,) = download(job, out)
    assert content(file) == FILE
    assert left(out) == ["task-x-0.png", "task-x.json"]


def test_a_part_of_something_else_is_not_mixed_in(gateway, out):
    job = gateway.job("task-x", [gateway.link("/f", media.ranged(FILE))])
    out.mkdir()
    (out / ".task-x-0.part").write_bytes(media.png(seed=2)[:100_000])
    (file,) = download(job, out)
    assert content(file) == FILE


@pytest.mark.parametrize("where", ["file", "s3"])
def test_a_part_that_another_process_fills_is_left_alone(gateway, request, where, spool_folder):
    place, job = places(request, where), gateway.job("task-x", [gateway.link("/f", media.whole(FILE))])
    folder = ObjectStoragePath(f"file://{place}" if where == "file" else place)
    path, _ = spool._place(folder, job, 0)
    with Part(path, lasting=True) as other:
        other.write(0, FILE[:1000])
        (file,) = download(job, place)
        assert content(file) == FILE
        assert (other.size, path.exists()) == (1000, True)


def test_parts_of_expired_links_are_swept_unless_a_process_holds_them(gateway, out):
    out.mkdir()
    now = time.time()
    for name, expires in (("old", now - 1), ("held", now - 1), ("new", now + 1000)):
        with Part(out / f".task-{name}-0.part", lasting=True) as part:
            part.change(source="x", expires=expires)
            part.write(0, b"x")
    (out / ".task-alone-0.part.json").write_text(json.dumps({"source": "x", "expires": now - 1}))
    job = gateway.job("task-x", [gateway.link("/f", media.whole(FILE))])
    with Part(out / ".task-held-0.part", lasting=True):
        download(job, out)
    names = {name.removesuffix(".json") for name in left(out) if name.startswith(".")}
    assert names == {".task-held-0.part", ".task-new-0.part"}


def test_a_file_system_without_locks_only_costs_the_resume(gateway, out, monkeypatch):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    job = gateway.job("task-x", [gateway.link("/f", media.whole(FILE, cut=9), media.answer(503))])
    with pytest.raises(EvoLinkMediaError):
        download(job, out, total_timeout=1)
    gateway.paths["/f"] = [media.whole(FILE)]
    (file,) = download(job, out)
    assert content(file) == FILE
    assert [name for name in left(out) if ".part" in name] == []


def test_private_files_of_killed_processes_are_deleted(spool_folder):
    with spool.private_file() as held:
        held.write_bytes(b"x")
        (spool_folder / "killed.tmp").write_bytes(b"y")
        with spool.private_file() as other:
            assert other.read_bytes() == b""
            assert set(spool_folder.iterdir()) == {held, other}
    assert list(spool_folder.iterdir()) == []


@pytest.mark.parametrize("harm", ["link", "file", "missing rights"])
def test_a_spool_folder_that_is_not_ours_is_refused(gateway, bucket, tmp_path, monkeypatch, harm):
    monkeypatch.delenv("AIRFLOW__EVOLINK__SPOOL_FOLDER")
    monkeypatch.setattr(spool.tempfile, "gettempdir", lambda: str(tmp_path))
    path = tmp_path / f"evolink-spool-{os.getuid()}"
    if harm == "link":
        path.symlink_to(tmp_path)
    elif harm == "file":
        path.write_text("x")
    else:
        path.mkdir()
        path.chmod(0o777)
    job = gateway.job("task-x", [gateway.link("/f", media.whole(FILE))])
    with pytest.raises(AirflowFailException, match="spool folder"):
        download(job, bucket)


def test_a_receipt_that_is_nested_deep_is_a_clear_error(gateway, out):
    job = gateway.job("task-x", [gateway.link("/f", media.whole(FILE))])
    out.mkdir()
    for depth in (100, 900, 100_000):
        (out / "task-x.json").write_text('{"job_id": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(AirflowFailException, match="nested"):
            download(job, out)
