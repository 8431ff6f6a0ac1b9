"""The shapes of rules, each on its own."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from airflow_provider_evolink.api.catalog.rules import RequestView, Rule

RULE = TypeAdapter(Rule)


def broken(rule, values, *wrong):
    """Fields that a rule names for these values; ``wrong`` are fields that failed their own check."""
    view = RequestView(values, frozenset(tuple(path.split(".")) for path in wrong))
    return [(found.field, found.value) for found in RULE.validate_python({"text": "t", **rule}).check(view)]


NEEDS = {"shape": "needs", "fields": ["b", "c"]}
REFUSES = {"shape": "refuses", "fields": ["b", "c"]}
ONE = {"shape": "at_least_one", "fields": ["b", "c"]}
TOTAL = {"shape": "total", "fields": ["b", "c"], "minimum": 2, "maximum": 3}
LIMITS = {"shape": "limits", "field": "b", "minimum": 2, "maximum": 4}
CHOICE = {"shape": "limits", "field": "b", "enum": ["x", "y"]}
SETS = {"shape": "sets", "fields": ["a", "b", "c"], "allowed": [["a"], ["a", "b"]]}
EXACTLY = {"shape": "exactly_one", "fields": ["b", "c"]}
AMOUNT = {"shape": "total", "fields": ["b"], "amounts": ["n"], "maximum": 3}
LONG = {"shape": "limits", "field": "b", "maxLength": 2}
FORM = {"shape": "pattern", "field": "b", "matches": "^x", "avoids": "z$"}
EQUAL = {"shape": "equal", "fields": ["b", "c", "d"]}
APART = {"shape": "distance", "start": "b", "end": "c", "minimum": 2, "maximum": 4}
SUM = {"shape": "sum", "field": "m.k", "entry": "d", "total": "b"}
NAMED = {"shape": "mentions", "field": "b", "listed": "c", "name": "item"}
KEYS = {"shape": "keys_index", "field": "m.k", "lists": {"image": "b", "video": "c"}}


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (NEEDS, {"b": 1}, [("c", None)]),
        (NEEDS, {"b": 0, "c": False}, []),
        (NEEDS, {"b": "", "c": []}, [("b", None), ("c", None)]),
        (REFUSES, {"a": 1}, []),
        (REFUSES, {"b": "x", "c": [1, 2]}, [("b", "'x'"), ("c", "a list of 2 items")]),
        (REFUSES, {"b": [], "c": {}}, []),
        (ONE, {}, [("b, c", None)]),
        (ONE, {"c": 0}, []),
        (TOTAL, {"b": [1]}, [("b, c", "1 item")]),
        (TOTAL, {"b": [1], "c": "one more"}, []),
        (TOTAL, {"b": [1, 2], "c": [3, 4]}, [("b, c", "4 items")]),
        (LIMITS, {}, []),
        (LIMITS, {"b": 1}, [("b", "1")]),
        (LIMITS, {"b": 2}, []),
        (LIMITS, {"b": 4}, []),
        (LIMITS, {"b": 5}, [("b", "5")]),
        (CHOICE, {"b": "y"}, []),
        (CHOICE, {"b": "z"}, [("b", "'z'")]),
        (SETS, {}, [("a, b, c", None)]),
        (SETS, {"a": 1}, []),
        (SETS, {"b": 1, "a": 1}, []),
        (SETS, {"b": 1}, [("b", "b")]),
        (SETS, {"a": 1, "c": 1}, [("a, c", "a and c")]),
        (EXACTLY, {}, [("b, c", None)]),
        (EXACTLY, {"b": 1}, []),
        (EXACTLY, {"b": 1, "c": 2}, [("b, c", "b and c")]),
        (AMOUNT, {"b": [1, 2], "n": 1}, []),
        (AMOUNT, {"b": [1, 2], "n": 2}, [("b, n", "4 in total")]),
        (AMOUNT, {"b": [1, 2, 3, 4]}, [("b, n", "4 in total")]),
        (LONG, {"b": "xy"}, []),
        (LONG, {"b": "xyz"}, [("b", "'xyz'")]),
        (FORM, {}, []),
        (FORM, {"b": "xy"}, []),
        (FORM, {"b": "yx"}, [("b", "'yx'")]),
        (FORM, {"b": "xz"}, [("b", "'xz'")]),
        (EQUAL, {"b": 1, "d": 1}, []),
        (EQUAL, {"b": 1, "d": 2}, [("b, d", "1 and 2")]),
        (APART, {"b": 1}, []),
        (APART, {"b": 1, "c": 3}, []),
        (APART, {"b": 1, "c": 5}, []),
        (APART, {"b": 1, "c": 2.5}, [("b, c", "1 and 2.5")]),
        (APART, {"b": 1, "c": 6}, [("b, c", "1 and 6")]),
        (SUM, {"b": 5}, []),
        (SUM, {"b": 5, "m": {"k": [{"d": "2"}, {"d": 3}]}}, []),
        (SUM, {"b": 5, "m": {"k": [{"d": "2"}]}}, [("m.k[].d, b", "2 and 5")]),
        (SUM, {"b": 5, "m": {"k": [{"d": "two"}]}}, [("m.k[].d", None)]),
        (SUM, {"m": {"k": [{"d": "2"}]}}, []),
        (NAMED, {"b": "item1 and item2", "c": [1, 2]}, []),
        (NAMED, {"b": "item12 and item2", "c": [1, 2, 3]}, [("b", "a string without item1, item3")]),
        (NAMED, {"b": "nothing"}, []),
        (KEYS, {}, []),
        (KEYS, {"b": [1], "m": {"k": {"image1": 1}}}, []),
        (KEYS, {"b": [1], "m": {"k": {"image2": 1, "x": 1}}}, [("m.k.image2", "'image2'"), ("m.k.x", "'x'")]),
    ],
)
def test_a_shape_names_what_breaks_it(rule, values, expected):
    assert broken(rule, values) == expected


@pytest.mark.parametrize(
    ("rule", "values", "wrong", "expected"),
    [
        (NEEDS, {"c": 1}, "b", []),
        (REFUSES, {"b": "x"}, "b", [("b", "'x'")]),
        (ONE, {}, "b", []),
        (TOTAL, {"b": "x"}, "b", []),
        (TOTAL, {"b": ["x", "y", "z"], "c": ["x"]}, "b", [("b, c", "4 items")]),
        (LIMITS, {"b": "x"}, "b", []),
        (EXACTLY, {}, "b", []),
        (EXACTLY, {"c": 1}, "b", [("b, c", "b and c")]),
        (AMOUNT, {"b": [1, 2, 3], "n": 9}, "n", []),
        (FORM, {"b": "yx"}, "b", []),
        (EQUAL, {"b": 1, "c": 2}, "c", []),
        (APART, {"b": 1, "c": 9}, "c", []),
        (SUM, {"b": 5, "m": {"k": [{"d": "2"}]}}, "m.k", []),
        (NAMED, {"b": "x", "c": [1]}, "b", []),
        (SETS, {"b": ""}, "a", []),
        (SETS, {"c": "x"}, "c", [("c", "c")]),
        (KEYS, {"b": "x", "m": {"k": {"image2": 1}}}, "b", []),
        (KEYS, {"b": [1], "m": {"k": {"image2": ""}}}, "m.k.image2", [("m.k.image2", "'image2'")]),
        (KEYS, {"m": {"k": [1]}}, "m.k", []),
    ],
)
def test_a_field_that_is_wrong_in_itself_counts_as_given_but_is_not_judged(rule, values, wrong, expected):
    assert broken(rule, values, wrong) == expected


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ({"given": True}, {"a": 0}, True),
        ({"given": True}, {"a": []}, False),
        ({"given": False}, {}, True),
        ({"given": False}, {"a": "x"}, False),
        ({"is": ["x", "y"]}, {"a": "y"}, True),
        ({"is": ["x", "y"]}, {"a": "z"}, False),
        ({"is": ["x"]}, {}, False),
        ({"is": ["x", None]}, {}, True),
        ({"minItems": 2}, {"a": [1]}, False),
        ({"minItems": 2}, {"a": [1, 2]}, True),
        ({"maxItems": 1}, {"a": [1, 2]}, False),
        ({"maxItems": 1}, {}, True),
        ({"not": ["x", None]}, {"a": "y"}, True),
        ({"not": ["x", None]}, {"a": "x"}, False),
        ({"not": ["x", None]}, {}, False),
        ({"matches": "[0-9]+"}, {"a": "12"}, True),
        ({"matches": "[0-9]+"}, {"a": "12x"}, False),
        ({"matches": "[0-9]+"}, {}, False),
        ({"given": True, "is": ["x"]}, {"a": "y"}, False),
    ],
)
def test_a_condition_switches_its_rule(condition, values, holds):
    rule = {"shape": "needs", "fields": ["b"], "when": {"a": condition}}
    assert broken(rule, values) == ([("b", None)] if holds else [])


def test_all_conditions_must_hold():
    rule = {"shape": "needs", "fields": ["b"], "when": {"a": {"given": True}, "m.k": {"is": [1]}}}
    assert broken(rule, {"a": 1}) == []
    assert broken(rule, {"a": 1, "m": {"k": 1}}) == [("b", None)]


def test_a_condition_never_trusts_a_value_that_is_wrong_in_itself():
    rule = {"shape": "needs", "fields": ["b"], "when": {"a": {"is": ["x"]}}}
    assert broken(rule, {"a": "x"}, "a") == []


def test_a_refused_prompt_stays_hidden():
    rule = RULE.validate_python({"shape": "refuses", "fields": ["prompt"], "text": "t"})
    (found,) = rule.check(RequestView({"prompt": "kitten"}, private=frozenset({"prompt"})))
    assert found.value == "a string of 6 characters"


def test_a_number_that_is_not_set_is_the_one_evolink_takes():
    rule = RULE.validate_python({"text": "t", **SUM})
    (found,) = rule.check(RequestView({"m": {"k": [{"d": "2"}]}}, defaults={"b": 5}))
    assert found.value == "2 and 5"


def test_a_distance_of_decimal_fractions_is_counted_as_it_is_written():
    starts = [tenth / 10 for tenth in range(600)]
    ends = [(start, round(start + apart, 1), apart) for start in starts for apart in (1.9, 2, 4, 4.1)]
    refused = {apart for start, end, apart in ends if broken(APART, {"b": start, "c": end})}
    passed = {apart for start, end, apart in ends if not broken(APART, {"b": start, "c": end})}
    assert (refused, passed) == ({1.9, 4.1}, {2, 4})


def test_a_sum_of_decimal_fractions_is_counted_as_it_is_written():
    shots = [{"d": length} for length in ("0.4", "3.7", "0.9")]
    assert sum(float(shot["d"]) for shot in shots) != 5, "a sum that floats get right shows nothing"
    assert broken(SUM, {"m": {"k": shots}, "b": 5}) == []
    assert broken(SUM, {"m": {"k": [*shots, {"d": "0.1"}]}, "b": 5}) != []
