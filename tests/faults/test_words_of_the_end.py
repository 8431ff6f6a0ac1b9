"""Odd responses through the real operator, waiting in the trigger and on the worker: what is paid is delivered once."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

PROMPT = "a paper boat on a rainy street"
REPEATABLE = {"code": "service_error", "message": "out of service"}


@pytest.mark.parametrize("word", ["succeeded", "SUCCESS", "done", "Finished"])
def test_another_word_for_success_delivers(waiting, clock, logs, word):
    """Without a result, which comes with the last read, the word is that of a job that runs."""
    waiting.emulator.fault("patch_json", fields={"status": word}, after=1, times=-1)
    waiting.delivers(poll_interval=None)
    assert waiting.requests("read") >= 4
    assert f"“{word}”" in logs.text, "the word is logged"
    assert waiting.requests("submit") == 1


@pytest.mark.parametrize("word", ["expired", "TIMEOUT", "rejected", "FAILED"])
def test_another_word_for_failure_orders_nothing_whatever_the_retries(waiting, clock, logs, word):
    given = {"poll_interval": None, "max_regenerations": 5}
    fields = {"status": word, "error": REPEATABLE, "results": None}
    waiting.emulator.fault("patch_json", fields=fields, after=1, times=-1)
    text = waiting.fails(AirflowFailException, "EvoLinkJobFailed", **given)
    assert f"“{word}”" in text
    assert "out of service" in text
    for again in ("retry", "retry"):
        getattr(waiting, again)().fails(AirflowFailException, "EvoLinkJobFailed", **given)
    assert (waiting.orders, waiting.requests("submit")) == (1, 1)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 503])
def test_a_refused_read_does_not_quote_the_prompt(waiting, clock, logs, status):
    message = f"the prompt {PROMPT} is not allowed"
    waiting.emulator.fault("status", status=status, message=message, code="odd", on="read", after=1, times=3)
    given = {"parameters": {"prompt": PROMPT, "duration": 2}, "poll_interval": None, "timeout": 900}
    try:
        told = json.dumps(waiting.run_to_end(**given)["results"])
    except Exception as error:
        told = f"{error}{error.__cause__}{error.__context__}"
    assert waiting.emulator.faults()[0]["met"] >= 1
    assert PROMPT[:14] not in told + logs.text
    assert waiting.requests("submit") == 1
