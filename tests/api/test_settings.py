"""Settings: which keys can be sent, and where to."""

from __future__ import annotations

import pickle

import pytest

from airflow_provider_evolink.api.addresses import is_local_host
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.api.settings import ClientSettings, check_seconds, check_url

SECRET = "s3cretK3y"


@pytest.mark.parametrize("key", ["test-key-0123456789", "sk-evo-" + "a" * 40, "x" * 8, "x" * 512, "!~#$%&'*+/=?^_`{|}"])
def test_a_usable_key(key):
    assert ClientSettings(key).api_key == key


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "   ",
        "\n",
        f"{SECRET}\n",
        f"{SECRET}\r\nX-Evil: 1",
        f"{SECRET}\t",
        f" {SECRET}",
        f"Bearer {SECRET}",
        f"{SECRET}\x00",
        f"{SECRET}é",
        f"{SECRET}\u2028",
        f"{SECRET}\ud800",
        "s3cretK",
        SECRET * 60,
        f'"{SECRET}"',
        f"'{SECRET}'",
        f"`{SECRET}`",
        f"“{SECRET}”",
        f"\u2018{SECRET}\u2019",
        f"«{SECRET}»",
        f' "{SECRET}" ',
        f'"{SECRET}',
        f"{SECRET}'",
        f'"{SECRET}",',
        f'\\"{SECRET}\\"',
        f"<{SECRET}>",
    ],
)
def test_an_unusable_key_is_refused_and_not_shown(key):
    with pytest.raises(EvoLinkConfigError) as caught:
        ClientSettings(key)
    assert "s3cret" not in f"{caught.value}{caught.value!r}{vars(caught.value)}"
    assert caught.value.permanent


def test_settings_do_not_show_the_key():
    settings = ClientSettings(SECRET)
    assert SECRET not in repr(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.evolink.ai", "https://api.evolink.ai"),
        ("https://api.evolink.ai/", "https://api.evolink.ai"),
        ("HTTPS://API.EvoLink.AI:443", "https://api.evolink.ai:443"),
        ("api.evolink.ai", "https://api.evolink.ai"),
        ("files-api.evolink.ai:8443", "https://files-api.evolink.ai:8443"),
        ("https://proxy.corp.example", "https://proxy.corp.example"),
        ("http://localhost:8765/", "http://localhost:8765"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("https://127.0.0.1", "https://127.0.0.1"),
        ("http://[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_an_address_the_key_may_go_to(url, expected):
    assert check_url(url, field="host", allowed_hosts=["Proxy.Corp.Example"]) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "http://api.evolink.ai",
        "ftp://api.evolink.ai",
        "file:///etc/passwd",
        "http:api.evolink.ai",
        "//api.evolink.ai",
        "https://evil.example",
        "https://api.evolink.ai.evil.example",
        "https://evolink.ai",
        "https://api.evolink.ai.",
        "https://api.evolink.ai@evil.example",
        "https://user:s3cretpw@api.evolink.ai",
        "https://:s3cretpw@api.evolink.ai",
        "https://api.evolink.ai/v1",
        "https://api.evolink.ai/..",
        "https://api.evolink.ai?x=s3cret",
        "https://api.evolink.ai#x",
        "https://api.evolink.ai:port",
        "https://api.evolink.ai:99999",
        "https://api.evo\nlink.ai",
        "https://api.evolink.ai\t",
        " https://api.evolink.ai",
        "https://api.evolink.ai\\@evil.example",
        "https://\u0430pi.evolink.ai",
        "https://[::1",
        "https://[zz]",
        "https://[2001:db8::1]",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "http://2130706433",
    ],
)
def test_an_address_the_key_may_not_go_to(url):
    with pytest.raises(EvoLinkConfigError) as caught:
        check_url(url, field="API host")
    assert str(caught.value).startswith("API host")
    assert "s3cret" not in str(caught.value)


def test_the_refused_host_is_named_but_not_a_key_in_its_place():
    with pytest.raises(EvoLinkConfigError, match=r"evil\.example is not in \[evolink\] allowed_hosts"):
        check_url("https://evil.example", field="host")
    with pytest.raises(EvoLinkConfigError) as caught:
        check_url("sk-evo-0123456789abcdef", field="host")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.", False),
        ("api.evolink.ai", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback(host, expected):
    assert is_local_host(host) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, 9.0), ("", 9.0), (1, 1.0), ("2.5", 2.5), (600, 600.0), (" 30 ", 30.0)]
)
def test_seconds(value, expected):
    assert check_seconds(value, 9.0, field="read_timeout") == expected


@pytest.mark.parametrize("value", [0, 0.9, 601, -5, "nan", "inf", "x", True, False, [], {}, "1e400"])
def test_seconds_that_make_no_sense(value):
    with pytest.raises(EvoLinkConfigError, match="read_timeout must be a number of seconds from 1 to 600"):
        check_seconds(value, 9.0, field="read_timeout")
