"""One link -> verified bytes, over real sockets."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import shutil
import ssl
import stat
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkLinkExpired,
    EvoLinkLinkRefused,
    EvoLinkMediaError,
)
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.download import DownloadLimits, download, fetch, over_https
from airflow_provider_evolink.api.files.download_response import OVERLAP
from airflow_provider_evolink.api.files.transfer.fetching import pause_before
from airflow_provider_evolink.api.files.transfer.line_watch import RateMeter
from airflow_provider_evolink.api.files.transfer.part import Part

_spec = importlib.util.spec_from_file_location("evolink_media_server", Path(__file__).with_name("media_server.py"))
media = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = media
_spec.loader.exec_module(media)

MOVIE = media.mp4()
CLIP = media.png()
HALF = len(CLIP) // 2
LIMITS = DownloadLimits(connect_timeout=2, read_timeout=2, total_timeout=20, backoff=0)


@pytest.fixture
def host():
    """Start a media host that plays what it is told."""
    started = []

    def start(*plays, **options):
        started.append(media.MediaServer(*plays, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def spool(tmp_path):
    """A spool directory that has to be empty in the end, whatever happened."""
    folder = tmp_path / "spool"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def read(server_or_link, spool, **options):
    link = server_or_link if isinstance(server_or_link, str) else server_or_link.url()
    options = {"allow_loopback": True, "limits": LIMITS, "spool_dir": spool, "job_id": "job-7"} | options
    with download(link, **options) as found:
        data = found.path.read_bytes()
        assert found.size == len(data)
        assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert not found.path.exists()
    return data


def fails(server_or_link, spool, error=EvoLinkMediaError, **options):
    with pytest.raises(EvoLinkMediaError) as caught:
        read(server_or_link, spool, **options)
    assert type(caught.value) is error
    assert caught.value.job_id == "job-7"
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    return str(caught.value)


# the file that comes


@pytest.mark.parametrize("play", [media.whole(CLIP), media.ranged(CLIP), media.chunked(CLIP)])
def test_a_file_arrives_whole(host, spool, play):
    server = host(play)
    assert read(server, spool) == CLIP
    assert len(server.requests) == 1


def test_type_and_extension_come_from_the_content_only(host, spool):
    lies = [("Content-Type", "image/png"), ("Content-Disposition", 'attachment; filename="../../evil.py"')]
    server = host(media.whole(MOVIE, headers=lies))
    link = server.url("/out/../../etc/passwd.exe?name=x.sh")
    with download(link, allow_loopback=True, limits=LIMITS, spool_dir=spool) as found:
        assert (found.content_type, found.extension) == ("video/mp4", ".mp4")
        assert found.path.parent.parent == spool
        assert not {"passwd", "evil", "exe", ".py"} & set(found.path.name.split("."))


def test_the_spool_is_private_and_goes_away_with_the_block(host, spool):
    with download(host(media.whole(CLIP)).url(), allow_loopback=True, limits=LIMITS, spool_dir=spool) as found:
        assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700
    assert not found.path.exists()


def test_the_spool_goes_away_when_the_block_fails(host, spool):
    with (
        pytest.raises(KeyError, match="mine"),
        download(host(media.whole(CLIP)).url(), allow_loopback=True, limits=LIMITS, spool_dir=spool),
    ):
        raise KeyError("mine")


def test_an_error_of_the_block_is_not_touched(host, spool):
    mine = EvoLinkMediaError("mine", job_id="other")
    with (
        pytest.raises(EvoLinkMediaError) as caught,
        download(host(media.whole(CLIP)).url(), allow_loopback=True, limits=LIMITS, spool_dir=spool),
    ):
        raise mine
    assert caught.value is mine


@pytest.mark.parametrize("expect", ["video", None, "image", "audio"])
def test_the_announced_kind_does_not_overrule_the_content(host, spool, expect):
    assert read(host(media.whole(CLIP)), spool, expect=expect) == CLIP


# cuts


@pytest.mark.parametrize("cut", [0, 1, 65535, 65536, 65537, HALF, len(CLIP) - 1])
@pytest.mark.parametrize("stamp", [None, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_cut_is_resumed_where_it_happened(host, spool, cut, stamp):
    server = host(media.ranged(CLIP, cut=cut, stamp=stamp), media.ranged(CLIP, stamp=stamp))
    assert read(server, spool) == CLIP
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers.get("range"), second.headers.get("if-range")) == (
        (f"bytes={cut}-", stamp or '"v1"') if cut else (None, None)
    )


def test_many_cuts_with_progress_are_survived(host, spool):
    server = host(media.ranged(CLIP, cut=-(-len(CLIP) // 20)))
    assert read(server, spool) == CLIP
    assert len(server.requests) == 20


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 90_000), st.booleans()), max_size=5))
def test_any_row_of_cuts_gives_the_right_bytes(host, spool, cuts):
    plays = [media.ranged(CLIP, cut=cut) if kept else media.whole(CLIP, cut=cut) for cut, kept in cuts]
    assert read(host(*plays, media.ranged(CLIP)), spool) == CLIP


def test_cuts_without_progress_are_given_up(host, spool):
    server = host(media.ranged(CLIP, cut=1000), media.ranged(CLIP, cut=0))
    assert "gave up at byte 1000" in fails(server, spool)
    assert len(server.requests) == 1 + LIMITS.max_resumes


@pytest.mark.parametrize("etag", ['W/"v1"', "bare", '"v\xff"'])
def test_without_a_strong_validator_some_bytes_are_fetched_twice_and_compared(host, spool, etag):
    rest = media.say(
        media.head(
            206, [media.content_range(HALF - OVERLAP, len(CLIP)), ("Content-Length", str(len(CLIP) - HALF + OVERLAP))]
        )
        + CLIP[HALF - OVERLAP :]
    )
    server = host(media.ranged(CLIP, cut=HALF, etag=etag), rest)
    assert read(server, spool) == CLIP
    assert server.requests[1].start == HALF - OVERLAP
    assert "if-range" not in server.requests[1].headers


def test_a_server_that_always_cuts_at_one_place_is_given_up(host, spool):
    server = host(media.whole(CLIP, cut=HALF))
    fails(server, spool)
    assert len(server.requests) == 1 + LIMITS.max_resumes


def test_a_server_that_ignores_ranges_is_read_from_the_start(host, spool):
    server = host(media.ranged(CLIP, cut=HALF), media.whole(CLIP))
    assert read(server, spool) == CLIP


def test_a_file_that_changed_meanwhile_is_read_from_the_start(host, spool):
    for other in (media.png(seed=2), media.png(side=200)):
        server = host(media.ranged(CLIP, cut=HALF), media.ranged(other, etag='"v2"'))
        assert read(server, spool) == other


def part(start, total=None, skip=None, etag='"v1"'):
    body = CLIP[HALF if skip is None else skip :]
    return media.answer(206, body, [media.content_range(start, total or len(CLIP)), ("ETag", etag)])


WRONG_PARTS = {
    "shifted back": part(HALF - 1),
    "shifted on": part(HALF + 1),
    "other total": part(HALF, total=len(CLIP) + 1),
    "body too long": part(HALF, skip=HALF - 1),
    "body too short": part(HALF, skip=HALF + 1),
    "no range": media.answer(206, CLIP[HALF:]),
    "416": media.answer(416, b"", [("Content-Range", f"bytes */{len(CLIP)}")]),
}


@pytest.mark.parametrize("wrong", WRONG_PARTS.values(), ids=WRONG_PARTS.keys())
def test_a_wrong_part_restarts_once_and_then_fails(host, spool, wrong):
    cut, good = media.ranged(CLIP, cut=HALF), media.ranged(CLIP)
    server = host(cut, wrong, good)
    assert read(server, spool) == CLIP
    assert "range" not in server.requests[2].headers
    server = host(cut, wrong, cut, wrong, good)
    assert "wrong range" in fails(server, spool)
    assert len(server.requests) == 4


def test_a_cut_in_chunks_is_noticed_and_resumed(host, spool):
    server = host(media.chunked(CLIP[:HALF], ended=False, headers=[("ETag", '"v1"')]), media.ranged(CLIP))
    assert read(server, spool) == CLIP
    assert server.requests[1].headers["range"] == f"bytes={HALF}-"


def test_a_dead_port_is_tried_again_and_given_up(host, spool):
    server = host(media.whole(CLIP))
    server.close()
    assert "ConnectError" in fails(server, spool)


@pytest.mark.parametrize("garbage", [b"", b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_a_response_that_is_not_http_is_retried(host, spool, garbage):
    server = host(media.say(garbage), media.whole(CLIP))
    assert read(server, spool) == CLIP


# statuses and pages


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_expired_link_is_distinguished(host, spool, status):
    server = host(media.answer(status, b"gone"))
    assert f"HTTP {status}" in fails(server, spool, EvoLinkLinkExpired)
    assert len(server.requests) == 1


def test_a_link_may_die_in_the_middle(host, spool):
    fails(host(media.ranged(CLIP, cut=HALF), media.answer(403)), spool, EvoLinkLinkExpired)


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "NoSuchKey"])
def test_an_xml_error_under_a_good_status_is_an_expired_link(host, spool, code):
    page = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code></Error>".encode()
    fails(host(media.answer(200, page, [("Content-Type", "application/xml")])), spool, EvoLinkLinkExpired)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_host_is_retried(host, spool, status):
    server = host(media.answer(status, b"<html>busy</html>"), media.whole(CLIP))
    assert read(server, spool) == CLIP


def test_a_busy_host_keeps_what_came_before(host, spool):
    server = host(media.ranged(CLIP, cut=HALF), media.answer(503), media.ranged(CLIP))
    assert read(server, spool) == CLIP
    assert server.requests[2].start == HALF


def test_a_host_that_stays_busy_is_given_up(host, spool):
    server = host(media.answer(503))
    assert "HTTP 503" in fails(server, spool)
    assert len(server.requests) == 1 + LIMITS.max_resumes


def test_retry_after_is_kept(host, spool):
    server = host(media.answer(429, b"", [("Retry-After", "1")]), media.whole(CLIP))
    start = time.monotonic()
    assert read(server, spool) == CLIP
    assert time.monotonic() - start >= 1


def test_a_pause_beyond_the_deadline_is_not_waited_for(host, spool):
    start = time.monotonic()
    fails(host(media.answer(429, b"", [("Retry-After", "600")])), spool)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("status", [304, 402, 405, 416, 418, 451])
def test_other_answers_are_no_file(host, spool, status):
    assert "no file" in fails(host(media.answer(status)), spool, EvoLinkLinkExpired)


@pytest.mark.parametrize("status", [201, 203, 206])
def test_a_good_status_without_a_byte_is_an_empty_file(host, spool, status):
    assert "empty" in fails(host(media.answer(status)), spool)


@pytest.mark.parametrize("status", [202, 204])
def test_a_file_that_is_not_there_yet(host, spool, status):
    assert "not there yet" in fails(host(media.answer(status)), spool, EvoLinkLinkExpired)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"<html>Just a moment</html>", "text/html"), (b"<!DOCTYPE HTML><p>x", "video/mp4")],
)
def test_a_page_is_not_a_video(host, spool, body, content_type):
    assert "HTML page" in fails(host(media.answer(200, body, [("Content-Type", content_type)])), spool)


@pytest.mark.parametrize("play", [media.answer(200), media.chunked(b"")])
def test_an_empty_file_is_refused(host, spool, play):
    assert "empty" in fails(host(play), spool)


def test_unknown_content_is_refused(host, spool):
    assert "not in a known media format" in fails(host(media.whole(b"#!/bin/sh\nrm -rf /\n")), spool)


# lengths


def test_a_body_shorter_than_announced_is_taken_if_it_proves_its_end(host, spool):
    assert read(host(media.whole(CLIP, length=len(CLIP) + 1)), spool) == CLIP
    assert "gave up" in fails(host(media.whole(CLIP[:-1], length=len(CLIP))), spool)


def test_a_body_longer_than_announced_is_found_by_its_boxes(host, spool):
    assert "truncated" in fails(host(media.whole(CLIP, length=len(CLIP) - 1)), spool)


@pytest.mark.parametrize("difference", [-1, 1])
def test_chunks_prove_the_length_whatever_is_announced_beside_them(host, spool, difference):
    server = host(media.chunked(CLIP, headers=[("Content-Length", str(len(CLIP) + difference))]))
    assert read(server, spool) == CLIP


def test_two_lengths_that_contradict_each_other_are_refused(host, spool):
    fails(host(media.whole(CLIP, headers=[("Content-Length", "10")])), spool)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_that_ends_by_hanging_up_is_taken_if_it_proves_its_end(host, spool, version):
    start = b"HTTP/" + version + b" 200 OK\r\nContent-Type: video/mp4\r\n\r\n"
    assert read(host(media.say(start + CLIP)), spool) == CLIP
    assert "cannot be verified" in fails(host(media.say(start + CLIP[:-1])), spool)


def test_samples_without_a_length_cannot_prove_their_end(host, spool):
    server = host(media.say(b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\n\r\n" + bytes(5000)))
    assert "cannot be verified" in fails(server, spool, expect="audio")


@pytest.mark.parametrize("play", [media.whole(CLIP), media.chunked(CLIP)], ids=["announced", "not announced"])
def test_a_file_over_the_cap_is_refused(host, spool, play):
    limits = DownloadLimits(max_bytes=len(CLIP) - 1)
    assert "larger than" in fails(host(play), spool, limits=limits)
    assert read(host(play), spool, limits=DownloadLimits(max_bytes=len(CLIP))) == CLIP


def test_an_announced_file_over_the_cap_is_not_waited_for(host, spool):
    endless = media.dripping(media.head(200, [("Content-Length", str(10**15))]) + b"x", 4096, 0)
    assert "larger than" in fails(host(endless), spool)


# redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(host, spool, status):
    server = host(*[media.moved(f"/hop{n}?sig=secret{n}", status) for n in range(5)], media.whole(CLIP))
    assert read(server, spool) == CLIP
    assert [request.path for request in server.requests[1:]] == [f"/hop{n}?sig=secret{n}" for n in range(5)]


@pytest.mark.parametrize("location", ["/again", ""])
def test_six_redirects_are_too_many(host, spool, location):
    server = host(media.moved(location or "/out/clip.bin"))
    assert "5 redirects" in fails(server, spool)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/x?sig=secret",
        "https://10.0.0.1/x?sig=secret",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "http://93.184.216.34/x?sig=secret",
        "https://93.184.216.34:8443/x",
        "https://user:secret@93.184.216.34/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//10.0.0.1/x",
        "http://[bad/",
    ],
)
def test_a_redirect_is_judged_like_a_link(host, spool, location):
    server = host(media.moved(location))
    fails(server, spool, EvoLinkLinkRefused)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("http://cdn.example/x.png?sig=a", "https://cdn.example/x.png?sig=a"),
        ("HTTP://cdn.example/x.png", "https://cdn.example/x.png"),
        ("https://cdn.example/x.png", "https://cdn.example/x.png"),
        ("http://cdn.example:8080/x.png", "http://cdn.example:8080/x.png"),
        ("http://user@cdn.example/x.png", "http://user@cdn.example/x.png"),
        ("http://127.0.0.1/x.png", "http://127.0.0.1/x.png"),
        ("http://[bad/", "http://[bad/"),
        ("", ""),
    ],
)
def test_a_link_over_plain_http_is_fetched_over_https(link, asked):
    assert over_https(link) == asked


def test_a_redirect_without_a_place_is_no_file(host, spool):
    assert "no file" in fails(host(media.answer(302)), spool, EvoLinkLinkExpired)


def test_a_public_host_cannot_lead_to_this_machine_even_where_loopback_is_allowed(monkeypatch, host):
    server = host(media.whole(CLIP))
    asked = []

    def handle(transport, request):
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": server.url()})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    connector = hosts.Connector(resolver=lambda *_: ["93.184.216.34"], allow_loopback=True)
    with (
        pytest.raises(EvoLinkLinkRefused),
        connector.open("https://cdn.example/x", headers={}, timeout=httpx.Timeout(1)),
    ):
        pass
    assert asked == ["93.184.216.34"]


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:{port}/x", "https://127.0.0.1:{port}/x", "http://localhost:{port}/x", "https://localhost/x"],
)
def test_this_machine_is_not_contacted_by_default(host, spool, link):
    server = host(media.whole(CLIP))
    fails(link.format(port=server.port), spool, EvoLinkLinkRefused, allow_loopback=False)
    assert server.requests == []


# what we send and say


def test_nothing_but_the_needed_headers_is_sent(host, spool, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = host(media.moved("/next"), media.ranged(CLIP, cut=HALF), media.moved("/next"), media.ranged(CLIP))
    assert read(server, spool) == CLIP
    plain = {"host", "user-agent", "accept", "accept-encoding", "connection"}
    sent = [set(request.headers) for request in server.requests]
    assert sent == [plain, plain, plain | {"range", "if-range"}, plain | {"range", "if-range"}]
    assert {request.headers["user-agent"].split("/")[0] for request in server.requests} == {"airflow-provider-evolink"}
    assert server.requests[0].path == "/out/clip.bin?sig=topsecret"


def test_no_log_line_holds_the_query(host, spool, caplog):
    with caplog.at_level(logging.INFO):
        server = host(media.moved("/b?sig=secret"), media.whole(CLIP, cut=1), media.whole(CLIP))
        assert read(server, spool) == CLIP
    assert "stopped at byte 1" in caplog.text
    assert "secret" not in caplog.text


def test_an_error_names_the_link_and_the_job(host, spool):
    server = host(media.answer(404))
    text = fails(server.url("/a/b.mp4?sig=topsecret"), spool, EvoLinkLinkExpired)
    assert "the link has expired" in text[:40]
    assert f"(http://127.0.0.1:{server.port}/a/b.mp4)" in text
    assert "job job-7" in text


def test_a_link_that_is_no_link_is_refused(spool):
    for link in ("", "clip.mp4", "https://a\nb/?sig=secret", "https://user:secret@cdn.example/x?sig=secret"):
        fails(link, spool, EvoLinkLinkRefused, allow_loopback=False)


# time


def test_a_drip_counts_as_a_cut_and_is_resumed(host, spool):
    slow = media.head(200, [("ETag", '"v1"'), ("Content-Length", str(len(CLIP)))])
    server = host(media.dripping(slow + CLIP, 400, 0.02), media.ranged(CLIP))
    limits = DownloadLimits(min_rate=10**6, rate_window=0.2, backoff=0)
    assert read(server, spool, limits=limits) == CLIP
    assert server.requests[1].start > 0


def test_the_total_time_ends_a_drip(host, spool):
    server = host(media.dripping(media.head(200, [("Content-Length", str(len(CLIP)))]) + CLIP, 10, 0.02))
    start = time.monotonic()
    assert "longer than 0.5 s" in fails(server, spool, limits=DownloadLimits(total_timeout=0.5, backoff=0))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("hop", ["the link", "a redirect"])
def test_the_total_time_ends_a_name_server_that_does_not_respond(host, spool, monkeypatch, hop):
    """The system's call cannot be ended, so nobody waits for it."""

    def resolve(name, port):
        if name == "slow.example":
            time.sleep(6)
        return ["127.0.0.1"]

    monkeypatch.setattr(hosts, "system_resolver", resolve)
    server = host(media.moved("https://slow.example/x"))
    link = "https://slow.example/x" if hop == "the link" else server.url()
    start = time.monotonic()
    assert "0.4 s" in fails(link, spool, limits=DownloadLimits(total_timeout=0.4, backoff=0))
    assert time.monotonic() - start < 4


def test_a_name_that_is_resolved_late_costs_an_attempt_only(host, spool, monkeypatch):
    pauses = iter([2.0, 0.0, 0.0])

    def resolve(name, port):
        time.sleep(next(pauses))
        return ["127.0.0.1"]

    monkeypatch.setattr(hosts, "system_resolver", resolve)
    server = host(media.whole(CLIP))
    limits = DownloadLimits(connect_timeout=0.3, backoff=0)
    assert read(server.url(host="cdn.example"), spool, limits=limits) == CLIP


@pytest.mark.parametrize("bytes_said", [b"HTTP/1.1 200 OK\r\n" + b"X-Slow: y\r\n" * 500, b""])
def test_a_head_that_never_ends_is_cut(host, spool, bytes_said):
    def silent(connection, request):
        media.dripping(bytes_said or b"", 1, 0.02)(connection, request)
        time.sleep(0 if bytes_said else 6.0)

    server = host(silent, media.whole(CLIP))
    start = time.monotonic()
    limits = DownloadLimits(connect_timeout=0.2, read_timeout=0.3, backoff=0)
    assert read(server, spool, limits=limits) == CLIP
    assert time.monotonic() - start < 5.5


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (50, 30.0)],
)
def test_how_long_to_pause(attempts, pause):
    assert pause_before(attempts, 0.5) == pause


def test_the_rate_is_averaged_over_windows():
    meter = RateMeter(min_rate=100, window=10, since=0)
    assert not meter.is_too_slow(1, 9.9)
    assert not meter.is_too_slow(999, 10)
    assert not meter.is_too_slow(1, 19)
    assert meter.is_too_slow(1, 20)


# disk and memory


def test_a_disk_without_room_is_found_before_the_first_byte(host, spool, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 5, 5))
    with pytest.raises(OSError, match="no room") as caught:
        read(host(media.whole(CLIP)), spool)
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_up_is_no_network_fault(host, spool, monkeypatch):
    def full(self, position, chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "write", full)
    server = host(media.whole(CLIP))
    with pytest.raises(OSError, match="No space left"):
        read(server, spool)
    assert len(server.requests) == 1


def test_memory_stays_flat(host, spool):
    size = 64 * 1024**2
    start = MOVIE[:200_000]
    ftyp_moov = start[: start.index(b"mdat") - 4]
    box = (size).to_bytes(4, "big") + b"mdat"

    def stream(connection, request):
        connection.sendall(media.head(200, [("Content-Length", str(len(ftyp_moov) + size))]) + ftyp_moov + box)
        block = bytes(1024**2)
        for _ in range(size // len(block) - 1):
            connection.sendall(block)
        connection.sendall(block[: len(block) - len(box)])

    link = host(stream).url()
    tracemalloc.start()
    try:
        with download(link, allow_loopback=True, limits=LIMITS, spool_dir=spool) as found:
            assert found.size == len(ftyp_moov) + size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024**2


# TLS


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate for media.test, and contexts of the server and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=media.test"
    extra = ["-addext", "subjectAltName=DNS:media.test", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)

    def server():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context

    return server, ssl.create_default_context(cafile=str(cert))


def over_tls(server, authority, tmp_path, name="media.test", trusted=True):
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 or host != asked[0] else ["10.0.0.1"]

    connector = hosts.Connector(resolver=resolve, tls=authority[1] if trusted else None, allow_loopback=True)
    found = fetch(server.url(host=name), tmp_path, connector, expect="video", limits=LIMITS)
    return found, asked


def test_the_certificate_is_checked_against_the_name_at_the_pinned_address(host, authority, tmp_path):
    server = host(media.ranged(CLIP, cut=HALF), media.ranged(CLIP), tls=authority[0]())
    found, asked = over_tls(server, authority, tmp_path)
    assert found.path.read_bytes() == CLIP
    assert asked == ["media.test"]
    assert {request.headers["host"] for request in server.requests} == {f"media.test:{server.port}"}
    assert server.requests[0].server_name == "media.test"


@pytest.mark.parametrize(("name", "trusted"), [("other.test", True), ("media.test", False), ("127.0.0.1", True)])
def test_a_certificate_for_another_name_or_of_nobody_is_refused_at_once(host, authority, tmp_path, name, trusted):
    server = host(media.whole(CLIP), tls=authority[0]())
    with pytest.raises(EvoLinkError, match="certificate"):
        over_tls(server, authority, tmp_path, name, trusted)
    assert server.requests == []


def test_a_redirect_to_another_name_at_the_same_address_is_checked_anew(host, authority, tmp_path):
    server = host(media.whole(CLIP), tls=authority[0]())
    server.plays.insert(0, media.moved(server.url("/x", host="other.test")))
    with pytest.raises(EvoLinkError, match="certificate"):
        over_tls(server, authority, tmp_path)
    assert len(server.requests) == 1


# bare samples, which have no container to know them by


SAMPLES = bytes(64) + bytes(range(1, 200)) * 40


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("audio/pcm", "/out"),
        ("audio/L16; rate=24000; channels=1", "/out.bin"),
        ("Audio/X-PCM", "/out"),
        ("application/octet-stream", "/out/voice.PCM"),
        (None, "/out/voice.pcm"),
    ],
)
@pytest.mark.parametrize("data", [SAMPLES, bytes(5000), b"\xff\xfb" + SAMPLES], ids=["sound", "silence", "like mp3"])
def test_bare_samples_are_known_by_what_the_server_calls_them(host, spool, told, path, data):
    headers = [] if told is None else [("Content-Type", told)]
    link = host(media.whole(data, headers=headers)).url(path)
    for expect in ("audio", None):
        with download(link, expect=expect, allow_loopback=True, limits=LIMITS, spool_dir=spool) as found:
            assert (found.content_type, found.extension, found.size) == ("audio/pcm", ".pcm", len(data))


@pytest.mark.parametrize(
    ("told", "path", "data", "expect"),
    [
        ("application/octet-stream", "/out.bin", SAMPLES, "audio"),
        ("audio/mpeg", "/out.pcm", SAMPLES, "audio"),
        ("audio/pcm", "/out", SAMPLES, "video"),
        ("audio/pcm", "/out", b'{"error": {"message": "gone"}}\n', "audio"),
        ("audio/pcm", "/out", "déjà vu: erreur".encode(), "audio"),
        ("audio/pcm", "/out", b"<html><body>", "audio"),
        ("audio/pcm", "/out", b"", "audio"),
    ],
)
def test_other_bytes_are_no_bare_samples(host, spool, told, path, data, expect):
    link = host(media.whole(data, headers=[("Content-Type", told)])).url(path)
    fails(link, spool, expect=expect)


def test_a_file_that_says_what_it_is_is_no_bare_samples(host, spool):
    link = host(media.whole(MOVIE, headers=[("Content-Type", "audio/pcm")])).url()
    with download(link, expect=None, allow_loopback=True, limits=LIMITS, spool_dir=spool) as found:
        assert found.extension == ".mp4"


def test_bare_samples_that_were_cut_are_resumed(host, spool):
    headers = [("Content-Type", "audio/pcm"), ("ETag", '"v1"')]
    rest = [("Content-Range", f"bytes 5000-{len(SAMPLES) - 1}/{len(SAMPLES)}"), ("ETag", '"v1"')]
    body = SAMPLES[5000:]
    again = media.say(media.head(206, [*rest, ("Content-Length", str(len(body)))]) + body)
    server = host(media.whole(SAMPLES, headers=headers, cut=5000), again)
    assert read(server, spool, expect="audio") == SAMPLES
