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
AWS = HERE.parent / ".bench" / "aws" / "bin" / "aws"
Row = dict[str, Any]


def measure(rounds: int, megabytes: list[int], folder: Path) -> list[Row]:
    """
    Return a row for each transfer and round, taken in turns.

    :param rounds: How many of each.
    :param megabytes: Sizes of the file.
    :param folder: For certificates and files.
    """
    rows = []
    for size in megabytes:
        with _host(folder, size * MB) as base:
            for turn in range(rounds):
                rows += [{**row, "megabytes": size, "round": turn} for row in _turn(base, folder, size)]
    with _host(folder, 100 * MB if max(megabytes) >= 100 else MB * max(megabytes), 20 * MB) as base:
        for turn in range(rounds):
            for store in ("disk", "S3"):
                row = _ours("task-many", base, _where(store, folder))
                rows.append({"key": f"ten results to {store}", **row, "megabytes": 1000, "round": turn})
    return rows


def _turn(base: str, folder: Path, size: int) -> Iterator[Row]:
    yield {"key": "curl -o", **_tool(["curl", "-sk", "-o", str(folder / "curl.bin"), f"{base}/media/0"])}
    yield {"key": "disk", **_ours("task-one", base, _where("disk", folder))}
    aws = str(AWS) if AWS.exists() else shutil.which("aws")
    if aws:
        first = _tool(["curl", "-sk", "-o", str(folder / "curl.bin"), f"{base}/media/0"])
        command = [aws, "s3", "cp", str(folder / "curl.bin"), "s3://bucket/tool/a.wav", "--endpoint-url", base]
        second = _tool([*command, "--no-progress"])
        yield {
            "key": "curl -o, aws s3 cp",
            **{name: first[name] + second[name] for name in ("seconds", "cpu")},
            "mb": 0,
        }
    yield {"key": "S3", **_ours("task-one", base, _where("S3", folder))}
    before = _count(base)["received"]
    row = _ours("task-one", base, _where("S3", folder), "s3://bench@bucket/archive")
    sent = _count(base)["received"] - before - size * MB
    yield {"key": "archive in the same S3", **row, "bytes": sent}


def _where(store: str, folder: Path) -> str:
    name = f"{time.time_ns()}"
    return str(folder / name) if store == "disk" else f"s3://bench@bucket/{name}"


def _ours(job: str, base: str, where: str, archive: str = "") -> Row:
    command = [sys.executable, str(HERE / "one_transfer.py"), f"{job}-{time.time_ns()}", base, where, archive]
    done = subprocess.run(command, env=_environment(base), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _tool(command: list[str]) -> Row:
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=_environment(command[-1]), stdout=subprocess.DEVNULL)
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


def _count(base: str) -> dict[str, int]:
    trust = ssl._create_unverified_context()
    with urllib.request.urlopen(f"{base}/count", context=trust) as response:
        found: dict[str, int] = json.load(response)
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for one in measure(int(sys.argv[1]), [int(each) for each in sys.argv[2:]], Path(name)):
            print(json.dumps(one), flush=True)
