"""Every model of the catalog: a smallest request passes, each limit and each rule refuses a request of its own."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import pytest

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.catalog import build_request, check_request, known_models
from airflow_provider_evolink.api.errors import EvoLinkRequestError

_spec = importlib.util.spec_from_file_location(
    "evolink_catalog_samples", Path(__file__).with_name("catalog_samples.py")
)
samples = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = samples
_spec.loader.exec_module(samples)

MODELS = known_models()
COUNTS = {"models": 0, "limits that refuse": 0, "limits that warn": 0, "rules that refuse": 0, "rules that warn": 0}


def spec_of(model):
    spec = catalog.find_spec(model)
    assert spec is not None
    return spec


def warnings_of(model, parameters):
    """What a request is sent with all the same."""
    return list(check_request(model, parameters).warnings)


def faults(model, body):
    """What strict validation says of a body."""
    try:
        build_request(model, body)
    except EvoLinkRequestError as error:
        return error.violations
    return ()


@pytest.mark.parametrize("model", MODELS)
def test_a_smallest_request_of_every_model_builds(model):
    body = samples.smallest(spec_of(model))
    assert build_request(model, body) == {"model": model, **body}
    COUNTS["models"] += 1


@pytest.mark.parametrize("model", MODELS)
def test_every_limit_of_every_parameter_refuses_or_warns(model):
    spec = spec_of(model)
    base = samples.smallest(spec)
    for name, parameter in spec.parameters.items():
        if parameter.required:
            assert name in {found.field for found in faults(model, {k: v for k, v in base.items() if k != name})}
            COUNTS["limits that refuse"] += 1
        (typo,) = [found for found in faults(model, base | {f"{name}_": 1}) if found.field == f"{name}_"]
        assert f"did you mean {name}?" in typo.rule
    for path, parameter in samples.places(spec.parameters):
        for limit, value, inside in samples.bad_values(parameter):
            body = copy.deepcopy(base)
            samples.put(spec, body, path, value)
            field = samples.written(path) + (inside or "")
            if is_soft(parameter, limit):
                others = {rule.text for rule in spec.rules if rule.is_refused}
                assert field not in {f.field for f in faults(model, body) if f.rule not in others}, (field, limit)
                assert [text for text in warnings_of(model, body) if text.startswith(f"{field}: ")], (field, limit)
                COUNTS["limits that warn"] += 1
            else:
                assert field in {found.field for found in faults(model, body)}, (field, limit)
                COUNTS["limits that refuse"] += 1


def is_soft(parameter, limit):
    is_estimate = limit == "maxLength" and (parameter.cut or parameter.length_unit == "tokens")
    return parameter.stated.get(limit) == "convention" or is_estimate


@pytest.mark.parametrize("model", MODELS)
def test_every_rule_between_fields_refuses_or_warns(model):
    spec = spec_of(model)
    base = samples.smallest(spec)
    for rule in (rule for rule in spec.rules if rule.is_refused):
        for body in samples.broken_by(spec, rule, base):
            named = [found.field for found in faults(model, body) if found.rule == rule.text]
            assert named, (rule, body)
            assert all(part.partition("[")[0] for field in named for part in field.split(", "))
            COUNTS["rules that refuse"] += 1
    for rule in (rule for rule in spec.rules if not rule.is_refused):
        for body in samples.broken_by(spec, rule, base):
            warns = [text for text in warnings_of(model, body) if text.endswith(f": {rule.text}")]
            assert warns or faults(model, body), (rule, body)  # a value beyond a limit of its own is refused for that
            COUNTS["rules that warn"] += 1


def test_the_counts(capsys):
    with capsys.disabled():
        print("\n" + ", ".join(f"{count} {what}" for what, count in COUNTS.items()))
    assert COUNTS["models"] in (0, len(MODELS))
