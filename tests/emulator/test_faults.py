"""Every kind of fault as a client experiences it, and how it is counted."""

from __future__ import annotations

import gzip
import http.client
import time
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_evolink.emulator.routes.fault_effects import AFTERWARDS, INSTEAD
from airflow_provider_evolink.emulator.state.faults import KINDS


@pytest.fixture
def link(finished):
    return finished()["results"][0]


@pytest.fixture
def whole(browser, link):
    return browser.get(link).content


def test_every_kind_is_handled():
    assert {name for name, kind in KINDS.items() if kind.stage == "request"} == INSTEAD.keys() | AFTERWARDS.keys()


def test_faults_happen_in_order_and_are_counted(emulator, client, order):
    emulator.fault("status", on="credits", status=503, times=2, after=1)
    emulator.fault("html", on="any")
    responses = [client.get("/v1/credits") for _ in range(5)]

    assert [response.status_code for response in responses] == [200, 503, 503, 200, 200]
    assert "html" in responses[0].headers["content-type"]
    assert [(fault["met"], fault["done"]) for fault in emulator.faults()] == [(2, True), (1, True)]
    assert emulator.books()["requests"]["credits"] == 5


def test_a_fault_can_be_permanent_and_limited_to_a_path(emulator, client, order):
    first, second = (order().json()["id"] for _ in range(2))
    emulator.fault("status", on="read", status=500, times=-1, path=first)

    assert [client.get(f"/v1/tasks/{first}").status_code for _ in range(3)] == [500] * 3
    assert client.get(f"/v1/tasks/{second}").status_code == 200
    assert emulator.faults()[0]["met"] == 3
    assert not emulator.faults()[0]["done"]
    emulator.clear_faults()
    assert client.get(f"/v1/tasks/{first}").status_code == 200


@pytest.mark.parametrize(
    "details",
    [
        {"kind": "nonsense"},
        {"kind": "status"},
        {"kind": "status", "status": 99},
        {"kind": "status", "status": "500"},
        {"kind": "delay", "seconds": -1},
        {"kind": "html", "on": "everywhere"},
        {"kind": "html", "times": -2},
        {"kind": "html", "surprise": 1},
        {"kind": "redirect"},
    ],
)
def test_invalid_faults_are_refused(emulator, details):
    with pytest.raises(ValueError, match=r"."):
        emulator.fault(**details)
    assert emulator.faults() == []


@pytest.mark.parametrize(
    ("status", "on", "code", "kind"),
    [
        (400, "submit", "invalid_request", "invalid_request_error"),
        (401, "submit", "unauthorized", "authentication_error"),
        (402, "submit", "insufficient_quota", "insufficient_quota"),
        (403, "submit", "model_access_denied", "invalid_request_error"),
        (429, "submit", "rate_limit_exceeded", "rate_limit_error"),
        (500, "submit", "internal_error", "api_error"),
        (402, "read", "quota_exceeded", "insufficient_quota"),
        (403, "read", "permission_denied", "invalid_request_error"),
        (404, "read", "task_not_found", "invalid_request_error"),
        (429, "read", "rate_limit_exceeded", "evo_api_error"),
        (500, "read", "internal_error", "api_error"),
        (400, "credits", 400, "invalid_request_error"),
    ],
)
def test_status_has_the_documented_body(emulator, client, order, status, on, code, kind):
    emulator.fault("status", on=on, status=status)
    calls = {
        "submit": order,
        "read": lambda: client.get("/v1/tasks/task-unified-1-a"),
        "credits": lambda: client.get("/v1/credits"),
    }
    response = calls[on]()

    assert response.status_code == status
    assert (response.json()["error"]["code"], response.json()["error"]["type"]) == (code, kind)
    assert response.headers["x-request-id"]
    assert emulator.books()["orders"] == 0


def test_status_takes_code_body_and_headers(emulator, client):
    emulator.fault("status", on="credits", status=429, code="slow", message="wait", headers={"Retry-After": "7"})
    first = client.get("/v1/credits")
    emulator.fault("status", on="credits", status=407, body="proxy says no")
    second = client.get("/v1/credits")

    assert (first.json()["error"]["code"], first.headers["retry-after"]) == ("slow", "7")
    assert (second.status_code, second.text) == (407, "proxy says no")


def test_status_after_the_order_was_accepted(emulator, order):
    emulator.fault("status", on="submit", status=502, processed=True)

    assert order().status_code == 502
    assert emulator.books()["orders"] == 1


def test_delay_processes_at_once_and_responds_late(emulator, client, order):
    emulator.fault("delay", on="submit", seconds=0.4)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/videos/generations", json={"model": "m"}, timeout=0.1)
    assert emulator.books()["orders"] == 1
    emulator.fault("delay", on="credits", seconds=0.2)
    start = time.monotonic()
    assert client.get("/v1/credits").status_code == 200
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("kind", "orders"), [("cut_before", 0), ("lost_answer", 1)])
def test_a_connection_closed_without_a_response(emulator, order, kind, orders, reset):
    emulator.fault(kind, on="submit", reset=reset)

    with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
        order()
    books = emulator.books()
    assert (books["orders"], books["credits_reserved"]) == (orders, orders * 10.88)
    assert emulator.faults()[0]["met"] == 1
    assert order().status_code == 200


def test_a_lost_response_can_be_replayed(emulator, order):
    emulator.fault("lost_answer")
    headers = {"Idempotency-Key": "order-0123456789"}
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        order(headers=headers)

    assert order(headers=headers).headers["idempotency-replayed"] == "true"
    assert emulator.books()["orders"] == 1


def read_until_cut(browser, link, error, **headers):
    got = bytearray()
    with browser.stream("GET", link, headers=headers) as response:
        try:
            for chunk in response.iter_raw():
                got += chunk
        except error:
            return response.status_code, bytes(got)
    pytest.fail("the body was complete")


@pytest.mark.parametrize(("reset", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)])
def test_cut_body_sends_the_given_number_of_bytes(emulator, browser, link, whole, reset, error):
    emulator.fault("cut_body", bytes=1000, reset=reset)

    assert read_until_cut(browser, link, error) == (200, whole[:1000])


def test_cut_body_keeps_ranges(emulator, browser, link, whole):
    emulator.fault("cut_body", bytes=10)

    assert read_until_cut(browser, link, httpx.RemoteProtocolError, Range="bytes=100-") == (206, whole[100:110])


def test_cut_json(emulator, client):
    emulator.fault("cut_body", on="credits", bytes=5)

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        client.get("/v1/credits")


def raw_get(link):
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"User-Agent": "test"})
    return connection.getresponse()


def test_wrong_length_larger(emulator, browser, link, whole):
    emulator.fault("wrong_length", by=5)

    with pytest.raises(httpx.RemoteProtocolError, match=rf"received {len(whole)} bytes, expected {len(whole) + 5}"):
        browser.get(link)


def test_wrong_length_smaller(emulator, link, whole):
    emulator.fault("wrong_length", by=-5)
    response = raw_get(link)

    assert response.getheader("content-length") == str(len(whole) - 5)
    assert response.read() == whole[:-5]


def test_no_length(emulator, link, whole):
    emulator.fault("no_length")
    response = raw_get(link)

    assert response.getheader("content-length") is None
    assert response.getheader("transfer-encoding") is None
    assert response.read() == whole


def test_drip(emulator, client):
    emulator.fault("drip", on="credits", bytes=50, seconds=0.02)
    start = time.monotonic()

    assert client.get("/v1/credits").json()["success"]
    assert time.monotonic() - start > 0.05


def test_html_with_status_200(emulator, browser, order, link):
    emulator.fault("html", on="media")
    page = browser.get(link)
    emulator.fault("html", on="submit")

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert order().text.startswith("<!doctype html>")
    assert emulator.books()["orders"] == 1  # the one behind the link


def test_empty_body(emulator, browser, link, order):
    emulator.fault("empty_body", on="media")
    emulator.fault("empty_body", on="submit")
    page, response = browser.get(link), order()

    assert (page.status_code, page.content, page.headers["content-length"]) == (200, b"", "0")
    assert (response.status_code, response.content) == (200, b"")
    assert emulator.books()["orders"] == 2


def test_malformed_json(emulator, client):
    emulator.fault("malformed_json", on="credits")
    emulator.fault("malformed_json", on="credits", text='{"data": NaN}')

    with pytest.raises(ValueError, match=r"."):
        client.get("/v1/credits").json()
    assert client.get("/v1/credits").text == '{"data": NaN}'


def test_gzip_and_bomb(emulator, browser, link, whole):
    emulator.fault("gzip")
    emulator.fault("gzip", bomb_bytes=1_000_000)
    responses = []
    for _ in range(2):
        with browser.stream("GET", link) as response:
            assert response.headers["content-encoding"] == "gzip"
            responses.append(gzip.decompress(b"".join(response.iter_raw())))

    assert responses == [whole, bytes(1_000_000)]


def test_headers_can_be_replaced_and_removed(emulator, browser, link):
    emulator.fault("headers", headers={"Content-Type": "text/plain", "ETag": None})
    response = browser.get(link)

    assert response.headers["content-type"] == "text/plain"
    assert "etag" not in response.headers


def test_corrupt_flips_a_byte(emulator, browser, link, whole):
    emulator.fault("corrupt", at=100)
    got = browser.get(link).content

    assert (len(got), got[100] ^ whole[100]) == (len(whole), 0xFF)
    assert got[:100] + got[101:] == whole[:100] + whole[101:]


def test_link_expired(emulator, browser, link):
    emulator.fault("link_expired")
    response = browser.get(link)

    assert (response.status_code, response.headers["content-type"]) == (403, "application/xml")
    assert b"Request has expired" in response.content
    assert browser.get(link).status_code == 200


def test_ignore_range(emulator, browser, link, whole):
    emulator.fault("ignore_range")
    response = browser.get(link, headers={"Range": "bytes=10-19"})

    assert (response.status_code, response.content) == (200, whole)


def test_redirect(emulator, browser, link):
    emulator.fault("redirect", location="http://169.254.169.254/latest")
    emulator.fault("redirect", location="/elsewhere", status=307)
    responses = [browser.get(link, follow_redirects=False) for _ in range(2)]

    assert [response.status_code for response in responses] == [302, 307]
    assert responses[0].headers["location"] == "http://169.254.169.254/latest"


def test_unknown_status_and_other_id(emulator, client, order):
    job_id = order().json()["id"]
    emulator.fault("unknown_status", status="paused")
    emulator.fault("id_mismatch")
    emulator.fault("patch_json", fields={"status": "processing", "progress": 10, "results": None})
    emulator.fault("unknown_status", on="batch", status=7)

    def read():
        return client.get(f"/v1/tasks/{job_id}").json()

    assert read()["status"] == "paused"
    assert read()["id"] != job_id
    assert read()["progress"] == 10
    batch = client.post("/v1/tasks/batch", json={"task_ids": [job_id]}).json()
    assert batch["data"][0]["status"] == 7
    assert read()["status"] == "completed"


@pytest.mark.parametrize(
    ("given", "results"), [("missing", "absent"), ("empty", []), ("null", None), ({"a": 1}, {"a": 1}), ([7], [7])]
)
def test_no_results_waits_for_a_completed_job(emulator, client, order, given, results):
    emulator.settings(polls=2)
    emulator.fault("no_results", **{"as": given})
    job_id = order().json()["id"]

    assert client.get(f"/v1/tasks/{job_id}").json()["status"] == "processing"
    assert emulator.faults()[0]["met"] == 0
    job = client.get(f"/v1/tasks/{job_id}").json()
    assert (job["status"], job.get("results", "absent")) == ("completed", results)
    assert client.get(f"/v1/tasks/{job_id}").json()["results"]


def test_job_fails_for_the_path_it_names(emulator, order):
    """As every fault does."""
    emulator.fault("job_fails", code="service_error", path="/v1/images/")
    order()
    assert not emulator.faults()[0]["done"]
    emulator.fault("job_fails", code="service_error", path="/v1/videos/")
    order()
    assert [fault["done"] for fault in emulator.faults()] == [False, True]


def test_job_fails_counts_only_accepted_orders(emulator, order):
    emulator.fault("job_fails", code="service_error")

    assert order(duration=99).status_code == 400
    assert emulator.faults()[0]["met"] == 0
    order()
    assert emulator.faults()[0]["met"] == 1
