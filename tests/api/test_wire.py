"""The wire: every answer EvoLink or something between us and it can give, as a table."""

from __future__ import annotations

import contextlib
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkRequestError, EvoLinkSubmissionUnknown
from airflow_provider_evolink.api.http import failures, retries, wire
from airflow_provider_evolink.api.redaction import LINKS_ONLY

JOB = "task-unified-1790000000-demo0001"
PROMPT = "A paper boat drifts down a rainy street"
LINK = "https://a.example/in.png?signature=topsecret"
BODY = {"model": "wan2.7-text-to-video", "prompt": PROMPT, "image_urls": [LINK], "quality": "720p"}
KEY = "af1-0123456789abcdef"
ORDER = wire.submit("/v1/videos/generations", BODY, KEY)
READ = wire.read_job(JOB)
CREDITS = wire.read_credits()
CALLS = {"order": ORDER, "read": READ, "credits": CREDITS}


def answer(status, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def read(call, given):
    return wire.credits_from(call, given) if call is CREDITS else wire.job_from(call, given)


def refused(call, given):
    """Return the error of an answer as (class without the brand, code)."""
    with pytest.raises(EvoLinkError) as caught:
        read(call, given)
    error = caught.value
    assert error.job_id == call.job_id
    assert isinstance(error, EvoLinkSubmissionUnknown) is (getattr(error, "idempotency_key", None) == KEY)
    text = f"{error}{vars(pickle.loads(pickle.dumps(error)))}"
    assert PROMPT[:16] not in text
    assert "topsecret" not in text
    return type(error).__name__.removeprefix("EvoLink"), error.code


def envelope(code, type_="invalid_request_error", **more):
    return {"error": {"code": code, "message": "said", "type": type_, **more}}


# Calls ------------------------------------------------------------------------------------------------------------


def test_an_order():
    assert (ORDER.method, ORDER.path, ORDER.paid, ORDER.key) == ("POST", "/v1/videos/generations", True, KEY)
    assert ORDER.headers == {"Idempotency-Key": KEY, "Content-Type": "application/json"}
    assert json.loads(ORDER.content) == BODY
    assert PROMPT not in repr({**vars(ORDER), "content": None})


def test_an_order_keeps_its_characters():
    call = wire.submit("/x", {"model": "m", "prompt": "纸船 😀\n", "seed": 2**31 - 1, "on": True, "none": None}, KEY)
    assert call.content == '{"model":"m","prompt":"纸船 😀\\n","seed":2147483647,"on":true,"none":null}'.encode()


ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", {1, 2}, b"x", datetime(2026, 1, 1, tzinfo=UTC), object(), ENDLESS],
    ids=lambda value: type(value).__name__,
)
def test_a_body_that_is_not_json_is_refused_before_anything_is_sent(value):
    with pytest.raises(EvoLinkRequestError, match="must be JSON"):
        wire.submit("/x", {"model": "m", "value": value}, KEY)


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}, {"model": 3}])
def test_a_body_must_name_its_model(body):
    with pytest.raises(EvoLinkRequestError, match="must name a model"):
        wire.submit("/x", body, KEY)


@pytest.mark.parametrize("key", ["", "x" * 15, "x" * 97, "x" * 16 + "\n", "x" * 16 + "é", "x" * 16 + " ", "a/" * 10])
def test_an_idempotency_key_that_evolink_would_refuse(key):
    with pytest.raises(EvoLinkRequestError, match="idempotency_key"):
        wire.submit("/x", BODY, key)


@pytest.mark.parametrize("key", ["x" * 16, "x" * 96, "aZ0.-_" * 3])
def test_an_idempotency_key(key):
    assert wire.submit("/x", BODY, key).key == key


@pytest.mark.parametrize(
    ("job_id", "path"), [(JOB, f"/v1/tasks/{JOB}"), ("a:b._-", "/v1/tasks/a%3Ab._-"), ("7", "/v1/tasks/7")]
)
def test_a_poll_of_a_job(job_id, path):
    call = wire.read_job(job_id)
    assert (call.method, call.path, call.content, call.paid, call.job_id) == ("GET", path, None, False, job_id)


ODD_IDS = [
    "",
    ".",
    "..",
    "...",
    "a/b",
    "../x",
    "a?b",
    "a#b",
    "a%2fb",
    "a b",
    "a\r\nX: 1",
    "a\n",
    "é",
    "x" * 129,
    "\ud800",
]


@pytest.mark.parametrize("job_id", ODD_IDS)
def test_an_id_that_could_leave_the_path_is_refused(job_id):
    with pytest.raises(EvoLinkRequestError, match="job_id"):
        wire.read_job(job_id)


# Answers ----------------------------------------------------------------------------------------------------------

DOCUMENTED = [  # evolink-api 2.2, 2.3, 3.3, 5
    ("order", 400, "invalid_request", "InvalidError"),
    ("order", 401, "unauthorized", "AuthError"),
    ("order", 402, "insufficient_quota", "CreditsError"),
    ("order", 403, "model_access_denied", "AccessError"),
    ("order", 404, "not_found", "InvalidError"),
    ("order", 405, "method_not_allowed", "InvalidError"),
    ("order", 413, "request_too_large", "InvalidError"),
    ("order", 410, "draft_expired", "InvalidError"),  # an order on an earlier job that is gone
    ("order", 409, "draft_not_ready", "SubmissionUnknown"),  # it might as well say that there is an order
    ("order", 415, "unsupported_media_type", "InvalidError"),
    ("order", 422, "invalid_parameters", "InvalidError"),
    ("order", 429, "rate_limit_exceeded", "RateLimited"),
    *[("order", status, "x", "SubmissionUnknown") for status in (408, 409, 418, 425, 451)],
    *[("order", status, "internal_error", "SubmissionUnknown") for status in (500, 501, 502, 503, 504, 520, 524, 526)],
    *[("order", status, "x", "SubmissionUnknown") for status in (101, 301, 302, 303, 307, 308)],
    *[("order", status, "paid_outcome_unknown", "SubmissionUnknown") for status in (400, 402, 409, 429, 503)],
    *[("order", status, "idempotency_conflict", "SubmissionUnknown") for status in (400, 409, 422)],
    *[
        ("order", 402, code, "CreditsError")
        for code in [
            "insufficient_user_quota",
            "quota_not_enough",
            "account_balance_insufficient",
            "insufficient_token_quota",
            "key_quota_exhausted",
            "token_daily_quota_exceeded",
            "key_daily_quota_exhausted",
        ]
    ],
    *[("order", 402, code, "AuthError") for code in ("key_disabled", "key_expired", "user_disabled", "invalid_token")],
    *[
        ("order", 402, code, "AccessError")
        for code in ("key_model_not_allowed", "model_access_denied", "ip_restricted")
    ],
    *[
        ("order", 400, code, "ContentError")
        for code in [
            "content_policy_violation",
            "content_filter",
            "sensitive_content",
            "moderation_blocked",
            "input_moderation_failed",
        ]
    ],
    *[
        ("order", 400, code, "Unavailable")
        for code in ["no_available_channel", "model_unavailable", "channel_selection_failed", "service_unavailable"]
    ],
    *[
        ("order", 400, code, "InvalidError")
        for code in ["invalid_parameter", "invalid_parameters", "invalid_media_url", "unsupported_parameters"]
    ],
    ("order", 429, "key_daily_quota_exhausted", "CreditsError"),
    ("order", 403, "insufficient_user_quota", "CreditsError"),
    ("order", 503, "no_available_channel", "SubmissionUnknown"),
    ("read", 400, "invalid_task_id", "InvalidError"),
    ("read", 401, "unauthorized", "AuthError"),
    ("read", 402, "quota_exceeded", "CreditsError"),
    ("read", 403, "permission_denied", "AccessError"),
    ("read", 404, "task_not_found", "NotFoundError"),
    ("read", 429, "rate_limit_exceeded", "RateLimited"),
    *[("read", status, "internal_error", "Unavailable") for status in (408, 409, 425, 500, 502, 503, 504, 520, 526)],
    *[("read", status, "x", "Unavailable") for status in (301, 302, 307)],
    ("read", 500, "invalid_token", "Unavailable"),
    ("credits", 400, 400, "InvalidError"),
    ("credits", 401, 401, "AuthError"),
    ("credits", 429, 429, "RateLimited"),
    ("credits", 503, 503, "Unavailable"),
]


@pytest.mark.parametrize(("call", "status", "code", "expected"), DOCUMENTED)
def test_a_documented_refusal(call, status, code, expected):
    assert refused(CALLS[call], answer(status, envelope(code))) == (expected, str(code))


def test_a_refusal_has_the_message_of_evolink_and_what_to_do():
    given = answer(400, envelope("invalid_request", param="seed"), x_request_id="req-7", retry_after="3")
    with pytest.raises(errors.EvoLinkInvalidError) as caught:
        wire.job_from(ORDER, given)
    assert str(caught.value) == (
        "order: EvoLink refused: “said (field seed)”. What to do: correct the request "
        "[code invalid_request, HTTP 400, request id req-7, retry after 3 s]"
    )
    assert caught.value.permanent


def test_an_unknown_outcome_tells_what_to_look_for():
    with pytest.raises(EvoLinkSubmissionUnknown) as caught:
        wire.job_from(ORDER, answer(503, envelope("internal_error"), x_oneapi_request_id="req-8"))
    assert "HTTP 503: “said”" in str(caught.value)
    assert KEY in str(caught.value)
    assert (caught.value.request_id, caught.value.status_code, caught.value.permanent) == ("req-8", 503, True)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (envelope("c"), "c", "“said”"),
        (envelope(400), "400", "“said”"),
        (envelope(""), "invalid_request_error", "“said”"),
        (envelope(None, ""), "unnamed", "“said”"),
        (envelope(True, None), "unnamed", "“said”"),
        (envelope(["c"], {"t": 1}), "unnamed", "“said”"),
        (envelope("c", param=""), "c", "“said”."),
        ({"error": "some text"}, "unnamed", "“some text”"),
        ({"error": "some text", "code": 7}, "7", "“some text”"),
        ({"error": None, "message": "outside", "code": "c"}, "c", "“outside”"),
        ({"error": {}, "message": "outside"}, "unnamed", "“outside”"),
        ({"message": "outside"}, "unnamed", "“outside”"),
        ({"success": False, "code": 40002, "msg": "type not allowed"}, "40002", "“type not allowed”"),
        ({"success": False}, "unnamed", "refused. What"),
        ({"error": {"code": "c", "message": {"deep": 1}}}, "c", "refused. What"),
        ({"error": {"code": "two\r\nlines", "message": "a\x1b[0mb\r\nc"}}, "two lines", "“a [0mb c”"),
        ({"error": {"code": "x" * 200, "message": "y" * 5000}}, "x" * 79 + "…", "y" * 299 + "…”"),
        ({"error": {"code": "c", "message": "half \ud800"}}, "c", "“half”"),
    ],
)
def test_every_envelope_is_read(body, code, said):
    for call, status in ((ORDER, 400), (replace(READ, redactor=LINKS_ONLY), 403)):
        with pytest.raises(errors.EvoLinkAPIError) as caught:
            wire.job_from(call, answer(status, body))
        assert caught.value.code == code
        assert said in str(caught.value)
        str(caught.value).encode()


BROKEN = {
    "empty": b"",
    "blank": b" \n",
    "html": b"<!doctype html><html>blocked</html>",
    "text": b"upstream connect error",
    "truncated": b'{"id": "task-unified-1',
    "list": json.dumps([{"id": JOB}]).encode(),
    "string": b'"task-unified-1"',
    "null": b"null",
    "number": b"7",
    "deep": b'{"id":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "digits": b'{"id":"' + JOB.encode() + b'","progress":' + b"9" * 5000 + b"}",
    "binary": b"\x1f\x8b\x08\x00" * 10,
    "utf-8": b'{"id":"\xff\xfe"}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("status", [200, 400, 403, 404, 422, 429, 500, 503])
def test_what_is_not_evolinks_json_proves_nothing(body, status):
    assert refused(ORDER, answer(status, body)) == ("SubmissionUnknown", None)
    passing = "RateLimited" if status == 429 else "Unavailable"
    assert refused(READ, answer(status, body)) == (passing, None)
    assert refused(CREDITS, answer(status, body)) == (passing, None)


@pytest.mark.parametrize(
    "body", [{}, {"data": {}}, {"detail": "x"}, {"type": "about:blank"}, {"error": [1]}, {"error": {}}]
)
def test_a_json_object_without_an_error_is_not_a_refusal(body):
    assert refused(ORDER, answer(400, body)) == ("SubmissionUnknown", None)
    assert refused(READ, answer(404, body)) == ("Unavailable", None)


def test_a_bad_key_is_one_whatever_the_body():
    assert refused(READ, answer(401, b"")) == ("AuthError", None)
    assert refused(ORDER, answer(401, b"")) == ("SubmissionUnknown", None)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_job_is_accepted_with_any_success(status):
    job = wire.job_from(ORDER, answer(status, {"id": JOB, "status": "pending"}))
    assert (job.job_id, job.status) == (JOB, "pending")


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + json.dumps({"id": JOB}).encode(),
        b'{"id": "%s", "progress": NaN, "created": -Infinity}' % JOB.encode(),
        b'{"id": "%s", "progress": 1e999}' % JOB.encode(),
        b'{"id": "other", "id": "%s"}' % JOB.encode(),
        b'{"id": null, "task_id": "%s"}' % JOB.encode(),
    ],
)
def test_odd_json_that_names_a_job(body):
    job = wire.job_from(READ, answer(200, body))
    assert job.job_id == JOB
    json.dumps(job.summary(), allow_nan=False)


@pytest.mark.parametrize("job_id", [*(i for i in ODD_IDS if i), None, True, 1.5, [JOB], {"a": 1}])
def test_a_success_without_a_usable_id(job_id):
    given = answer(200, {"id": job_id, "status": "pending"})
    assert refused(ORDER, given) == ("SubmissionUnknown", None)
    assert refused(READ, given) == ("Unavailable", None)


def test_the_response_about_another_job_is_not_believed():
    assert refused(READ, answer(200, {"id": JOB + "x", "status": "completed"})) == ("Unavailable", None)


@pytest.mark.parametrize(
    ("body", "order", "look"),
    [
        ({"success": False, "code": 401, "msg": "m"}, "SubmissionUnknown", "AuthError"),
        ({"success": False, "code": "404", "msg": "m"}, "SubmissionUnknown", "NotFoundError"),
        ({"success": False, "message": "m"}, "SubmissionUnknown", "Unavailable"),
        (envelope("key_disabled"), "SubmissionUnknown", "AuthError"),
        (envelope("invalid_request"), "SubmissionUnknown", "Unavailable"),
        ({"message": "busy"}, "SubmissionUnknown", "Unavailable"),
    ],
)
def test_a_success_that_is_none(body, order, look):
    assert refused(ORDER, answer(200, body))[0] == order
    assert refused(READ, answer(200, body))[0] == look


def test_too_many_links():
    given = answer(200, {"id": JOB, "status": "completed", "results": ["https://a.example/x"] * 65})
    assert refused(READ, given) == ("Unavailable", None)
    job = wire.job_from(ORDER, given)
    assert (job.job_id, job.results) == (JOB, ())


def test_as_many_and_as_long_links_as_allowed():
    links = ["https://a.example/" + "x" * (8192 - 18)] * 64
    assert wire.job_from(READ, answer(200, {"id": JOB, "results": links})).results == tuple(links)


def test_a_failed_job_is_a_reading():
    job = wire.job_from(READ, answer(200, {"id": JOB, "status": "failed", "error": {"code": 400, "message": "m"}}))
    assert (job.status, job.error.code) == ("failed", "400")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"success": False, "message": "m", "data": None}, ("Unavailable", "unnamed")),
        ({"success": False, "error": {"code": 401, "message": "m"}}, ("AuthError", "401")),
        ({"success": False, "data": {"user": {"remaining_credits": 1}}}, ("Unavailable", "unnamed")),
        ({"success": True}, ("Unavailable", None)),
        ({"success": True, "data": [1]}, ("Unavailable", None)),
        ({}, ("Unavailable", None)),
    ],
)
def test_credits_that_are_none(body, expected):
    given = answer(200, body)
    assert refused(CREDITS, given) == expected
    with pytest.raises(EvoLinkError) as caught:
        wire.credits_from(CREDITS, given)
    assert caught.value.status_code == 200


def test_credits():
    body = {"success": True, "data": {"user": {"remaining_credits": 250.5}, "token": {"remaining_credits": 80}}}
    assert wire.credits_from(CREDITS, answer(200, body)).available == 80.0


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"the prompt '{PROMPT}' was refused", "“the prompt '…”"),
        (f"prompt: {PROMPT[:20]}... is bad", "“prompt: …”"),
        (f"cannot fetch {LINK}", "“cannot fetch …”"),
        ("quality 720p needs wan2.7-text-to-video", "“quality 720p needs wan2.7-text-to-video”"),
        ("see https://b.example/x?token=1", "“see …”"),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_what_evolink_repeats_of_our_texts_is_not_shown(message, shown, status):
    with pytest.raises(EvoLinkError) as caught:
        wire.job_from(ORDER, answer(status, {"error": {"code": "c", "message": message}}))
    assert shown in str(caught.value)


@given(st.sampled_from(list(CALLS.values())), st.integers(100, 599), st.binary(max_size=200))
def test_any_bytes_end_in_one_of_our_errors(call, status, body):
    with pytest.raises(EvoLinkError):
        read(call, answer(status, body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "id", "success", "data", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(list(CALLS.values())), st.sampled_from([200, 202, 302, 400, 404, 429, 500]), JSON)
def test_any_json_is_a_job_or_one_of_our_errors(call, status, body):
    try:
        read(call, answer(status, body))
    except EvoLinkError as error:
        if call is ORDER and not (400 <= status < 500 and error.code):
            assert isinstance(error, EvoLinkSubmissionUnknown)  # noqa: PT017


@pytest.mark.parametrize("depth", range(100, 1100, 50))
@pytest.mark.parametrize("place", ["error", "status", "results", "usage", "code"])
def test_deep_nesting_of_any_depth_is_survived(depth, place):
    deep = "[" * depth + "]" * depth
    body = f'{{"id":"{JOB}","{place}":{deep}}}'.encode()
    for status in (200, 400):
        with contextlib.suppress(errors.EvoLinkUnavailable):
            assert wire.job_from(READ, answer(status, body)).job_id == JOB


# Network failures and retries -------------------------------------------------------------------------------------

UNSENT = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
]
SENT = [
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
    httpx.TooManyRedirects,
    TimeoutError,
]


@pytest.mark.parametrize("kind", UNSENT + SENT)
def test_a_failure_of_the_network(kind):
    fault = kind(f"{LINK} Bearer test-key-0123456789")
    order, look = failures.network_error(ORDER, fault), failures.network_error(READ, fault)
    assert isinstance(look, errors.EvoLinkUnavailable)
    assert look.job_id == JOB
    assert retries.may_send_again(look, paid=False)
    assert retries.may_send_again(order, paid=True) is (kind in UNSENT)
    assert isinstance(order, EvoLinkSubmissionUnknown) is (kind in SENT)
    assert ("nothing was sent" in str(order)) is (kind in UNSENT)
    for error in (order, look):
        assert kind.__name__ in str(error)
        assert "test-key" not in str(error)
        assert "topsecret" not in str(error)


@pytest.mark.parametrize(
    ("error", "order", "look"),
    [
        (errors.EvoLinkRateLimited("x"), True, True),
        (errors.EvoLinkUnavailable("x"), False, True),
        (errors.EvoLinkUnavailable("x", unsent=True), True, True),
        (EvoLinkSubmissionUnknown("x"), False, False),
        (errors.EvoLinkAuthError("x"), False, False),
        (errors.EvoLinkNotFoundError("x"), False, False),
        (errors.EvoLinkInvalidError("x"), False, False),
        (errors.EvoLinkCreditsError("x"), False, False),
        (ValueError("x"), False, False),
        (KeyboardInterrupt(), False, False),
    ],
)
def test_what_may_be_sent_again(error, order, look):
    assert (retries.may_send_again(error, paid=True), retries.may_send_again(error, paid=False)) == (order, look)


@pytest.mark.parametrize(
    ("requested", "attempts", "jitter", "expected"),
    [
        (None, 1, 0.0, 0.5),
        (None, 1, 1.0, 2.0),
        (None, 2, 1.0, 4.0),
        (None, 3, 1.0, None),
        (0.0, 1, 0.0, 0.5),
        (10.0, 1, 0.0, 10.0),
        (10.0, 2, 1.0, 11.0),
        (30.0, 1, 0.0, 30.0),
        (30.1, 1, 0.0, None),
        (10.0, 3, 0.0, None),
    ],
)
def test_the_wait_between_two_attempts(requested, attempts, jitter, expected):
    error = errors.EvoLinkRateLimited("x", retry_after=requested)
    assert retries.wait_before_retry(error, attempts, max_wait=30.0, jitter=jitter) == expected


@given(st.none() | st.floats(0, 3600), st.integers(1, 5), st.floats(0, 60), st.floats(0, 1))
def test_the_wait_is_bounded_and_never_shorter_than_requested(requested, attempts, max_wait, jitter):
    wait = retries.wait_before_retry(
        errors.EvoLinkUnavailable("x", retry_after=requested), attempts, max_wait=max_wait, jitter=jitter
    )
    if wait is not None:
        assert attempts < retries.MAX_ATTEMPTS
        assert (requested or 0.0) <= wait <= max_wait * 1.1


NOW = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (" 2.5 ", 2.5),
        ("0", 0.0),
        ("1e9", 3600.0),
        ("99999", 3600.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("soon", None),
        ("", None),
        ("5, 10", None),
        ("9" * 5000, None),
        ("Sun, 01 Nov 2026 06:30:40 GMT", 40.0),
        ("Sun, 01 Nov 2026 01:31:00 -0500", 60.0),
        ("Sun, 01 Nov 2026 06:00:00 GMT", 0.0),
        ("Mon, 01 Nov 2027 06:00:00 GMT", 3600.0),
        ("Sun, 31 Feb 2026 06:00:00 GMT", None),
        ("Sun, 01 Nov 2026 06:30:40", None),
    ],
)
def test_retry_after(text, seconds):
    assert retries.retry_after({"retry-after": text}, NOW) == seconds


def test_retry_after_is_absent():
    assert retries.retry_after({}) is None


@given(st.text())
def test_any_retry_after_is_none_or_a_bounded_wait(text):
    seconds = retries.retry_after({"retry-after": text})
    assert seconds is None or 0.0 <= seconds <= 3600.0
