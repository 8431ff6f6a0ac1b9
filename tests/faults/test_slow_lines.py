"""F7 to F9: bytes come slowly, in crumbs, or not at all, and the line stays open."""

from __future__ import annotations

import time

import pytest

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.files.download import DEFAULT_LIMITS, DownloadLimits, download
from airflow_provider_evolink.api.settings import ClientSettings

KEY = "test-key-0123456789"


def fetched(link, folder, **limits):
    with download(link, allow_loopback=True, limits=DownloadLimits(backoff=0.01, **limits), spool_dir=folder) as found:
        return found.path.read_bytes()


@pytest.fixture
def clip(scene, relay):
    """Order a clip, and return its bytes and its link through the relay."""
    scene.connect(relay.url())
    link = scene.delivers()["results"][0]
    return fetched(link.replace(str(relay.port), str(scene.emulator.port)), None), link


def test_the_limits_are_those_promised():
    settings = ClientSettings(KEY)
    assert (settings.submit_timeout, settings.read_timeout) == (30, 15)
    assert (DEFAULT_LIMITS.min_rate, DEFAULT_LIMITS.rate_window) == (10 * 1024, 60)


def test_f07_order_whose_response_drips(scene, relay, patience):
    patience(submit_timeout=0.5)
    scene.connect(relay.url())
    relay.manner = "drip"  # every single byte is in time, the head alone would take 10 s
    began = time.monotonic()
    scene.outcome_stays_unknown(orders=1)
    assert 0.5 <= time.monotonic() - began < 9
    assert relay.met == 1


def test_f07_polls_whose_responses_drip(waiting, clock, relay, patience):
    patience(read_timeout=0.5)
    waiting.connect(relay.url())

    def drip():
        relay.manner = "drip"

    def recover():
        relay.manner = "pass"

    clock.later = {2: drip, 4: recover}
    began = time.monotonic()
    waiting.delivers(poll_interval=None)
    assert time.monotonic() - began < 9
    assert not clock.later
    assert relay.met == 2


def test_f07_polls_body_in_a_drip(waiting, clock, patience):
    patience(read_timeout=0.5)
    waiting.emulator.fault("drip", seconds=0.05, on="read", after=2, times=2)
    began = time.monotonic()
    waiting.delivers(poll_interval=None)
    assert time.monotonic() - began < 9
    assert waiting.met()


def test_f07_download_in_a_drip_is_resumed(scene, relay, clip, tmp_path):
    body, link = clip
    scene.emulator.fault("drip", bytes=len(body) // 40, seconds=0.1, on="media")
    began = time.monotonic()
    assert fetched(link, tmp_path, min_rate=len(body), rate_window=0.5) == body
    assert time.monotonic() - began < 9
    assert scene.met()
    assert scene.requests("media") == 3, "once for the test, once in a drip, once for the rest"


def test_f07_download_head_in_a_drip_is_cut(relay, clip, tmp_path):
    body, link = clip
    relay.manner = "drip"
    began = time.monotonic()
    with pytest.raises(Exception, match="gave up at byte 0: "):
        fetched(link, tmp_path, connect_timeout=0.2, read_timeout=0.3, max_resumes=1)
    assert time.monotonic() - began < 9
    assert relay.met == 2
    relay.manner = "pass"
    assert fetched(link, tmp_path) == body


def test_f08_polls_on_a_half_open_line(waiting, clock, relay, patience):
    patience(read_timeout=0.4)
    waiting.connect(relay.url())
    waiting.emulator.settings(polls=8)
    reads = []

    def die():
        reads.append(waiting.requests("read"))
        if waiting.given["deferrable"]:
            relay.kill_silently()  # the trigger keeps its connection
        else:
            relay.silent_after = 0  # the worker keeps none: the next one dies
        clock.later[5] = lambda: reads.append(waiting.requests("read"))

    clock.later = {3: die}
    began = time.monotonic()
    waiting.delivers(poll_interval=5.0)
    assert time.monotonic() - began < 9
    assert relay.met == 1
    assert reads[1] > reads[0], "within two intervals EvoLink is asked again"


def test_f08_download_on_a_half_open_line(scene, relay, clip, tmp_path):
    body, link = clip
    relay.silent_after = len(body) // 2
    assert fetched(link, tmp_path, read_timeout=0.4) == body
    assert relay.met == 1
    assert scene.requests("media") == 3, "once for the test, once half, once for the rest"


def test_f09_polls_in_crumbs(waiting, clock, relay):
    waiting.connect(relay.url())
    relay.manner = "slice"
    result = waiting.delivers(poll_interval=None)
    assert result["job_id"] == waiting.emulator.books()["jobs"][0]["id"]
    assert relay.met >= 5


def test_f09_processor_time_of_a_poll_in_crumbs(scene, relay, clip):
    relay.manner = "slice"
    with EvoLinkClient(ClientSettings(KEY, relay.url())) as client:
        began = time.thread_time()
        for _ in range(10):
            assert client.get_job(scene.record["job_id"]).results
        assert time.thread_time() - began < 2.0


def test_f09_download_in_crumbs(relay, clip, tmp_path):
    body, link = clip
    relay.manner = "slice"
    began = time.thread_time()
    assert fetched(link, tmp_path) == body
    assert time.thread_time() - began < 2e-4 * len(body), "at most 200 microseconds per byte"
    assert relay.met >= 1
