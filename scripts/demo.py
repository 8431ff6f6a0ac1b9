"""The demo: generate, download and archive a clip in a real Airflow, with the emulator in place of EvoLink."""

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

import httpx
from local_airflow import LocalAirflow, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "evolink_daily_video"
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


def run_dag(airflow: LocalAirflow) -> str:
    """
    Unpause the daily DAG, follow its run and return the run ID.

    :param airflow: A running Airflow.
    """
    airflow.wait_ready(DAG_ID)
    say(f"Airflow is up. Unpausing the DAG {DAG_ID}, which starts a run for today")
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
    if airflow.run_state(DAG_ID, runs[0]) != "success":
        failed = [task for task in airflow.tasks(DAG_ID, runs[0]) if task["state"] == "failed"]
        for task in failed:
            print(airflow.log(DAG_ID, runs[0], task["task_id"], task["try_number"]))
        raise SystemExit("the run failed")
    return runs[0]


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
    say(f"Paid: {books['orders']} generation, {books['credits_spent']:g} credits (emulated, so free)")


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
        env = {
            "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps({"conn_type": "evolink", "host": url, "password": KEY}),
            "AIRFLOW_VAR_EVOLINK_STAGING": f"file://{home}/staging",
            "AIRFLOW_VAR_EVOLINK_ARCHIVE": f"file://{home}/archive",
        }
        with LocalAirflow(home / "airflow", ROOT / "dags", env) as airflow:
            say(f"Airflow: {airflow.url}  (starting: database, scheduler, triggerer, API; about half a minute)")
            run_id = run_dag(airflow)
            books = httpx.get(f"{url}/_emulator/books", timeout=10, trust_env=False).json()
            show(airflow.xcom(DAG_ID, run_id, "archive"), books)
            show_index(home / "archive", airflow)
            say(f"Browse: {airflow.url}/dags/{DAG_ID}   (no login)")
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
