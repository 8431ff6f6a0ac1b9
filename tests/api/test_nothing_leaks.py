"""What a call carries appears in no log and no error: redirects, cookies, the prompt in EvoLink's messages, the key."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle

import httpx
import pytest

from airflow_provider_evolink.api.client import AsyncEvoLinkClient, EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkError
from airflow_provider_evolink.api.files.download import download
from airflow_provider_evolink.api.http.transport import build_client, ssl_context
from airflow_provider_evolink.api.redaction import Redactor
from airflow_provider_evolink.api.settings import ClientSettings

KEY = "test-key-0123456789"
JOB = "task-unified-1790000000-demo0001"
PROMPT = "A paper boat drifts down a rainy street at night"
BODY = {"model": "wan2.7-text-to-video", "prompt": PROMPT, "image_urls": ["https://a.example/in.png?sig=topsecret"]}
SIGNED = "https://files.example.invalid/a.mp4?X-Amz-Signature=topsecret"
HEADERS = {
    "redirect": {"Location": SIGNED},
    "cookie": {"Set-Cookie": "session=topsecret; Path=/"},
    "link": {"Link": f"<{SIGNED}>; rel=next"},
    "content location": {"Content-Location": SIGNED},
}


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("httpcore", "httpcore.http11", "httpcore.connection", "httpx", "aiohttp", "airflow_provider_evolink"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def settings_for(server):
    return ClientSettings(KEY, base_url=server.url, retry_wait=0.01)


async def polled(server, call):
    async with await AsyncEvoLinkClient.create(settings_for(server)) as client:
        return await call(client)


async def polled_over_httpx(server, call):
    settings = settings_for(server)
    client = AsyncEvoLinkClient(settings, ssl_context())
    await client._http.aclose()
    client._http = build_client(httpx.AsyncClient, settings, ssl_context(), httpx.Limits())
    async with client:
        return await call(client)


CALLS = {
    "order": lambda server, client: client.submit(BODY),
    "read": lambda server, client: client.get_job(JOB, attempts=1),
    "wait": lambda server, client: client.wait(JOB, timeout=-1, poll_interval=0.01),
    "list": lambda server, client: client.list_jobs("wan2.7-text-to-video"),
    "poll": lambda server, client: asyncio.run(polled(server, lambda polls: polls.poll_job(JOB))),
    "poll many": lambda server, client: asyncio.run(polled(server, lambda polls: polls.poll_jobs([JOB, JOB + "2"]))),
    "poll behind a proxy": lambda server, client: asyncio.run(
        polled_over_httpx(server, lambda polls: polls.poll_job(JOB))
    ),
}


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("call", CALLS)
def test_no_header_of_a_response_is_logged(answer_server, answer_client, logged, call, headers):
    answer_server.answers = [(302, {}, HEADERS[headers])]
    with pytest.raises(EvoLinkError) as caught:
        CALLS[call](answer_server, answer_client)
    assert "topsecret" not in f"{logged.text}{caught.value}"
    assert answer_server.seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_of_a_download_is_logged(answer_server, logged, status):
    last = f"{answer_server.url}/last?X-Amz-Signature=topsecret"
    cookie = {"Set-Cookie": "session=topsecret"}
    answer_server.answers = [(status, {}, {"Location": last, **cookie}), (404, {}, cookie)]
    with (
        pytest.raises(EvoLinkError) as caught,
        download(f"{answer_server.url}/first?sig=topsecret", allow_loopback=True),
    ):
        pass
    assert [path for _, path, _ in answer_server.seen][1].startswith("/last?")
    assert "topsecret" not in f"{logged.text}{caught.value}"


def test_the_calls_of_others_are_logged_as_before(answer_server, answer_client, logged):
    answer_server.answers = [(302, {}, HEADERS["redirect"])]
    with pytest.raises(EvoLinkError):
        answer_client.get_job(JOB, attempts=1)
    before = logged.text
    httpx.get(answer_server.url)
    assert "receive_response_headers.complete" not in before
    assert "receive_response_headers.complete" in logged.text
    assert "topsecret" in logged.text


# EvoLink's message on reads ---------------------------------------------------------------------------------------

STATUSES = [400, 401, 402, 403, 404, 409, 410, 413, 422, 429, 500, 502, 503, 504]
ENVELOPES = {
    "error.message": lambda text: {"error": {"code": "invalid", "message": text}},
    "error as text": lambda text: {"error": text},
    "message": lambda text: {"code": 400, "message": text},
    "msg": lambda text: {"success": False, "msg": text},
    "code": lambda text: {"error": {"code": text, "message": "see the code"}},
    "type": lambda text: {"error": {"type": text, "message": "see the type"}},
    "param": lambda text: {"error": {"code": "c", "message": "see the field", "param": text}},
}
READS = {name: CALLS[name] for name in ("read", "wait", "list", "poll", "poll many")}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503, 200])
@pytest.mark.parametrize("call", READS)
def test_a_refused_read_quotes_nothing_of_a_request_that_nobody_here_knows(
    answer_server, answer_client, logged, call, status
):
    for envelope in ENVELOPES.values():
        answer_server.answers = [(status, envelope(f"the prompt {PROMPT} is not allowed"))]
        with pytest.raises(EvoLinkError) as caught:
            READS[call](answer_server, answer_client)
        shown = f"{logged.text}{caught.value}{vars(caught.value)}{caught.value.args}"
        assert PROMPT[:14] not in shown
        assert "What to do" in shown or "try again" in shown or "keeps running" in shown


@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_read_of_a_known_request_is_quoted_as_an_order_is(answer_server, answer_client, status):
    answer_server.answers = [(status, {"error": {"code": "invalid", "message": f"no: {PROMPT}"}})]
    with pytest.raises(EvoLinkError) as caught:
        answer_client.get_job(JOB, attempts=1, redactor=Redactor.of(BODY))
    assert "“no: …”" in str(caught.value)
    assert PROMPT[:14] not in str(caught.value)


@pytest.mark.parametrize("status", ["failed", "completed", "REJECTED"])
def test_a_client_knows_what_it_has_ordered(answer_server, answer_client, status):
    """The reason of a job that it ordered is shown, but for the request; that of another job is not shown at all."""
    answer_server.answers = [(200, {"id": JOB, "status": "pending"})]
    answer_client.submit(BODY)
    answer_server.answers = [(200, {"id": JOB, "status": status, "error": {"code": "c", "message": f"no: {PROMPT}"}})]
    with pytest.raises(EvoLinkError, match="no: …") as caught:
        answer_client.wait(JOB, timeout=-1, poll_interval=0.01)
    with EvoLinkClient(settings_for(answer_server)) as other, pytest.raises(EvoLinkError) as elsewhere:
        other.wait(JOB, timeout=-1, poll_interval=0.01)
    assert PROMPT[:14] not in f"{caught.value}{elsewhere.value}"
    assert "no:" not in str(elsewhere.value)


# pickles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 404, 409, 429, 500])
@pytest.mark.parametrize("call", ["order", "read", "wait", "poll"])
def test_the_pickle_of_an_error_holds_no_key(answer_server, answer_client, call, status):
    text = f"bad key {KEY} {PROMPT}"
    answer_server.answers = [(status, {"error": {"code": KEY, "message": text, "param": KEY}}, {"X-Request-Id": KEY})]
    with pytest.raises(EvoLinkError) as caught:
        CALLS[call](answer_server, answer_client)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    for error in (caught.value, again, copy.deepcopy(caught.value), caught.value.amended(permanent=True)):
        held = pickle.dumps(error) + json.dumps([str(error), repr(vars(error))]).encode()
        assert KEY.encode() not in held
        assert b"Bearer" not in held
        assert PROMPT[:14].encode() not in held


@pytest.mark.parametrize("escaped", [KEY.replace("-", "\\u002d"), "".join(f"\\u{ord(letter):04x}" for letter in KEY)])
@pytest.mark.parametrize("name", ["code", "message", "param"])
def test_a_key_that_comes_back_escaped_is_not_shown(answer_server, answer_client, name, escaped):
    body = json.dumps({"error": {"code": "c", "message": "m", name: "KEY"}}).replace("KEY", escaped)
    answer_server.answers = [(400, body.encode())]
    for call in ("order", "read"):
        with pytest.raises(EvoLinkError) as caught:
            CALLS[call](answer_server, answer_client)
        assert KEY.encode() not in pickle.dumps(caught.value) + str(caught.value).encode()


def test_an_error_of_the_network_holds_no_key(answer_server):
    settings = ClientSettings(KEY, base_url="http://127.0.0.1:9", retry_wait=0.01)
    with EvoLinkClient(settings) as client, pytest.raises(EvoLinkError) as caught:
        client.submit(BODY)
    assert KEY.encode() not in pickle.dumps(caught.value)
    assert caught.value.__cause__ is None
