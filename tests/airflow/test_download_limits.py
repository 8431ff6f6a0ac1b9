"""The limits of downloads are the same arguments wherever results are stored, also from templates and forms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from evolink_support import MAPPED

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.decorators.evolink import _EvoLinkDecoratedOperator
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkTextToVideoOperator,
)

LIMITS = ("on_missing", "total_timeout", "max_bytes", "min_rate")
WRONG = [
    *({"max_bytes": value} for value in (-1, 0, True, "many", "", 1.5, float("nan"))),
    *({"total_timeout": value} for value in (0, "-1", timedelta(0), float("inf"))),
    *({"min_rate": value} for value in (0, "None", [], timedelta(1))),
    {"on_missing": "skip"},
]


@pytest.mark.parametrize(
    "operator",
    [
        EvoLinkDownloadOperator,
        EvoLinkGenerateOperator,
        EvoLinkTextToVideoOperator,
        EvoLinkBatchOperator,
        _EvoLinkDecoratedOperator,
    ],
)
def test_every_operator_that_stores_results_has_the_limits_templated(operator):
    assert set(LIMITS) <= set(operator.template_fields)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_limit_is_found_before_the_order(stage, make, emulator, tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(AirflowFailException, match=f"EvoLinkConfigError: {name} must be"):
        stage.run(make(destination=f"file://{tmp_path}", **wrong, **MAPPED))
    assert emulator.books()["orders"] == 0


def rendered(operator: Any, **params: Any) -> Any:
    operator.render_template_fields({"params": params})
    return operator


@pytest.mark.parametrize("maximum", ["9", 9, " 9 "])
def test_a_destination_keeps_to_limits_of_a_form(stage, make, emulator, tmp_path, maximum):
    given = {
        "max_bytes": "{{ params.maximum }}",
        "min_rate": "{{ params.rate }}",
        "total_timeout": timedelta(minutes=1),
    }
    maker = make(destination=f"file://{tmp_path}", **given)
    with pytest.raises(EvoLinkMediaError, match="larger than the 9 bytes allowed"):
        stage.run(lambda: rendered(maker(), maximum=maximum, rate="0.5"))
    result = stage.retry().run(lambda: rendered(maker(), maximum=10**9, rate=10))
    assert len(result["files"]) == 1
    assert emulator.books()["orders"] == 1, "the paid job, with another limit"


def test_a_batch_keeps_to_limits(stage, make, emulator, tmp_path):
    given = {"requests": [{"prompt": "a"}, {"prompt": "b"}], "model": "wan2.7-text-to-video"}
    maker = make(EvoLinkBatchOperator, destination=f"file://{tmp_path}", max_bytes=9, **given)
    with pytest.raises(EvoLinkMediaError, match="larger than the 9 bytes allowed"):
        stage.run(maker)


def test_a_destination_hands_on_what_is_there_on_request(stage, make, emulator, tmp_path):
    emulator.fault("status", on="media", status=403, times=2, path="/1.")
    request = {"model": "gpt-image-2", "parameters": {"prompt": "a boat", "n": 2}}
    with pytest.raises(EvoLinkMediaError, match='on_missing="deliver"'):
        stage.run(make(destination=f"file://{tmp_path}", **request))
    emulator.fault("status", on="media", status=403, times=2, path="/1.")
    result = stage.retry().run(make(destination=f"file://{tmp_path}", on_missing="deliver", **request))
    (file,) = result["files"]
    assert file["index"] == 1
    assert [missing["index"] for missing in file["job"]["missing"]] == [0]
