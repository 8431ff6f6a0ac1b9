"""No web page of somebody else can drive the emulator: by its own name (DNS rebinding), its origin, or a plain form."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys

import httpx
import pytest

from airflow_provider_evolink.emulator.__main__ import main
from airflow_provider_evolink.emulator.settings import Settings

KEY = {"Authorization": "Bearer sk-evo-test"}
JSON = {"Content-Type": "application/json"}
ORDER = {"model": "wan2.7-text-to-video", "prompt": "x", "duration": 2}
# What a page did to the emulator of a developer who visited it: method, path, body.
ATTACKS = {
    "reset": ("POST", "/_emulator/reset", {}),
    "queue a fault": ("POST", "/_emulator/faults", {"kind": "status", "status": 500, "times": -1}),
    "clear faults": ("DELETE", "/_emulator/faults", None),
    "change settings": ("POST", "/_emulator/settings", {"balance": 0}),
    "read prompts": ("GET", "/_emulator/books", None),
    "read settings": ("GET", "/_emulator/settings", None),
    "read a job": ("GET", "/_emulator/jobs/{job}", None),
    "change a job": ("POST", "/_emulator/jobs/{job}", {"vanish": True}),
    "find it": ("GET", "/_emulator/health", None),
    "order": ("POST", "/v1/videos/generations", ORDER),
    "poll": ("GET", "/v1/tasks/{job}", None),
    "list": ("GET", "/v1/tasks", None),
    "fetch from this machine": ("POST", "/api/v1/files/upload/url", {"file_url": "http://127.0.0.1:9/x.png"}),
    "preflight": ("OPTIONS", "/_emulator/reset", None),
    "anything": ("GET", "/nothing/here", None),
}


def send(emulator, method, path, body=None, headers=None, *, host=None):
    """Send a request with exactly these headers, and return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        hosts = {"Host": f"127.0.0.1:{emulator.port}" if host is None else host}
        for name, value in (hosts | {"Content-Length": str(len(content))} | (headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        return response.status, response.read().decode("latin-1")
    finally:
        connection.close()


@pytest.fixture
def job(emulator, order):
    """One order that no foreign request may touch, and a fault that none may use up."""
    emulator.fault("status", status=418, on="any")
    emulator.fault("status", status=418, on="any")
    assert order().status_code == 418
    yield
    books, faults = emulator.books(), emulator.faults()
    assert books["requests"] == {"submit": 1}
    assert [fault["met"] for fault in faults] == [1, 0]
    assert books["balance"] == 1000


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("evil.example", {}),
        (None, {"Origin": "https://evil.example"}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
    ],
    ids=["rebinding", "origin", "sec-fetch-site"],
)
@pytest.mark.usefixtures("job")
def test_a_foreign_page_can_do_nothing(emulator, host, headers):
    for name, (method, path, body) in ATTACKS.items():
        status, text = send(emulator, method, path.replace("{job}", "task-x"), body, KEY | JSON | headers, host=host)
        assert (name, status) == (name, 403)
        assert "What to do: " in text


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example:{port}"),
    *("evil-localhost", "xlocalhost", "localhost.localdomain", "sub.localhost:{port}", "localhost..", "."),
    *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.0.0.1:{port}:80", "127.0.0.1:", "127.0.0.1:x"),
    *("127.0.0.1, evil.example", "localhost evil.example", "127.0.0.1/", "http://127.0.0.1", "", ":{port}"),
    *("[::2]:{port}", "[fe80::1]", "[::ffff:10.0.0.1]", "::1", "[::1", "[::1].", "[127.0.0.1]", "10.0.0.1:{port}"),
    *("192.168.0.1", "169.254.169.254", "0.0.0.0:{port}", "128.0.0.1", "2130706433", "0x7f000001", "127.1"),
    *("EVIL.EXAMPLE", "evil.example.", "l\u03bfcalhost".encode().decode("latin-1"), "api.evolink.ai"),
]


def test_a_foreign_host_is_refused(emulator):
    sent = {
        host: send(emulator, "GET", "/_emulator/books", host=host.format(port=emulator.port)) for host in FOREIGN_HOSTS
    }

    assert [host for host, (status, text) in sent.items() if status not in {400, 403} or "orders" in text] == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:{port}", "127.0.0.1", "127.0.0.1:9000", "localhost:{port}", "LOCALHOST:{port}", "LocalHost"),
        *("localhost.:{port}", "127.0.0.1.:{port}", "127.8.7.6", "[::1]:{port}", "[::1]", "[0:0:0:0:0:0:0:1]:{port}"),
        *("[::ffff:127.0.0.1]:{port}",),
    ],
)
def test_loopback_is_its_own_host(emulator, host):
    assert send(emulator, "GET", "/_emulator/health", host=host.format(port=emulator.port))[0] == 200


def test_a_request_without_host_or_with_two_is_refused(emulator):
    for head in ("GET {} HTTP/1.0", "GET {} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "GET {} HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as connection:
            connection.sendall(f"{head.format('/_emulator/books')}\r\n\r\n".encode())
            assert connection.recv(100).split()[1] in {b"400", b"403"}


@pytest.mark.parametrize("authority", ["evil.example", "127.0.0.1:{port}", "localhost"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:{port}"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/_emulator/books"), ("POST", "/_emulator/reset")])
def test_an_absolute_target_is_refused(emulator, authority, host, method, path):
    target, host = (text.format(port=emulator.port) for text in (f"http://{authority}{path}", host))

    status, text = send(emulator, method, target, {} if method == "POST" else None, JSON, host=host)
    assert status == 403
    assert "proxy" in text


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded"])
def test_no_other_header_names_the_host(emulator, name):
    own, evil = f"localhost:{emulator.port}", "evil.example"
    prefix = "host=" if name == "Forwarded" else ""

    assert send(emulator, "GET", "/_emulator/books", headers={name: prefix + own}, host=evil)[0] == 403
    assert send(emulator, "GET", "/_emulator/books", headers={name: prefix + evil})[0] == 200


FOREIGN_ORIGINS = [
    *("https://evil.example", "http://evil.example:{port}", "null", "", "http://127.0.0.1", "http://127.0.0.1:1"),
    *("http://localhost:{port}", "https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil.example", "file://"),
    *("http://127.0.0.1:{port}@evil.example", "http://evil.example#127.0.0.1:{port}", "http://[::1]:{port}"),
    *("http://127.0.0.1:{port}, https://evil.example", "chrome-extension://abcdef", "http://[::1", "http://"),
    *("http://127.0.0.1:{port}/", "//127.0.0.1:{port}", "127.0.0.1:{port}"),
]


@pytest.mark.parametrize(("method", "path"), [("POST", "/_emulator/reset"), ("GET", "/media/task-x/1.mp4")])
def test_a_foreign_origin_is_refused(emulator, method, path):
    sent = {
        origin: send(emulator, method, path, headers=JSON | {"Origin": origin.format(port=emulator.port)})[0]
        for origin in FOREIGN_ORIGINS
    }

    assert [origin for origin, status in sent.items() if status != 403] == []


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("LOCALHOST:{port}", "http://localhost:{port}"),
        ("localhost.:{port}", "HTTP://localhost:{port}".lower()),
        ("[::1]:{port}", "http://[::1]:{port}"),
        ("localhost", "http://localhost:80"),
        ("localhost:80", "http://localhost"),
    ],
)
def test_its_own_origin_is_served(emulator, host, origin):
    host, origin = (text.format(port=emulator.port) for text in (host, origin))
    headers = JSON | {"Origin": origin, "Sec-Fetch-Site": "same-origin"}

    assert send(emulator, "POST", "/_emulator/reset", {}, headers, host=host)[0] == 200


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("Cross-Site", 403), ("", 403)],
)
def test_only_pages_of_its_own_and_the_address_bar_are_served(emulator, site, status):
    assert send(emulator, "GET", "/_emulator/books", headers={"Sec-Fetch-Site": site})[0] == status


FORMS = [
    *("text/plain", "text/plain;charset=UTF-8", "TEXT/PLAIN", "application/x-www-form-urlencoded"),
    *("multipart/form-data; boundary=x", "text/plain; application/json", "", "application/jsonp"),
    *("application/octet-stream", "text/plain, application/json", "application/json, text/plain"),
]


@pytest.mark.parametrize("path", ["/_emulator/reset", "/_emulator/faults", "/_emulator/settings", "/%5Femulator/reset"])
def test_a_form_changes_nothing(emulator, path):
    emulator.settings(balance=7)
    body = {"kind": "status", "times": -1} if path.endswith("faults") else {}

    sent = {kind: send(emulator, "POST", path, body, {"Content-Type": kind}) for kind in FORMS}
    assert [kind for kind, (status, text) in sent.items() if status != 415 or "application/json" not in text] == []
    assert (emulator.faults(), emulator.settings()["balance"]) == ([], 7)


@pytest.mark.parametrize("headers", [JSON, {"content-type": "Application/JSON; charset=utf-8"}, {}])
def test_programs_change_what_they_like(emulator, headers):
    assert send(emulator, "POST", "/_emulator/settings", {"balance": 7}, headers)[0] == 200
    assert emulator.settings()["balance"] == 7


OPENED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OPENED, 200),
        (OPENED | {"Sec-Fetch-Site": "same-site"}, 200),
        (OPENED | {"Sec-Fetch-Dest": "iframe"}, 403),
        (OPENED | {"Sec-Fetch-Dest": "video", "Sec-Fetch-Mode": "no-cors"}, 200),
        (OPENED | {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}, 200),
        (OPENED | {"Sec-Fetch-Dest": "script", "Sec-Fetch-Mode": "no-cors"}, 403),
        (OPENED | {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "no-cors"}, 403),
        (OPENED | {"Sec-Fetch-Dest": "video", "Sec-Fetch-Mode": "cors"}, 403),
        (OPENED | {"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_the_link_to_a_result_opens_and_plays_from_airflows_page(emulator, finished, headers, status):
    link = httpx.URL(finished(duration=2)["results"][0])

    assert send(emulator, "GET", link.raw_path.decode(), headers=headers)[0] == status
    assert send(emulator, "GET", link.raw_path.decode(), headers=headers, host="evil.example")[0] == 403
    assert send(emulator, "GET", "/_emulator/books", headers=headers)[0] == 403


def test_further_hosts_are_served_when_they_are_listed(emulator):
    emulator.settings(allowed_hosts=["Emulator.", "my_service", "10.0.0.7", "[fd00::7]"])
    for host in ("emulator:8765", "EMULATOR", "my_service:80", "10.0.0.7:1", "[fd00:0::7]"):
        assert send(emulator, "GET", "/_emulator/health", host=host)[0] == 200
        own = {"Origin": f"http://{host}".lower()}
        assert send(emulator, "GET", "/_emulator/health", headers=own, host=host)[0] == 200
    for host in ("emulator.evil.example", "10.0.0.8", "my-service"):
        assert send(emulator, "GET", "/_emulator/health", host=host)[0] == 403
    _, text = send(emulator, "POST", "/v1/videos/generations", ORDER, KEY | JSON, host="emulator")
    assert json.loads(text)["status"] == "pending"


@pytest.mark.parametrize("name", ["http://emulator", "emulator:8765", "*", "", "a b", "[::1]:80", "a/b", 5])
def test_a_listed_host_is_a_name_alone(name):
    with pytest.raises(ValueError, match=r"allowed_hosts: .*without scheme and port"):
        Settings(allowed_hosts=[name])


def test_the_command_refuses_a_wrong_host_and_says_why(capsys, monkeypatch):
    monkeypatch.setenv("EVOLINK_EMULATOR_ALLOWED_HOSTS", "https://emulator")
    for arguments in (["--allow-host", "a:1"], []):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "without scheme and port" in capsys.readouterr().err


def test_the_command_takes_hosts_from_options_and_environment():
    command = [sys.executable, "-m", "airflow_provider_evolink.emulator", "--port", "0", "--allow-remote"]
    env = os.environ | {"EVOLINK_EMULATOR_ALLOWED_HOSTS": "emulator, evolink.test"}
    process = subprocess.Popen(
        [*command, "--host", "0.0.0.0", "--allow-host", "one", "--allow-host", "two"],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        process.port = int(process.stdout.readline().split()[3].rpartition(":")[2])
        found = {
            host: send(process, "GET", "/_emulator/health", host=host)[0]
            for host in ("emulator:80", "evolink.test", "one", "two", "localhost", "0.0.0.0:1", "three", "10.1.2.3")
        }
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert [host for host, status in found.items() if status != 200] == ["three", "10.1.2.3"]
