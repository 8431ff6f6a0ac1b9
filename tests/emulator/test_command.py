"""The command line, and what the emulator may import."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import airflow_provider_evolink.emulator as package
from airflow_provider_evolink.emulator.__main__ import main

COMMAND = [sys.executable, "-m", "airflow_provider_evolink.emulator"]
ALLOWED = {"av", "cryptography", "PIL", "pydantic", "starlette", "uvicorn"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_serves_and_stops_cleanly(tmp_path, number):
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--polls", "1", "--fps", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("EvoLink emulator on http://127.0.0.1:")
        url = line.split()[3]
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer sk-secret-key"}, trust_env=False) as client:
            body = {"model": "wan2.7-text-to-video", "prompt": "x", "duration": 2}
            job_id = client.post("/v1/videos/generations", json=body).json()["id"]
            link = client.get(f"/v1/tasks/{job_id}").json()["results"][0]
            assert client.get(link).status_code == 200
            assert list(tmp_path.iterdir())
            process.send_signal(number)
        _, log = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert [line.split()[2] for line in log.splitlines()] == ["submit", "completed"]
    assert "sk-secret-key" not in log
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_line_and_status_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"cannot listen on 127.0.0.1:{port}: Address already in use"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--host", "example.com"], "--allow-remote"),
        (["--speed", "0"], "speed"),
        (["--polls", "-1"], "polls"),
        (["--speed", "2", "--polls", "2"], "not allowed with"),
    ],
)
def test_invalid_options_are_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def imports_of(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_the_emulator_imports_nothing_else_of_the_package():
    files = list(Path(package.__file__).parent.glob("**/*.py"))
    assert len(files) > 10
    for file in files:
        for name in imports_of(file):
            first = name.split(".")[0]
            own = f"{name}.".startswith("airflow_provider_evolink.emulator.")
            assert own or first in ALLOWED or first in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_importing_the_package_stays_light():
    heavy = "{'starlette', 'uvicorn', 'av', 'PIL', 'airflow'}"
    code = f"import sys, airflow_provider_evolink.emulator; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout.strip() == "set()"
