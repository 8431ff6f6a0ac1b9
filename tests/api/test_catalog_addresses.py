"""Which links and callback addresses pass."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.addresses import callback_fault, link_fault


@pytest.mark.parametrize(
    "link",
    [
        "https://example.com/a.png",
        "http://example.com/a.png",
        "HTTPS://EXAMPLE.COM/A.PNG",
        "https://example.com:8443/a.png?X-Sig=a%20b&x=@#part",
        "http://127.0.0.1:8089/files/a.mp4",
        "https://[2001:db8::1]/a.png",
        "https://例え.jp/画像.png",
    ],
)
def test_a_link_that_can_be_fetched_passes(link):
    assert link_fault(link) is None


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("example.com/a.png", "http or https"),
        ("/tmp/a.png", "http or https"),
        ("s3://bucket/a.png", "http or https"),
        ("gs://bucket/a.png", "http or https"),
        ("file:///tmp/a.png", "http or https"),
        ("javascript:alert(1)", "http or https"),
        ("https:///a.png", "http or https"),
        ("https://?a=b", "http or https"),
        ("https://example.com:99999/a.png", "http or https"),
        ("https://[::1/a.png", "http or https"),
        ("https://example.com/a b.png", "without blanks"),
        (" https://example.com/a.png", "without blanks"),
        ("https://example.com/a.png\n", "without blanks"),
        ("https://example.com\\@evil.com/a", "backslashes"),
        ("https://me:pass@example.com/a.png", "user name"),
        ("https://me@example.com/a.png", "user name"),
        ("data:image/png;base64,iVBORw0KGgo=", "inline data"),
        ("DATA:image/png;base64,iVBORw0KGgo=", "inline data"),
        ("iVBORw0KGgo" * 30, "inline data"),
    ],
)
def test_a_link_that_cannot_be_fetched_is_refused_with_a_reason(link, words):
    assert words in (link_fault(link) or "passed")


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/hook?id=1",
        "https://8.8.8.8/hook",
        "https://[2606:4700::1111]/hook",
        "https://a.localhost.com/",
    ],
)
def test_a_public_https_callback_passes(address):
    assert callback_fault(address) is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "api.localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "\uff11\uff12\uff17.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[4000::1]",
        "168.63.129.16",
        "192.88.99.1",
    ],
)
def test_a_callback_to_an_internal_address_is_refused(host):
    assert callback_fault(f"https://{host}/hook") == "must lead to a public address"


@pytest.mark.parametrize(
    "address",
    ["http://example.com/hook", "ftp://example.com", "example.com", "", "https://", "https://a:b@example.com/"],
)
def test_a_callback_that_is_not_plain_https_is_refused(address):
    assert "https link" in (callback_fault(address) or "passed")
