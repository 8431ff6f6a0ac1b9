"""What a team needs: keys from a file, a public address, variables for containers, a clean end."""

from __future__ import annotations

import io
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from PIL import Image

import airflow_provider_evolink.emulator as package
from airflow_provider_evolink.emulator.__main__ import main
from airflow_provider_evolink.emulator.options import environment_options, read_options, variable_of
from airflow_provider_evolink.emulator.server import EmulatorServer

README = Path(package.__file__).with_name("README.md")
T2V = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}
REMOTE = {"X-Forwarded-For": "203.0.113.9"}  # uvicorn believes a proxy on this machine
KEY = {"Authorization": "Bearer team-film-1"}
buffer = io.BytesIO()
Image.new("RGB", (640, 360), "green").save(buffer, "PNG")
PNG = buffer.getvalue()


# Options and variables


def test_each_option_has_a_variable():
    values = {
        "host": "localhost",
        "port": "1",
        "estimated_time": "3",
        "polls": "2",
        "fps": "5",
        "public_url": "https://e",
    }
    for action in environment_options():
        text = "yes" if action.nargs == 0 else values.get(action.dest, "7")
        given = ["--key", "7", action.option_strings[0], *([] if action.nargs == 0 else [text])]
        needed = {"tls_cert": {"tls_key": "k"}, "tls_key": {"tls_cert": "c"}}.get(action.dest, {})
        if action.dest == "keys_file":
            continue  # below
        extra = [word for name, value in needed.items() for word in (f"--{name.replace('_', '-')}", value)]
        variables = {"EVOLINK_EMULATOR_" + name.upper(): value for name, value in needed.items()}
        by_line = read_options([*given, *extra], {})
        by_environment = read_options(["--key", "7"], {variable_of(action): text} | variables)
        assert vars(by_line) == vars(by_environment), action.dest


def test_the_command_line_wins_over_a_variable_and_lists_are_put_together():
    found = read_options(
        ["--port", "0", "--polls", "3", "--key", "a", "--media-host", "minio"],
        {
            "EVOLINK_EMULATOR_PORT": "9000",
            "EVOLINK_EMULATOR_SPEED": "20",
            "EVOLINK_EMULATOR_KEYS": "b,c",
            "EVOLINK_EMULATOR_MEDIA_HOSTS": "s3.staging:9000 minio.staging",
        },
    )
    assert (found.port, found.settings.mode, found.settings.polls) == (0, "polls", 3)
    assert found.settings.keys == ["a", "b", "c"]
    assert found.settings.media_hosts == ["minio", "s3.staging:9000", "minio.staging"]


def test_what_kubernetes_sets_for_a_service_of_this_name_does_no_harm():
    found = read_options(
        [],
        {
            "EVOLINK_EMULATOR_PORT": "tcp://10.96.0.7:8765",
            "EVOLINK_EMULATOR_SERVICE_HOST": "10.96.0.7",
            "EVOLINK_EMULATOR_PORT_8765_TCP_ADDR": "10.96.0.7",
            "EVOLINK_EMULATOR_SPEED": "",
            "EVOLINK_EMULATOR_QUIET": "false",
        },
    )
    assert (found.host, found.port, found.speed, found.quiet) == ("127.0.0.1", 8765, None, False)


def test_the_container_of_the_page_is_configured_by_variables_that_exist(keys_file):
    (text,) = re.findall(r"^```yaml\n(image:.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    container = yaml.safe_load(text)
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert set(env) <= {variable_of(action) for action in environment_options()}
    found = read_options([], env | {"EVOLINK_EMULATOR_KEYS_FILE": str(keys_file)})
    assert (found.settings.public_url, found.settings.media_hosts) == (
        "https://emulator.staging.internal:8765",
        ["minio:9000"],
    )
    assert (found.port, found.settings.keep_hours) == (container["ports"][0]["containerPort"], 168)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("PORT", "http"),
            ("SPEED", "fast"),
            ("SPEED", "0"),
            ("POLLS", "1.5"),
            ("QUIET", "maybe"),
            ("HOST", "0.0.0.0"),
            ("PORT", "99999"),
            ("PORT", "-1"),
        ),
        *(
            ("PUBLIC_URL", "emulator"),
            ("PUBLIC_URL", "https://a/b"),
            ("PUBLIC_URL", "https://a@b"),
            ("PUBLIC_URL", "https://a?"),
            ("PUBLIC_URL", "https://a#"),
            ("PUBLIC_URL", "https://a:"),
            ("PUBLIC_URL", "ftp://a"),
        ),
        *(
            ("MEDIA_HOSTS", "http://minio"),
            ("MEDIA_HOSTS", "minio:0"),
            ("MEDIA_HOSTS", "*.minio"),
            ("MEDIA_HOSTS", "[[::1]]"),
            ("MEDIA_HOSTS", "[::1"),
            ("MEDIA_HOSTS", "fe80::1%eth0"),
            ("MEDIA_HOSTS", "minio:x"),
        ),
        *(("ALLOWED_HOSTS", "a:80"), ("TLS_CERT", "a.pem"), ("KEYS_FILE", "/nothing/here")),
    ],
)
def test_an_unusable_variable_is_status_2(monkeypatch, capsys, name, text):
    monkeypatch.setenv(f"EVOLINK_EMULATOR_{name}", text)
    with pytest.raises(SystemExit) as stopped:
        main(["--port", "0"] if name != "PORT" else [])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m airflow_provider_evolink.emulator: error: ")


# Keys


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("secret") / "keys"
    file.write_text("# of the film team\nteam-film-1\n\n  team-film-2  \r\n#old-key-000\n")
    return file


@pytest.fixture(scope="module")
def guarded(start, keys_file):
    return start(
        *("--port", "0", "--polls", "1", "--fps", "2", "--keys-file", str(keys_file), "--key", "of-the-line-1"),
        EVOLINK_EMULATOR_KEYS="of-the-environment-1,of-the-environment-2",
    )


ACCEPTED = ["team-film-1", "team-film-2", "of-the-line-1", "of-the-environment-1", "of-the-environment-2"]


def test_only_listed_keys_are_accepted_and_none_is_shown(guarded, keys_file):
    def status(key, method="GET", path="/v1/credits"):
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.request(method, guarded.url + path, headers=headers, json=T2V, trust_env=False)

    wrong = ["old-key-000", "#old-key-000", "# of the film team", "team-film-1 ", "team-film", "TEAM-FILM-1", "any"]
    assert [status(key).status_code for key in ACCEPTED] == [200] * 5
    refused = [status(key.strip() + "x" if key.endswith(" ") else key) for key in wrong]
    assert {response.status_code for response in refused} == {401}
    error = status("wrong", "POST", "/v1/videos/generations").json()["error"]
    assert (error["code"], error["type"]) == ("unauthorized", "authentication_error")
    job_id = status("team-film-1", "POST", "/v1/videos/generations").json()["id"]
    assert status("team-film-2", path=f"/v1/tasks/{job_id}").status_code == 200, "one account"
    shown = httpx.get(f"{guarded.url}/_emulator/settings", trust_env=False).text
    shown += httpx.get(f"{guarded.url}/_emulator/books", trust_env=False).text
    shown += "".join(response.text for response in refused) + guarded.stop()
    assert job_id in shown
    assert [key for key in ACCEPTED if key in shown] == []


@pytest.mark.parametrize(
    "content", [b"", b"# none yet\n\n", b"\xff\xfe\x00", b"two words\n", "schl\u00fcssel\n".encode()]
)
def test_a_file_without_usable_keys_admits_nobody(tmp_path, capsys, content):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(SystemExit):
        main(["--port", "0", "--keys-file", str(file)])
    assert not any(text in capsys.readouterr().err for text in ("two words", "schl"))


def test_an_invalid_key_is_not_shown_by_the_control_plane(emulator):
    response = httpx.post(f"{emulator.url}/_emulator/settings", json={"keys": ["sk-secret-key", 7]}, trust_env=False)
    assert response.status_code == 400
    assert "sk-secret" not in response.text


# The public address


PUBLIC = ["https://emulator.staging.internal", "https://emulator.staging:8443/", "http://10.1.2.3:80"]


@pytest.mark.parametrize("public", PUBLIC)
def test_links_start_with_the_public_address(public):
    """Behind a proxy that ends TLS or maps ports, and passes on its own name or that of the service."""
    first = public.rstrip("/")
    with EmulatorServer(public_url=public, polls=0, fps=2) as server:
        for host in (httpx.URL(public).host, "localhost:1234"):
            headers = KEY | REMOTE | {"Host": host}
            with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
                picture = {"file": ("a.png", PNG)}
                sent = client.post("/api/v1/files/upload/stream", files=picture).json()["data"]["file_url"]
                job = ordered(client, sent)
                (link,) = job["results"]
                other = ordered(client, f"{first}/files/none.png")
                assert client.get(link.removeprefix(first)).status_code == 200
                assert client.get(sent.removeprefix(first)).content == PNG

            assert sent.startswith(f"{first}/files/")
            assert link.startswith(f"{first}/media/")
            assert (job["status"], other["status"]) == ("completed", "failed"), "it knows which links are its own"


def ordered(client, picture):
    """Return the job that was ordered with a picture."""
    body = T2V | {"model": "wan2.7-image-to-video", "image_start": picture}
    return client.get(f"/v1/tasks/{client.post('/v1/videos/generations', json=body).json()['id']}").json()


def test_without_one_links_start_with_what_the_client_called(emulator):
    emulator.settings(allowed_hosts=["emulator"])
    with httpx.Client(base_url=emulator.url, headers=KEY | {"Host": "emulator:9999"}, trust_env=False) as client:
        job_id = client.post("/v1/videos/generations", json=T2V).json()["id"]
        assert client.get(f"/v1/tasks/{job_id}").json()["results"][0].startswith("http://emulator:9999/media/")


@pytest.mark.parametrize("change", [{"public_url": "https://evil.example"}, {"media_hosts": ["169.254.169.254"]}])
def test_whoever_reaches_the_control_plane_leads_it_nowhere(emulator, change):
    before = emulator.settings()
    with pytest.raises(ValueError, match="only be set at the start"):
        emulator.settings(**change)
    assert emulator.settings() == before


# The process


def test_more_connections_than_a_process_has_files_by_default(start):
    few = ("sh", "-c", 'ulimit -Sn 64 && exec "$@"', "sh")
    emulator = start("--port", "0", prefix=few)
    opened = []
    try:
        opened += [socket.create_connection(("127.0.0.1", emulator.port), timeout=10) for _ in range(120)]
        for one in opened:
            one.sendall(b"GET /_emulator/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {one.recv(100).split()[1] for one in opened} == {b"200"}
    finally:
        for one in opened:
            one.close()
    emulator.stop()


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_it_ends_cleanly_as_the_first_process_of_a_container(start):
    alone = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespaces")
    emulator = start("--port", "0", prefix=alone)
    children = subprocess.run(
        ["ps", "--ppid", str(emulator.process.pid), "-o", "pid="], capture_output=True, text=True, check=True
    )
    subprocess.run(["kill", "-TERM", children.stdout.strip()], check=True)
    emulator.process.wait(timeout=20)
    assert emulator.process.returncode == 0


def test_the_health_check_tells_whether_it_is_well(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    check = [sys.executable, "-m", "airflow_provider_evolink.emulator", "--check", "--port", port]
    tls = ["--tls-self-signed", str(tmp_path / "emulator.pem")]
    assert main(["--check", "--port", port]) == 1
    emulator = start("--port", port, *tls, "--host", "0.0.0.0", "--allow-remote")
    assert emulator.first_line.startswith("EvoLink emulator on https://0.0.0.0:")
    environ = {"EVOLINK_EMULATOR_HOST": "0.0.0.0", "EVOLINK_EMULATOR_ALLOW_REMOTE": "1"}
    assert subprocess.run([*check, *tls], env=environ, check=False).returncode == 0
    assert main(["--check", "--port", port]) == 1, "it does not speak plain HTTP"
    emulator.stop()
