"""A distributed Airflow on this machine, with the example DAGs, on the emulator; until Ctrl-C."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distributed_airflow import DistributedAirflow
from stack_programs import main as check_programs

ROOT = Path(__file__).resolve().parents[2]
JOB_SECONDS = 20
READY = "evolink_daily_video"
BEGAN = time.monotonic()


def say(text: str) -> None:
    """
    Print a line with the seconds since the start.

    :param text: The line.
    """
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def show(airflow: DistributedAirflow) -> None:
    """
    Print the addresses of a running stack.

    :param airflow: The stack.
    """
    for name, address in (
        ("Airflow", f"{airflow.url}   (no login)"),
        ("Emulator", airflow.books.url),
        ("S3", f"{airflow.store.address}   (any key; connection id: store)"),
        ("PostgreSQL", airflow.postgres.address),
        ("Redis", airflow.redis.address),
        ("Logs", str(airflow.home)),
    ):
        say(f"{name:11} {address}")


def main() -> int:
    """Start everything, wait for the end and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, default=ROOT / ".stack" / "run", help="folder of settings and logs")
    options.add_argument("--dags", type=Path, default=ROOT / "dags", help="folder of the DAGs")
    options.add_argument("--python", type=Path, default=ROOT / ".stack" / "venv" / "bin" / "python")
    options.add_argument("--once", action="store_true", help="end as soon as all is up")
    chosen = options.parse_args()
    if status := check_programs():
        return status
    shutil.rmtree(chosen.home, ignore_errors=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    say("Starting PostgreSQL, Redis, S3, the emulator and eight parts of Airflow (about a minute)")
    emulator = ("--seconds", str(JOB_SECONDS))
    with DistributedAirflow(chosen.home.absolute(), chosen.dags, chosen.python, emulator=emulator) as airflow:
        airflow.wait_answers(180)
        airflow.wait_ready(READY, 180)
        airflow.wait_triggerers(2, 180)
        airflow.wait_workers(180)
        show(airflow)
        if not chosen.once:
            say("Everything stays up until you press Ctrl-C")
            while not (ended := airflow.ended()):
                time.sleep(1)
            say(f"{', '.join(ended)} ended by itself; see the logs in {airflow.home}")
            return 1
    say("Stopped")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("Stopped")
        sys.exit(130)
