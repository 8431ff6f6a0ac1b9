"""What it costs to wait for many jobs: one triggerer process and one server for each contestant, one after another."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import contestants
from airflow.executors.workloads.trigger import RunTrigger
from contestants import Contestant
from fake_jobs import ESTIMATE, FakeJob, amid, durations
from supervisor import HERE, Triggerer, workload

SPREAD = 0.25  # of the jobs' durations
COLLECTION = "garbage collection"
# What Airflow's runner and the watched one do on the loop for all triggers; anything else counts as the triggers'.
AIRFLOWS = ("WatchedRunner.arun", "TriggerRunner.block_watchdog", "TriggerCommsDecoder._reader_loop")
MEAN = ESTIMATE * math.exp(SPREAD**2 / 2)  # of a log-normal


class Server:
    """
    The fake server's process.

    :param certificate: File with certificate and key.
    :param epoch: Of the jobs' numbers.
    :param batch: Whether it has the batch call.
    :param response: Seconds after which it responds.
    """

    def __init__(self, certificate: Path, epoch: float, *, batch: bool, response: float = 0.0) -> None:
        script = str(HERE / "fake_server.py")
        command = [sys.executable, script, str(certificate), repr(epoch), str(int(batch)), repr(response)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._request(b""))

    def _request(self, line: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def counts(self, weather: str = "calm") -> dict[str, float]:
        """
        Return what it has counted so far.

        :param weather: ``calm``, ``limited`` (every twentieth call is answered 429) or ``outage`` (503) from now on.
        """
        return dict(json.loads(self._request(f"{weather}\n".encode())))

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Crowd:
    """
    Keeps as many jobs waiting as at the start: for each that is over, a new one is ordered.

    :param contestant: Who waits for them.
    :param count: How many.
    :param port: Of the server.
    :param epoch: Of the jobs' numbers.
    """

    def __init__(self, contestant: Contestant, count: int, port: int, epoch: float) -> None:
        self.jobs: dict[int, FakeJob] = {}
        self._contestant, self._count, self._port, self._epoch = contestant, count, port, epoch
        self._numbers, self._durations = itertools.count(1), durations(SPREAD, 7)

    def first(self) -> RunTrigger:
        """Return a trigger whose job is over: it lets the process import and set up what it needs once."""
        now = time.time()
        return self._trigger(FakeJob(now - ESTIMATE, 60.0))

    def start(self) -> list[RunTrigger]:
        """Return the triggers of all jobs of the start."""
        return [self._trigger(job) for job in amid(self._count, SPREAD, 11, time.time())]

    def replaced(self, finished: list[int]) -> Iterable[RunTrigger]:
        """Return triggers of new jobs, for those of the crowd that are over."""
        return [self._trigger(FakeJob(time.time(), next(self._durations))) for number in finished if number > 1]

    def _trigger(self, job: FakeJob) -> RunTrigger:
        number = next(self._numbers)
        self.jobs[number] = job
        classpath, arguments = self._contestant.build(job, job.number(self._epoch, number), self._port)
        return workload(number, classpath, arguments)


def measure(key: str, count: int, seconds: float, settle: float | None, folder: Path) -> dict[str, Any]:
    """
    Let one contestant wait for many jobs and return what was seen.

    :param key: Of the contestant.
    :param count: How many jobs wait at any time.
    :param seconds: Length of the window.
    :param settle: Seconds before the window; None: the contestant's own.
    :param folder: With the certificate; for files in between.
    """
    contestant = contestants.ALL[key]
    epoch = time.time() - 4000.0
    server = Server(folder / "server.pem", epoch, batch=contestant.batch, response=contestant.response)
    bundle = str(folder / "bundle.pem")
    environment = {**os.environ, **contestants.connections(server.port), "SSL_CERT_FILE": bundle}
    crowd = Crowd(contestant, count, server.port, epoch)
    triggerer = Triggerer(folder, environment, crowd.replaced, at_once=max(50, count // 20))
    try:
        row = _watch(triggerer, server, crowd, count, seconds, contestant.settle if settle is None else settle)
    finally:
        seen = triggerer.end()
        server.end()
    _add_seen(row, seen, crowd, count)
    row |= {"key": key, "count": count, "interval": contestant.interval}
    row |= {"name": contestant.name, "response": contestant.response}
    row["alarms"] = {"blocked": sum("was blocked" in line for line in triggerer.alarms)}
    errors = [line for line in triggerer.alarms if "was blocked" not in line]
    row["alarms"]["errors"] = len(errors)
    row["failures"] = len(triggerer.failures)
    for line in errors[:2] + [str(failure) for failure in triggerer.failures[:1]]:
        print(f"    {key}: {line[:600]}", file=sys.stderr)
    return row


def _watch(
    triggerer: Triggerer, server: Server, crowd: Crowd, count: int, seconds: float, settle: float
) -> dict[str, Any]:
    moments = {"first": time.time()}
    triggerer.wait_for_syncs(2, 120)
    triggerer.hand_over([crowd.first()])
    triggerer.wait_for_syncs(4, 60)
    memory, cpu, books, sent = triggerer.memory(), triggerer.cpu(), server.counts(), sum(triggerer.messages.values())
    syncs = triggerer.syncs
    moments["start"] = time.time()
    triggerer.hand_over(crowd.start())
    triggerer.wait_until_made(900)
    started, polled = triggerer.cpu() - cpu, server.counts()
    messages = sum(triggerer.messages.values()) - sent - (triggerer.syncs - syncs)
    moments["started"] = time.time()
    time.sleep(settle)
    moments["window"], before, cpu, lines = time.time(), server.counts(), triggerer.cpu(), triggerer.log_lines
    time.sleep(seconds)
    moments["end"], after = time.time(), server.counts()
    length = moments["end"] - moments["window"]
    polls, requests, connections = (
        after.get(name, 0) - before.get(name, 0) for name in ("polls", "requests", "connections")
    )
    return {
        "moments": moments,
        "seconds": length,
        "cpu": triggerer.cpu() - cpu,
        "start_cpu": started,
        "start_polls": polled.get("polls", 0) - books.get("polls", 0),
        "start_seen": polled["jobs_seen"] - books["jobs_seen"],
        "start_seconds": moments["started"] - moments["start"],
        "start_messages": messages,
        "memory_each": (triggerer.memory() - memory) / count,
        "polls": polls,
        "requests": requests,
        "connections": connections,
        "sockets": after["most_sockets"],
        "gap_p50": after["gap_p50"],
        "gap_p99": after["gap_p99"],
        "log_lines": triggerer.log_lines - lines,
        "server_cpu": after["cpu"] - before["cpu"],
    }


def _add_seen(row: dict[str, Any], seen: dict[str, Any], crowd: Crowd, count: int) -> None:
    """Add delays and lags; a job's end counts if its event came within the window."""
    moments = row.pop("moments")
    delays = sorted(
        at - crowd.jobs[int(number)].ends
        for number, at in seen["events"].items()
        if moments["window"] <= at < moments["end"]
    )
    row["jobs_over"] = len(delays)
    row |= {f"delay_p{rank}": _rank(delays, rank / 100) for rank in (50, 95, 99)}
    mean = statistics.fmean(delays) if delays else 0.0
    # Little's law: polls of a job = polls a second and job, times how long a trigger lives.
    row["polls_each"] = row["polls"] / (row["seconds"] * count) * (MEAN + mean)
    row["requests_each"] = row["requests"] / (row["seconds"] * count) * (MEAN + mean)
    spans = {
        "first": ("first", "start"),
        "start": ("start", "started"),
        "window": ("window", "end"),
        "all": ("start", "end"),
    }
    for name, (begin, end) in spans.items():
        lags = sorted(1000 * lag for at, lag in seen["lags"] if moments[begin] <= at < moments[end])
        row[f"hold_{name}"] = _longest(seen["holds"], moments[begin], moments[end])
        row[f"lag_{name}"] = {"p50": _rank(lags, 0.5), "p99": _rank(lags, 0.99), "max": lags[-1] if lags else None}


def _longest(holds: list[tuple[float, float, str]], begin: float, end: float) -> dict[str, Any]:
    """Return how long the loop was held in one go, in ms: by Airflow's runner, by Python's collection, by others."""
    found: dict[str, Any] = {"airflow": 0.0, "collection": 0.0, "others": 0.0, "of_others": ""}
    for at, took, whose in holds:
        kind = "airflow" if whose in AIRFLOWS else "collection" if whose == COLLECTION else "others"
        if begin <= at < end and 1000 * took > found[kind]:
            found[kind] = 1000 * took
            if kind == "others":
                found["of_others"] = whose
    return found


def _rank(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
