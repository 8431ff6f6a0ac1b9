"""
Requests written by hand from the words of EvoLink's pages, each with the answer it has to get.

The requests that other tests make from a row show that the row is enforced; these show that it is right.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_evolink.api.catalog.catalog import build_request, find_spec
from airflow_provider_evolink.api.errors import EvoLinkRequestError

# model; "passes", or the fields that are refused; request
CASES = json.loads(Path(__file__).with_name("catalog_words.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("model", "answer", "body"), CASES)
def test_a_request_gets_the_verdict_the_pages_promise(model, answer, body):
    try:
        built = build_request(model, body)
    except EvoLinkRequestError as error:
        found = " + ".join(violation.field for violation in error.violations)
    else:
        found = "passes"
        assert built.keys() == {"model", *body}
    assert found == answer


def test_both_verdicts_are_tried_for_the_majority_of_families():
    passing = [case for case in CASES if case[1] == "passes"]
    assert min(len(passing), len(CASES) - len(passing)) > 80
    assert len({find_spec(case[0]).family for case in CASES}) >= 33
