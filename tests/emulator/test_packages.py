"""The emulator refuses to start without what its extra brings, in every form it can be started in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import av
import pytest
from PIL import features

from airflow_provider_evolink.emulator.__main__ import main
from airflow_provider_evolink.emulator.packages import INSTALL, PACKAGES, MissingPackages, require_packages
from airflow_provider_evolink.emulator.rendering import render
from airflow_provider_evolink.emulator.routes.app import build_app
from airflow_provider_evolink.emulator.server import EmulatorServer, build_server
from airflow_provider_evolink.emulator.settings import Settings
from airflow_provider_evolink.emulator.state.world import World

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
COMMAND = [sys.executable, "-m", "airflow_provider_evolink.emulator", "--port", "0"]


@pytest.fixture(autouse=True)
def _unchecked():
    require_packages.cache_clear()
    yield
    require_packages.cache_clear()


@pytest.fixture
def without(monkeypatch):
    """Return a function that takes a module away."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("module", list(PACKAGES))
def test_the_command_names_what_is_missing_and_how_to_install_it(without, capfd, module):
    without(module)

    assert main(["--port", "0"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert f"{PACKAGES[module][0]} is missing" in err
    assert len(err.splitlines()) == 1
    assert INSTALL in err


@pytest.mark.parametrize("module", ["av", "PIL", "python_multipart"])
@pytest.mark.parametrize(
    "start",
    [
        lambda folder: EmulatorServer(),
        lambda folder: build_server(Settings(), folder),
        lambda folder: build_app(World(Settings(), folder)),
    ],
    ids=["EmulatorServer", "build_server", "build_app"],
)
def test_embedded_it_refuses_as_well(without, tmp_path, start, module):
    without(module)

    with pytest.raises(MissingPackages, match="is missing") as raised:
        start(tmp_path)
    assert INSTALL in str(raised.value)


def test_all_that_is_missing_is_named_at_once(without):
    for module in ("av", "PIL"):
        without(module)

    with pytest.raises(MissingPackages, match="av is missing; pillow is missing"):
        require_packages()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("raise OSError('libavcodec.so: cannot open')", "av is broken (OSError: libavcodec.so: cannot open)"),
        ("import a_part_of_av", "av is broken (No module named 'a_part_of_av')"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_one_line_and_status_2(tmp_path, content, words):
    (tmp_path / "av.py").write_text(content)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert words in done.stderr
    assert INSTALL in done.stderr


@pytest.mark.parametrize(
    ("version", "refused"),
    [("10.0.1", True), ("9.5.0", True), ("10.1", False), ("10.1.0", False), ("10.1.0.post1", False), ("11.0", False)],
)
def test_a_package_that_is_too_old_is_refused(monkeypatch, version, refused):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "pillow" else real(name))

    if refused:
        with pytest.raises(MissingPackages, match=rf"pillow {version} is older than 10\.1\.0"):
            require_packages()
    else:
        require_packages()


@pytest.mark.parametrize("encoder", ["libx264", "libmp3lame", "libopus"])
def test_a_package_built_without_an_encoder_is_refused(monkeypatch, encoder):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {encoder})

    with pytest.raises(MissingPackages, match=f"av has no {encoder}"):
        require_packages()


def test_fonts_that_cannot_be_drawn_are_refused(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: name != "freetype2")

    with pytest.raises(MissingPackages, match="pillow has no freetype2"):
        require_packages()


def test_the_table_is_the_extra_of_the_package():
    wanted = [*PROJECT["optional-dependencies"]["emulator"], *PROJECT["dependencies"]]
    oldest = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in wanted if "[" not in line)
    extra = {line.partition(">")[0] for line in PROJECT["optional-dependencies"]["emulator"]}

    assert {name: oldest[name] for name, _ in PACKAGES.values()} == dict(PACKAGES.values())
    assert extra | {"pydantic"} == {name for name, _ in PACKAGES.values()}


def test_every_encoder_of_the_renderer_is_checked():
    from airflow_provider_evolink.emulator.packages import ENCODERS

    source = Path(render.__file__).read_text()
    used = set(re.findall(r'add_stream\("(\w+)"', source)) | {codec for _, codec in render._AUDIO_CODECS.values()}
    assert used == set(ENCODERS)
