"""An id inside a wrapper is an accepted order, a job inside one can be read: by the real client, over a real socket."""

from __future__ import annotations

import json

import pytest

from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkSubmissionUnknown, EvoLinkUnavailable

JOB = "task-unified-1790000000-demo0001"
OTHER = "task-unified-1790000000-demo0002"
BODY = {"model": "wan2.7-text-to-video", "prompt": "A paper boat drifts down a rainy street"}


WRAPPED = {
    "data": {"code": 200, "data": {"id": JOB, "status": "pending"}},
    "data with task_id": {"code": 200, "message": "success", "data": {"task_id": JOB}},
    "data with taskId": {"data": {"taskId": JOB}},
    "data with job_id": {"success": True, "data": {"job_id": JOB}},
    "jobId outside": {"jobId": JOB},
    "task": {"task": {"id": JOB}},
    "job": {"job": {"id": JOB}},
    "result": {"result": {"task_id": JOB, "status": "processing"}},
    "response": {"response": {"id": JOB}},
    "output": {"output": {"task_id": JOB, "task_status": "PENDING"}, "request_id": "r-1"},
    "two deep": {"data": {"task": {"id": JOB}}},
    "three deep": {"response": {"data": {"task": {"id": JOB}}}},
    "a list": {"data": [{"id": JOB}]},
    "tasks": {"tasks": [{"task_id": JOB}]},
    "an id alone": {"data": JOB},
    "ids alone": {"task_ids": [JOB]},
    "an unknown wrapper": {"generation": {"id": JOB}},
    "an id of the call beside it": {"id": "req-17", "data": {"id": JOB}},
    "an empty id beside it": {"id": "", "data": {"id": JOB}},
    "null beside it": {"id": None, "task_id": None, "data": {"id": JOB}},
    "the same id twice": {"data": {"id": JOB, "task": {"id": JOB}}},
    "users have ids too": {"user": {"id": 5}, "data": {"task_id": JOB}},
    "an odd id": {"data": {"id": "video-77"}},
    "the job it continues": {"data": {"id": JOB, "source_task_id": OTHER}},
    "no success": {"success": False, "message": "slow", "data": {"id": JOB}},
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("status", [200, 202])
def test_an_id_inside_a_wrapper_is_an_accepted_order(answer_server, answer_client, name, status):
    answer_server.answers = [(status, WRAPPED[name])]
    job = answer_client.submit(BODY)
    assert job.job_id == ("video-77" if name == "an odd id" else JOB)
    assert len(answer_server.seen) == 1


UNKNOWN = {
    "two jobs": {"data": [{"id": JOB}, {"id": OTHER}]},
    "an error that names a job": {"error": {"code": "oops", "task_id": OTHER}},
    "the job it continues": {"data": {"source_task_id": OTHER}},
    "the id of the call": {"request": {"id": "r-1"}},
    "the user": {"user": {"id": 7}},
    "a flag": {"data": {"id": True}},
    "a list as id": {"data": {"id": [JOB]}},
    "no id of any job": {"data": {"id": "../../credits"}},
    "a word": {"data": "accepted"},
    "an object of another kind": {"model": {"id": "wan2.7"}},
    "nothing": {},
    "too deep": {"a": {"b": {"c": {"d": {"e": {"f": {"id": JOB}}}}}}},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_anything_else_leaves_the_order_unknown_and_sends_nothing_again(answer_server, answer_client, name):
    answer_server.answers = [(200, UNKNOWN[name])]
    with pytest.raises(EvoLinkSubmissionUnknown):
        answer_client.submit(BODY)
    assert len(answer_server.seen) == 1


@pytest.mark.parametrize(
    "wrap",
    [
        lambda job: {"code": 200, "data": job},
        lambda job: {"data": {"task": job}},
        lambda job: {"data": [job]},
        lambda job: {"id": "req-1", "result": job},
        lambda job: {"data": [{**job, "id": OTHER}, job]},
        lambda job: {"status": "success", "data": job},
        lambda job: {"error": None, "task": {**job, "id": None, "task_id": job["id"]}},
    ],
)
@pytest.mark.parametrize("status", ["processing", "completed"])
def test_a_job_inside_a_wrapper_is_read(answer_server, answer_client, wrap, status):
    links = ["https://files.example.invalid/a.mp4"] if status == "completed" else []
    answer_server.answers = [(200, wrap({"id": JOB, "status": status, "type": "video", "results": links}))]
    job = answer_client.get_job(JOB)
    assert (job.job_id, job.status, list(job.results)) == (JOB, status, links)


def test_another_job_inside_a_wrapper_is_not_the_one_asked_for(answer_server, answer_client):
    answer_server.answers = [(200, {"data": {"id": OTHER, "status": "completed"}})]
    with pytest.raises(EvoLinkUnavailable, match="another job"):
        answer_client.get_job(JOB, attempts=1)


def test_a_refusal_stays_one_whatever_ids_it_names(answer_server, answer_client):
    answer_server.answers = [(400, {"error": {"code": "invalid_request", "message": "no"}, "data": {"id": JOB}})]
    with pytest.raises(EvoLinkError) as caught:
        answer_client.submit(BODY)
    assert json.loads(json.dumps(caught.value.code)) == "invalid_request"
