"""What a page shows to be copied runs as printed. The README's first hour as a whole: `make first-hour`."""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pendulum
import pytest
from airflow.sdk import DAG

import airflow_provider_evolink.operators as operators
from airflow_provider_evolink.__main__ import main
from airflow_provider_evolink.emulator.options import build_parser
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.get_provider_info import get_provider_info

ROOT = Path(__file__).parent.parent
README, QUICKSTART = (ROOT / "README.md").read_text(), (ROOT / "docs" / "quickstart.md").read_text()
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "airflow_provider_evolink" / "emulator" / "README.md"]
EMULATOR = "airflow_provider_evolink.emulator"


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


SAMPLES = {f"{page.stem}-{number}": text for page in PAGES for number, text in enumerate(blocks(page, "python"))}
TASKS = {name: text for name, text in SAMPLES.items() if "Operator(" in text}


@pytest.mark.parametrize("text", TASKS.values(), ids=list(TASKS))
def test_tasks_can_be_made(text: str) -> None:
    """Every operator on a page takes the arguments that it is shown with."""
    names = {name: getattr(operators, name) for name in operators.__all__}
    with DAG("sample", start_date=pendulum.datetime(2026, 1, 1)) as dag:
        exec(text, names)
    made = dag.tasks or names["clip"].dag.tasks  # a page may show the whole DAG file
    assert len(made) == len(re.findall(r"EvoLink\w+Operator\(", text))


INCLUDE = re.compile(r"^```{literalinclude} (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INCLUDED = [(page, *found) for page in PAGES for found in INCLUDE.findall(page.read_text()) if "/dags/" in found[0]]


@pytest.mark.parametrize(("page", "name", "options"), INCLUDED, ids=[f"{row[0].stem}-{row[1]}" for row in INCLUDED])
def test_shown_parts_of_examples_are_there(page: Path, name: str, options: str) -> None:
    """What a page takes from an example stands there once, and the page links to the whole file, which tests run."""
    path = (page.parent / name).resolve()
    marks = re.findall(r'^:(?:start-after|end-before): "(.+)"$', options, re.MULTILINE)
    assert [path.read_text().count(f"{mark}\n") for mark in marks] == [1, 1]
    assert f"{{download}}`{path.name} <{name}>`" in page.read_text()


SETTINGS = [(page, text) for page in PAGES for text in blocks(page, "ini")]


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=[page.stem for page, _ in SETTINGS])
def test_shown_settings_are_those_of_the_provider(page: Path, text: str) -> None:
    """A part of `airflow.cfg` on a page can be read, and Airflow knows its options."""
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser.sections() == ["evolink"]
    assert set(parser["evolink"]) <= set(get_provider_info()["config"]["evolink"]["options"])


def test_the_script_of_the_client_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's script, on an emulator at another port, prints what the page shows but for ids and sums."""
    page = ROOT / "docs" / "client.md"
    (script,), (shown,) = blocks(page, "python"), blocks(page, "text")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with EmulatorServer(polls=1, fps=4) as emulator, contextlib.redirect_stdout(printed):
        exec(script.replace("http://127.0.0.1:8765", emulator.url), {})
    without_ids = [re.sub(r"task-unified-\S+|\d{5,} [0-9a-f]{64}", "x", text) for text in (printed.getvalue(), shown)]
    assert without_ids[0] == without_ids[1]
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_the_emulators_own_sample_runs() -> None:
    """The sample for tests, with a request in the place of the dots."""
    (sample,) = [text for text in blocks(PAGES[-1], "python") if "EmulatorServer" in text]
    (command,) = [text for text in blocks(PAGES[-1], "bash") if "curl" in text]
    parts = shlex.split(command.replace("\\\n", " "))
    headers = dict(parts[at + 1].split(": ") for at, part in enumerate(parts) if part == "-H")

    def order(url: str) -> None:
        with contextlib.suppress(httpx.RemoteProtocolError):
            httpx.post(f"{url}/v1/videos/generations", content=parts[-1], headers=headers, trust_env=False)

    assert "    ...  #" in sample
    exec(sample.replace("    ...  #", "    order(emulator.url)  #"), {"order": order})


COMMANDS = sorted(
    {
        line.partition("  #")[0].removesuffix("&").strip()
        for page in [ROOT / "README.md", *PAGES]
        for text in blocks(page, "bash")
        for line in text.splitlines()
        if line.startswith("python -m airflow_provider_evolink")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_their_arguments(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the package on a page is one; those that need no network run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text('{"model": "wan2.7-text-to-video", "prompt": "a paper boat"}')
    _, _, module, *arguments = shlex.split(command)
    if module == EMULATOR:
        build_parser().parse_args(arguments)
    elif arguments[0] != "network":
        assert main(arguments) == 0


AIRFLOW_COMMANDS = sorted(
    {
        re.sub(r"^([A-Z_]+=\S+ )+", "", line)
        for page in [ROOT / "README.md", *PAGES]
        for text in [*blocks(page, "bash"), *re.findall(r"`(airflow \w+ \w+ [^`.<]+)`", page.read_text())]
        for line in text.replace("\\\n", "").splitlines()
        if re.match(r"([A-Z_]+=\S+ )*airflow ", line)
    }
)


def test_airflows_commands_take_their_arguments() -> None:
    """Every command of Airflow on a page is one, and a DAG that it names is on the page or among the examples."""
    from airflow.cli.cli_parser import get_parser

    parser, wrong = get_parser(), []
    for command in AIRFLOW_COMMANDS:
        try:
            options = parser.parse_args(shlex.split(command)[1:])
        except SystemExit:
            wrong.append(command)
            continue
        dag = getattr(options, "dag_id", None)
        if dag and dag != "paper_boat" and not (ROOT / "dags" / f"{dag}.py").exists():
            wrong.append(command)
    assert wrong == []
    assert len(AIRFLOW_COMMANDS) > 5


def test_the_quickstart_goes_the_same_way_as_the_readme() -> None:
    """One set of commands, and one DAG, on both pages: the README's are run from its text."""
    section = README.partition("## Try it in an Airflow of your own")[2].partition("\n## ")[0]
    commands = re.findall(r"^```bash\n.*?^```", section, re.DOTALL | re.MULTILINE)
    assert len(commands) == 4
    assert [block for block in commands[:3] if block not in QUICKSTART] == []
    assert "```python\n" + README.partition("```python\n")[2].partition("```")[0] in QUICKSTART


def test_the_first_hour_takes_its_steps_from_the_readme() -> None:
    """The script finds every step, in the order of the page, and the DAG; a page without them is an error."""
    code = "import sys; sys.path.insert(0, 'scripts'); import first_hour as f; page = open('README.md').read()\n"
    code += "print(f.steps_of(page, '/x/dag.py').script)\n"
    code += "f.steps_of(page.replace('```bash', '```text'), '/x')"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    steps = (
        "make wheel",
        "uv pip install",
        "airflow db migrate",
        'cp "/x/dag.py"',
        EMULATOR,
        "airflow dags test",
        "find",
    )
    places = [done.stdout.find(step) for step in steps]
    assert places == sorted(places)
    assert places[0] >= 0
    assert done.returncode == 1
    assert "README.md has no steps" in done.stderr


def test_the_readme_names_what_the_first_hour_needs() -> None:
    """A bare machine stumbles over nothing: the extra, the database, and retries that do not wait for five minutes."""
    dag = README.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"__name__": "readme"}
    exec(dag, names)
    assert names["clip"].retry_delay.total_seconds() <= 60
    section = README.partition("## Try it in an Airflow of your own")[2].partition("\n## ")[0]
    for needed in ("airflow-provider-evolink[emulator]", "airflow db migrate", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        assert needed in section
