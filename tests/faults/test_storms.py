"""F14 and F15: too many calls, or EvoLink is down for long. The waits between looks are those of the real schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_evolink.api.errors import EvoLinkJobTimeout, EvoLinkMediaError, EvoLinkRateLimited
from airflow_provider_evolink.api.files.download import DownloadLimits, download
from airflow_provider_evolink.api.jobs import schedule

STORM = (500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526)
# What Retry-After says, and how long a poll waits at least and at most.
ASKED = {
    "seconds": ("30", 30, 36),
    "date": (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True), 87, 108),
    "negative": ("-1", 30, 36),
    "for ever": ("1e9", 300, 3960),
    "garbage": ("soon", 30, 36),
    "absent": (None, 30, 36),
}


def throttle(emulator, asked, **more):
    value = asked() if callable(asked) else asked
    headers = {} if value is None else {"Retry-After": value}
    emulator.fault("status", status=429, code="rate_limit_exceeded", headers=headers, **more)


@pytest.mark.parametrize("how", ASKED)
def test_f14_polls_throttled(waiting, clock, how):
    asked, least, most = ASKED[how]
    throttle(waiting.emulator, asked, on="read", after=2, times=4)
    waiting.delivers(poll_interval=None, timeout=6 * 3600)
    assert waiting.met(), "four times, and not counted as failures that end the wait"
    first = next(at for at, wait in enumerate(clock.waits) if wait > 25)  # the looks before are at most 16 s apart
    throttled = clock.waits[first : first + 4]
    assert len(throttled) == 4
    assert all(least <= wait <= most for wait in throttled), clock.waits


def test_f14_many_waits_do_not_run_in_step():
    error = EvoLinkRateLimited("", retry_after=30.0)
    watches = [schedule.PollSchedule(deadline=1e5, started=0.0) for _ in range(1000)]
    waits = sorted(watch.on_error(error, 1.0).delay for watch in watches)
    assert waits[0] >= 30
    assert waits[-100] - waits[100] > 1.5, "spread over seconds"


@pytest.mark.parametrize("how", ["seconds", "date", "for ever"])
def test_f14_order_throttled_for_long(scene, clock, how):
    throttle(scene.emulator, "31" if how == "seconds" else ASKED[how][0], on="submit", times=1)
    scene.fails(EvoLinkRateLimited)
    assert scene.met()
    assert (scene.orders, scene.requests("submit"), scene.state) == (0, 1, "refused")
    scene.retry().delivers()


@pytest.mark.parametrize("asked", ["-1", "soon", None, "0"])
def test_f14_order_throttled_briefly(scene, asked):
    throttle(scene.emulator, asked, on="submit", times=2)
    scene.delivers()
    assert scene.met()
    assert scene.requests("submit") == 3


@pytest.mark.parametrize("asked", ["-1", "soon", None, "1"])
def test_f14_download_throttled(waiting, tmp_path, asked):
    throttle(waiting.emulator, asked, on="media", times=1)
    files = waiting.delivers(destination=f"file://{tmp_path}/out")["files"]
    assert waiting.met()
    assert [file["content_type"] for file in files] == ["video/mp4"]


def test_f14_download_throttled_for_ever(scene, emulator, tmp_path):
    link = scene.run()["results"][0]
    throttle(emulator, "1000000000", on="media", times=-1)
    limits = DownloadLimits(total_timeout=5, backoff=0.01)
    with pytest.raises(EvoLinkMediaError, match="HTTP 429"):  # noqa: SIM117
        with download(link, allow_loopback=True, limits=limits, spool_dir=tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_f15_5xx_storm_of_ten_minutes(waiting, clock):
    for status in STORM:
        waiting.emulator.fault("status", status=status, code="internal_error", on="read", after=2)
    for status in STORM[:6]:
        waiting.emulator.fault("html", status=status, on="read", after=2)
    waiting.delivers(poll_interval=None)
    assert waiting.met()
    storm = clock.waits[2 : 2 + len(STORM) + 6]
    assert sum(storm) > 600
    assert all(60 <= wait <= 66 for wait in storm[6:]), "once per minute while it lasts"
    assert waiting.requests("read") <= len(clock.waits) + 6, "and no looks besides"


def test_f15_a_storm_to_the_deadline_loses_nothing(waiting, clock):
    waiting.emulator.fault("status", status=503, code="internal_error", on="read", after=1, times=-1)
    waiting.fails(EvoLinkJobTimeout, "until the timeout", timeout=900)
    assert waiting.met()
    assert 890 <= sum(clock.waits) <= 960, "no end before the deadline, and none much later"
    assert (waiting.orders, waiting.state) == (1, "submitted")
    waiting.emulator.clear_faults()
    waiting.retry().run_to_end(timeout=3600)
    assert (waiting.orders, waiting.requests("submit"), waiting.state) == (1, 1, "delivered")
