"""F17 to F19: the key or the credits are gone."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

NEW = "new-test-key-0123456789"


def rotate(scene, clock, wait=2):
    """Let EvoLink take the new key only, from some wait on; return what turns the connection."""
    clock.later[wait] = lambda: scene.emulator.settings(keys=[NEW])
    return lambda: scene.connect(key=NEW)


def test_f17_key_rotated_while_waiting_and_the_connection_with_it(waiting, clock):
    renew, old = rotate(waiting, clock), clock.later[2]
    clock.later[2] = lambda: (old(), renew())
    waiting.delivers(poll_interval=None)
    assert not clock.later, "the key was rotated in the middle of the wait"
    assert waiting.requests("submit") == 1
    assert all(event["status"] == "completed" for event in waiting.stage.events), "the trigger itself went on"


def test_f17_a_single_401_does_not_end_the_wait(waiting, clock):
    waiting.emulator.fault("status", status=401, code="unauthorized", on="read", after=2)
    waiting.delivers(poll_interval=None)
    assert waiting.met()
    assert all(event["status"] == "completed" for event in waiting.stage.events), "the trigger itself went on"


def test_f17_key_revoked_while_waiting_loses_nothing(waiting, clock):
    renew = rotate(waiting, clock)
    waiting.fails(AirflowFailException, "EvoLinkAuthError.*check the API key", poll_interval=None)
    assert not clock.later
    assert (waiting.orders, waiting.state) == (1, "submitted")
    waiting.retry().fails(AirflowFailException, "EvoLinkAuthError")
    assert (waiting.orders, waiting.state) == (1, "submitted")
    job_id = waiting.record["job_id"]
    renew()
    assert waiting.retry().run_to_end()["job_id"] == job_id
    assert (waiting.orders, waiting.state) == (1, "delivered")
    assert waiting.requests("submit") == 1


@pytest.mark.parametrize("code", ["ip_restricted", "key_disabled"])
def test_f18_403_on_the_order(scene, code):
    scene.emulator.fault("status", status=403, code=code, on="submit")
    assert "What to do" in scene.fails(AirflowFailException, code)
    assert scene.met()
    assert (scene.orders, scene.requests("submit"), scene.state) == (0, 1, "refused")
    scene.retry().delivers()


@pytest.mark.parametrize("code", ["ip_restricted", "key_disabled"])
def test_f18_403_while_waiting_loses_nothing(waiting, clock, code):
    waiting.emulator.fault("status", status=403, code=code, on="read", after=1, times=-1)
    assert "What to do" in waiting.fails(AirflowFailException, code)
    assert waiting.met()
    assert (waiting.orders, waiting.state) == (1, "submitted")
    waiting.emulator.clear_faults()
    waiting.retry().run_to_end()
    assert (waiting.orders, waiting.requests("submit"), waiting.state) == (1, 1, "delivered")


def test_f19_402_on_the_order(scene):
    scene.emulator.fault("status", status=402, code="insufficient_quota", on="submit")
    assert "top up" in scene.fails(AirflowFailException, "EvoLinkCreditsError")
    assert scene.met()
    assert (scene.orders, scene.requests("submit"), scene.state) == (0, 1, "refused")
    scene.emulator.settings(balance=0)
    scene.retry().fails(AirflowFailException, "EvoLinkCreditsError")
    assert (scene.orders, scene.requests("submit"), scene.state) == (0, 2, "refused")
    scene.emulator.settings(balance=1000)
    scene.retry().delivers()
