"""
Runs in network and mount namespaces of its own: an emulator on one host, an object store on another, Airflow between.

    unshare -rnm sh tests/containers/staging_hosts.sh python tests/containers/staging_scenario.py FOLDER [VARIABLE]

A variable that is named is left out of the configuration. Prints one line of JSON: states of the tasks, clips, the
emulator's log, and what the object store was asked for.
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.argv[1])


def block(page: str, section: str, language: str) -> str:
    """Return the first block of a section."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n## {section}\n")[2]
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def exported(text: str) -> dict[str, str]:
    """Return the variables that a shell would set."""
    words = [shlex.split(line)[1] for line in text.replace("/certs", str(FOLDER)).splitlines()]
    return dict(word.split("=", 1) for word in words)


DEPLOYMENT = exported(block("docs/deploy.md", "Staging", "bash"))
README = block("airflow_provider_evolink/emulator/README.md", "For a team", "yaml")
CONTAINER = {entry["name"]: entry["value"] for entry in yaml.safe_load(README)["env"]}
IMAGE = {"EVOLINK_EMULATOR_HOST": "10.77.0.1", "EVOLINK_EMULATOR_ALLOW_REMOTE": "true", "EVOLINK_EMULATOR_FPS": "4"}
EMULATOR = IMAGE | {
    **CONTAINER,
    "EVOLINK_EMULATOR_TLS_SELF_SIGNED": DEPLOYMENT["AIRFLOW__EVOLINK__CA_BUNDLE"],
    "EVOLINK_EMULATOR_KEYS_FILE": str(FOLDER / "keys"),
    "EVOLINK_EMULATOR_SPEED": "120",
}
KEY = json.loads(DEPLOYMENT["AIRFLOW_CONN_EVOLINK_DEFAULT"])["password"]


DAG = f"""
import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
)

with DAG("staging", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")) as dag:
    clip = EvoLinkImageToVideoOperator(
        task_id="generate",
        prompt="the boat drifts",
        generation_mode="first_frame",
        duration=2,
        image_start="http://minio:9000/frames/boat.png?X-Amz-Signature=f00d",
    )
    files = EvoLinkDownloadOperator(task_id="download", job=clip.output, destination="file://{FOLDER}/staging")
    EvoLinkArchiveOperator(task_id="archive", files=files.output, archive_path="file://{FOLDER}/archive")
"""


class Store(BaseHTTPRequestHandler):
    """An object store that serves one picture to whoever has the signed link."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Serve the picture."""
        from PIL import Image

        self.asked.append(self.path)
        picture = BytesIO()
        Image.new("RGB", (640, 360), "green").save(picture, "PNG")
        self.send_response(200 if "X-Amz-Signature=" in self.path else 403)
        self.send_header("Content-Length", str(len(picture.getvalue())))
        self.end_headers()
        self.wfile.write(picture.getvalue())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def run_dag() -> dict[str, str]:
    """Order, poll, download and archive, with nothing but the configuration of the deployment."""
    dags = Path(os.environ["AIRFLOW_HOME"]) / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    file = dags / "staging_dag.py"
    file.write_text(DAG)
    from airflow.utils.db import initdb

    initdb()
    run = runpy.run_path(str(file))["dag"].test()
    return {one.task_id: str(one.state) for one in run.get_task_instances()}


def main() -> None:
    """Start both hosts, run the DAG, and print what became of it."""
    (FOLDER / "keys").write_text(f"# staging\nteam-other-0123456789\n{KEY}\n")
    store = ThreadingHTTPServer(("10.77.0.2", 9000), Store)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "airflow_provider_evolink.emulator"]
    env = os.environ | EMULATOR
    emulator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert emulator.stdout is not None
        started = emulator.stdout.readline()
        left_out = sys.argv[2:]
        os.environ.update({name: value for name, value in DEPLOYMENT.items() if name not in left_out})
        states = run_dag()
    finally:
        emulator.terminate()
        _, log = emulator.communicate(timeout=20)
    clips = [str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.mp4")]
    print(json.dumps({"started": started, "states": states, "clips": clips, "log": log, "asked": Store.asked}))


main()
