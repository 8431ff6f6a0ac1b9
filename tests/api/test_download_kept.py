"""A download by itself goes on where an earlier call, or another process, has stopped."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files.download import DownloadLimits, download
from airflow_provider_evolink.api.files.transfer.part import Part

NAME = "evolink_media_server"
if NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name("media_server.py"))
    assert _spec
    assert _spec.loader
    sys.modules[NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[NAME])
media = sys.modules[NAME]

CLIP, HALF = media.mp4(), 150_000
LIMITS = DownloadLimits(connect_timeout=2, read_timeout=2, max_resumes=0, backoff=0)
STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def host():
    servers = []

    def make(*plays):
        servers.append(media.MediaServer(*plays))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def keep(tmp_path):
    return tmp_path / "clip.part"


def read(link, keep, **options):
    with download(link, allow_loopback=True, limits=LIMITS, keep=keep, **options) as found:
        assert found.path == keep
        return found.path.read_bytes()


@pytest.mark.parametrize("query", ["sig=topsecret", "sig=another"])
@pytest.mark.parametrize("stamp", [None, STAMP])
def test_a_later_call_goes_on(host, keep, query, stamp):
    server = host(media.ranged(CLIP, cut=HALF, stamp=stamp), media.ranged(CLIP, stamp=stamp))
    with pytest.raises(EvoLinkMediaError, match=f"gave up at byte {HALF}"):
        read(server.url(), keep)
    assert keep.stat().st_size == HALF
    assert read(server.url(f"/out/clip.bin?{query}"), keep) == CLIP
    assert server.requests[1].start == HALF
    assert list(keep.parent.iterdir()) == []


def test_what_is_whole_is_not_fetched_again_if_the_caller_failed(host, keep):
    server = host(media.ranged(CLIP))
    with pytest.raises(ZeroDivisionError), download(server.url(), allow_loopback=True, keep=keep):
        raise ZeroDivisionError
    assert read(server.url(), keep) == CLIP
    assert len(server.requests) == 1
    assert list(keep.parent.iterdir()) == []


@pytest.mark.parametrize("cut", [HALF, None])
def test_the_file_of_another_link_is_never_taken(host, keep, cut):
    other = media.mp4(310_000)
    server = host(media.ranged(CLIP, cut=cut), media.whole(other))
    with pytest.raises((EvoLinkMediaError, ZeroDivisionError)):  # noqa: SIM117
        with download(server.url("/one"), allow_loopback=True, limits=LIMITS, keep=keep):
            raise ZeroDivisionError
    assert read(server.url("/two"), keep) == other


def test_a_damaged_file_is_fetched_again(host, keep):
    server = host(media.whole(CLIP[:HALF]), media.whole(CLIP))
    with pytest.raises(EvoLinkMediaError):
        read(server.url(), keep)
    assert read(server.url(), keep) == CLIP


def test_an_expired_link_keeps_what_came(host, keep):
    server = host(media.ranged(CLIP, cut=HALF), media.answer(403), media.ranged(CLIP))
    for error in (EvoLinkMediaError, EvoLinkLinkExpired):
        with pytest.raises(error):
            read(server.url(), keep)
    assert read(server.url(), keep) == CLIP
    assert server.requests[2].start == HALF


def test_one_file_is_filled_by_one_process(host, keep):
    server = host(media.whole(CLIP))
    with Part(keep, lasting=True), pytest.raises(EvoLinkMediaError, match="another process fetches into"):
        read(server.url(), keep, job_id="task-1")
    assert server.requests == []


def test_the_file_may_be_moved_away(host, keep, tmp_path):
    with download(host(media.whole(CLIP)).url(), allow_loopback=True, keep=keep) as found:
        found.path.rename(tmp_path / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_file_of_somebody_else_stays_as_it_is(host, keep):
    keep.write_bytes(b"a thesis")
    server = host(media.whole(CLIP))
    with pytest.raises(EvoLinkMediaError, match="not what a download has left"):
        read(server.url(), keep)
    assert keep.read_bytes() == b"a thesis"
    assert server.requests == []
