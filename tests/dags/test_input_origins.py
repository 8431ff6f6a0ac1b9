"""Whose word names an input file, in Airflow itself: literals, templates, forms, mapped lists, results, functions."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer

SOURCE = """
import pendulum
from airflow.providers.common.compat.sdk import DAG, task
from airflow.sdk import Param
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator, EvoLinkDownloadOperator, EvoLinkImageToVideoOperator, EvoLinkUploadOperator as Upload,
)

FRAME = "{folder}/frame.png"
WAN = {{"prompt": "p", "duration": 2, "deferrable": False, "poll_interval": 0.05}}


def note(context):
    from pathlib import Path
    Path("{folder}", context["ti"].task_id + ".txt").write_text(str(context["exception"]))


with DAG(
    "input_origins",
    default_args={{"on_failure_callback": note}},
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1),
    params={{"picture": Param("{folder}/secret.png", type="string")}},
) as dag:
    # What the author of this file has written
    Upload(task_id="sent_literal", path=FRAME)
    Upload.partial(task_id="sent_partial", path=FRAME).expand(reuse=[True])
    # What others can choose
    Upload(task_id="refused_form", path="{{{{ params.picture }}}}")
    Upload(task_id="refused_conf", path="{{{{ dag_run.conf['picture'] }}}}")
    Upload(task_id="refused_variable", path="{{{{ var.value.picture }}}}")
    Upload.partial(task_id="refused_mapped").expand(path=[FRAME])
    EvoLinkImageToVideoOperator.partial(task_id="refused_kwargs", **WAN).expand_kwargs([{{"image_start": FRAME}}])
    EvoLinkBatchOperator(
        task_id="refused_batch",
        model="wan2.7-image-to-video",
        requests=[{{"image_start": "{{{{ params.picture }}}}"}}],
    )

    @task
    def inside(params=None, **context):
        Upload(task_id="x", path=params["picture"]).execute(context)

    inside.override(task_id="refused_inside_a_function")()

    # What the results of a download name
    download = EvoLinkDownloadOperator(task_id="download", job="{job_id}", destination="file://{folder}/staging")

    @task
    def pick(files):
        return files[0]

    @task
    def forge(files):
        return {{**files[0], "uri": "file://{folder}/secret.png"}}

    @task
    def spoil(uri):
        from pathlib import Path
        path = Path("{folder}/spoiled/" + uri.rpartition("/")[2])
        path.write_bytes(Path("{folder}/secret.png").read_bytes())

    by_text = Upload(task_id="sent_text", path="{{{{ ti.xcom_pull(task_ids='download')[0]['uri'] }}}}")
    download >> by_text
    Upload(task_id="sent_entry", path=pick(download.output))
    Upload(task_id="refused_forged", path=forge(download.output))
    spoiled = EvoLinkDownloadOperator(task_id="download_2", job="{job_id}", destination="file://{folder}/spoiled")
    uri = "{{{{ ti.xcom_pull(task_ids='download_2')[0]['uri'] }}}}"
    spoiled >> spoil(uri) >> Upload(task_id="refused_changed", path=uri)

    # What a function holds and what it is given
    @task.evolink(model="wan2.7-image-to-video", deferrable=False, poll_interval=0.05)
    def animate(picture: str | None = None):
        return {{"image_start": picture or FRAME, "duration": 2}}

    animate.override(task_id="sent_function")()
    animate.override(task_id="refused_argument")("{{{{ params.picture }}}}")
"""


@pytest.fixture
def job_id(emulator: EmulatorServer) -> str:
    emulator.settings(polls=0)
    settings = ClientSettings(api_key="test-key-0123456789", base_url=emulator.url)
    with EvoLinkClient(settings) as client:
        return client.submit({"model": "wan2.7-text-to-video", "prompt": "p", "duration": 2}).job_id


def test_only_what_the_dag_file_or_a_download_names_is_sent(
    emulator: EmulatorServer,
    evolink_conn: str,
    dags_folder: Path,
    tmp_path: Path,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, name in enumerate(("frame.png", "secret.png")):
        Image.new("RGB", (640, 360), (number, 0, 0)).save(tmp_path / name)
    monkeypatch.setenv("AIRFLOW_VAR_PICTURE", str(tmp_path / "secret.png"))
    path = dags_folder / "input_origins.py"
    path.write_text(SOURCE.format(folder=tmp_path, job_id=job_id))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    run: Any = module.dag.test(run_conf={"picture": str(tmp_path / "secret.png")})

    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    assert {
        name: state for name, state in states.items() if state != "success" and not name.startswith("refused")
    } == {}
    assert {name: state for name, state in states.items() if state != "failed" and name.startswith("refused")} == {}
    assert len(states) > 18
    reasons = {name: (tmp_path / f"{name}.txt").read_text() for name in states if name.startswith("refused")}
    changed = {name for name, reason in reasons.items() if "is not the file that the download" in reason}
    assert changed == {"refused_forged", "refused_changed"}
    assert {name for name, reason in reasons.items() if "this task may not send" in reason} == reasons.keys() - changed
