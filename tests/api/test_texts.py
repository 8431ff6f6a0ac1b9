"""What of EvoLink's words may be told."""

from __future__ import annotations

import json
import time

import pytest

from airflow_provider_evolink.api.redaction import Redactor

PROMPT = "Scene 1:\nA paper boat,\twith the  secret word\r\nxylophonist, drifts down a long river at dawn."


@pytest.mark.parametrize(
    ("said", "told"),
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
def test_a_quote_of_ours_is_cut_off_wherever_it_begins(said, told):
    redactor = Redactor.of({"prompt": PROMPT, "negative": ["a boat"]})
    assert redactor.apply(said) == told


def test_where_nothing_is_known_nothing_is_told():
    assert Redactor.everything().apply("rejected") == "…"


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
def test_a_link_is_told_by_nobody(link):
    for said in (f"cannot decode {link} now", f'cannot decode "{link}" now', f"cannot decode <{link}> now"):
        told = Redactor().apply(said)
        assert "0f3c" not in told
        assert told.startswith("cannot decode ")
        assert told.endswith(" now")


@pytest.mark.parametrize(
    "said", ["ratio 16:9/1.5 of image/png", "wan2.7/x and v1/files", "http: bad gateway", "a.b c.d/e"]
)
def test_what_is_no_link_stays(said):
    assert Redactor().apply(said) == said


def test_long_texts_take_no_long_time():
    began = time.monotonic()
    Redactor(("ab" * 500_000, "x. " * 300_000)).apply("ac" * 500_000)
    Redactor().apply("a." * 500_000)
    assert time.monotonic() - began < 20
