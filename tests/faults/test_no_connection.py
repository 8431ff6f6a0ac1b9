"""F1 to F3 and F10: EvoLink cannot be reached, or somebody else answers. Nothing was sent, so nothing is unknown."""

from __future__ import annotations

import ssl
from itertools import pairwise

import pytest
from fault_relay import Relay, closed_port, deaf_port
from fault_scene import KEY

from airflow_provider_evolink.api.errors import EvoLinkMediaError, EvoLinkUnavailable
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.download import DownloadLimits, download, fetch
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.settings import ClientSettings

LIMITS = DownloadLimits(connect_timeout=0.3, read_timeout=1, total_timeout=10, backoff=0.01)


def nothing_was_sent(scene):
    """Run a try that reaches nobody; it keeps Airflow's retries, and the next try orders once, with the same key."""
    text = scene.fails(EvoLinkUnavailable, "nothing was sent")
    assert (scene.orders, scene.requests("submit"), scene.state) == (0, 0, "refused")
    key = scene.record["key"]
    scene.connect()
    scene.retry().delivers()
    assert scene.record["key"] == key
    return text


def test_f01_dns_failure(scene, monkeypatch):
    monkeypatch.setenv("AIRFLOW__EVOLINK__ALLOWED_HOSTS", "nowhere.invalid")
    scene.connect("https://nowhere.invalid")
    assert "ConnectError" in nothing_was_sent(scene)


def test_f02_order_refused_connect(scene):
    with closed_port() as port:
        scene.connect(f"http://127.0.0.1:{port}")
        assert "ConnectError" in nothing_was_sent(scene)


def test_f02_order_connect_timeout(scene, patience):
    assert ClientSettings(KEY).connect_timeout == 5
    patience(connect_timeout=0.2)
    with deaf_port() as port:
        scene.connect(f"http://127.0.0.1:{port}")
        assert "ConnectTimeout" in nothing_was_sent(scene)


def test_f02_polls_refused_connect(waiting, clock, relay):
    waiting.connect(relay.url())
    clock.later = {2: relay.refuse, 9: relay.reopen}
    waiting.delivers(poll_interval=None)
    assert not clock.later
    outage = clock.waits[2:8]
    assert len(outage) == 6, "not counted out"
    assert all(later > earlier for earlier, later in pairwise(outage)), "more and more patient"
    assert 30 < outage[-1] <= schedule.POLICY.max_error_backoff * 1.1


def test_f02_download_refused_connect(emulator, tmp_path):
    with closed_port() as port, pytest.raises(EvoLinkMediaError, match="gave up at byte 0: ConnectError"):  # noqa: SIM117
        with download(f"http://127.0.0.1:{port}/clip.mp4", allow_loopback=True, limits=LIMITS, spool_dir=tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


BAD = {
    "expired": {"expired": True},
    "wrong host": {"name": "other.test"},
    "self-signed": {"signed": False},
}


@pytest.fixture
def safe(emulator, trusted):
    """Serve the emulator over TLS with a good certificate."""
    relay = Relay(emulator.port, trusted.server())
    yield relay
    relay.refuse()


def test_f03_a_good_certificate_is_accepted(scene, safe):
    scene.connect(safe.url())
    scene.delivers()
    assert KEY.encode() in safe.uphill, "the relay sees what a bad certificate must keep from it"


@pytest.mark.parametrize("how", BAD)
def test_f03_order_bad_certificate(scene, safe, trusted, how):
    safe.show(trusted.server(**BAD[how]))
    scene.connect(safe.url())
    nothing_was_sent(scene)
    assert (bytes(safe.uphill), safe.failed_handshakes) == (b"", safe.connections)
    assert 1 <= safe.connections <= 3


@pytest.mark.parametrize("how", BAD)
def test_f03_polls_bad_certificate(waiting, clock, patience, safe, trusted, how):
    patience(read_timeout=0.4)
    waiting.connect(safe.url())
    good, seen = trusted.server(), []

    def swap():
        safe.show(trusted.server(**BAD[how]))
        safe.kill_silently()  # no kept connection hides the new certificate
        seen.append(len(safe.uphill))

    def swap_back():
        seen.append(len(safe.uphill))
        safe.show(good)

    clock.later = {2: swap, 5: swap_back}
    waiting.delivers(poll_interval=None)
    assert not clock.later
    assert seen[0] == seen[1], "not a byte went to the bad one"
    assert safe.failed_handshakes >= 2


@pytest.mark.parametrize("how", BAD)
def test_f03_download_bad_certificate(safe, trusted, authority, tmp_path, how):
    safe.show(trusted.server(**BAD[how]))
    connector = hosts.Connector(tls=ssl.create_default_context(cafile=authority.file), allow_loopback=True)
    with pytest.raises(EvoLinkMediaError, match="no trusted certificate"):
        fetch(f"{safe.url()}/clip.mp4", tmp_path, connector, expect="video", limits=LIMITS)
    assert (bytes(safe.uphill), safe.connections) == (b"", 1)


def test_f10_order_proxy_refuses_to_connect(scene, deadend, monkeypatch):
    proxy = deadend(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    scene.connect("https://api.evolink.ai")
    assert "ProxyError" in nothing_was_sent(scene)
    assert proxy.heard.startswith(b"CONNECT api.evolink.ai:443 ")
    assert KEY.encode() not in proxy.heard


@pytest.mark.parametrize(("status", "processed"), [(407, False), (407, True), (502, False), (502, True)])
def test_f10_order_page_of_a_proxy(scene, status, processed):
    scene.emulator.fault("html", status=status, processed=processed, on="submit")
    scene.outcome_stays_unknown(orders=int(processed))
    assert scene.met()


@pytest.mark.parametrize("status", [407, 502])
def test_f10_polls_page_of_a_proxy(waiting, clock, status):
    waiting.emulator.fault("html", status=status, on="read", after=1, times=3)
    waiting.delivers(poll_interval=None)
    assert waiting.met()
