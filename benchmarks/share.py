"""
The provider's own share of a job that is over at once: a whole ``execute()``, less the same calls by bare httpx.

    python share.py ROUNDS      prints one line of JSON, the last one
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

KEY = "a-key-for-the-bench-0123456789"
MODEL, PARAMETERS = "wan2.7-text-to-video", {"prompt": "a paper boat in the rain", "duration": 2}
EMULATOR = "airflow_provider_evolink.emulator"


class _Store:
    """Airflow's task state store, in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self._rows[key]) if key in self._rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._rows[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self._rows.pop(key, None)


def measure(rounds: int) -> list[dict[str, Any]]:
    """
    Return one row with medians.

    :param rounds: How many jobs.
    """
    output = subprocess.run([sys.executable, __file__, str(rounds)], check=True, capture_output=True, text=True).stdout
    return [json.loads(output.splitlines()[-1])]


def _with_emulator(rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", EMULATOR, "--port", "0", "--polls", "1", "--fps", "4", "--balance", "1000000"]
    emulator = subprocess.Popen([*command, "--key", KEY], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert emulator.stdout is not None
    try:
        url = next(word for line in emulator.stdout for word in line.split() if word.startswith("http://"))
        return _measure(url, rounds)
    finally:
        emulator.terminate()
        emulator.wait(20)


def _measure(url: str, rounds: int) -> dict[str, Any]:
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - what a worker's process has in any case
    import httpx

    os.environ["AIRFLOW_CONN_EVOLINK_DEFAULT"] = json.dumps({"conn_type": "evolink", "host": url, "password": KEY})
    turn, slept, sleep = iter(range(10**9)), [], time.sleep
    time.sleep = slept.append  # the job is over at once: waits for it are no work
    try:
        first = _timed(lambda: _execute(next(turn)))
        whole = [_timed(lambda: _execute(next(turn))) for _ in range(rounds)]
    finally:
        time.sleep = sleep
    context = httpx.create_ssl_context()
    calls = httpx.get(f"{url}/_emulator/books").json()["requests"]
    bare = [_timed(lambda: _bare(url, context)) for _ in range(rounds)]

    def middle(rows: list[tuple[float, float]], column: int) -> float:
        return 1000 * statistics.median(row[column] for row in rows)

    return {
        "rounds": rounds,
        "calls": {name: count / (rounds + 1) for name, count in calls.items() if count},
        "slept": sum(slept) / (rounds + 1),
        "first_wall_ms": 1000 * first[0],
        "first_cpu_ms": 1000 * first[1],
        "wall_ms": middle(whole, 0),
        "cpu_ms": middle(whole, 1),
        "http_wall_ms": middle(bare, 0),
        "http_cpu_ms": middle(bare, 1),
    }


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _execute(turn: int) -> None:
    from airflow_provider_evolink.operators import EvoLinkGenerateOperator

    names = {"dag_id": "bench", "run_id": f"run-{turn}", "task_id": "generate", "map_index": -1}
    instance = SimpleNamespace(**names, try_number=1, max_tries=0)
    operator = EvoLinkGenerateOperator(task_id="generate", model=MODEL, parameters=PARAMETERS)
    context: Any = {"ti": instance, "task_instance": instance, "task_state_store": _Store()}
    assert operator.execute(context)["status"] == "completed"


def _bare(url: str, context: Any) -> None:
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, headers=headers, verify=context, limits=limits, trust_env=False) as client:
        job = client.post("/v1/videos/generations", json={"model": MODEL, **PARAMETERS}).json()
        assert client.get(f"/v1/tasks/{job['id']}").json()["status"] == "completed"


if __name__ == "__main__":
    print(json.dumps(_with_emulator(int(sys.argv[1]))))
