"""``python -m airflow_provider_evolink``: models, show, validate."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest

from airflow_provider_evolink.api.catalog import catalog, cli
from airflow_provider_evolink.api.catalog.catalog import build_request, known_models, register

T2V = "wan2.7-text-to-video"
GOOD = {"model": T2V, "prompt": "a boat", "duration": 5}
BAD = {"model": T2V, "prompt": "whisper-of-lavender and more", "duration": 20, "qualty": "720p"}


@pytest.fixture
def run(capsys):
    """Run the command and return exit status, output and errors."""

    def run(*arguments):
        status = cli.main(arguments)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def request_file(tmp_path):
    """Write a request file and return its path."""

    def write(content):
        path = tmp_path / "request.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_models_are_listed_without_the_retired_ones(run):
    status, out, _ = run("models")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["MODEL", "KIND", "TASK", "FAMILY", "PRICE", "STATUS"]
    current = [model for model in known_models() if catalog.find_spec(model).status == "documented"]
    assert [line.split()[0] for line in lines[1:-1]] == current
    assert lines[-1].startswith(f"{len(current)} models;")
    assert len(current) < len(known_models())
    assert run("models", "--retired")[1].splitlines()[-1].startswith(f"{len(known_models())} models;")


def test_models_can_be_searched_by_text_and_kind(run):
    assert [one["model"] for one in json.loads(run("models", "upscale", "--kind", "video", "--json")[1])] == [
        "tencent-video-upscale",
        "topaz-video-upscale",
    ]
    (suno,) = json.loads(run("models", "suno-v6-wild", "--json")[1])
    assert suno == {
        "model": "suno-v6-wild-beta",
        "kind": "audio",
        "task": "music",
        "family": "suno",
        "status": "documented",
        "price": "-",
        "aliases": ["suno-v6-wild"],
    }


def test_the_list_has_the_price_in_credits_where_it_is_known(run):
    price = catalog.find_spec(T2V).price
    (row,) = [line for line in run("models", T2V)[1].splitlines() if line.startswith(T2V)]
    assert f"{price.per_second:g}/s, from {price.min_credits:g}" in row


def test_a_search_that_finds_nothing_says_so_and_what_is_near(run):
    status, out, error = run("models", "wan2.7-text2video")
    assert (status, out) == (1, "")
    assert "no model matches 'wan2.7-text2video'; did you mean wan2.7-text-to-video" in error
    assert run("models", "zzzzzz", "--json")[0] == 1
    assert "--retired" in run("models", "zzzzzz")[2]


def test_bare_it_prints_its_help_and_it_knows_its_version(run, capsys):
    status, out, _ = run()
    assert status == 0
    assert all(command in out for command in ("models", "show", "validate", "network", "reconcile"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"airflow-provider-evolink \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("terminal", "no_color", "colored"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_colors_are_for_terminals(run, request_file, monkeypatch, terminal, no_color, colored):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    for command in (("models",), ("show", T2V), ("validate", request_file(BAD))):
        assert ("\x1b[" in run(*command)[1]) is colored


def test_show_names_every_parameter_and_rule(run):
    for model in known_models():
        status, out, _ = run("show", model)
        spec = catalog.find_spec(model)
        words = " ".join(out.split())
        assert status == 0
        assert [name for name in spec.parameters if f"\n{name}" not in out] == []
        assert [rule.text for rule in spec.rules if rule.text not in words] == []


def test_show_in_json_is_a_row_that_can_be_registered(run, monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})
    specs = {model: json.loads(run("show", model, "--json")[1]) for model in known_models()}
    before = {model: catalog.find_spec(model) for model in specs}
    for model, spec in specs.items():
        register(spec)
        assert catalog.find_spec(model) == before[model]


def test_show_knows_other_names_and_suggests_the_nearest(run):
    assert run("show", "suno-v6")[1].startswith("suno-v6-beta: audio, music")
    status, out, error = run("show", "wan2.7-text2video")
    assert (status, out) == (1, "")
    assert "Did you mean wan2.7-text-to-video?" in error


def test_a_good_request_passes(run, request_file):
    assert run("validate", request_file(GOOD)) == (0, f"{T2V}: valid\n", "")


def test_all_that_is_wrong_with_a_request_is_reported_but_not_its_prompt(run, request_file):
    status, out, error = run("validate", request_file(BAD))
    assert (status, error) == (1, "")
    assert out.splitlines() == [
        f"{T2V}: invalid: 2 errors",
        "  error    duration: must be an integer from 2 to 15, got 20",
        "  error    qualty: is not a known field; did you mean quality?",
    ]


def test_a_list_of_requests_is_checked_one_by_one(run, request_file):
    status, out, _ = run("validate", request_file([GOOD, BAD, {"model": "brand-new", "x": 1}]), "--json")
    good, bad, new = json.loads(out)
    assert status == 1
    assert good == {"model": T2V, "known": True, "valid": True, "violations": [], "warnings": []}
    assert [one["field"] for one in bad["violations"]] == ["duration", "qualty"]
    assert (new["known"], new["valid"], len(new["warnings"])) == (False, True, 1)


def test_a_request_may_be_written_as_an_operator_takes_it(run, request_file):
    assert run("validate", request_file({"model": T2V, "kind": "video", "parameters": {"prompt": "a"}}))[0] == 0
    status, out, _ = run("validate", request_file({"model": T2V, "parameters": {"promt": "a"}}))
    assert status == 1
    assert "did you mean prompt?" in out


def test_a_warning_is_shown_and_is_no_fault(run, request_file):
    status, out, _ = run("validate", request_file({"model": "wan2.7-text-to-video", "prompt": "a" * 5001}))
    assert status == 0
    assert "warning  prompt: EvoLink cuts it to 5000 characters, got 5001" in out


@pytest.mark.parametrize("file", ["s3://store@my-bucket/bud.png", "file:///data/bud.png", "/data/bud.png"])
def test_a_file_that_an_operator_would_upload_is_no_fault(run, request_file, file):
    request = {"model": "wan2.7-image-to-video", "prompt": "x", "image_start": file}
    status, out, _ = run("validate", request_file(request))
    assert (status, out.splitlines()[0]) == (0, "wan2.7-image-to-video: valid")
    assert "  warning  image_start: local file, not inspected here, got" in out
    assert "store@" not in out
    status, out, _ = run("validate", request_file({**request, "prompt": "/data/bud.png", "duration": 99}), "--json")
    (answer,) = json.loads(out)
    assert (status, [one["field"] for one in answer["violations"]]) == (1, ["duration"])


def test_a_file_where_no_media_belongs_is_a_fault_and_shown_as_it_was_given(run, request_file):
    status, out, _ = run("validate", request_file({**GOOD, "callback_url": "s3://my-bucket/x"}))
    assert (status, "callback_url: must be an https link" in out) == (1, True)
    given = {"model": "wan2.7-image-to-video", "image_start": "s3://b/bud.png", "duration": "s3://b/bud.png"}
    status, out, _ = run("validate", request_file(given))
    assert status == 1
    assert "got s3://b/bud.png" in next(line for line in out.splitlines() if "duration:" in line)


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "[]", "null", '{"prompt": "a"}', '"text"', '{"model": 5}', "[" * 200_000]
)
def test_a_file_that_is_no_request_is_named(run, request_file, content):
    path = request_file(content)
    status, out, error = run("validate", path)
    assert (status, out) == (2, "")
    assert error.startswith(f"{path}: ")


def test_a_file_with_a_byte_order_mark_is_read(run, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert run("validate", str(path))[0] == 0


def test_what_a_terminal_cannot_write_is_no_error(tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"model": "br\ud800ken", "prompt": "a"}))
    for arguments, encoding, wanted in (
        (["validate", "--json", str(path)], "utf-8", '"model": "br'),
        (["show", "topaz-video-upscale"], "ascii", "50 MB"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "airflow_provider_evolink", *arguments],
            capture_output=True,
            env={"PYTHONIOENCODING": encoding},
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert wanted in done.stdout.decode(encoding)


def test_a_file_that_is_not_there_is_named(run, tmp_path):
    status, _, error = run("validate", str(tmp_path / "no.json"))
    assert (status, "No such file" in error) == (2, True)


def test_a_request_can_come_from_standard_input(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(GOOD)))
    assert run("validate", "-")[0] == 0


def test_it_runs_as_a_module_without_airflow_and_without_a_network():
    program = (
        "import runpy, socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "sys.argv = ['x', 'show', 'wan2.7-text-to-video']\n"
        "try:\n"
        "    runpy.run_module('airflow_provider_evolink', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "assert not {'airflow', 'httpx'} & set(sys.modules), 'too much is imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "duration" in done.stdout


def test_a_reader_that_stops_early_is_no_error():
    line = f"{sys.executable} -m airflow_provider_evolink models --retired --json | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_what_validate_passes_builds(request_file, run):
    assert run("validate", request_file(GOOD))[0] == 0
    assert build_request(T2V, GOOD) == GOOD
