"""F20 to F29, F32, F33: an answer of EvoLink is odd. Nothing odd is success, failure or a reason to pay again."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.api.errors import EvoLinkJobFailed, EvoLinkJobTimeout, EvoLinkNotFoundError
from airflow_provider_evolink.api.http import messages
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.jobs.result_links import MAX_LINK, MAX_RESULTS

LINK = "https://media.example.com/clip.mp4"


def kept(scene):
    """Check that a failed try has lost nothing and that the next one, all well again, pays nothing."""
    assert scene.met()
    assert (scene.orders, scene.requests("submit"), scene.state) == (1, 1, "submitted")
    job_id = scene.record["job_id"]
    scene.emulator.clear_faults()
    assert scene.retry().run_to_end(timeout=10 * 3600)["job_id"] == job_id
    assert (scene.orders, scene.requests("submit"), scene.state) == (1, 1, "delivered")


def passes(scene, **given):
    """Check that what was queued does not end the wait."""
    result = scene.delivers(poll_interval=None, **given)
    assert scene.met()
    assert scene.requests("submit") == 1
    assert all(event["status"] == "completed" for event in scene.stage.events), "the trigger itself went on"
    return result


# --- 404


def test_f20_a_known_job_vanishes_for_good(waiting, clock):
    waiting.emulator.fault("status", status=404, code="task_not_found", on="read", after=2, times=-1)
    clock.later[2] = lambda: clock.sleep(schedule.POLICY.not_found_grace + 1)
    waiting.fails(EvoLinkNotFoundError, "task_not_found", poll_interval=None)
    assert waiting.requests("read") >= 2 + 3, "three looks at least before it counts as gone"
    waiting.retry().fails(EvoLinkNotFoundError)
    kept(waiting)


def test_f20_a_known_job_vanishes_for_a_moment(waiting, clock):
    waiting.emulator.fault("status", status=404, code="task_not_found", on="read", after=2, times=3)
    clock.later[2] = lambda: clock.sleep(schedule.POLICY.not_found_grace + 1)
    passes(waiting)


def test_f21_404_right_after_the_order(waiting, clock):
    waiting.emulator.fault("status", status=404, code="task_not_found", on="read", times=6)
    passes(waiting)
    assert sum(clock.waits[1:6]) > 30, "tolerated for longer than a job that vanishes later"


# --- broken JSON


def job_text(job_id="task-unified-1700000000-other", status="completed", **more):
    return json.dumps({"id": job_id, "status": status, "results": [LINK], **more})


BROKEN = {
    "truncated": job_text()[:-9],
    "nothing": "",
    "a list": "[1]",
    "null": "null",
    "huge int": '{"id": ' + "9" * 5000 + "}",
    "deep lists": "[" * 200_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "two documents": "{}{}",
    "BOM of UTF-16": "\ufffe{}",
    "single quotes": "{'id': 'task-unified-1'}",
    "NaN for the id": '{"id": NaN, "status": "completed"}',
}


@pytest.mark.parametrize("how", BROKEN)
def test_f22_order_malformed_json(scene, how):
    scene.emulator.fault("malformed_json", text=BROKEN[how], on="submit")
    scene.outcome_stays_unknown(orders=1)
    assert scene.met()


@pytest.mark.parametrize("how", BROKEN)
def test_f22_polls_malformed_json(waiting, clock, how):
    waiting.emulator.fault("malformed_json", text=BROKEN[how], on="read", after=2, times=2)
    passes(waiting)


def test_f22_polls_malformed_for_ever(waiting, clock):
    waiting.emulator.fault("malformed_json", on="read", after=2, times=-1)
    waiting.fails(EvoLinkJobTimeout, poll_interval=None)
    kept(waiting)


ODD_BUT_READABLE = {
    "BOM": "\ufeff" + '{{"id": "{0}", "status": "processing"}}',
    "NaN": '{{"id": "{0}", "status": "processing", "progress": NaN, "usage": {{"credits_reserved": Infinity}}}}',
    "key twice": '{{"id": "task-x", "status": "processing", "progress": 1, "progress": 2, "id": "{0}"}}',
}


@pytest.mark.parametrize("how", ODD_BUT_READABLE)
def test_f22_polls_odd_json(waiting, clock, how):
    text = ODD_BUT_READABLE[how]

    def queue():
        job_id = waiting.record["job_id"]
        waiting.emulator.fault("malformed_json", text=text.replace("{{", "{").replace("}}", "}").replace("{0}", job_id))

    clock.later[2] = queue
    result = passes(waiting)
    json.dumps(result, allow_nan=False)


# --- not JSON, or not as JSON


def test_f23_order_html_page(scene):
    scene.emulator.fault("html", processed=True, on="submit")
    scene.outcome_stays_unknown(orders=1)
    assert scene.met()


def test_f23_polls_html_page(waiting, clock):
    waiting.emulator.fault("html", on="read", after=2, times=3)
    passes(waiting)


def test_f24_polls_json_as_text(waiting, clock):
    waiting.emulator.fault("headers", headers={"content-type": "text/plain"}, on="read", times=3)
    passes(waiting)


def test_f24_polls_json_over_one_mebibyte(waiting, clock):
    def queue():
        text = job_text(waiting.record["job_id"], padding="x" * messages.MAX_BODY)
        waiting.emulator.fault("malformed_json", text=text, on="read")

    clock.later[2] = queue
    assert passes(waiting)["results"] != [LINK]


# --- the status


GOES_BACK = {
    "completed": {"status": "completed", "progress": 100, "results": []},
    "progress": {"status": "processing", "progress": 10},
    "pending": {"status": "pending", "progress": 0},
}


@pytest.mark.parametrize("how", GOES_BACK)
def test_f25_status_goes_back(waiting, clock, how):
    waiting.emulator.fault("patch_json", fields=GOES_BACK[how], after=2)
    result = waiting.delivers(poll_interval=None)
    assert waiting.met()
    assert (result["status"], waiting.requests("submit")) == ("completed", 1)


@pytest.mark.parametrize("code", ["service_error", "content_policy_violation"])
def test_f25_failed_and_then_not(waiting, clock, code):
    failed = {"status": "failed", "error": {"code": code, "message": "for a moment"}}
    waiting.emulator.fault("patch_json", fields=failed, after=2)
    try:
        waiting.run_to_end(poll_interval=None)
    except (EvoLinkJobFailed, AirflowFailException):
        assert waiting.state == "submitted"
        waiting.retry().run_to_end(poll_interval=None)
    assert waiting.met()
    assert (waiting.orders, waiting.requests("submit"), waiting.state) == (1, 1, "delivered")


@pytest.mark.parametrize("code", ["service_error", "content_policy_violation"])
def test_f25_a_failure_counts_once_it_was_read_twice(waiting, clock, code):
    failed = {"status": "failed", "error": {"code": code, "message": "for a moment"}}
    waiting.emulator.fault("patch_json", fields=failed, after=2)
    passes(waiting)


def test_f25_a_failure_in_the_first_polls_counts_once_it_was_read_twice(waiting, clock):
    failed = {"status": "failed", "error": {"code": "content_policy_violation", "message": "for a moment"}}
    waiting.emulator.fault("patch_json", fields=failed)
    passes(waiting)


@pytest.mark.parametrize("status", ["queued", "paused", "", None, 7, "succeed", True, ["completed"], {"a": 1}])
def test_f26_unknown_status_is_a_job_that_runs(waiting, clock, status):
    waiting.emulator.fault("patch_json", fields={"status": status, "results": [LINK]}, after=1, times=2)
    assert passes(waiting)["results"] != [LINK]


@pytest.mark.parametrize("status", ["COMPLETED", " Completed "])
def test_f26_completed_in_any_case(waiting, clock, status):
    waiting.emulator.settings(polls=3)
    waiting.emulator.fault("patch_json", fields={"status": status}, after=2)
    passes(waiting)


@pytest.mark.parametrize("status", ["cancelled", "canceled", "CANCELED"])
def test_f26_cancelled_in_either_spelling(waiting, clock, status):
    waiting.emulator.fault("patch_json", fields={"status": status}, after=2, times=-1)
    waiting.fails(AirflowFailException, "EvoLinkJobFailed.*cancelled", poll_interval=None)
    kept(waiting)


# --- the results


UNUSABLE = [LINK + "?" + "x" * MAX_LINK, "data:video/mp4;base64,AAAA"]
RESULTS = ["missing", "empty", "null", {"0": "clip"}, "clip", [7, None, ""], [["x"]], UNUSABLE]


@pytest.mark.parametrize("how", RESULTS, ids=lambda how: str(how)[:20])
def test_f27_completed_without_results_for_a_moment(waiting, clock, how):
    waiting.emulator.fault("no_results", **{"as": how}, times=3)
    passes(waiting)
    assert waiting.requests("read") >= 4 + 3


@pytest.mark.parametrize("how", RESULTS, ids=lambda how: str(how)[:20])
def test_f27_completed_without_results_for_good(waiting, clock, how):
    waiting.emulator.fault("no_results", **{"as": how}, times=-1)
    waiting.fails(AirflowFailException, "EvoLinkNoResults", poll_interval=None)
    assert waiting.emulator.faults()[0]["met"] >= 5
    kept(waiting)


HUGE = {"results": [LINK] * 10_000, "one more": [LINK] * (MAX_RESULTS + 1)}


@pytest.mark.parametrize("how", HUGE)
def test_f28_too_many_results(waiting, clock, tmp_path, how):
    waiting.emulator.fault("patch_json", fields={"status": "completed", "results": HUGE[how]}, after=2, times=-1)
    waiting.fails(EvoLinkJobTimeout, poll_interval=None, destination=f"file://{tmp_path}/out", timeout=900)
    assert waiting.requests("media") == 0, "nothing is downloaded"
    kept(waiting)


def test_f28_a_link_of_one_mebibyte(waiting, clock):
    waiting.emulator.fault("patch_json", fields={"status": "completed", "results": [LINK + "x" * 2**20]}, after=2)
    passes(waiting)


@pytest.mark.parametrize("after", [2, 4], ids=["while waiting", "at the end"])
def test_f29_response_about_another_job(waiting, clock, after):
    other = {"id": "task-unified-1700000000-other", "status": "completed", "results": [LINK]}
    waiting.emulator.fault("patch_json", fields=other, after=after - (not waiting.given["deferrable"] and after == 4))
    result = passes(waiting)
    assert result["results"] != [LINK]
    assert result["job_id"] == waiting.record["job_id"]


# --- what EvoLink changes


@pytest.mark.parametrize("model", ["wan9-renamed", "", None, 5])
def test_f32_model_renamed_between_order_and_poll(waiting, clock, model):
    waiting.emulator.fault("patch_json", fields={"model": model}, times=-1)
    passes(waiting)


CHANGED = {
    "created": "1700000000",
    "progress": "55",
    "code": 200,
    "error": {"code": 500, "message": 7, "type": None},
    "usage": {"credits_reserved": "10.88", "later": {}},
    "task_info": {"estimated_time": "60", "can_cancel": "no"},
    "billing": [],
    "a_new_field": {"of": ["any", "shape"]},
}


@pytest.mark.parametrize("fields", [CHANGED, dict.fromkeys(CHANGED), dict.fromkeys(CHANGED, ())])
def test_f33_schema_changes(waiting, clock, fields):
    waiting.emulator.fault("patch_json", fields=fields, on="submit")
    waiting.emulator.fault("patch_json", fields=fields, times=-1)
    json.dumps(passes(waiting), allow_nan=False)


@pytest.mark.parametrize("job_id", [1700000000, 7])
def test_f33_id_becomes_a_number(scene, job_id):
    scene.emulator.fault("patch_json", fields={"id": job_id}, on="submit")
    body = {"id": job_id, "status": "completed", "results": [LINK]}
    scene.emulator.fault("status", status=200, body=body, on="read", times=-1)
    result = scene.run_to_end()
    assert scene.met()
    assert (scene.orders, result["job_id"], result["results"]) == (1, str(job_id), [LINK])
    assert (scene.record["job_id"], scene.state) == (str(job_id), "delivered")
