"""Both clients, by the same tests, against the emulator over a real socket; worse servers are raw sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress

import httpx
import pytest

from airflow_provider_evolink.api import client as clients
from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.client import AsyncEvoLinkClient, EvoLinkClient
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkSubmissionUnknown, EvoLinkUnavailable
from airflow_provider_evolink.api.http import transport
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer

KEY = "test-key-0123456789"
BODY = {"model": "wan2.7-text-to-video", "prompt": "A paper boat drifts down a rainy street", "quality": "720p"}
ORDER_KEY = "af1-0123456789abcdef"


@pytest.fixture(scope="module")
def server():
    """Serve one emulator for all tests here: starting one takes longer than most of them."""
    with EmulatorServer(polls=2, estimated_time=1, fps=6) as running:
        yield running


@pytest.fixture
def emulator(server):
    """Give the emulator with empty books and all knobs back."""
    server.reset()
    return server


class Driver:
    """One client of either kind behind one face; every call blocks until its response. Both submit on the worker."""

    def __init__(self, kind, url, **options):
        options = {"read_timeout": 2.0, "submit_timeout": 2.0, "connect_timeout": 1.0, "retry_wait": 0.05} | options
        self.settings = ClientSettings(KEY, base_url=url, **options)
        self._worker = EvoLinkClient(self.settings) if kind == "sync" else None
        self._runner = asyncio.Runner() if kind == "polls" else None
        self._polls = self._runner.run(AsyncEvoLinkClient.create(self.settings)) if self._runner else None

    @property
    def _orders(self):
        self._worker = self._worker or EvoLinkClient(self.settings)
        return self._worker

    def submit(self, body=BODY, key=ORDER_KEY):
        return self._orders.submit(body, idempotency_key=key)

    def get_job(self, job_id):
        return self._orders.get_job(job_id)

    def get_credits(self):
        return self._orders.get_credits()

    def read_once(self, job_id):
        if self._runner:
            return self._runner.run(self._polls.poll_job(job_id))
        return self._orders.get_job(job_id, attempts=1)

    def close(self):
        if self._worker:
            self._worker.close()
        if self._runner:
            self._runner.run(self._polls.aclose())
            self._runner.close()


@contextmanager
def drivers(kind, emulator):
    """Make clients of a kind, for the emulator or another address, and close them."""
    made = []

    def make(url=None, **options):
        made.append(Driver(kind, url or emulator.url, **options))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def drive(emulator):
    """Make clients for the worker."""
    with drivers("sync", emulator) as make:
        yield make


@pytest.fixture(params=["sync", "polls"])
def kind(request):
    return request.param


@pytest.fixture
def drive_both(kind, emulator):
    """Make clients of the kind under test."""
    with drivers(kind, emulator) as make:
        yield make


@contextmanager
def served(answer_one):
    """Serve raw connections, each by ``answer_one(connection, number)`` in a thread, and yield address and count."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen, over = [], threading.Event()

    def one(connection, number):
        with closing(connection), suppress(OSError):
            answer_one(connection, number)

    def serve():
        with suppress(OSError):
            while not over.is_set():
                connection, _ = listener.accept()
                connection.settimeout(5)
                seen.append(threading.Thread(target=one, args=(connection, len(seen)), daemon=True))
                seen[-1].start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def request_of(connection):
    """Read one request: its head and body as text."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head.decode(), body.decode()


def response(body, status="200 OK", **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n{body}".encode()


JOB_ANSWER = '{"id": "task-unified-1", "status": "pending"}'


def met(emulator):
    return [(fault["met"], fault["done"]) for fault in emulator.faults()]


# Orders -----------------------------------------------------------------------------------------------------------


def test_an_order_is_sent_whole_and_once(drive, emulator):
    job = drive().submit()
    books = emulator.books()
    assert (books["orders"], books["requests"]) == (1, {"submit": 1})
    assert books["jobs"][0]["id"] == job.job_id
    assert books["jobs"][0]["body"] == BODY
    assert books["jobs"][0]["idempotency_key"] == ORDER_KEY


def test_an_idempotency_key_is_made_up_if_none_is_given(drive, emulator):
    driver = drive()
    first, second = driver.submit(key=None), driver.submit(key=None)
    assert first.job_id != second.job_id
    assert len({job["idempotency_key"] for job in emulator.books()["jobs"]}) == 2


@pytest.mark.parametrize(
    ("fault", "orders"),
    [
        ({"kind": "cut_before"}, 0),
        ({"kind": "cut_before", "reset": True}, 0),
        ({"kind": "lost_answer"}, 1),
        ({"kind": "lost_answer", "reset": True}, 1),
        ({"kind": "delay", "seconds": 3}, 1),
        ({"kind": "cut_body"}, 1),
        ({"kind": "cut_body", "bytes": 0, "reset": True}, 1),
        ({"kind": "drip", "seconds": 0.05}, 1),
        ({"kind": "wrong_length"}, 1),
        ({"kind": "html"}, 0),
        ({"kind": "html", "processed": True}, 1),
        ({"kind": "html", "status": 403}, 0),
        ({"kind": "html", "status": 429}, 0),
        ({"kind": "empty_body"}, 1),
        ({"kind": "malformed_json"}, 1),
        ({"kind": "malformed_json", "text": "{}"}, 1),
        ({"kind": "malformed_json", "text": '{"id": "../x"}'}, 1),
        ({"kind": "gzip"}, 1),
        ({"kind": "redirect", "location": "/v1/videos/generations", "status": 307}, 0),
        *[({"kind": "status", "status": status}, 0) for status in (408, 409, 425, 500, 502, 503, 504, 524)],
        ({"kind": "status", "status": 500, "processed": True}, 1),
        ({"kind": "status", "status": 503, "headers": {"Retry-After": "0"}}, 0),
        ({"kind": "status", "status": 400, "code": "paid_outcome_unknown", "processed": True}, 1),
    ],
    ids=lambda value: "-".join(str(part) for part in value.values())[:40] if isinstance(value, dict) else "",
)
def test_an_order_of_unknown_outcome_is_never_sent_again(drive, emulator, fault, orders):
    emulator.fault(**fault, on="submit", times=-1)
    started = time.monotonic()
    with pytest.raises(EvoLinkSubmissionUnknown) as caught:
        drive(submit_timeout=1.0).submit()
    assert time.monotonic() - started < 10
    assert caught.value.idempotency_key == ORDER_KEY
    books = emulator.books()
    assert (books["orders"], books["requests"]) == (orders, {"submit": 1})
    assert emulator.faults()[0]["met"] == 1
    assert KEY not in repr(vars(caught.value))
    assert "paper boat" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.EvoLinkInvalidError),
        (401, errors.EvoLinkAuthError),
        (402, errors.EvoLinkCreditsError),
        (403, errors.EvoLinkAccessError),
        (404, errors.EvoLinkInvalidError),
        (413, errors.EvoLinkInvalidError),
    ],
)
def test_a_refused_order_is_sent_once(drive, emulator, status, expected):
    emulator.fault("status", on="submit", status=status)
    with pytest.raises(expected):
        drive().submit()
    assert (emulator.books()["orders"], emulator.books()["requests"]) == (0, {"submit": 1})


def test_real_refusals(drive, emulator):
    driver = drive()
    with pytest.raises(errors.EvoLinkInvalidError):
        driver.submit({**BODY, "quality": "480p"})
    with pytest.raises(errors.EvoLinkAccessError):
        driver.submit({"model": "no-access-model", "prompt": "x"})
    emulator.settings(balance=0)
    with pytest.raises(errors.EvoLinkCreditsError):
        driver.submit()
    assert emulator.books()["orders"] == 0


def test_a_key_used_for_another_order_is_an_unknown_outcome(drive, emulator):
    driver = drive()
    driver.submit()
    with pytest.raises(EvoLinkSubmissionUnknown) as caught:
        driver.submit({**BODY, "seed": 5})
    assert caught.value.code == "idempotency_conflict"
    assert emulator.books()["orders"] == 1


def test_a_throttled_order_is_sent_again_with_the_same_key(drive, emulator):
    emulator.fault("status", on="submit", status=429, times=2, headers={"Retry-After": "0.2"})
    started = time.monotonic()
    job = drive(retry_wait=0.3).submit()
    assert time.monotonic() - started >= 0.4
    books = emulator.books()
    assert (books["orders"], books["requests"]) == (1, {"submit": 3})
    assert (books["jobs"][0]["id"], books["jobs"][0]["idempotency_key"]) == (job.job_id, ORDER_KEY)
    assert met(emulator) == [(2, True)]


def test_an_order_throttled_for_long_is_raised_with_the_wait(drive, emulator):
    emulator.fault("status", on="submit", status=429, headers={"Retry-After": "120"})
    with pytest.raises(errors.EvoLinkRateLimited) as caught:
        drive().submit()
    assert caught.value.retry_after == 120.0
    assert (emulator.books()["orders"], emulator.books()["requests"]) == (0, {"submit": 1})


def test_an_order_throttled_for_ever_is_sent_three_times(drive, emulator):
    emulator.fault("status", on="submit", status=429, times=-1)
    with pytest.raises(errors.EvoLinkRateLimited):
        drive().submit()
    assert (emulator.books()["orders"], emulator.books()["requests"]) == (0, {"submit": 3})


def test_an_order_lost_after_a_throttled_try_is_unknown(drive, emulator):
    emulator.fault("status", on="submit", status=429)
    emulator.fault("lost_answer", on="submit")
    with pytest.raises(EvoLinkSubmissionUnknown):
        drive().submit()
    assert (emulator.books()["orders"], emulator.books()["requests"]) == (1, {"submit": 2})
    assert met(emulator) == [(1, True), (1, True)]


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_an_order_without_a_connection_was_not_sent(drive):
    with pytest.raises(EvoLinkUnavailable, match=r"could not be reached \(ConnectError\); nothing was sent") as caught:
        drive(f"http://127.0.0.1:{closed_port()}").submit()
    assert caught.value.unsent
    assert not caught.value.permanent


def test_an_order_without_a_safe_connection_was_not_sent_and_is_tried_three_times(drive):
    def plain(connection, number):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with served(plain) as (url, seen):
        with pytest.raises(EvoLinkUnavailable, match="nothing was sent") as caught:
            drive(url.replace("http:", "https:")).submit()
        assert caught.value.unsent
        assert len(seen) == 3


def test_an_order_is_accepted_once_the_server_is_back(drive):
    port = closed_port()

    def late():
        time.sleep(0.15)
        with socket.create_server(("127.0.0.1", port)) as listener:
            connection, _ = listener.accept()
            with closing(connection):
                request_of(connection)
                connection.sendall(response(JOB_ANSWER))

    thread = threading.Thread(target=late)
    thread.start()
    try:
        assert drive(f"http://127.0.0.1:{port}", retry_wait=0.5).submit().job_id == "task-unified-1"
    finally:
        thread.join()


@pytest.mark.parametrize(
    "body", [{}, {**BODY, "seed": float("nan")}, {**BODY, "prompt": "\ud800"}, {**BODY, "seed": {1}}]
)
def test_a_body_that_cannot_be_sent_is_not_sent(drive, emulator, body):
    with pytest.raises(errors.EvoLinkRequestError):
        drive().submit(body)
    assert emulator.books()["requests"] == {}


def test_an_order_does_not_ride_on_an_idle_connection(emulator):
    """The worker's client: an idle connection may be dead, and what is lost on it is of unknown outcome."""

    def answer_once(connection, number):
        request_of(connection)
        connection.sendall(response(JOB_ANSWER))
        request_of(connection)  # a second request on the same connection is swallowed

    with served(answer_once) as (url, seen), closing(Driver("sync", url)) as driver:
        driver.get_job("task-unified-1")
        assert driver.submit().job_id == "task-unified-1"
        assert len(seen) == 2


# Reads ------------------------------------------------------------------------------------------------------------

PASSING = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "headers": {"Retry-After": "0"}},
    {"kind": "status", "status": 429},
    {"kind": "cut_before"},
    {"kind": "cut_before", "reset": True},
    {"kind": "cut_body"},
    {"kind": "html"},
    {"kind": "html", "status": 403},
    {"kind": "html", "status": 404},
    {"kind": "empty_body"},
    {"kind": "malformed_json"},
    {"kind": "gzip"},
    {"kind": "redirect", "location": "/v1/credits"},
    {"kind": "id_mismatch"},
    {"kind": "patch_json", "fields": {"id": None}},
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda value: "-".join(str(part) for part in value.values())[:40])
def test_a_read_outlives_two_transient_faults_and_not_three(drive, emulator, fault):
    driver = drive()
    job_id = driver.submit().job_id
    emulator.fault(**fault, on="read", times=2)
    assert driver.get_job(job_id).job_id == job_id
    assert met(emulator) == [(2, True)]
    emulator.clear_faults()
    emulator.fault(**fault, on="read", times=3)
    with pytest.raises((EvoLinkUnavailable, errors.EvoLinkRateLimited)) as caught:
        driver.get_job(job_id)
    assert caught.value.job_id == job_id
    assert met(emulator) == [(3, True)]
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("fault", PASSING, ids=lambda value: "-".join(str(part) for part in value.values())[:40])
def test_a_caller_with_a_schedule_of_its_own_makes_one_attempt(drive_both, emulator, fault, kind):
    driver = drive_both()
    job_id = driver.submit().job_id
    emulator.fault(**fault, on="read", times=-1)
    with pytest.raises((EvoLinkUnavailable, errors.EvoLinkRateLimited)) as caught:
        driver.read_once(job_id)
    assert caught.value.job_id == job_id
    once = 2 if (kind, fault["kind"]) == ("polls", "cut_before") else 1  # aiohttp itself repeats a read that is cut
    assert emulator.books()["requests"] == {"submit": 1, "read": once}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.EvoLinkInvalidError),
        (401, errors.EvoLinkAuthError),
        (402, errors.EvoLinkCreditsError),
        (403, errors.EvoLinkAccessError),
        (404, errors.EvoLinkNotFoundError),
    ],
)
def test_a_refused_read_is_not_repeated(drive_both, emulator, status, expected):
    emulator.fault("status", on="read", status=status, times=-1)
    with pytest.raises(expected):
        drive_both().read_once("task-unified-1")
    assert emulator.books()["requests"] == {"read": 1}


def test_an_odd_id_is_not_requested(drive_both, emulator):
    for odd in ("..", "", "a/../../credits", "x?y"):
        with pytest.raises(errors.EvoLinkRequestError):
            drive_both().read_once(odd)
    assert emulator.books()["requests"] == {}


def test_credits(drive, emulator):
    emulator.fault("status", on="credits", status=502)
    assert drive().get_credits().user.remaining_credits == 1000.0
    assert met(emulator) == [(1, True)]


def test_the_key_goes_into_one_header_and_nowhere_else(drive_both):
    heard = []

    def record(connection, number):
        heard.append(request_of(connection))
        connection.sendall(response(JOB_ANSWER))

    with served(record) as (url, _):
        drive_both(url).read_once("task-unified-1")
        drive_both(url).submit()
    for head, body in heard:
        [line] = [line for line in head.split("\r\n") if KEY in line]
        assert (line.lower().split(":")[0], line.split(": ")[1]) == ("authorization", f"Bearer {KEY}")
        assert KEY not in body
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("airflow-provider-evolink/")
        assert not [name for name in headers if name.startswith("x-") or name == "cookie"]


def test_a_key_that_comes_back_is_not_shown(drive_both):
    def echo(connection, number):
        request_of(connection)
        body = f'{{"error": {{"code": "{KEY}", "message": "bad key {KEY}"}}}}'
        connection.sendall(response(body, "401 Unauthorized", X_Request_Id=KEY))

    with served(echo) as (url, _), pytest.raises(errors.EvoLinkAuthError, match="\\*\\*\\*") as caught:
        drive_both(url).read_once("task-unified-1")
    assert KEY not in f"{caught.value}{vars(caught.value)}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_never_followed(drive_both, status):
    def target(connection, number):
        request_of(connection)
        connection.sendall(response(JOB_ANSWER))

    with served(target) as (goal, followed):

        def redirect(connection, number):
            request_of(connection)
            connection.sendall(response("", status, Location=f"{goal}/v1/tasks/task-unified-1"))

        with served(redirect) as (url, asked):
            with pytest.raises(EvoLinkUnavailable, match="a redirect, not followed"):
                drive_both(url).read_once("task-unified-1")
            with pytest.raises(EvoLinkSubmissionUnknown, match="a redirect, not followed"):
                drive_both(url).submit()
            assert len(asked) == 2
    assert followed == []


def test_no_proxy_stands_between_us_and_this_machine(drive_both, emulator, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    driver = drive_both()
    assert driver.read_once(driver.submit().job_id).status == "processing"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "gopher://s3cret@127.0.0.1:1", "http://a:port"])
def test_a_proxy_that_cannot_be_used_is_a_wrong_setting(kind, monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(errors.EvoLinkConfigError, match="proxy") as caught:
        Driver(kind, "https://api.evolink.ai")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://a..b:x", "https://[::1"])
def test_an_address_that_is_none_is_a_wrong_setting(kind, url):
    with pytest.raises(errors.EvoLinkConfigError, match="base URL"):
        Driver(kind, url)


# Servers that misbehave on purpose --------------------------------------------------------------------------------


def test_a_response_over_one_mebibyte_is_not_read_to_its_end(drive):
    sent = []

    def endless(connection, number):
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1500):
            connection.sendall(b" " * 65536)
            sent.append(65536)

    with served(endless) as (url, _), pytest.raises(EvoLinkSubmissionUnknown, match="TooLong"):
        drive(url).submit()
    assert sum(sent) < 32 * 1024 * 1024


def drip(connection, data, pause=0.02):
    for at in range(len(data)):
        connection.sendall(data[at : at + 1])
        time.sleep(pause)


SLOW = {
    "silence": lambda connection: time.sleep(1.5),
    "head": lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 80),
    "body": lambda connection: drip(connection, response(JOB_ANSWER + " " * 60)),
    "chunks": lambda connection: drip(
        connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20
    ),
    "no length": lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\n\r\n" + JOB_ANSWER.encode() + b" " * 60),
}


@pytest.mark.parametrize("how", SLOW)
def test_a_slow_response_is_bounded_by_the_deadline_of_the_call(drive_both, how):
    def slow(connection, number):
        request_of(connection)
        SLOW[how](connection)

    with served(slow) as (url, seen):
        driver = drive_both(url, submit_timeout=0.3, read_timeout=0.1)
        why = "ReadTimeout" if how != "no length" else "ReadTimeout|not EvoLink's JSON"
        started = time.monotonic()
        with pytest.raises(EvoLinkSubmissionUnknown, match=why):
            driver.submit()
        assert 0.2 < time.monotonic() - started < 5
        started = time.monotonic()
        with pytest.raises(EvoLinkUnavailable, match=why):
            driver.read_once("task-unified-1")
        assert time.monotonic() - started < 5
        assert len(seen) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 \xff\xfe\r\nX: \xff\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=range(13),
)
def test_whatever_a_server_sends_ends_in_one_of_our_errors(drive_both, data):
    def send(connection, number):
        request_of(connection)
        connection.sendall(data)

    with served(send) as (url, seen):
        driver = drive_both(url)
        with pytest.raises(EvoLinkSubmissionUnknown):
            driver.submit()
        assert len(seen) == 1
        with pytest.raises(EvoLinkUnavailable):
            driver.read_once("task-unified-1")


# Waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(emulator):
    """Give an ordinary client and a job it has ordered."""
    with EvoLinkClient(ClientSettings(KEY, base_url=emulator.url, read_timeout=0.5, retry_wait=0.05)) as client:
        yield client, client.submit(BODY).job_id


def test_waiting_until_completed(waiting, emulator):
    client, job_id = waiting
    polls = []
    job = client.wait(job_id, timeout=5, poll_interval=0.02, on_poll=polls.append)
    assert (job.status, len(job.results)) == ("completed", 1)
    assert [poll.status for poll in polls] == ["processing", "completed"]
    assert emulator.books()["requests"]["read"] == 2


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_waiting_until_ended(waiting, emulator, state):
    client, job_id = waiting
    emulator.job(job_id, state=state, **({"code": "service_error", "message": "later"} if state == "failed" else {}))
    with pytest.raises(errors.EvoLinkJobFailed) as caught:
        client.wait(job_id, timeout=5)
    assert caught.value.job_id == job_id
    assert caught.value.repeatable is (state == "failed")


def test_the_other_spelling_of_cancelled(waiting, emulator):
    client, job_id = waiting
    emulator.fault("unknown_status", status="Canceled", times=-1)
    with pytest.raises(errors.EvoLinkJobFailed, match="as cancelled"):
        client.wait(job_id, timeout=5)


@pytest.mark.parametrize("how", ["missing", "empty", "null", 7])
def test_completed_without_links_is_read_again_before_it_is_given_up(waiting, emulator, how):
    client, job_id = waiting
    emulator.job(job_id, state="completed")
    emulator.fault("no_results", times=-1, **{"as": how})
    with pytest.raises(errors.EvoLinkNoResults):
        client.wait(job_id, timeout=5, poll_interval=0.02)
    assert emulator.books()["requests"]["read"] == 5


def test_links_that_come_late_are_taken(waiting, emulator):
    client, job_id = waiting
    emulator.job(job_id, state="completed")
    emulator.fault("no_results", times=3)
    assert client.wait(job_id, timeout=0, poll_interval=0.02).results


def test_a_wait_ends_at_its_deadline(waiting, emulator):
    client, job_id = waiting
    emulator.job(job_id, state="processing")
    started = time.monotonic()
    with pytest.raises(errors.EvoLinkJobTimeout, match="the job still runs after the timeout") as caught:
        client.wait(job_id, timeout=0.3, poll_interval=0.1)
    assert 0.3 <= time.monotonic() - started < 5
    assert (caught.value.job_id, caught.value.permanent) == (job_id, False)


def test_a_late_success_is_a_success(waiting, emulator):
    client, job_id = waiting
    emulator.job(job_id, state="completed")
    assert client.wait(job_id, timeout=-100).results


def test_a_job_not_found_right_after_its_order_is_waited_for(waiting, emulator):
    client, job_id = waiting
    emulator.job(job_id, state="completed")
    emulator.fault("status", on="read", status=404, times=1)
    assert client.wait(job_id, timeout=0.3, poll_interval=0.02).results
    assert met(emulator) == [(1, True)]


@pytest.mark.parametrize("word", ["paused", "", "succeed"])
def test_an_unknown_status_is_a_job_that_runs(waiting, emulator, word):
    client, job_id = waiting
    emulator.fault("unknown_status", status=word, times=3)
    assert client.wait(job_id, timeout=5, poll_interval=0.02).results
    assert met(emulator) == [(3, True)]


@pytest.mark.parametrize(("status", "expected"), [(401, errors.EvoLinkAuthError), (402, errors.EvoLinkCreditsError)])
def test_a_refused_key_ends_the_wait_at_once(waiting, emulator, status, expected):
    client, job_id = waiting
    emulator.fault("status", on="read", status=status, times=-1)
    with pytest.raises(expected):
        client.wait(job_id, timeout=60)
    assert emulator.books()["requests"]["read"] == 1


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"status": 404}])
def test_a_storm_does_not_end_the_wait_and_is_not_hammered(waiting, emulator, fault):
    client, job_id = waiting
    emulator.fault("status", on="read", **fault, times=-1)
    started = time.monotonic()
    with pytest.raises(errors.EvoLinkJobTimeout, match="could not be read") as caught:
        client.wait(job_id, timeout=0.5, poll_interval=0.02)
    assert 0.5 <= time.monotonic() - started < 5
    assert emulator.books()["requests"]["read"] <= 5
    assert isinstance(caught.value.__cause__, EvoLinkError)


def test_the_last_poll_is_worth_a_few_attempts(waiting, emulator):
    client, job_id = waiting
    emulator.job(job_id, state="completed")
    emulator.fault("status", on="read", status=503, times=3)
    assert client.wait(job_id, timeout=0.2).results
    assert met(emulator) == [(3, True)]


def test_retry_after_does_not_hold_the_wait_beyond_its_deadline(waiting, emulator):
    client, job_id = waiting
    emulator.fault("status", on="read", status=429, headers={"Retry-After": "30"}, times=-1)
    started = time.monotonic()
    with pytest.raises(errors.EvoLinkJobTimeout):
        client.wait(job_id, timeout=0.3)
    assert time.monotonic() - started < 10  # far from the 30 s asked for
    assert emulator.books()["requests"]["read"] == 2


# The event loop ---------------------------------------------------------------------------------------------------


async def lag_during(work):
    """Run some work and return its result and the longest the loop stood still meanwhile."""
    worst, over = 0.0, asyncio.Event()

    async def watch():
        nonlocal worst
        while not over.is_set():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - before - 0.005)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        return await work, worst
    finally:
        over.set()
        await watching


def async_settings(url, **options):
    return ClientSettings(KEY, base_url=url, **{"read_timeout": 1.0, "retry_wait": 0.05} | options)


async def test_the_loop_keeps_running_while_a_client_is_made_and_responses_are_awaited(emulator):
    def submit():
        with EvoLinkClient(ClientSettings(KEY, base_url=emulator.url)) as client:
            return client.submit(BODY).job_id

    job_id = await asyncio.to_thread(submit)

    async def work():
        async with await AsyncEvoLinkClient.create(async_settings(emulator.url)) as client:
            return await asyncio.gather(*(client.poll_job(job_id) for _ in range(10)))

    await asyncio.to_thread(emulator.fault, "delay", on="read", seconds=0.2, times=-1)
    lags = []
    while min(lags, default=1.0) >= 0.15 and len(lags) < 5:  # a busy machine gets more chances
        clients.ssl_context.cache_clear()
        found, worst = await lag_during(work())
        assert [job.job_id for job in found] == [job_id] * 10
        lags.append(worst)
    assert min(lags) < 0.15


def test_proxies_are_left_to_httpx(monkeypatch):
    far = ClientSettings(KEY)
    given = (clients.ssl_context(), httpx.Limits())
    assert isinstance(transport.build_polling_client(far, *given)[0], transport.PollingClient)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    far, near = ClientSettings(KEY), ClientSettings(KEY, base_url="http://127.0.0.1:9")
    assert isinstance(transport.build_polling_client(far, *given)[0], httpx.AsyncClient)
    assert isinstance(transport.build_polling_client(near, *given)[0], transport.PollingClient)


async def test_no_tls_context_is_built_on_the_loop(emulator):
    tls = clients.ssl_context()
    clients.ssl_context.cache_clear()
    await AsyncEvoLinkClient(async_settings(emulator.url), tls).aclose()
    assert clients.ssl_context.cache_info().currsize == 0


async def test_a_cancelled_call_closes_its_connection_and_leaves_the_client_usable():
    closed = threading.Event()

    def first_hangs(connection, number):
        request_of(connection)
        if number:
            connection.sendall(response(JOB_ANSWER))
        elif connection.recv(1) == b"":
            closed.set()

    with served(first_hangs) as (url, seen):
        async with await AsyncEvoLinkClient.create(async_settings(url)) as client:
            call = asyncio.create_task(client.poll_job("task-unified-1"))
            while not seen:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(closed.wait, 2)
            assert (await client.poll_job("task-unified-1")).job_id == "task-unified-1"


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_closed_clients_leave_nothing_open(kind, emulator):
    def use():
        with closing(Driver(kind, emulator.url)) as driver, pytest.raises(errors.EvoLinkNotFoundError):
            driver.read_once("task-unified-1")

    use()
    before, threads = open_files(), threading.active_count()
    for _ in range(5):
        use()
    assert open_files() <= before + 6  # the emulator may be slower to close its side
    assert threading.active_count() <= threads + 1


def test_threads_of_the_watchdog_end_with_their_call(emulator):
    with EvoLinkClient(ClientSettings(KEY, base_url=emulator.url)) as client:
        client.get_credits()
        before = threading.active_count()
        for _ in range(20):
            client.get_credits()
        assert threading.active_count() <= before + 1
