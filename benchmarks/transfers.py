"""How fast and how dear it is to bring a result to a disk or a bucket, beside curl and the AWS command line."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MB = 1024 * 1024
MANY = 10  # results of the job of several
RATE = 20 * MB  # bytes per second and connection, of the host of several
AWS = HERE.parent / ".bench" / "aws" / "bin" / "aws"
Row = dict[str, Any]


def measure(rounds: int, megabytes: list[int], each: int, folder: Path) -> list[Row]:
    """
    Return a row for each transfer and round, taken in turns.

    :param rounds: How many of each.
    :param megabytes: Sizes of a single result.
    :param each: Size of each of ten results, in MB.
    :param folder: For certificates and files.
    """
    rows: list[Row] = []
    for size in megabytes:
        with _host(folder, size * MB) as base:
            for turn in range(rounds):
                rows += [_shown({**row, "megabytes": size, "round": turn}) for row in _turn(base, folder, size)]
    with _host(folder, each * MB, RATE) as base:
        for turn in range(rounds):
            size = {"megabytes": MANY * each, "round": turn}
            for key, jobs, store in (("alone", MANY, "disk"), ("disk", 0, "disk"), ("S3", 0, "S3")):
                row = _ours(base, _where(store, folder), job="" if jobs else "task-many", alone=jobs)
                rows.append(_shown({"key": f"ten, {key}", **row, **size}))
    return rows


def _turn(base: str, folder: Path, size: int) -> Iterator[Row]:
    link, copy = f"{base}/media/0", folder / "curl.bin"
    fetch = ["curl", "-sk", "-o", str(copy), link]
    yield {"key": "curl", **_tool(fetch, base)}
    copy.unlink()
    yield {"key": "disk", **_ours(base, _where("disk", folder))}
    aws = str(AWS) if AWS.exists() else shutil.which("aws")
    if aws:
        first = _tool(fetch, base)
        command = [aws, "s3", "cp", str(copy), "s3://bucket/tool/a.wav", "--endpoint-url", base, "--no-progress"]
        second = _tool(command, base)
        copy.unlink()
        both = {name: first[name] + second[name] for name in ("seconds", "cpu")}
        yield {"key": "curl, aws", **both, "mb": max(first["mb"], second["mb"])}
        yield {"key": "aws start", **_tool([aws, "--version"], base)}
    yield {"key": "S3", **_ours(base, _where("S3", folder))}
    before = _wire(base)
    row = _ours(base, _where("S3", folder), archive="s3://bench@bucket/archive")
    yield {"key": "archive", **row, "wire": _wire(base) - before - size * MB}


def _shown(row: Row) -> Row:
    print(f"   {row['key']:12} {row['megabytes']:5} MB {row['seconds']:7.2f} s {row['cpu']:6.2f} CPU-s", flush=True)
    return row


def _where(store: str, folder: Path) -> str:
    name = f"{time.time_ns()}"
    return str(folder / name) if store == "disk" else f"s3://bench@bucket/{name}"


def _ours(base: str, where: str, *, job: str = "task-one", archive: str = "", alone: int = 0) -> Row:
    names = [f"task-one-{number}-{time.time_ns()}" for number in range(alone)] or [f"{job}-{time.time_ns()}"]
    command = [sys.executable, str(HERE / "one_transfer.py"), base, where, archive, *names]
    done = subprocess.run(command, env=_environment(base), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _tool(command: list[str], base: str) -> Row:
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=_environment(base), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command[0]} failed: {status}")
    process.returncode = 0
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}


def _environment(base: str) -> dict[str, str]:
    bundle = os.environ["EVOLINK_BENCH_BUNDLE"]
    connection = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    extra = {"endpoint_url": base, "region_name": "us-east-1", "verify": bundle}
    return os.environ | {
        "AIRFLOW_CONN_BENCH": json.dumps({**connection, "extra": extra}),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CA_BUNDLE": bundle,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "SSL_CERT_FILE": bundle,
    }


@contextmanager
def _host(folder: Path, size: int, rate: float = 0) -> Iterator[str]:
    import certificates

    server, bundle = certificates.make(folder)
    os.environ["EVOLINK_BENCH_BUNDLE"] = str(bundle)
    place = folder / f"port-{time.time_ns()}"
    command = [sys.executable, str(HERE / "media_hosts.py"), str(place), str(server), str(size), str(rate)]
    process = subprocess.Popen(command)
    while not (place.exists() and place.read_text()):
        time.sleep(0.05)
    try:
        yield f"https://127.0.0.1:{place.read_text()}"
    finally:
        process.kill()
        process.wait()


def _wire(base: str) -> int:
    """Return the bytes that the bucket has taken and given so far, in bodies of requests and responses."""
    trust = ssl._create_unverified_context()
    with urllib.request.urlopen(f"{base}/count", context=trust) as response:
        found: dict[str, int] = json.load(response)
    return found["received"] + found["sent"]
