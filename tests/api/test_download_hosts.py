"""Which hosts a download may contact: tables."""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from airflow_provider_evolink.api import addresses
from airflow_provider_evolink.api.errors import EvoLinkLinkRefused
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.network import NetworkPolicy

_spec = importlib.util.spec_from_file_location("hostile_hosts", Path(__file__).with_name("hostile_hosts.py"))
hostile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile)

_spec = importlib.util.spec_from_file_location("hostile_table", Path(__file__).with_name("hostile_table.py"))
table = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)

TLS, PUBLIC, NOT_PUBLIC, REFUSED_LINKS, connector = (
    hostile.TLS,
    hostile.PUBLIC,
    hostile.NOT_PUBLIC,
    hostile.REFUSED_LINKS,
    hostile.connector,
)


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


# --- every spelling of every inner address: see hostile_table.py

KINDS = defaultdict(list)
for _row in table.TABLE:
    KINDS[_row.kind].append(_row)
DIRECTLY, BY_PROXY = NetworkPolicy(), NetworkPolicy(https_proxy="http://proxy.example:3128")
WAYS = {"directly": DIRECTLY, "by proxy": BY_PROXY, "exempt": NetworkPolicy(BY_PROXY.https_proxy, no_proxy=("*",))}


def test_the_table_is_long_and_names_apart_what_only_dns_tells():
    assert len(table.TABLE) > 571
    assert {row.kind for row in table.TABLE if not row.by_name} == {
        *("name of an inner address", "name of a public and an inner address", "name of an inner and a public address"),
        "public name of loopback",
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_spelling_of_an_inner_address_is_contacted(kind, way, monkeypatch):
    """Directly, and as a redirect from a public host; through a proxy all that the link itself shows."""
    sent = []

    class Moved(httpx.BaseTransport):
        def handle_request(self, request):
            sent.append(request.headers["host"])
            return httpx.Response(302, headers=[(b"Location", moved_to.encode())])

    monkeypatch.setattr(hosts, "_transport", lambda tls, proxy: Moved())
    for row in (row for row in KINDS[kind] if row.by_name or way != "by proxy"):
        moved_to, found = row.link, defaultdict(lambda row=row: row.resolves_to, {"first.example": (PUBLIC,)})
        one = hosts.Connector(network=WAYS[way], tls=TLS, resolver=lambda host, _, found=found: found[host])
        for link in (row.link, "https://first.example/x"):
            sent.clear()
            with pytest.raises(EvoLinkLinkRefused), one.open(link, headers={}, timeout=httpx.Timeout(1)):
                pass
            assert sent == ([] if link == row.link else ["first.example"]), row


@pytest.mark.parametrize(
    "name",
    ["08080808.nip.io", "app-8-8-8-8.sslip.io", "0a000001.cdn.example", "2606-4700--1111.sslip.io", "abc.nip.io"],
)
def test_a_name_that_holds_no_inner_address_goes_through_the_proxy(name):
    connector = hosts.Connector(network=BY_PROXY, tls=TLS)
    assert connector.locate(hosts.read_link(f"https://{name}/x")).addresses == ()


@pytest.mark.parametrize("address", ["2606:4700::5efe:808:808", "2606:4700::200:5efe:808:808"])
def test_a_public_address_that_carries_a_public_one_is_public(address):
    assert addresses.is_public_address(address)


LISTED = {("emulator.staging.internal", 8765), ("10.0.0.7", 443), ("fd00::1", 8443)}


def listed(found, **changes):
    return hosts.Connector(resolver=lambda *_: found, tls=TLS, private_hosts=LISTED, **changes)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.9", "fc00::1", "127.0.0.1", PUBLIC]
)
def test_a_listed_host_may_have_a_private_address(address):
    link = hosts.read_link("https://emulator.staging.internal:8765/media/a.mp4")
    target = listed([address]).locate(link)
    assert (target.addresses, target.loopback) == ((address,), False)


@pytest.mark.parametrize("host", ["[fd00::1]", "[FD00:0:0:0:0:0:0:1]"])
def test_a_listed_address_is_the_same_however_a_link_writes_it(host):
    assert listed([]).locate(hosts.read_link(f"https://{host}:8443/media/a.mp4")).addresses


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "0.0.0.0", "::"),
        *("224.0.0.1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "not an address"),
    ],
)
def test_but_not_the_address_of_a_metadata_service(address):
    for found in ([address], ["10.0.0.1", address]):
        with pytest.raises(EvoLinkLinkRefused, match="not public"):
            listed(found).locate(hosts.read_link("https://emulator.staging.internal:8765/a"))


@pytest.mark.parametrize(
    "link",
    [
        "http://emulator.staging.internal:8765/a",
        "https://emulator.staging.internal:8766/a",
        "https://emulator.staging.internal/a",
        "https://other.staging.internal:8765/a",
        "https://x.emulator.staging.internal:8765/a",
        "https://user@emulator.staging.internal:8765/a",
        "https://10.0.0.7:8443/a",
        "https://10.0.0.8/a",
    ],
)
@pytest.mark.parametrize("proxy", [None, "http://proxy.example:3128"])
def test_what_is_not_listed_is_refused_as_before(link, proxy):
    with pytest.raises(EvoLinkLinkRefused):
        listed(["10.0.0.1"], network=NetworkPolicy(https_proxy=proxy)).locate(hosts.read_link(link))


@pytest.mark.parametrize("link", ["https://emulator.staging.internal:8765/a", "https://10.0.0.7/a"])
def test_a_proxy_may_resolve_a_listed_host(link):
    target = listed([], network=NetworkPolicy(https_proxy="http://proxy.example:3128")).locate(hosts.read_link(link))
    assert target.addresses == ()
