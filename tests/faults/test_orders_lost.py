"""F4 to F6, F16, F30: an order was sent and nobody says what became of it. It is never sent again."""

from __future__ import annotations

import time

import pytest
from evolink_stage import PROMPT
from fault_scene import KEY

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.http import wire
from airflow_provider_evolink.api.settings import ClientSettings

STORM = (500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526)


def order_again_by_hand(scene):
    """Send the recorded order once more with its key, as a person or a policy may."""
    with EvoLinkClient(ClientSettings(KEY, scene.emulator.url)) as client:
        body = {"model": "wan2.7-text-to-video", "prompt": PROMPT, "duration": 2}
        return client.submit(body, idempotency_key=scene.record["key"])


@pytest.mark.parametrize("reset", [True, False])
def test_f04_reset_before_any_byte(scene, reset):
    scene.emulator.fault("cut_before", reset=reset, on="submit")
    scene.outcome_stays_unknown(orders=0)
    assert scene.met()
    assert scene.requests("submit") == 1


@pytest.mark.parametrize("reset", [True, False])
def test_f05_response_lost_after_commit(scene, reset):
    scene.emulator.fault("lost_answer", reset=reset)
    scene.outcome_stays_unknown(orders=1)
    assert scene.met()
    paid = scene.emulator.books()["jobs"][0]
    assert paid["idempotency_key"] == scene.record["key"], "what the error and the ledger name is what EvoLink has"
    assert order_again_by_hand(scene).job_id == paid["id"]
    assert (scene.orders, scene.emulator.books()["replays"]) == (1, 1)


def test_f06_response_later_than_our_timeout(scene, patience):
    assert ClientSettings(KEY).submit_timeout == 30
    patience(submit_timeout=0.4)
    scene.emulator.fault("delay", seconds=4.0, on="submit")
    began = time.monotonic()
    scene.outcome_stays_unknown(orders=1)
    assert time.monotonic() - began < 3.9, "the answer is still to come"
    record = scene.record
    time.sleep(4.2 - (time.monotonic() - began))
    assert scene.met()
    assert scene.record == record, "the late answer changes nothing"
    scene.retry().fails(Exception, "EvoLinkSubmissionUnknown")
    assert (scene.orders, scene.requests("submit")) == (1, 1)


@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize("status", STORM)
def test_f16_5xx_on_the_order(scene, status, processed):
    scene.emulator.fault("status", status=status, code="internal_error", processed=processed, on="submit", times=-1)
    scene.outcome_stays_unknown(orders=int(processed))
    assert [fault["met"] for fault in scene.emulator.faults()] == [1]


ODD_IDS = ["../", "../../v1/credits", "a?b=c", "a#b", "a\r\nX: y", "x" * 10_240, "%2e%2e", "", "..", "a b", "ä", "\0"]


@pytest.mark.parametrize("job_id", ODD_IDS, ids=range(len(ODD_IDS)))
def test_f30_odd_id_in_the_response(scene, job_id):
    scene.emulator.fault("patch_json", fields={"id": job_id}, on="submit")
    scene.outcome_stays_unknown(orders=1)
    assert scene.met()
    assert set(scene.emulator.books()["requests"]) == {"submit"}, "the id was asked for nowhere"


def test_f30_ids_are_percent_encoded_in_paths():
    assert wire.read_job("task:1-a_b.c").path == "/v1/tasks/task%3A1-a_b.c"
