"""Jobs from submission to end: polls, time, money, lists."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.emulator.orders.jobs import Failure, Job, Output, Plan, advance
from airflow_provider_evolink.emulator.orders.order import Caller, Order
from airflow_provider_evolink.emulator.orders.prices import price
from airflow_provider_evolink.emulator.settings import Settings

IMG, VID = "https://example.com/a.png", "https://example.com/a.mp4"


def statuses(client, job_id, reads):
    return [client.get(f"/v1/tasks/{job_id}").json()["status"] for _ in range(reads)]


@pytest.mark.parametrize(
    ("polls", "expected"),
    [
        (0, ["completed"]),
        (1, ["completed", "completed"]),
        (2, ["processing", "completed"]),
        (4, ["pending", "processing", "processing", "completed"]),
    ],
)
def test_jobs_finish_by_polls(emulator, client, order, polls, expected):
    emulator.settings(polls=polls)
    job_id = order().json()["id"]

    assert statuses(client, job_id, len(expected)) == expected
    assert emulator.books()["jobs"][0]["reads"] == len(expected)


def test_the_control_plane_shows_a_job_as_it_is_now(emulator, order):
    """Also one that nobody polls any more."""
    emulator.settings(mode="seconds", seconds=0)
    assert emulator.job(order().json()["id"])["status"] == "completed"


def test_a_batch_poll_counts_as_a_poll(emulator, client, order):
    emulator.settings(polls=2)
    job_id = order().json()["id"]
    client.post("/v1/tasks/batch", json={"task_ids": [job_id]})

    assert client.get(f"/v1/tasks/{job_id}").json()["status"] == "completed"


def test_jobs_finish_by_the_clock(emulator, client, order):
    emulator.settings(mode="seconds", seconds=100, speed=2)
    created = order().json()
    assert created["task_info"]["estimated_time"] == 50
    states = []
    for shift in (1, 25, 49, 51):
        emulator.settings(clock_shift=shift)
        job = client.get(f"/v1/tasks/{created['id']}").json()
        states.append((job["status"], job["progress"]))

    assert [status for status, _ in states] == ["pending", "processing", "processing", "completed"]
    assert [progress for _, progress in states] == pytest.approx([0, 50, 98, 100], abs=2)


@pytest.mark.parametrize(
    ("changes", "estimate"),
    [
        ({"mode": "seconds"}, 120),
        ({"mode": "seconds", "speed": 7}, 18),
        ({"mode": "seconds", "speed": 1000}, 1),
        ({"mode": "polls"}, 1),
        ({"mode": "polls", "estimated_time": 45}, 45),
        ({"mode": "seconds", "estimated_time": 0}, 0),
    ],
)
def test_estimated_time_is_the_real_duration(emulator, order, changes, estimate):
    emulator.settings(**changes)

    assert order().json()["task_info"]["estimated_time"] == estimate


def a_job(failure=None):
    order = Order(Caller("k", "main"), None, "video", {"model": "m"}, {"model": "m"})
    plan = Plan(Output("video", 1280, 720, 5), reserved=1.0, due=1.0, failure=failure)
    return Job("task-unified-1-a", order, plan, created=1000.0, estimate=1)


def test_a_job_ends_once():
    job, settings = a_job(), Settings(seconds=10)

    assert [advance(job, settings, 1000.0 + after) for after in (0, 5, 10, 20)] == [False, False, True, False]
    assert (job.state.status, job.state.progress, job.state.ended) == ("completed", 100, 1010.0)


def test_a_planned_failure_ends_the_job_at_the_same_time():
    job = a_job(Failure("service_error", "no"))

    assert advance(job, Settings(seconds=10), 1010.0)
    assert (job.state.status, job.state.progress, job.state.failure) == ("failed", 0, Failure("service_error", "no"))


@pytest.mark.parametrize(
    ("body", "output", "inputs", "cost"),
    [
        ({"model": "wan2.7-text-to-video"}, 5, 0, 27.2),
        ({"model": "wan2.7-text-to-video", "quality": "1080p"}, 5, 0, 45.424),
        ({"model": "wan2.7-text-to-video"}, 2, 0, 10.88),
        ({"model": "wan2.7-text-to-video"}, 1, 0, 10.88),
        ({"model": "wan2.7-image-to-video"}, 10, 8, 54.4),
        ({"model": "wan2.7-reference-video"}, 5, 3, 43.52),
        ({"model": "wan2.7-reference-video"}, 5, 30, 54.4),
        ({"model": "wan2.7-video-edit"}, 5, 5, 54.4),
        ({"model": "wan2.7-video-edit"}, 10, 30, 108.8),
    ],
)
def test_prices(body, output, inputs, cost):
    assert price(body, "video", output, inputs) == cost


@pytest.mark.parametrize(
    ("body", "reserved", "charged"),
    [
        ({"model": "wan2.7-image-to-video", "image_start": IMG}, 27.2, 27.2),
        ({"model": "wan2.7-reference-video", "prompt": "x", "image_urls": [IMG]}, 27.2, 27.2),
        ({"model": "wan2.7-reference-video", "prompt": "x", "video_urls": [VID]}, 54.4, 54.4),
        ({"model": "wan2.7-video-edit", "video_urls": [VID]}, 81.6, 54.4),
        ({"model": "wan2.7-video-edit", "video_urls": [VID], "duration": 2}, 38.08, 38.08),
    ],
)
def test_input_videos_at_public_addresses_count_as_five_seconds(client, emulator, body, reserved, charged):
    created = client.post("/v1/videos/generations", json=body).json()
    assert created["usage"]["credits_reserved"] == reserved
    assert emulator.books()["balance"] == 1000 - reserved

    job = client.get(f"/v1/tasks/{created['id']}").json()
    assert job["usage"]["credits_used"] == charged
    books = emulator.books()
    assert (books["credits_spent"], books["credits_reserved"]) == (charged, 0)
    assert books["balance"] == pytest.approx(1000 - charged)


def test_a_completed_job_shows_links_and_cost(finished):
    job = finished(duration=5)

    assert job["progress"] == 100
    assert job["usage"]["credits_used"] == 27.2
    assert job["usage"]["cost"] == {"credits": 27.2, "usd": 0.4, "cny": 2.72}
    (link,) = job["results"]
    assert f"/media/{job['id']}/1.mp4?expires=" in link


def test_a_failed_job_is_200_and_refunded(emulator, client, order):
    emulator.settings(show_billing=True)
    emulator.fault("job_fails", code="content_policy_violation", message="no brands")
    job_id = order().json()["id"]
    response = client.get(f"/v1/tasks/{job_id}")

    assert response.status_code == 200
    job = response.json()
    assert (job["status"], job["progress"]) == ("failed", 0)
    assert job["error"] == {
        "code": "content_policy_violation",
        "message": "no brands",
        "type": "task_error",
    }
    assert "results" not in job
    assert job["billing"] | {"refunded_at": 0} == {
        "refund_scope": "full",
        "charge_status": "released",
        "refund_status": "completed",
        "reserved_credits": 10.88,
        "charged_credits": 0.0,
        "refunded_credits": 10.88,
        "refunded_at": 0,
    }
    books = emulator.books()
    assert (books["balance"], books["credits_spent"], books["jobs"][0]["refunded"]) == (1000, 0, 10.88)


def test_billing_can_be_shown(emulator, finished):
    assert "billing" not in finished()

    emulator.settings(show_billing=True)
    billing = finished()["billing"]
    assert (billing["charge_status"], billing["refund_status"]) == ("charged", "not_required")


def test_credits_match_the_books(emulator, client, finished, order):
    finished()
    order()
    body = client.get("/v1/credits").json()

    assert body["success"] is True
    assert body["data"]["user"] == {"remaining_credits": 978.24, "used_credits": 10.88}
    assert body["data"]["token"]["unlimited_credits"] is True


def test_polling_a_job_that_cannot_be_read(client, emulator, order):
    malformed = client.get("/v1/tasks/job-1")
    assert malformed.status_code == 400
    assert malformed.json()["error"] | {"message": ""} == {
        "code": "invalid_task_id",
        "type": "invalid_request_error",
        "message": "",
        "param": "task_id",
    }
    missing = client.get("/v1/tasks/task-unified-1-none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "task_not_found")
    job_id = order().json()["id"]
    foreign = client.get(f"/v1/tasks/{job_id}", headers={"Authorization": "Bearer sk-other-account"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "permission_denied")
    emulator.job(job_id, vanish=True)
    assert client.get(f"/v1/tasks/{job_id}").status_code == 404


def test_another_key_of_the_account_can_poll_the_job(client, order):
    job_id = order().json()["id"]

    assert client.get(f"/v1/tasks/{job_id}", headers={"Authorization": "Bearer sk-rotated"}).status_code == 200


def test_batch_leaves_unknown_and_foreign_jobs_out(client, order):
    mine = [order().json()["id"] for _ in range(2)]
    foreign = order(headers={"Authorization": "Bearer sk-other-account"}).json()["id"]
    ids = [mine[1], "task-unified-1-none", foreign, mine[0], mine[0], "odd"]
    jobs = client.post("/v1/tasks/batch", json={"task_ids": ids}).json()["data"]

    assert [job["id"] for job in jobs] == [mine[1], mine[0]]
    assert jobs[0] == client.get(f"/v1/tasks/{mine[1]}").json() | {"results": jobs[0]["results"]}


@pytest.mark.parametrize("ids", [[], ["task-unified-1-a"] * 51, "task-unified-1-a", None, [1]])
def test_batch_accepts_one_to_fifty_ids(client, ids):
    response = client.post("/v1/tasks/batch", json={"task_ids": ids})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "task_ids")
    assert client.post("/v1/tasks/batch", json={"task_ids": [f"x{n}" for n in range(50)]}).json() == {"data": []}


def test_list_filters_and_pages(emulator, client, order):
    emulator.settings(polls=2)
    first, second, third = (order().json()["id"] for _ in range(3))
    emulator.job(first, state="completed")
    emulator.job(second, state="failed", code="service_error")

    def listed(**query):
        return client.get("/v1/tasks", params=query).json()

    page = listed(page_size=2)
    assert [job["id"] for job in page["data"]] == [third, second]
    assert (page["total"], page["page"], page["page_size"]) == (3, 1, 2)
    assert [job["id"] for job in listed(page=2, page_size=2)["data"]] == [first]
    assert [job["id"] for job in listed(status="processing")["data"]] == [third]
    assert [job["id"] for job in listed(status="failed")["data"]] == [second]
    assert listed(type="image")["total"] == listed(model="other")["total"] == 0
    assert listed(page_size=900)["page_size"] == 50
    done = listed(status="completed")["data"][0]
    assert done["has_results"]
    assert done["credits_used"] == 10.88
    assert "results" not in done


def test_listing_does_not_count_as_a_poll(emulator, client, order):
    order()
    client.get("/v1/tasks")

    assert emulator.books()["jobs"][0]["reads"] == 0


def test_models_lists_wan_2_7(client):
    names = {model["id"] for model in client.get("/v1/models").json()["data"]}

    assert {"wan2.7-text-to-video", "wan2.7-image-to-video", "wan2.7-reference-video", "wan2.7-video-edit"} <= names


def test_the_control_plane_can_force_a_job(emulator, client, order):
    job_id = order().json()["id"]
    emulator.job(job_id, state="processing")
    assert statuses(client, job_id, 3) == ["processing"] * 3
    emulator.job(job_id, state="cancelled")
    job = client.get(f"/v1/tasks/{job_id}").json()
    assert (job["status"], job["error"]["code"]) == ("cancelled", "request_cancelled")
    with pytest.raises(ValueError, match="already cancelled"):
        emulator.job(job_id, state="completed")
    assert emulator.job(job_id)["refunded"] == 10.88


def test_a_held_job_can_be_released(emulator, client, order):
    job_id = order().json()["id"]
    emulator.job(job_id, state="pending")
    assert statuses(client, job_id, 1) == ["pending"]
    emulator.job(job_id, release=True)
    assert statuses(client, job_id, 1) == ["completed"]


@pytest.mark.parametrize(
    "changes",
    [{"polls": -1}, {"nonsense": 1}, {"mode": "slow"}, {"speed": 0}, {"idempotency": 1}, {"fps": 0}, {"keys": "k"}],
)
def test_invalid_settings_are_refused(emulator, changes):
    before = emulator.settings()
    with pytest.raises(ValueError, match=next(iter(changes))):
        emulator.settings(**changes)
    assert emulator.settings() == before


def test_reset_forgets_everything(emulator, finished):
    emulator.settings(balance=5000)
    emulator.fault("html")
    emulator.clear_faults()
    finished()
    emulator.fault("html")
    emulator.reset()

    books = emulator.books()
    assert (books["orders"], books["jobs"], books["balance"], books["requests"]) == (0, [], 1000, {})
    assert emulator.faults() == []


def test_the_books_count_requests(emulator, client, finished):
    job = finished()
    client.get("/v1/credits")
    client.get(job["results"][0])
    books = emulator.books()

    assert books["requests"] == {"submit": 1, "read": 1, "credits": 1, "media": 1}
    assert books["media_requests_with_authorization"] == 1
