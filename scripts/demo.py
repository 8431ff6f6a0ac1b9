"""The demo: generate, download and archive clips in a real Airflow, with the emulator in place of EvoLink."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from local_airflow import LocalAirflow, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "evolink_daily_video"
FORM = "evolink_prompt_form"
KEY = "demo-key-costs-nothing"
JOB_SECONDS = 20
BEGAN = time.monotonic()


def say(text: str = "") -> None:
    """
    Print a line with the seconds since the start.

    :param text: The line.
    """
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}" if text else "", flush=True)


@contextmanager
def emulator(port: int, home: Path) -> Iterator[str]:
    """
    Run the emulator and yield its URL.

    :param port: Where it listens.
    :param home: For its log.
    """
    command = [sys.executable, "-m", "airflow_provider_evolink.emulator", "--port", str(port)]
    with (home / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--seconds", str(JOB_SECONDS)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            if process.poll() is not None:
                raise SystemExit(f"the emulator did not start: {(home / 'emulator.log').read_text().strip()}")
            try:
                httpx.get(f"{url}/_emulator/health", timeout=2, trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"the emulator does not respond at {url}; see {home / 'emulator.log'}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def settings(emulator: str, home: Path) -> dict[str, str]:
    """
    Return the environment of an Airflow that works on the emulator, and whose pages show what the tasks have made.

    :param emulator: Address of the emulator.
    :param home: Where staging and archive are.
    """
    staging, archive = (home / "staging").as_uri(), (home / "archive").as_uri()
    return {
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps({"conn_type": "evolink", "host": emulator, "password": KEY}),
        "AIRFLOW_VAR_EVOLINK_STAGING": staging,
        "AIRFLOW_VAR_EVOLINK_ARCHIVE": archive,
        "AIRFLOW__EVOLINK__UI_ROOTS": f"{staging},{archive}",
    }


def run_form(airflow: LocalAirflow) -> str:
    """
    Trigger the DAG with the form as a person does who fills in nothing, and return the run ID.

    :param airflow: A running Airflow.
    """
    airflow.wait_ready(FORM)
    say(f"Airflow is up. Triggering the DAG {FORM} with the defaults of its form")
    airflow.unpause(FORM)
    return airflow.trigger(FORM)


def run_dag(airflow: LocalAirflow) -> str:
    """
    Unpause the daily DAG, follow its run and return the run ID.

    :param airflow: A running Airflow.
    """
    airflow.wait_ready(DAG_ID)
    say(f"Unpausing the DAG {DAG_ID}, which starts a run for today")
    airflow.unpause(DAG_ID)
    deadline = time.monotonic() + 90
    while not (runs := airflow.runs(DAG_ID)):
        if time.monotonic() > deadline:
            raise SystemExit(f"the scheduler started no run; see {airflow.home}/standalone.log")
        time.sleep(0.5)
    shown: dict[str, str] = {}
    for states in airflow.watch(DAG_ID, runs[0]):
        for name, state in states.items():
            if state != shown.get(name) and state != "none":
                say(f"  {name:9} {state}{NOTES.get((name, state), '')}")
        shown = states
    require_success(airflow, DAG_ID, runs[0])
    return runs[0]


def require_success(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    """
    Wait for the end of a run, and end with the logs of what failed, if anything has.

    :param airflow: A running Airflow.
    :param dag_id: The DAG.
    :param run_id: The run.
    """
    for _ in airflow.watch(dag_id, run_id):
        pass
    if airflow.run_state(dag_id, run_id) != "success":
        for task in airflow.tasks(dag_id, run_id):
            if task["state"] == "failed":
                print(airflow.log(dag_id, run_id, task["task_id"], task["try_number"]))
        raise SystemExit(f"the run of {dag_id} failed")


NOTES = {
    ("generate", "deferred"): "   <- the job runs at EvoLink; the triggerer waits, no worker slot is occupied",
    ("download", "running"): "    <- fresh link, streamed, verified",
    ("archive", "running"): "    <- archive layout and manifest",
}


def show(files: list[dict[str, Any]], books: dict[str, Any]) -> None:
    """
    Print what was archived and paid, and compare the files with the manifest.

    :param files: What the archive task returned.
    :param books: The emulator's books.
    """
    import av

    for file in files:
        path = Path(file["uri"].removeprefix("file://"))
        manifest = json.loads(Path(file["manifest"].removeprefix("file://")).read_text())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest not in [row["sha256"] for row in manifest["files"]]:
            raise SystemExit("the archived file does not match its manifest")
        with av.open(str(path)) as media:
            video = media.streams.video[0]
            seconds = float(media.duration or 0) / 1_000_000
            say(f"Archived: {path}")
            say(f"  {video.width}x{video.height}, {seconds:.1f} s, {path.stat().st_size} bytes, SHA-256 matches")
        say("Manifest:")
        print(json.dumps(manifest, indent=2, ensure_ascii=False))
        for row in manifest["files"]:
            say(f"Poster: {path.parent / row['poster']}" if row["poster"] else "Poster: none (needs the extra media)")
    say(f"Paid: {books['orders']} generations, {books['credits_spent']:g} credits (emulated, so free)")


def show_index(archive: Path, airflow: LocalAirflow) -> None:
    """
    Print the row of the archive's index, and the asset event that Airflow has stored.

    :param archive: Root of the archive.
    :param airflow: A running Airflow.
    """
    for path in sorted((archive / "_evolink" / "rows").rglob("*.json")):
        say(f"Index row: {path}")
    for event in airflow.get("/api/v2/assets/events")["asset_events"]:
        say(f"Asset event of {event['uri']}, for DAGs that are scheduled on it:")
        print(json.dumps(event["extra"], indent=2))


def show_addresses(airflow: LocalAirflow, run_id: str, form: str) -> None:
    """
    Print where a browser shows what was made; the last line is the clip.

    :param airflow: A running Airflow.
    :param run_id: The run of the daily DAG.
    :param form: The run of the form.
    """
    say("Browse (no login):")
    say(f"  Form:          {airflow.url}/dags/{FORM}   (press Trigger)")
    say(f"  Contact sheet: {airflow.url}/dags/{FORM}/runs/{quote(form)}/plugin/evolink-sheet")
    say(f"  Media:         {airflow.url}/dags/{DAG_ID}/runs/{quote(run_id)}/tasks/archive/plugin/evolink-media")


def main() -> int:
    """Run the demo and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, default=ROOT / ".demo", help="folder for everything the demo makes")
    home = options.parse_args().home.resolve()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with emulator(free_port(), home) as url:
        say(f"EvoLink emulator: {url}  (a clip takes {JOB_SECONDS} s here, about 2 minutes at EvoLink)")
        with LocalAirflow(home / "airflow", ROOT / "dags", settings(url, home)) as airflow:
            say(f"Airflow: {airflow.url}  (starting: database, scheduler, triggerer, API; about half a minute)")
            form = run_form(airflow)
            run_id = run_dag(airflow)
            require_success(airflow, FORM, form)
            books = httpx.get(f"{url}/_emulator/books", timeout=10, trust_env=False).json()
            show(airflow.xcom(DAG_ID, run_id, "archive"), books)
            show_index(home / "archive", airflow)
            show_addresses(airflow, run_id, form)
            if sys.stdin.isatty() and sys.stdout.isatty():
                say("Everything stays up until you press Ctrl-C")
                try:
                    signal.pause()
                except KeyboardInterrupt:
                    say("Stopping")
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
