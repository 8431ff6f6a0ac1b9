"""What EvoLink sends: odd fields never make a paid job unreadable, and what we hand on is plain JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_provider_evolink.api.jobs.credits import Credits
from airflow_provider_evolink.api.jobs.job import Job, JobStatus

JOB = "task-unified-1790000000-demo0001"
WHOLE = {
    "id": JOB,
    "object": "video.generation.task",
    "created": 1790000000,
    "model": "wan2.7-text-to-video",
    "status": "completed",
    "progress": 100,
    "type": "video",
    "results": ["https://media.example.net/demo/video.mp4"],
    "task_info": {"can_cancel": False, "estimated_time": 120},
    "usage": {"billing_rule": "per_second", "credits_reserved": 27.2, "credits_used": 27, "user_group": "default"},
    "billing": {"charge_status": "charged", "charged_credits": 26.5, "refund_status": "not_required"},
}
WRONG = [None, True, False, -1, 1.5, 10**400, "", "x", "nan", "\ud800", [], ["x"], [[]], {}, {"x": 1}]
FIELDS = [*sorted({*WHOLE} - {"id"}), "error", "kind", "result_data", "draft_expires_at", "unheard_of"]


def job(**fields):
    return Job.model_validate({"id": JOB, **fields})


def test_a_whole_job():
    read = Job.model_validate(WHOLE)
    assert (read.job_id, read.model, read.kind, read.status, read.status_text) == (
        JOB,
        "wan2.7-text-to-video",
        "video",
        JobStatus.COMPLETED,
        "completed",
    )
    assert (read.progress, read.created, read.estimated_time) == (100.0, 1790000000.0, 120.0)
    assert (read.credits_reserved, read.credits_charged) == (27.2, 26.5)
    assert read.created_at == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert read.summary() == {
        "job_id": JOB,
        "model": "wan2.7-text-to-video",
        "kind": "video",
        "status": "completed",
        "results": ["https://media.example.net/demo/video.mp4"],
        "outputs": [{"kind": "video"}],
        "made": {},
        "credits": 26.5,
        "credits_reserved": 27.2,
        "credits_charged": 26.5,
        "created": "2026-09-21T14:13:20+00:00",
        "expires_at": "2026-09-22T14:13:20+00:00",
    }


def test_an_id_is_enough():
    read = job()
    assert (read.status, read.status_text, read.results, read.created_at) == (JobStatus.UNKNOWN, "", (), None)
    assert read.summary()["credits"] is None


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
def test_a_wrong_type_anywhere_leaves_the_rest_readable(field, value):
    read = Job.model_validate({**WHOLE, field: value})
    assert read.job_id == JOB
    json.dumps(read.summary(), allow_nan=False).encode()
    if field not in ("results", "status"):
        assert read.results == tuple(WHOLE["results"])
    if field == "status":
        assert read.status is JobStatus.UNKNOWN


@pytest.mark.parametrize("outer", ["task_info", "usage", "billing", "error"])
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
def test_a_wrong_type_inside_leaves_the_rest_readable(outer, value):
    names = ("estimated_time", "credits_reserved", "credits_used", "cost", "charged_credits", "code", "message", "type")
    read = Job.model_validate({**WHOLE, outer: dict.fromkeys(names, value)})
    assert read.job_id == JOB
    json.dumps(read.summary(), allow_nan=False)


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"created": "1790000000"}, "created", 1790000000.0),
        ({"created": 1790000000000}, "created", None),
        ({"created": -1}, "created", None),
        ({"created": 0}, "created", None),
        ({"created": "2026-01-01"}, "created", None),
        ({"progress": "80"}, "progress", 80.0),
        ({"progress": True}, "progress", None),
        ({"progress": float("nan")}, "progress", None),
        ({"progress": float("inf")}, "progress", None),
        ({"task_info": {"estimated_time": "120"}}, "estimated_time", 120.0),
        ({"task_info": {"estimated_time": -5}}, "estimated_time", None),
        ({"task_info": [120]}, "estimated_time", None),
        ({"model": 27}, "model", "27"),
        ({"model": "a\r\nb"}, "model", "a b"),
        ({"type": True}, "kind", None),
        ({"results": None}, "results", ()),
        ({"results": "https://a.example/x"}, "results", ("https://a.example/x",)),
        ({"results": {"url": "https://a.example/x"}}, "results", ("https://a.example/x",)),
        (
            {"results": [None, 7, "", " ", {"u": 1}, " https://a.example/x ", "\ud800"]},
            "results",
            ("https://a.example/x",),
        ),
        ({"usage": {"credits_reserved": "27.2"}}, "credits_reserved", 27.2),
        ({"billing": {"reserved_credits": 5}}, "credits_reserved", 5.0),
        ({"usage": {"credits_reserved": True}}, "credits_reserved", None),
        ({"usage": {"cost": {"credits": 3}}}, "credits_charged", 3.0),
        ({"usage": {"cost": 3}}, "credits_charged", None),
        ({"usage": {"credits_used": 4}, "billing": {"charged_credits": 0}}, "credits_charged", 0.0),
        ({"billing": {"charge_status": "released", "charged_credits": 0}}, "credits_charged", 0.0),
        ({"billing": {"charge_status": "reserved", "charged_credits": 0}}, "credits_charged", None),
        ({"billing": {"charge_status": "unknown", "charged_credits": 0}}, "credits_charged", None),
    ],
)
def test_leniency(fields, name, expected):
    assert getattr(job(**fields), name) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        ({}, (None, None)),
        ("plain words", (None, "plain words")),
        ({"code": 404, "message": 5}, ("404", "5")),
        ({"code": None, "message": ["x"]}, (None, None)),
        (["x"], (None, None)),
        (7, (None, "7")),
        ({"code": "c\r\nd", "message": "m https://a.b/c?sig=1", "type": "task_error"}, ("c d", "m https://a.b/c")),
    ],
)
def test_why_a_job_failed(error, expected):
    failure = job(status="failed", error=error).error
    assert (failure and (failure.code, failure.message)) == expected


@pytest.mark.parametrize(
    ("word", "status", "over"),
    [
        ("pending", "pending", False),
        ("processing", "processing", False),
        ("completed", "completed", True),
        ("failed", "failed", True),
        ("cancelled", "cancelled", True),
        ("canceled", "cancelled", True),
        (" COMPLETED ", "completed", True),
        ("Canceled", "cancelled", True),
        *[
            (word, "unknown", False)
            for word in ("queued", "paused", "succeed", "success", "error", "", None, 7, ["completed"])
        ],
    ],
)
def test_status(word, status, over):
    read = job(status=word)
    assert (read.status, read.status.is_over) == (status, over)


def test_the_status_word_is_kept_safe_and_short():
    assert job(status="pau\r\nsed").status_text == "pau sed"
    assert len(job(status="x" * 5000).status_text) == 40
    assert job(status=7).status_text == "7"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"id": "a"}, "a"),
        ({"id": 123}, "123"),
        ({"task_id": "b"}, "b"),
        ({"id": None, "task_id": "b"}, "b"),
        ({"id": "", "job_id": "c"}, "c"),
        ({"id": "a", "task_id": "b"}, "a"),
        ({"id": "x" * 128}, "x" * 128),
    ],
)
def test_an_id(ids, expected):
    assert Job.model_validate(ids).job_id == expected


@pytest.mark.parametrize(
    "ids",
    [
        {},
        *(
            {"id": bad}
            for bad in ["", ".", "..", "a/b", "a b", "a\n", "é", "x" * 129, True, 1.5, ["a"], {"id": "a"}, None]
        ),
    ],
)
def test_a_job_without_a_usable_id_is_none(ids):
    with pytest.raises(ValidationError):
        Job.model_validate({**WHOLE, **ids} if ids else {"status": "completed"})


@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_what_is_not_an_object_is_no_job(value):
    with pytest.raises(ValidationError):
        Job.model_validate(value)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), ANY, max_size=8))
def test_any_object_with_an_id_is_a_job(fields):
    fields.pop("id", None)
    summary = job().model_validate({**fields, "id": JOB}).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    json.dumps(summary, ensure_ascii=False).encode()


@given(ANY)
def test_any_balance_is_readable(value):
    for body in (
        {"user": value},
        {"token": value},
        {"user": {"remaining_credits": value}, "token": {"unlimited_credits": value}},
    ):
        available = Credits.model_validate(body).available
        assert available is None or available >= 0


@pytest.mark.parametrize(
    ("user", "token", "available"),
    [
        ({"remaining_credits": 250.5}, {"remaining_credits": 80.0, "unlimited_credits": False}, 80.0),
        ({"remaining_credits": 250.5}, {"remaining_credits": 80.0, "unlimited_credits": True}, 250.5),
        ({"remaining_credits": 250.5}, {"remaining_credits": 0, "unlimited_credits": "true"}, 250.5),
        ({"remaining_credits": 50}, {"remaining_credits": 80.0}, 50.0),
        ({"remaining_credits": 50}, None, 50.0),
        (None, {"remaining_credits": 80.0}, 80.0),
        ({"remaining_credits": "50"}, {"unlimited_credits": "perhaps"}, 50.0),
        ({"remaining_credits": -3}, {}, 0.0),
        ({}, {}, None),
        ([], "x", None),
        (
            {"remaining_credits": 50},
            {"unlimited_credits": True, "daily_limit_credits": 10, "daily_used_credits": 4},
            6.0,
        ),
        ({"remaining_credits": 50}, {"unlimited_credits": True, "daily_limit_credits": 10}, 10.0),
    ],
)
def test_credits_that_can_still_be_spent(user, token, available):
    assert Credits.model_validate({"user": user, "token": token}).available == available
