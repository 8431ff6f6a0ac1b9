"""What a comparison of the catalogue with the facts it was made from has found, field by field."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.catalogue import build_request, known_models, known_row, notices
from airflow_provider_evolink.api.errors import EvoLinkRequestError

LINK = "https://example.com/a.png"


def faults(model, body):
    """Fields that strict validation refuses."""
    try:
        build_request(model, body)
    except EvoLinkRequestError as error:
        return [found.field for found in error.violations]
    return []


REQUIRED_LISTS = [
    (model, name)
    for model in known_models()
    for name, parameter in known_row(model).parameters.items()
    if parameter.required and parameter.type == "array"
]


@pytest.mark.parametrize(("model", "name"), REQUIRED_LISTS)
def test_a_required_list_may_not_be_empty(model, name):
    told = [text for text in notices(model, {name: []}) if text.startswith(f"{name}: ")]
    assert name in faults(model, {name: []}) or told
