"""The rows of ``make test-stack``: what is done to the stack, and what must come of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from distributed_airflow import WORKERS
from rate_limit import RETRY_AFTER, RateLimit
from scene import Scene

SHORT = bool(os.environ.get("QUICK"))
Act = Callable[[Scene], int]


@dataclass(frozen=True)
class Row:
    """
    One row.

    :param name: Of its runs.
    :param done: What is done, for the table.
    :param act: Does it, checks all but the money, and returns how many orders its tasks are asked for.
    """

    name: str
    done: str
    act: Act


def size(count: int, short: int) -> int:
    """Return how many orders a row has: fewer in the short form."""
    return short if SHORT else count


CHAIN, BATCH, HERD, FEW, DAYS = size(40, 8), size(100, 20), size(300, 24), size(24, 8), size(10, 4)
HERD = int(os.environ.get("WAITS") or HERD)


HERD_SLOTS = 16  # of each worker: as many tasks as there are cores to start them come one by one, and no herd forms


def chain(scene: Scene) -> int:
    """Generate, download and archive."""
    scene.airflow.books.settings(seconds=15)
    run_id = scene.begin("chain", CHAIN)
    scene.over("chain", run_id, 1200)
    for task_id in ("generate", "download", "archive"):
        scene.succeeded("chain", run_id, CHAIN, task_id, tries=1)
    archived = scene.keys("evolink-archive", f"clips/{scene.tag}/")
    assert sum(key.endswith("manifest.json") for key in archived) == CHAIN
    assert sum(key.endswith(".mp4") for key in archived) == CHAIN
    return CHAIN


def kills(scene: Scene) -> int:
    """Kill a worker while some orders wait and others are made, then the triggerer that holds the waits."""
    run_id = scene.begin("clips", CHAIN)
    scene.waits("clips", run_id, CHAIN // 4)
    busy = [one["hostname"] for one in scene.tasks("clips", run_id) if one["state"] == "running"]
    worker = max(set(busy), key=busy.count) if busy else "worker-1"
    scene.notes.append(f"{worker} had {busy.count(worker)} tasks")
    scene.lose(worker)
    scene.lose(scene.holder(scene.waits("clips", run_id, CHAIN // 4)))
    scene.waits("clips", run_id, CHAIN)
    scene.complete()
    scene.over("clips", run_id, 900)
    scene.succeeded("clips", run_id, CHAIN, tries=2)
    return CHAIN


def batch(scene: Scene) -> int:
    """Kill the worker when half of a batch is ordered, then the triggerer that waits for the whole of it."""
    dag_id = f"batch_{scene.attempt}"
    run_id = scene.begin(dag_id, BATCH)
    scene.held(dag_id)
    assert len(scene.paid()) == BATCH // 2
    scene.lose(scene.tasks(dag_id, run_id)[0]["hostname"])
    scene.lose(scene.holder(scene.waits(dag_id, run_id, 1)))
    assert len(scene.paid()) == BATCH
    scene.complete()
    scene.over(dag_id, run_id)
    scene.succeeded(dag_id, run_id, 1, tries=2)
    assert len({job["job_id"] for job in scene.result(dag_id, run_id)}) == BATCH
    return BATCH


def herd(scene: Scene) -> int:
    """Let all waits end at once under a rate limit."""
    limit = RateLimit(scene.limited_port, scene.airflow.books.url)
    run_id = scene.begin("limited", HERD)
    with limit:
        scene.waits("limited", run_id, HERD)
        for worker in WORKERS:
            scene.airflow.kill(worker)  # idle, since all wait
            scene.airflow.start(worker, env={"AIRFLOW__CELERY__WORKER_CONCURRENCY": str(HERD_SLOTS)})
        scene.airflow.wait_workers()
        scene.complete()
        limit.begin()
        began = time.monotonic()
        scene.over("limited", run_id, max(1800, 6 * HERD))
        seconds = time.monotonic() - began
    scene.notes.append(f"{limit.summary()} in {seconds:.0f} s, Retry-After {RETRY_AFTER:g} s")
    scene.succeeded("limited", run_id, HERD, tries=1)
    assert limit.refused > 0
    assert limit.early == []
    return HERD


def schedulers(scene: Scene) -> int:
    """Kill a scheduler while it has tasks queued, running and waiting; the other goes on alone."""
    run_id = scene.begin("clips", FEW)
    scene.waits("clips", run_id, FEW // 4)
    scene.airflow.kill("scheduler-1")
    scene.waits("clips", run_id, FEW)
    scene.complete()
    scene.over("clips", run_id)
    scene.succeeded("clips", run_id, FEW, tries=2)
    return FEW


def warm(scene: Scene) -> int:
    """Shut a worker down in an orderly way while EvoLink takes its time to respond to an order."""
    scene.airflow.books.fault("delay", on="submit", seconds=12, times=1)
    run_id = scene.begin("clips", 1)
    scene.reached(scene.paid, "nothing was ordered", every=0.2)
    worker = scene.tasks("clips", run_id)[0]["hostname"]
    began = time.monotonic()
    status = scene.airflow.end(worker, 90)
    scene.notes.append(f"{worker} ended after {time.monotonic() - began:.0f} s with status {status}")
    scene.waits("clips", run_id, 1)
    scene.airflow.start(worker)
    scene.complete()
    scene.over("clips", run_id)
    scene.succeeded("clips", run_id, 1, tries=1)
    return 1


def database(scene: Scene) -> int:
    """Take PostgreSQL away for 40 s between the response to an order and its record."""
    dag_id = f"held_{scene.attempt}"
    scene.tag = dag_id
    run_id = scene.begin(dag_id)
    scene.held(dag_id)
    scene.airflow.postgres.stop(scene.airflow.postgres.away_signal)
    scene.go(dag_id)
    time.sleep(40)
    scene.airflow.postgres.start()
    scene.airflow.postgres.wait()
    scene.waits(dag_id, run_id, 1)
    scene.complete()
    scene.over(dag_id, run_id)
    scene.succeeded(dag_id, run_id, 1)
    return 1


def empty_redis(scene: Scene) -> int:
    """Restart Redis without its contents while tasks are queued, running and waiting."""
    run_id = scene.begin("clips", FEW)
    scene.waits("clips", run_id, FEW // 4)
    scene.airflow.redis.stop()
    scene.airflow.redis.start()
    scene.airflow.redis.wait()
    scene.waits("clips", run_id, FEW)
    scene.complete()
    scene.over("clips", run_id, 900)
    scene.succeeded("clips", run_id, FEW)
    return FEW


def days(scene: Scene) -> int:
    """Backfill days, clear one of them, and reprocess two: the last three are asked for once more."""
    dag_id = f"days_{scene.attempt}"
    scene.tag = dag_id
    scene.repeated = 3  # the prompt of a day is the same each time
    scene.airflow.books.settings(seconds=5)
    scene.airflow.backfill(dag_id, "2025-01-01T00:00:00Z", f"2025-01-{DAYS:02}T00:00:00Z")
    runs = scene.days(dag_id, DAYS, tries=DAYS)
    scene.airflow.clear(dag_id, runs[0])
    scene.days(dag_id, DAYS, tries=DAYS + 1)
    assert len(scene.paid()) == DAYS + 1
    scene.reached(lambda: scene.backfill_again(dag_id, "2025-01-02", "2025-01-03"), "the second backfill was refused")
    scene.days(dag_id, DAYS, tries=DAYS + 3)
    return DAYS + 3


def stored_xcoms(scene: Scene) -> int:
    """Pass all results from task to task by the object store alone."""
    scene.airflow.books.settings(seconds=5)
    run_id = scene.begin("chain", 4)
    scene.over("chain", run_id)
    scene.succeeded("chain", run_id, 4, "archive", tries=1)
    query = f"SELECT DISTINCT value #>> '{{}}' FROM xcom WHERE run_id = '{run_id}' AND key = 'return_value'"
    values = [value for (value,) in scene.airflow.postgres.rows(query)]
    assert len(values) == 1 + 3 * 4
    assert all(value.startswith("s3://store@evolink-xcom/") for value in values), values
    scene.notes.append(f"{len(scene.keys('evolink-xcom', ''))} XComs in S3, none in PostgreSQL")
    return 4


def without_package(scene: Scene) -> int:
    """Let the waits begin in a triggerer that lacks the provider, while the other one is down."""
    return _blind(scene, {"python": scene.bare})


def without_connection(scene: Scene) -> int:
    """Let the waits begin in a triggerer that lacks the connection, while the other one is down."""
    return _blind(scene, {"env": scene.no_connections()})


def _blind(scene: Scene, lacking: dict[str, object]) -> int:
    for triggerer in ("triggerer-1", "triggerer-2"):
        scene.airflow.kill(triggerer)
    scene.airflow.books.settings(seconds=60)
    scene.airflow.start("triggerer-2", **lacking)  # type: ignore[arg-type]
    run_id = scene.begin("clips", 4)
    scene.reached(lambda: len(scene.paid()) == 4, "not all was ordered")
    time.sleep(20)  # the waits have met that triggerer
    states = {one["state"] for one in scene.tasks("clips", run_id)}
    scene.notes.append(f"with it alone: {', '.join(sorted(map(str, states)))}")
    scene.airflow.start("triggerer-1")
    scene.over("clips", run_id, 400)
    scene.succeeded("clips", run_id, 4)
    return 4


ROWS = (
    Row("chain", f"{CHAIN} mapped generate, download, archive on S3", chain),
    Row("kills", f"{CHAIN} mapped, SIGKILL of a worker and of the triggerer that holds the waits", kills),
    Row("batch", f"batch of {BATCH}, SIGKILL of its worker at half of it, and of its triggerer", batch),
    Row("herd", f"{HERD} waits end at once under 2 requests a second", herd),
    Row("schedulers", f"{FEW} mapped, SIGKILL of one of two schedulers", schedulers),
    Row("warm", "warm shutdown of a worker with an order in flight", warm),
    Row("database", "PostgreSQL away for 40 s between order and record", database),
    Row("redis", f"{FEW} mapped, Redis restarted empty", empty_redis),
    Row("days", f"backfill of {DAYS} days, one cleared, two reprocessed", days),
    Row("xcoms", "XComs wholly on S3", stored_xcoms),
    Row("no_package", "a triggerer without the package", without_package),
    Row("no_connection", "a triggerer without the connection", without_connection),
)
