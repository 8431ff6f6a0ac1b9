"""Errors: they travel between processes whole, say what is known, and say nothing that is secret."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.redaction import sanitize

FACTS = {"code": "c", "status_code": 418, "request_id": "r-1", "job_id": "task-1", "retry_after": 2.5}
OWN = {"EvoLinkUnavailable": "unsent", "EvoLinkSubmissionUnknown": "idempotency_key", "EvoLinkJobFailed": "repeatable"}
TRANSIENT = {
    "EvoLinkInputError",
    "EvoLinkLedgerError",
    "EvoLinkOrderStopped",
    "EvoLinkAPIError",
    "EvoLinkError",
    "EvoLinkJobError",
    "EvoLinkJobFailed",
    "EvoLinkJobTimeout",
    "EvoLinkLinkExpired",
    "EvoLinkMediaError",
    "EvoLinkNotFoundError",
    "EvoLinkRateLimited",
    "EvoLinkUnavailable",
}


def tree(kind: type) -> list[type]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


CLASSES = [kind for kind in tree(EvoLinkError) if kind.__module__ == errors.__name__]


def one(kind: type[EvoLinkError]) -> EvoLinkError:
    if kind is EvoLinkRequestError:
        return EvoLinkRequestError(
            "wan", [Violation("seed", "must be at most 5", "9"), Violation("prompt", "is required")]
        )
    own = OWN.get(kind.__name__)
    return kind("it broke", **FACTS, **({own: True} if own else {}))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_travels_with_all_it_knows(kind, travel):
    before = one(kind)
    after = travel(before)
    assert type(after) is kind
    assert (vars(after), after.args, str(after)) == (vars(before), before.args, str(before))
    assert after.permanent == before.permanent


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not EvoLinkRequestError])
def test_the_text_holds_the_details(kind):
    expected = "it broke [job task-1, code c, HTTP 418, request id r-1, retry after 2.5 s]"
    assert str(one(kind)) == expected
    assert str(kind("it broke")) == "it broke"


def test_a_wrong_request_names_every_rule():
    error = one(EvoLinkRequestError)
    assert isinstance(error, ValueError)
    assert str(error) == (
        "seed: must be at most 5, got 9, and 1 more problem. Nothing was sent (invalid request for wan):\n"
        "  - seed: must be at most 5, got 9\n"
        "  - prompt: is required"
    )


def test_what_a_retry_may_help():
    assert {kind.__name__ for kind in CLASSES if not kind.permanent} == TRANSIENT
    assert errors.EvoLinkJobFailed("x").permanent
    assert not errors.EvoLinkJobFailed("x", repeatable=True).permanent


def test_the_drawn_tree_is_the_class_tree():
    drawn = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"([│ ├└─]*)(EvoLink\w+)", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            drawn[found[2]] = above[depth - 1] if depth else "Exception"
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        (None, "None"),
        (429, "429"),
        ("two\r\nlines\tand \x1b[31mred\x00\u2028", "two lines and  [31mred"),
        ("get https://a.b/c?sig=1#f now", "get https://a.b/c now"),
        ("HTTPS://a.b/c?sig=1", "HTTPS://a.b/c"),
        ("https://a.b/it's/c?q='x'&sig=secret", "https://a.b/it's/c"),
        ('{"u":"https://a.b/c?sig=1","n":2}', '{"u":"https://a.b/c","n":2}'),
        ("https://user:pass@a.b/c", "https://a.b/c"),
        ("http://a.b/x?y http://c.d#e", "http://a.b/x http://c.d"),
        ("Authorization: Bearer abcdef0123", "Authorization: Bearer ***"),
        ("bearer:abcdef0123", "bearer:***"),
        ("key sk-evo-0123456789 is bad", "key sk-*** is bad"),
        ("the task-unified-1790000000-abc of desk-lamp", "the task-unified-1790000000-abc of desk-lamp"),
        ("x" * 301, "x" * 299 + "…"),
        ("half \ud800 turn \u202e", "half   turn"),
        ("{{ ti }} %s {0}", "{{ ti }} %s {0}"),
    ],
)
def test_remote_text_becomes_one_safe_line(text, clean):
    assert sanitize(text) == clean


def test_the_limit_counts_after_cleaning():
    assert sanitize("https://a.b/c?" + "s" * 1000, 20) == "https://a.b/c"
    assert sanitize("abcdef", 4) == "abc…"
