"""Which hosts a download may contact: tables."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_evolink.api import addresses
from airflow_provider_evolink.api.errors import EvoLinkLinkRefused
from airflow_provider_evolink.api.files import hosts

PUBLIC = "93.184.216.34"

NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]

REFUSED_LINKS = [
    "",
    "clip.mp4",
    "//cdn.example/x",
    "http://cdn.example/x",
    "file:///etc/passwd",
    "ftp://cdn.example/x",
    "gopher://cdn.example/x",
    "https:///x",
    "https://user:word@cdn.example/x",
    "https://user@cdn.example/x",
    "https://cdn.example%2f@internal/x",
    "https://cdn.example\\@internal/x",
    "https://cdn.example:22/x",
    "https://cdn.example:80/x",
    "https://cdn.example:8443/x",
    "https://cdn.example:99999/x",
    "https://cdn.example:0/x",
    "https://cdn example/x",
    "https://cdn.example\n/x",
    "https://cdn.example/\r\nX: y",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://0x7f000001/x",
    "https://0/x",
    "https://127.1/x",
    "https://010.0.0.1/x",
    "https://10.0.0.1./x",
    "https://1.2.3.4.5/x",
    "https://0x/x",
    "https://①②⑦.0.0.1/x",
    "https://10.0.0.1/x",
    "https://[::1]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://[64:ff9b::a00:1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://169.254.169.254/latest/meta-data",
]


def connector(found, **options):
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return found

    made = hosts.Connector(resolver=resolve, **options)
    made.asked = asked
    return made


def locate(link, found=(PUBLIC,), allow_loopback=False):
    return connector(list(found)).locate(hosts.read_link(link), allow_loopback=allow_loopback)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_inner_address_is_not_public(address):
    assert not addresses.is_public_address(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"]
)
def test_an_outer_address_is_public(address):
    assert addresses.is_public_address(address)


@pytest.mark.parametrize("link", REFUSED_LINKS)
def test_a_link_is_refused_by_its_spelling_or_literal_address(link):
    asked = connector([PUBLIC])
    with pytest.raises(EvoLinkLinkRefused):
        asked.locate(hosts.read_link(link))
    assert asked.asked == []


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("host", ["cdn.example", "localhost."])
def test_one_inner_address_refuses_the_host(host, address):
    for found in ([address], [PUBLIC, address], [address, PUBLIC]):
        with pytest.raises(EvoLinkLinkRefused):
            locate(f"https://{host}/x", found)


def test_a_host_without_address_is_refused():
    with pytest.raises(EvoLinkLinkRefused):
        locate("https://cdn.example/x", [])


def test_the_system_resolver_resolves_localhost_to_what_it_is():
    with pytest.raises(EvoLinkLinkRefused, match="not public"):
        hosts.Connector().locate(hosts.read_link("https://localhost./x"))


def test_a_name_that_cannot_be_resolved_is_a_failed_connection():
    def fail(host, port):
        raise OSError("Name or service not known")

    with pytest.raises(httpx.ConnectError):
        hosts.Connector(resolver=fail).locate(hosts.read_link("https://cdn.example/x"))


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("http://127.0.0.1:8089/x", []),
        ("http://localhost:8089/x", ["127.0.0.1", "::1"]),
        ("http://[::1]:8089/x", []),
        ("https://emulator.test:8443/x", ["127.0.0.1"]),
    ],
)
def test_loopback_is_contacted_where_allowed(link, found):
    assert locate(link, found, allow_loopback=True).loopback
    with pytest.raises(EvoLinkLinkRefused):
        locate(link, found)


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("http://cdn.example/x", [PUBLIC]),
        ("https://cdn.example:8443/x", [PUBLIC]),
        ("http://cdn.example/x", ["127.0.0.1", PUBLIC]),
        ("https://cdn.example/x", ["127.0.0.1", PUBLIC]),
        ("http://cdn.example/x", ["10.0.0.1"]),
        ("https://cdn.example/x", ["::ffff:127.0.0.1"]),
        ("http://0x7f.1/x", ["127.0.0.1"]),
        ("http://user@127.0.0.1/x", []),
        ("http://127.0.0.1:99999/x", []),
        ("file://127.0.0.1/etc/passwd", []),
    ],
)
def test_allowing_loopback_allows_nothing_else(link, found):
    with pytest.raises(EvoLinkLinkRefused):
        locate(link, found, allow_loopback=True)


def test_a_request_goes_to_the_judged_address_and_keeps_the_name():
    query = "X-Amz-Credential=a%2Fb%2f&sig=a/b+c==&e=~'()*"
    target = locate(f"https://Cdn.Example:443/p%20a/clip.mp4?{query}#top", [PUBLIC, "2606:4700::1111", PUBLIC])
    first, second, third = (target.request({"Accept": "*/*"}, httpx.Timeout(1), turn) for turn in range(3))
    assert first.url.host == third.url.host == PUBLIC
    assert second.url.host == "2606:4700::1111"
    assert first.url.raw_path == second.url.raw_path == f"/p%20a/clip.mp4?{query}".encode()
    assert first.headers["host"] == "cdn.example"
    assert first.extensions["sni_hostname"] == "cdn.example"


def test_a_host_is_resolved_once():
    asked = connector([PUBLIC])
    for path in "abc":
        asked.locate(hosts.read_link(f"https://cdn.example/{path}"))
    assert asked.asked == [("cdn.example", 443)]


def test_a_refusal_does_not_hold_the_query():
    with pytest.raises(EvoLinkLinkRefused) as caught:
        locate("https://cdn.example/x?sig=topsecret", ["10.0.0.1"])
    assert "topsecret" not in str(caught.value)
    assert caught.value.permanent
