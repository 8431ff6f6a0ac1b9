"""
Measure the package against other providers, side by side in one run. See README.md.

    make bench                            all parts, results into benchmarks/results/ and docs/performance.md
    make bench ONLY="waiting imports"     some parts
    make bench QUICK=1                    100 jobs for a few seconds: does it run? Prints, keeps nothing
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import resource
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PARTS = ("schedule", "imports", "share", "transfers", "waiting", "crowd", "rate", "storm", "herd")
SHOWN = ("apache-airflow", "httpx", "httpx2", "aiohttp", "s3fs")
PEERS = ("openai", "databricks", "http")


def main() -> None:
    """Run the parts that are asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="100 jobs for a few seconds, one round")
    parser.add_argument("--count", type=int, help="jobs that wait at a time (1000)")
    parser.add_argument("--seconds", type=float, help="length of a window (60)")
    parser.add_argument("--settle", type=float, help="seconds before it (by contestant)")
    parser.add_argument("--rounds", type=int, help="rounds, of which medians are taken (3)")
    parser.add_argument("--who", nargs="*", help="contestants of part waiting")
    parser.add_argument("--note", default="", help="a remark to keep with the results, such as what else ran")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    few, many = (100, 5.0, 3.0, 1), (1000, 60.0, None, 3)
    for name, quick, full in zip(("count", "seconds", "settle", "rounds"), few, many, strict=True):
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else full)
    with tempfile.TemporaryDirectory(prefix="evolink-bench-") as folder:
        _prepare(Path(folder))
        for part in given.parts or PARTS:
            _run(part, given, Path(folder))
    if not given.quick:
        import report

        print(f"written: {report.write()}")


def _prepare(home: Path) -> None:
    """Give Airflow a home that goes away, and both sides room for a thousand sockets."""
    from cryptography.fernet import Fernet

    os.environ.update(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__FERNET_KEY=Fernet.generate_key().decode(),
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    )
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelling in (name, name.lower()):
            os.environ.pop(spelling, None)  # all of them would send the calls to this machine through it
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def _run(part: str, given: argparse.Namespace, folder: Path) -> None:
    import report

    print(f"\n== {part}", flush=True)
    if part in ("waiting", "crowd", "rate"):
        runs = _waiting(part, given, folder)
    elif part == "schedule":
        import simulation

        runs = simulation.measure(300 if given.quick else 5000)
    elif part == "imports":
        import imports

        runs = imports.measure(1 if given.quick else 7)
    elif part == "storm":
        import certificates
        import storm

        certificates.make(folder)
        runs = storm.measure(given.count, 0.03 if given.quick else 1.0, folder)
    elif part == "herd":
        import herd

        runs = herd.measure(*((15, 8) if given.quick else (150, 64)))
    elif part == "transfers":
        import transfers

        runs = transfers.measure(1, [16], 4, folder) if given.quick else transfers.measure(4, [500, 2000], 100, folder)
    else:
        import share

        runs = share.measure(10 if given.quick else 100)
    found = {"machine": _machine(given.note), "runs": runs}
    print(report.tables(part, found), flush=True)
    if not given.quick:
        _keep(part, runs, given.note)


def _keep(part: str, runs: list[dict[str, Any]], note: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    RESULTS.joinpath(f"{part}.json").write_text(_short({"machine": _machine(note), "runs": runs}))


def _waiting(part: str, given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    import certificates
    import contestants
    import waiting

    certificates.make(folder)
    crowd = part == "crowd"
    found = contestants.SINGLE_READS if part == "rate" else contestants.CONTESTANTS
    keys = given.who or (["idle", "ours", "ours_5s"] if crowd else list(found))
    if given.quick and not given.who:
        keys = [key for key in keys if key != "ours_60s"]
    count = 5 * given.count if crowd else given.count
    rows = []
    for turn in range(1 if part == "rate" else given.rounds):
        for key in keys:
            row = waiting.measure(key, count, given.seconds, given.settle, folder) | {"round": turn}
            rows.append(row)
            if not given.quick:
                _keep(part, rows, given.note)  # an hour's work is not lost when the rest fails
            print(
                f"   {turn + 1}. {key:12} {row['cpu'] * 60 / row['seconds']:7.2f} CPU-s/min "
                f"{row['polls'] / row['seconds']:7.1f} polls/s  load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return rows


def _machine(note: str) -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    packages = {name: name for name in SHOWN}
    packages |= {f"provider {name}": f"apache-airflow-providers-{name}" for name in PEERS} | {"openai SDK": "openai"}
    versions = {}
    for name, package in packages.items():
        with contextlib.suppress(PackageNotFoundError):  # some parts need no other providers
            versions[name] = version(package)
    return {
        "when": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "nice": os.nice(0),
        "load": os.getloadavg()[1],
        "python": platform.python_version(),
        "versions": versions,
        "note": note,
    }


def _short(found: dict[str, Any]) -> str:
    """Return results as JSON with three or four significant digits, a run on a line."""
    rounded = json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.4g}"))
    lines = ",\n    ".join(json.dumps(run) for run in rounded["runs"])
    return f'{{\n  "machine": {json.dumps(rounded["machine"])},\n  "runs": [\n    {lines}\n  ]\n}}\n'


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
