"""What of remote and private text may be shown."""

from __future__ import annotations

import json
import time

import pytest

from airflow_provider_evolink.api.redaction import LINKS_ONLY, Redactor, link_identity, public_link

PROMPT = "Scene 1:\nA paper boat,\twith the  secret word\r\nxylophonist, drifts down a long river at dawn."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"rejected: {PROMPT}", "rejected: …"),
        (f"rejected: {' '.join(PROMPT.split())}", "rejected: …"),
        (f"rejected: {json.dumps(PROMPT)}", 'rejected: "…'),
        (f"at {PROMPT[30:70]} in it", "at …"),
        ("word xylophonist, drifts", "…"),
        ("the river is too long", "the river is too long"),
        ("a boat is\nno car", "…"),
        ("no car", "no car"),
        ("", ""),
    ],
)
def test_a_message_is_cut_where_it_begins_to_quote_the_request(message, shown):
    assert Redactor.of({"prompt": PROMPT, "negative": ["a boat"]}).apply(message) == shown


@pytest.mark.parametrize("message", ["rejected", "", "two\nlines"])
def test_where_the_request_is_not_known_nothing_is_shown(message):
    assert Redactor.everything().apply(message) == "…"


def test_a_redactor_does_not_show_what_it_hides():
    assert "river" not in repr(Redactor.of({"prompt": PROMPT}))


@pytest.mark.parametrize(
    ("link", "public"),
    [
        ("https://u:p@cdn.example/a/b.mp4?sig=1#f", "https://cdn.example/a/b.mp4"),
        ("https://cdn.example:8443?sig=1", "https://cdn.example:8443"),
        ("HTTP://a@b@cdn.example/a#f?x", "HTTP://cdn.example/a"),
        ("https://cdn.example/%0d%0aINFO%20fake?sig=1", "https://cdn.example/%0d%0aINFO%20fake"),
        ("https://cdn.example/x?a='&to=https://u:p@b.c", "https://cdn.example/x"),
        ("https://cdn.example/mail@home", "https://cdn.example/mail@home"),
        ("https://bad\nhost/?sig=1", "https://bad\nhost/"),
        ("ftp://u:p@cdn.example/x", "ftp://cdn.example/x"),
        ("//u:p@cdn.example/x?sig=1", "//cdn.example/x"),
        ("u:p@cdn.example/x?sig=1", "cdn.example/x"),
        ("no link at all?sig=1", "no link at all"),
        ("", ""),
        (None, "None"),
    ],
)
def test_a_public_link_has_neither_user_nor_query(link, public):
    assert public_link(link) == public


@pytest.mark.parametrize(
    "link",
    [
        "https://files.evolink.ai/airflow/0f3c.png",
        "HTTP://127.0.0.1:8080/files/0f3c.png?x=1",
        "https://files.evolink.ai/it's/0f3c.png?q='x'&0f3c",
        r"https:\/\/files.evolink.ai\/airflow\/0f3c.png",
        "https%3A%2F%2Ffiles.evolink.ai%2Fairflow%2F0f3c.png",
        "//files.evolink.ai/airflow/0f3c.png",
        "files.evolink.ai:443/airflow/0f3c.png",
        "127.0.0.1:8080/files/0f3c.png",
    ],
)
def test_a_link_is_cut_out_of_a_message(link):
    for message in (f"cannot decode {link} now", f'cannot decode "{link}" now', f"cannot decode <{link}> now"):
        shown = LINKS_ONLY.apply(message)
        assert "0f3c" not in shown
        assert shown.startswith("cannot decode ")
        assert shown.endswith(" now")


@pytest.mark.parametrize(
    "message", ["ratio 16:9/1.5 of image/png", "wan2.7/x and v1/files", "http: bad gateway", "a.b c.d/e"]
)
def test_what_is_no_link_stays(message):
    assert LINKS_ONLY.apply(message) == message


def test_long_texts_take_no_long_time():
    began = time.monotonic()
    Redactor(("ab" * 500_000, "x. " * 300_000)).apply("ac" * 500_000)
    LINKS_ONLY.apply("a." * 500_000)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("https://a.b/c.png?sig=1", "https://a.b/c.png"),
        ("HTTP://a.b/c.png#t=1", "HTTP://a.b/c.png"),
        ("https://u@a.b/c?x=1#f", "https://u@a.b/c"),
        ("https://a.b/c.png", "https://a.b/c.png"),
        ("s3://bucket/c.png#sha256=0f3c", "s3://bucket/c.png#sha256=0f3c"),
        ("Who? A boat.", "Who? A boat."),
        ("https://a.b/shop?id=1 is the shop: film a boat", "https://a.b/shop?id=1 is the shop: film a boat"),
        ("https://a.b/shop?id=1\nFilm a boat", "https://a.b/shop?id=1\nFilm a boat"),
    ],
)
def test_a_link_is_the_same_one_after_it_was_signed_again(text, identity):
    assert link_identity(text) == identity
