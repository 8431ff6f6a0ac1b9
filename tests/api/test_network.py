"""The network policy: which proxy a call takes, whom it trusts, and what a proxied link may name. Tables."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import httpx
import pytest

from airflow_provider_evolink.api import addresses
from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkLinkRefused
from airflow_provider_evolink.api.files import hosts, network_check
from airflow_provider_evolink.api.http import transport
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.api.settings import API_URL, FILES_URL, ClientSettings

_spec = importlib.util.spec_from_file_location("hostile_hosts", Path(__file__).with_name("hostile_hosts.py"))
hostile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile)

PUBLIC, NOT_PUBLIC, REFUSED_LINKS, connector = (
    hostile.PUBLIC,
    hostile.NOT_PUBLIC,
    hostile.REFUSED_LINKS,
    hostile.connector,
)
PROXY = "http://proxy.corp.example:3128"
OTHER = "http://other.corp.example:3128"


def policy(**environ):
    return NetworkPolicy.from_environment(environ=environ)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"http_proxy": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": OTHER}, PROXY),
        ({"HTTPS_PROXY": OTHER, "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "proxy.corp.example:3128"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "evolink.ai"}, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "api.evolink.ai"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "evolink.ai", "no_proxy": ""}, PROXY),
    ],
    ids=str,
)
def test_the_proxy_of_the_environment(environ, expected):
    assert policy(**environ).proxy_for("https", "api.evolink.ai") == expected
    assert NetworkPolicy.from_environment(environ=environ, proxy=OTHER).proxy_for("https", "x.example") in (OTHER, None)


def test_plain_http_has_its_own_proxy():
    found = policy(HTTP_PROXY=OTHER, HTTPS_PROXY=PROXY)
    assert (found.proxy_for("http", "a.example"), found.proxy_for("https", "a.example")) == (OTHER, PROXY)


@pytest.mark.parametrize(
    ("entry", "host", "expected"),
    [
        ("evolink.ai", "evolink.ai", True),
        ("evolink.ai", "api.evolink.ai", True),
        (".evolink.ai", "api.evolink.ai", True),
        (".evolink.ai", "evolink.ai", True),
        ("*.evolink.ai", "api.evolink.ai", True),
        ("EvoLink.AI", "api.evolink.ai", True),
        ("evolink.ai.", "api.evolink.ai", True),
        ("https://api.evolink.ai/", "api.evolink.ai", True),
        ("api.evolink.ai:443", "api.evolink.ai", True),
        ("api.evolink.ai:8443", "api.evolink.ai", False),
        ("link.ai", "api.evolink.ai", False),
        ("notevolink.ai", "api.evolink.ai", False),
        ("api.evolink.ai.evil.example", "api.evolink.ai", False),
        ("api.evolink.ai", "api.evolink.ai.evil.example", False),
        ("93.184.216.34", "93.184.216.34", True),
        ("93.184.216.34:443", "93.184.216.34", True),
        ("93.184.0.0/16", "93.184.216.34", True),
        ("10.0.0.0/8", "93.184.216.34", False),
        ("93.184.216.3", "93.184.216.34", False),
        ("34", "93.184.216.34", False),
        ("2606:4700::1111", "2606:4700::1111", True),
        ("[2606:4700::1111]", "2606:4700::1111", True),
        ("[2606:4700::1111]:443", "2606:4700::1111", True),
        ("2606:4700::/32", "2606:4700::1111", True),
        ("0.0.0.0/0", "2606:4700::1111", False),
        ("0.0.0.0/0", "api.evolink.ai", False),
        ("", "api.evolink.ai", False),
        (".", "api.evolink.ai", False),
        ("[", "api.evolink.ai", False),
    ],
)
@pytest.mark.parametrize("around", ["{}", "localhost,{}", " {} , a.example", "a.example {}"])
def test_what_no_proxy_exempts(entry, host, expected, around):
    found = policy(HTTPS_PROXY=PROXY, NO_PROXY=around.format(entry))
    assert (found.proxy_for("https", host) is None) is expected
    assert (found.proxy_for("https", f"{host}.") is None) is expected


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_no_proxy_stands_between_us_and_this_machine(host):
    assert NetworkPolicy.from_environment(environ={}, proxy=PROXY).proxy_for("https", host) is None


def test_the_configuration_overrides_the_environment():
    environ = {"HTTPS_PROXY": OTHER, "SSL_CERT_FILE": "/a.pem", "SSL_CERT_DIR": "/a", "NO_PROXY": "near.example"}
    found = NetworkPolicy.from_environment(proxy=PROXY, ca_bundle="/b.pem", environ=environ)
    assert found == NetworkPolicy(PROXY, PROXY, ("near.example",), "/b.pem", None)
    assert NetworkPolicy.from_environment(environ=environ).ca_folder == "/a"


@pytest.mark.parametrize(
    "text",
    [
        "gopher://s3cret@a:1",
        "http://",
        "http://user:s3cret@",
        "http://a:port",
        "http://a:99999",
        "http://a:1/s3cret",
        "http://a:1?s3cret",
        "http://a b:1",
        "http://a:1#s3cret",
        "http://[::1",
    ],
)
def test_a_configured_proxy_that_is_none_is_named_and_not_shown(text):
    with pytest.raises(EvoLinkConfigError, match=r"\[evolink\] proxy must be .*What to do") as caught:
        NetworkPolicy.from_environment(proxy=text, environ={})
    assert "s3cret" not in str(caught.value)


def test_a_password_of_the_proxy_is_not_shown():
    found = NetworkPolicy.from_environment(proxy="http://user:s3cret@proxy.example:3128", environ={})
    assert "s3cret" not in f"{found!r}{ClientSettings('test-key-0123456789', network=found)!r}"


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "forbidden folder"])
@pytest.mark.parametrize("of", ["ca_bundle", "SSL_CERT_FILE"])
def test_certificates_that_cannot_be_read_are_a_wrong_setting(kind, of, tmp_path):
    path = tmp_path / "ca.pem"
    if kind != "missing":
        path.write_text("" if kind == "empty" else "no certificate")
    if kind == "forbidden folder":
        path = path / "below a file"
    given = {"ca_bundle": str(path), "environ": {}} if of == "ca_bundle" else {"environ": {of: str(path)}}
    with pytest.raises(EvoLinkConfigError, match=r"cannot be read.*ca_bundle.*SSL_CERT_FILE"):
        transport.ssl_context(NetworkPolicy.from_environment(**given))


# --- links through a proxy: all that a name or a literal address shows

THROUGH = NetworkPolicy(https_proxy=PROXY, http_proxy=PROXY)
INNER_NAMES = [
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "metadata",
    "kubernetes",
    "metadata.google.internal",
    "metadata.google.internal.",
    "METADATA.Google.Internal",
    "instance-data.ec2.internal",
    "host.docker.internal",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "printer.local",
    "router.lan",
    "router.home",
    "nas.home.arpa",
    "wiki.corp",
    "wiki.intranet",
    "db.private",
    "10.0.0.1.nip.io",
    "127.0.0.1.nip.io",
    "169.254.169.254.nip.io",
    "www.10.0.0.1.sslip.io",
    "www-10-0-0-1.sslip.io",
    "1.10.0.0.1.nip.io",
]


def through_proxy(link, network=THROUGH, found=(PUBLIC,), **options):
    made = connector(list(found), network=network)
    return made.locate(hosts.read_link(link), **options), made.asked


def literal(address):
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("link", REFUSED_LINKS)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_a_proxied_link_is_refused_by_its_spelling(link, allow_loopback):
    if allow_loopback and "[::1]" in link:
        return  # the emulator's: not proxied
    with pytest.raises(EvoLinkLinkRefused):
        through_proxy(link, allow_loopback=allow_loopback)


@pytest.mark.parametrize("address", [address for address in NOT_PUBLIC if " " not in address])
def test_a_proxied_literal_address_must_be_public(address):
    with pytest.raises(EvoLinkLinkRefused):
        through_proxy(f"https://{literal(address)}/x")


@pytest.mark.parametrize("name", INNER_NAMES)
def test_a_proxied_name_must_not_be_an_inner_one(name):
    with pytest.raises(EvoLinkLinkRefused, match=r"internal host|not public"):
        through_proxy(f"https://{name}/x", found=["127.0.0.1"])


@pytest.mark.parametrize(
    "name",
    [
        "media.evolink.ai",
        "cdn.evolink.ai",
        "dashscope-result-sh.oss-cn-shanghai.aliyuncs.com",
        "bucket.s3.amazonaws.com",
        "internal.example",
        "localhost.example",
        "local.example.com",
        "8.8.8.8.nip.io",
        "v1-2-3-4.example.com",
        "ec2-54-1-2-3.compute-1.amazonaws.com",
        "20261130.1.2.example",
        "svc.example",
        "a-10-0-0.example",
        "r2.cloudflarestorage.com.",
        "93.184.216.34",
        "2606:4700::1111",
    ],
)
def test_a_public_host_goes_to_the_proxy_without_a_look_up(name):
    target, asked = through_proxy(f"https://{literal(name)}/x?sig=a%2Fb")
    assert (target.addresses, target.loopback, asked) == ((), False, [])
    request = target.request({}, httpx.Timeout(1), 0)
    assert request.url.host == name.removesuffix(".")
    assert request.url.raw_path == b"/x?sig=a%2Fb"
    assert "sni_hostname" not in request.extensions


def test_a_link_to_this_machine_never_goes_to_the_proxy():
    target, _ = through_proxy("http://127.0.0.1:8089/x", allow_loopback=True)
    assert target.addresses == ("127.0.0.1",)
    with pytest.raises(EvoLinkLinkRefused):
        through_proxy("https://127.0.0.1/x")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_only_dns_could_tell_is_left_to_the_proxy(address):
    """The other side of it: called directly, the same host is refused."""
    target, asked = through_proxy("https://cdn.example/x", found=[address])
    assert (target.addresses, asked) == ((), [])
    with pytest.raises(EvoLinkLinkRefused):
        through_proxy("https://cdn.example/x", NetworkPolicy(), found=[address])


def test_the_pages_name_the_hosts_and_the_inner_domains():
    root = Path(__file__).parents[2]
    page, security = (root / "docs" / "connection.md").read_text(), (root / "SECURITY.md").read_text()
    urls = [API_URL, FILES_URL, *network_check.MEDIA_URLS]
    assert [url for url in urls if f"`{httpx.URL(url).host}`" not in page] == []
    named = ["localhost", "local", "internal", "lan", "home.arpa", "svc"]
    assert [name for name in named if f"`{name}`" not in security or not addresses.is_inner_name(f"a.{name}")] == []


EXEMPT = [
    NetworkPolicy(https_proxy=PROXY, no_proxy=("*",)),
    NetworkPolicy(https_proxy=PROXY, no_proxy=("cdn.example", "localhost", "0.0.0.0/0", "::/0", "internal")),
]


@pytest.mark.parametrize("network", EXEMPT, ids=["all", "some"])
@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("host", ["cdn.example", "a.cdn.example", "CDN.example.", "metadata.google.internal"])
def test_no_proxy_opens_no_inner_address(network, address, host):
    for found in ([address], [PUBLIC, address]):
        with pytest.raises(EvoLinkLinkRefused):
            through_proxy(f"https://{host}/x", network, found)
    if " " not in address:
        with pytest.raises(EvoLinkLinkRefused):
            through_proxy(f"https://{literal(address)}/x", network)


@pytest.mark.parametrize("network", EXEMPT, ids=["all", "some"])
@pytest.mark.parametrize("link", REFUSED_LINKS)
def test_no_proxy_opens_no_refused_link(network, link):
    with pytest.raises(EvoLinkLinkRefused):
        through_proxy(link, network)


@pytest.mark.parametrize("network", EXEMPT, ids=["all", "some"])
def test_an_exempt_host_is_looked_up_and_pinned(network):
    target, asked = through_proxy("https://cdn.example/x", network)
    assert (target.addresses, asked) == ((PUBLIC,), [("cdn.example", 443)])
    assert target.request({}, httpx.Timeout(1), 0).url.host == PUBLIC


@pytest.mark.parametrize("name", ["93.184.216.34", "::1", "2606:4700::1111", "cdn.example.com"])
def test_an_address_is_no_inner_name(name):
    assert not addresses.is_inner_name(name)
