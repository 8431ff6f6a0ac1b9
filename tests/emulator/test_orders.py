"""Submitting: API keys, the response, idempotency keys."""

from __future__ import annotations

import re

import pytest

KEY = "order-0123456789"


def error_of(response):
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])
    return response.json()["error"]


def test_the_response_to_a_submission_is_as_documented(order):
    response = order()

    assert response.status_code == 200
    job = response.json()
    assert re.fullmatch(r"task-unified-\d{10}-[a-z0-9]{8}", job.pop("id"))
    assert isinstance(job.pop("created"), int)
    assert job == {
        "object": "video.generation.task",
        "model": "wan2.7-text-to-video",
        "status": "pending",
        "progress": 0,
        "type": "video",
        "task_info": {"can_cancel": True, "estimated_time": 1},
        "usage": {"billing_rule": "per_second", "credits_reserved": 10.88, "user_group": "default"},
    }


@pytest.mark.parametrize("authorization", [None, "Bearer", "Basic abc", "Bearer sk-expired-1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/videos/generations"),
        ("GET", "/v1/tasks/task-unified-1-a"),
        ("POST", "/v1/tasks/batch"),
        ("GET", "/v1/tasks"),
        ("GET", "/v1/models"),
    ],
)
def test_a_missing_or_expired_key_is_401(browser, method, path, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    response = browser.request(method, path, headers=headers)

    assert response.status_code == 401
    error = error_of(response)
    assert (error["code"], error["type"]) == ("unauthorized", "authentication_error")


def test_credits_reports_a_bad_key_with_a_number(browser):
    response = browser.get("/v1/credits")

    assert (response.status_code, error_of(response)["code"]) == (401, 401)


def test_only_configured_keys_are_accepted(emulator, client):
    assert emulator.settings(keys=["sk-other"])["keys"] == 1
    assert client.get("/v1/credits").status_code == 401
    assert client.get("/v1/credits", headers={"Authorization": "Bearer sk-other"}).status_code == 200


def test_models_without_access_are_403(order):
    response = order(model="no-access-model")

    assert response.status_code == 403
    assert error_of(response)["code"] == "model_access_denied"


def test_too_few_credits_are_402(emulator, order):
    emulator.settings(balance=10)
    response = order()

    assert response.status_code == 402
    error = error_of(response)
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert emulator.books()["orders"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b'{"seed": NaN}', b"\xff", b"[" * 100_000, b"[]", b'"x"', b"1"])
def test_a_body_other_than_a_json_object_is_400(client, body):
    response = client.post("/v1/videos/generations", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_request"


def test_other_content_types_are_415_and_huge_bodies_413(client):
    assert client.post("/v1/videos/generations", data={"model": "x"}).status_code == 415
    huge = client.post("/v1/videos/generations", json={"model": "x", "prompt": "x" * 11_000_000})
    assert (huge.status_code, error_of(huge)["code"]) == (413, "request_too_large")


def test_unknown_paths_and_methods_have_error_bodies(client):
    assert error_of(client.get("/v1/nothing"))["code"] == "not_found"
    assert error_of(client.get("/v1/videos/generations"))["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("kind", "path", "model"),
    [("image", "images", "some-picture"), ("audio", "audios", "some-music"), ("video", "videos", "kling-9")],
)
def test_unknown_models_are_accepted(client, kind, path, model):
    response = client.post(f"/v1/{path}/generations", json={"model": model, "anything": [1]})

    assert response.status_code == 200
    assert response.json()["object"] == f"{kind}.generation.task"


def test_same_key_and_body_return_the_original_job(emulator, order):
    first = order(headers={"Idempotency-Key": KEY})
    again = order(headers={"Idempotency-Key": KEY})

    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    books = emulator.books()
    assert (books["orders"], books["replays"], books["credits_reserved"]) == (1, 1, 10.88)
    assert books["jobs"][0]["idempotency_key"] == KEY


def test_same_key_with_another_body_is_409(emulator, order):
    order(headers={"Idempotency-Key": KEY})
    response = order(headers={"Idempotency-Key": KEY}, prompt="something else")

    assert response.status_code == 409
    assert error_of(response)["code"] == "idempotency_conflict"
    assert emulator.books()["orders"] == 1


def test_the_key_belongs_to_the_api_key(emulator, order):
    order(headers={"Idempotency-Key": KEY})
    order(headers={"Idempotency-Key": KEY, "Authorization": "Bearer sk-evo-second"})

    books = emulator.books()
    assert books["orders"] == 2
    assert len({job["key_fingerprint"] for job in books["jobs"]}) == 2


@pytest.mark.parametrize("key", ["short", "x" * 15, "x" * 97, "with space 0123456", "slash/0123456789", ""])
def test_an_invalid_key_is_400(emulator, order, key):
    response = order(headers={"Idempotency-Key": key})

    assert response.status_code == 400
    assert error_of(response)["param"] == "Idempotency-Key"
    assert emulator.books()["orders"] == 0


@pytest.mark.parametrize("key", ["x" * 16, "x" * 96, "A.b_c-0123456789"])
def test_a_valid_key_is_accepted(order, key):
    assert order(headers={"Idempotency-Key": key}).status_code == 200


def test_without_idempotency_the_key_is_ignored(emulator, order):
    emulator.settings(idempotency=False)
    first, again = order(headers={"Idempotency-Key": KEY}), order(headers={"Idempotency-Key": KEY})
    order(headers={"Idempotency-Key": "short"})

    assert first.json()["id"] != again.json()["id"]
    assert emulator.books()["orders"] == 3


def test_a_refused_submission_does_not_consume_the_key(order):
    order(headers={"Idempotency-Key": KEY}, duration=99)

    assert order(headers={"Idempotency-Key": KEY}).status_code == 200


def test_the_books_never_contain_the_api_key(emulator, order):
    order()

    assert "sk-evo-test" not in str(emulator.books())
