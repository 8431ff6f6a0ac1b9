"""Wrong literals in Airflow itself: an import error of the DAG file, or the end of a mapped task without retries."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_provider_evolink.emulator.server import EmulatorServer

HEAD = """
from datetime import timedelta
import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, TaskGroup, task
from airflow_provider_evolink.operators import *
from airflow_provider_evolink.sensors import *

Clip = EvoLinkTextToVideoOperator
with DAG("dag", schedule=None, start_date=pendulum.datetime(2025, 1, 1){dag}) as dag:
    {body}
"""
GOOD = """
    a = Clip(task_id="a", prompt="{{ ds }}", destination="{{ ds }}", duration="{{ 5 }}", seed=7)
    b = EvoLinkDownloadOperator(task_id="b", job=a.output, destination=a.output["x"])
    Clip.partial(task_id="c", model="{{ ds }}").expand(prompt=["p"], on_clear=["pay"])
    EvoLinkArchiveOperator.partial(task_id="d", archive_path="file:///x").expand(files=b.output)
"""
# What stands in a DAG file, and the beginning of the import error; none: the file is a good one.
FILES: dict[str, tuple[str, str, str]] = {
    "plain": ("", "Clip(task_id='shot', prompt='p', on_clear='pay')", "on_clear must be one of regenerate, reuse"),
    "default_args": (", default_args={'timeout': 'x'}", "Clip(task_id='shot', prompt='p')", "timeout must be a number"),
    "partial": ("", "Clip.partial(task_id='shot', durable='no').expand(prompt=['p'])", "durable must be True or False"),
    "decorator": (
        "",
        "@task.evolink(model='wan2.7-text-to-video', max_credits=-1)\n    def shot():\n        return {}\n    shot()",
        "max_credits must be a number",
    ),
    "mapped_decorator": (
        "",
        "@task.evolink(validation='loose')\n    def shot(n):\n        return {}\n    shot.expand(n=[1])",
        "validation must be one of",
    ),
    "sensor": ("", "EvoLinkJobSensor(task_id='shot', job_id='../x')", "job_id must be"),
    "untemplated": (
        "",
        "Clip(task_id='shot', prompt='p', max_regenerations='{{ params.cap }}')",
        "max_regenerations must be a",
    ),
    "good": (", default_args={'timeout': timedelta(hours=1), 'retries': 2}", GOOD, ""),
}


def test_a_wrong_literal_is_an_import_error_of_its_dag_file(airflow_home: Path, tmp_path: Path) -> None:
    for name, (dag, body, _) in FILES.items():
        tmp_path.joinpath(f"{name}.py").write_text(HEAD.format(dag=dag, body=body))
    bag = DagBag(str(tmp_path))
    errors = {Path(path).stem: text.strip().splitlines()[-1] for path, text in bag.import_errors.items()}
    wanted = {name: text for name, (_, _, text) in FILES.items() if text}
    assert set(errors) == set(wanted)
    for name, text in wanted.items():
        assert f"EvoLinkConfigError: {text}" in errors[name]
        assert "(task shot" in errors[name]
    assert list(bag.dags) == ["dag"]


MAPPED = """
with DAG("mapped_arguments", schedule=None, start_date=pendulum.datetime(2025, 1, 1), default_args=DEFAULTS) as dag:
    Clip.partial(task_id="rows", prompt="p").expand_kwargs([{"timeout": "soon"}])
    EvoLinkJobSensor.partial(task_id="sensor", poke_interval=1).expand(job_id=["../x"])

    @task.evolink(model="wan2.7-text-to-video")
    def decorated(n):
        return {"prompt": "p"}

    decorated.override(task_id="decorated", max_credits="none").expand(n=[1])
"""


NOTE = """
def note(context):
    from pathlib import Path
    ti = context["ti"]
    with Path("{folder}", ti.task_id + str(ti.map_index)).open("a") as file:
        file.write(str(context["exception"]).replace(chr(10), " ") + chr(10))

DEFAULTS = {{"retries": 2, "on_failure_callback": note, "on_retry_callback": note}}
"""


@pytest.fixture
def ended(dags_folder: Path, tmp_path: Path) -> Callable[[str], tuple[Any, dict[str, list[str]]]]:
    """Return a function that runs a DAG, and returns the run and how the failed tries of its tasks ended."""

    def run(body: str) -> tuple[Any, dict[str, list[str]]]:
        path = dags_folder / f"{tmp_path.name}.py"
        path.write_text(HEAD.partition("with DAG")[0] + NOTE.format(folder=tmp_path) + body)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.dag.test(), {one.name: one.read_text().splitlines() for one in tmp_path.iterdir()}

    return run


def test_a_mapped_task_with_a_wrong_argument_fails_without_retries(
    ended: Any, emulator: EmulatorServer, evolink_conn: str
) -> None:
    run, errors = ended(MAPPED)
    assert str(run.state) == "failed"
    assert {name: len(lines) for name, lines in errors.items()} == dict.fromkeys(("rows0", "sensor0", "decorated0"), 1)
    assert [lines for lines in errors.values() if "EvoLinkConfigError: " not in lines[0]] == []
    assert emulator.books()["requests"] == {}


AWAITED = """
with DAG("awaited", schedule=None, start_date=pendulum.datetime(2025, 1, 1), default_args=DEFAULTS) as dag:

    @task.evolink(model="wan2.7-text-to-video", deferrable=False, poll_interval=0.05)
    async def shot(n: int):
        import asyncio
        await asyncio.sleep(0.01)
        return {"prompt": f"shot {n}", "duration": 2} if n else ["no request"]

    shot.override(task_id="plain")(1)
    shot.override(task_id="mapped").expand(n=[2, 0])
"""


def test_an_async_function_is_awaited(ended: Any, emulator: EmulatorServer, evolink_conn: str) -> None:
    emulator.settings(polls=0)
    run, errors = ended(AWAITED)
    assert str(run.state) == "failed"
    assert sorted(job["body"]["prompt"] for job in emulator.books()["jobs"]) == ["shot 1", "shot 2"]
    ((name, (line,)),) = errors.items()
    assert name == "mapped1"
    assert "must return a dict of the request's fields, not list" in line
