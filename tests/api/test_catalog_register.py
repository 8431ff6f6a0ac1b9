"""Rows added at run time, in every form a row may take."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.catalog import build_request, endpoint, known_models, register
from airflow_provider_evolink.api.errors import EvoLinkRequestError

T2V = "wan2.7-text-to-video"


@pytest.fixture
def own_models(monkeypatch):
    """A place for models of one test."""
    monkeypatch.setattr(catalog, "_registered", {})


def refused(model, parameters):
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, parameters)
    return error.value


def only_violation(model, parameters):
    (violation,) = refused(model, parameters).violations
    return violation


ROW = {
    "model": "made-up-image",
    "kind": "image",
    "endpoint": "/v1/images/generations",
    "parameters": {
        "prompt": {"type": "string", "required": True, "minLength": 2, "maxLength": 9},
        "title": {"type": "string", "maxLength": 3, "length_unit": "tokens"},
        "length": {
            "variants": [{"type": "integer", "minimum": 3, "maximum": 10}, {"type": "string", "enum": ["auto"]}]
        },
        "rate": {"type": "number", "minimum": 0.5, "maximum": 2, "multipleOf": 0.01},
        "weight": {"type": "number", "maximum": 2},
        "n": {"type": "integer", "enum": [1, 2, 4]},
        "size": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
        "shots": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {"index": {"type": "integer", "required": True}, "prompt": {"type": "string"}},
            },
        },
        "extra": {"type": "object"},
        "tags": {"type": "array"},
    },
}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"length": "auto"}, "auto"),
        ({"length": "7"}, 7),
        ({"rate": 1.25}, 1.25),
        ({"rate": "1.25"}, 1.25),
        ({"rate": 1}, 1),
        ({"weight": -3}, -3),
        ({"n": "4"}, 4),
        ({"size": "10x20"}, "10x20"),
        ({"shots": [{"index": "1", "prompt": "a"}]}, [{"index": 1, "prompt": "a"}]),
        ({"extra": {"any": [1]}}, {"any": [1]}),
        ({"tags": [1, "a"]}, [1, "a"]),
        ({"title": "longer than three characters"}, "longer than three characters"),
    ],
)
def test_a_registered_row_is_checked_like_a_packaged_one(given, sent, own_models):
    register(ROW)
    assert build_request("made-up-image", {"prompt": "abc"} | given) == {
        "model": "made-up-image",
        "prompt": "abc",
        next(iter(given)): sent,
    }
    assert endpoint("made-up-image") == "/v1/images/generations"
    assert "made-up-image" in known_models()


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ({"prompt": "a"}, "prompt", "must be a non-empty string of at least 2 characters and at most 9 characters"),
        (
            {"prompt": "a" * 10},
            "prompt",
            "must be a non-empty string of at least 2 characters and at most 9 characters",
        ),
        ({"length": 2}, "length", "must be an integer from 3 to 10 or auto"),
        ({"rate": 0.505}, "rate", "must be a number from 0.5 to 2 in steps of 0.01"),
        ({"rate": "fast"}, "rate", "must be a number from 0.5 to 2 in steps of 0.01"),
        ({"weight": 2.5}, "weight", "must be a number of at most 2"),
        ({"n": 3}, "n", "must be 1, 2 or 4"),
        ({"n": True}, "n", "must be 1, 2 or 4"),
        ({"size": "big"}, "size", "must be a string of the form ^[0-9]+x[0-9]+$"),
        ({"shots": [{"index": 1}, {}]}, "shots[1].index", "is required"),
        ({"shots": [{"index": 1, "promt": "x"}]}, "shots[0].promt", "is not a known field; did you mean prompt?"),
        ({"shots": [{"index": 1}] * 3}, "shots", "must have at most 2 items"),
        ({"shots": [7]}, "shots[0]", "must be an object with index, prompt"),
        ({"extra": 7}, "extra", "must be an object"),
        ({"tags": "a"}, "tags", "must be a list"),
    ],
)
def test_a_registered_row_refuses_in_words(given, field, rule, own_models):
    register(ROW)
    violation = only_violation("made-up-image", {"prompt": "abc"} | given)
    assert (violation.field, violation.rule) == (field, rule)


def test_a_registered_model_may_replace_a_packaged_one(own_models):
    register(ROW | {"model": T2V, "parameters": {"prompt": {"type": "string", "required": True}}})
    assert build_request(T2V, {"prompt": "a"}) == {"model": T2V, "prompt": "a"}
    assert only_violation(T2V, {"prompt": "a", "aspect_ratio": "1:1"}).field == "aspect_ratio"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "text"},
        {"parameters": {"n": {"type": "integer", "maximun": 3}}},
        {"parameters": {"n": {"maximum": 3}}},
        {"rules": [{"shape": "wishes", "text": "x"}]},
        {"rules": [{"shape": "needs", "fields": ["n"]}]},
    ],
)
def test_a_row_with_a_slip_is_refused(change, own_models):
    with pytest.raises(ValidationError):
        register(ROW | change)
