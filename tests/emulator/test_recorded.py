"""The emulator's jobs are dressed like those that the real EvoLink was seen to send; wrong names are not sold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_evolink.api.jobs.job import Job

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "responses.json").read_text())["responses"]
IMG = "https://example.com/a.png"
KINDS = {"video": "videos", "image": "images", "audio": "audios"}


@pytest.fixture
def run(client):
    def order(kind, **body):
        response = client.post(f"/v1/{KINDS[kind]}/generations", json=body)
        assert response.status_code == 200, response.text
        return response.json(), client.get(f"/v1/tasks/{response.json()['id']}").json()

    return order


ORDERS = {
    "completed image": {"kind": "image", "model": "gemini-3.1-flash-lite-image", "prompt": "a boat"},
    "completed video": {
        "kind": "video",
        "model": "seedance-2.0-mini-image-to-video",
        "prompt": "a boat",
        "image_urls": [IMG],
        "quality": "720p",
        "duration": 5,
    },
}


def shape(value):
    """Return the names and types of a response."""
    if isinstance(value, dict):
        return {name: shape(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [shape(entry) for entry in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.mark.parametrize("name", ORDERS)
def test_a_finished_job_has_the_recorded_fields_price_and_kind_of_file(run, name):
    recorded, (_, job) = RECORDED[name]["body"], run(**ORDERS[name])
    assert shape(job) == shape(recorded)
    assert job["usage"] == recorded["usage"]
    same = ("model", "object", "type", "status", "progress", "task_info")
    assert {field: job[field] for field in same} == {field: recorded[field] for field in same}
    [link] = job["results"]
    assert job["result_data"] == [{"url": link}]
    assert Path(link.partition("?")[0]).suffix == Path(recorded["results"][0]).suffix


@pytest.mark.parametrize(
    ("body", "charge"),
    [
        (ORDERS["completed video"], 13.5),
        ({**ORDERS["completed video"], "duration": 4}, 10.8),
        (ORDERS["completed image"], 1.783),
        ({"kind": "video", "model": "wan3.0-text-to-video", "prompt": "x", "quality": "480p", "duration": 2}, 5.1),
        ({"kind": "image", "model": "gemini-3-pro-image-preview", "prompt": "x"}, 8.5156),
        ({"kind": "image", "model": "mj-v8.1", "prompt": "x"}, 5.4),
    ],
)
def test_recorded_charges(run, body, charge):
    created, job = run(**body)
    assert created["usage"]["credits_reserved"] == job["usage"]["credits_used"] == charge


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("model", ["wan2.7-text-to-video", "a-new-model"])
def test_no_job_that_has_ended_states_what_none_was_seen_to(client, emulator, model, state):
    job_id = client.post("/v1/videos/generations", json={"model": model, "prompt": "x"}).json()["id"]
    emulator.job(job_id, state=state)
    job = client.get(f"/v1/tasks/{job_id}").json()
    assert not {"billing", "user_group"} & job.keys()
    assert not {"credits_reserved", "billing_rule", "user_group"} & job["usage"].keys()
    assert "credits_used" in job["usage"]


@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_responses_are_read(name):
    body = RECORDED[name]["body"]
    job = Job.model_validate(body)
    assert (job.job_id, job.model, job.kind, job.status) == (body["id"], body["model"], body["type"], body["status"])
    assert list(job.results) == body.get("results", [])
    assert [output["kind"] for output in job.outputs] == [body["type"]] * len(job.results)
    assert job.credits_charged == body["usage"].get("credits_used")
    assert job.credits_reserved == body["usage"].get("credits_reserved")
    assert job.unusable == ()


NEAR = {
    "wan2.7-text-to-vidoe": "wan2.7-text-to-video",
    "wan2.7-text-to-vide": "wan2.7-text-to-video",
    "wan2.7-text-to-videoo": "wan2.7-text-to-video",
    "Wan2.7-Text-To-Video": "wan2.7-text-to-video",
    "wan-2.7-text-to-video": "wan2.7-text-to-video",
    "wan27-text-to-video": "wan2.7-text-to-video",
    "wan2.7_text_to_video": "wan2.7-text-to-video",
    " wan2.7-text-to-video ": "wan2.7-text-to-video",
    "wan2.7 text to video": "wan2.7-text-to-video",
    "wan2.7-text2video": "wan2.7-text-to-video",
    "wan2.7-text-video": "wan2.7-text-to-video",
    "text-to-video-wan2.7": "wan2.7-text-to-video",
    "wan2.7-vidoe-edit": "wan2.7-video-edit",
    "seedence-2.0-mini-image-to-video": "seedance-2.0-mini-image-to-video",
    "klign-v3-text-to-video": "kling-v3-text-to-video",
    "minimax-hailuo-02": "MiniMax-Hailuo-02",
    "sora2pro": "sora-2-pro",
    "z-image-trubo": "z-image-turbo",
}


@pytest.mark.parametrize("name", NEAR)
def test_a_known_name_with_a_slip_is_refused_instead_of_sold(client, emulator, name):
    for kind in KINDS.values():
        response = client.post(f"/v1/{kind}/generations", json={"model": name, "prompt": "x"})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "model"
        assert NEAR[name] in response.json()["error"]["message"]
    assert emulator.books()["orders"] == 0


NEW = ["brand-new-model", "some-new-model", "made-up-image", "wan2.8-text-to-video", "kling-v4-text-to-video", "m"]
NEW += ["gemini-3-pro-image", "mj-v9", "suno-v7", "seedance-2.0-ultra-image-to-video", "wan2.7-text-to-video-pro"]


@pytest.mark.parametrize("name", NEW)
def test_a_model_that_is_newer_than_the_emulator_can_be_ordered(client, name):
    assert client.post("/v1/videos/generations", json={"model": name, "prompt": "x"}).status_code == 200
