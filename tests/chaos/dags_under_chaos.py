"""DAGs whose workers are killed, frozen or held up once, at named points."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkGenerateOperator,
    EvoLinkTextToVideoOperator,
)
from airflow_provider_evolink.storage.result_fetch import ResultFetch

FOLDER = Path(os.environ["CHAOS_FOLDER"])
ROWS = json.loads(Path(__file__).with_suffix(".json").read_text())
Act = Callable[[], None]


def kill_task() -> None:
    """Die as a process does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_host() -> None:
    """Die together with the supervisor, as both do that lose their machine."""
    os.kill(os.getppid(), signal.SIGKILL)
    kill_task()


def freeze_host(row: str) -> None:
    """Stop together with the supervisor, and leave word which processes have to be woken."""
    supervisor, task = os.getppid(), os.getpid()
    (FOLDER / f"{row}.frozen").write_text(f"{task} {supervisor}")
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(task, signal.SIGSTOP)


def hold(row: str) -> None:
    """Say that the point is reached, and go on when told."""
    (FOLDER / f"{row}.held").touch()
    while not (FOLDER / f"{row}.go").exists():
        time.sleep(0.02)


def deed(name: str, row: str) -> Act:
    """Return what happens at the point: once for each row, on whichever try comes there first."""
    acts: dict[str, Act] = {
        "kill": kill_task,
        "kill_host": kill_host,
        "freeze": functools.partial(freeze_host, row),
        "hold": functools.partial(hold, row),
    }

    def act() -> None:
        with contextlib.suppress(FileExistsError):
            (FOLDER / f"{row}.done").touch(exist_ok=False)
            acts[name]()

    return act


def before(owner: Any, name: str, act: Act, when: Callable[..., bool] = lambda *_: True) -> None:
    """Act before a function is entered."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            act()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, act: Act, when: Callable[..., bool] = lambda *_: True) -> None:
    """Act after a function has done its work, before anybody has its result."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if when(*args):
            act()
        return result

    setattr(owner, name, wrapped)


def on_record(wrap: Callable[..., None], state: str, act: Act) -> None:
    """Act before or after the ledger stores a record of this state, by whichever of its methods."""
    for name in ("write_intent", "write_submitted", "write_best_effort"):
        wrap(Ledger, name, act, lambda _, record: record.state == state)


def on_the_wire(method: str, step: str, act: Act, *, pause: float = 0.0) -> None:
    """Act at a step of an HTTP exchange, as the HTTP library reports it."""
    real = httpx.HTTPTransport.handle_request

    def wrapped(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        tell = request.extensions.get("trace")

        def trace(event: str, info: Any) -> None:
            if tell is not None:
                tell(event, info)
            if event.endswith(step):
                time.sleep(pause)
                act()

        if request.method == method and not request.url.path.startswith("/v1/tasks"):
            request.extensions = {**request.extensions, "trace": trace}
        return real(self, request)

    httpx.HTTPTransport.handle_request = wrapped  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Act], None]] = {
    "s0": lambda act: after(Ledger, "read", act),
    "s1": lambda act: on_record(before, "intent", act),
    "s2": lambda act: on_record(after, "intent", act),
    "s3": lambda act: before(EvoLinkClient, "submit", act),
    "s4": lambda act: on_the_wire("POST", "send_request_headers.complete", act),
    "s5": lambda act: on_the_wire("POST", "receive_response_headers.started", act, pause=1.5),
    "s6": lambda act: after(EvoLinkClient, "submit", act),
    "s7": lambda act: on_record(before, "submitted", act),
    "s8": lambda act: on_record(after, "submitted", act),
    "s9": lambda act: before(EvoLinkGenerateOperator, "_defer", act),
    "s10": lambda act: before(EvoLinkGenerateOperator, "execute_complete", act),
    "s11": lambda act: on_the_wire("GET", "receive_response_headers.complete", act),
    "s12": lambda act: after(ResultFetch, "_publish", act),
    "s13": lambda act: on_record(after, "delivered", act),
    "sending": lambda act: on_the_wire("POST", "send_request_headers.started", act),
}


class Disturbed(EvoLinkTextToVideoOperator):
    """Meets something at a point of its work, once."""

    def __init__(self, *, point: str | None = None, act: str = "kill", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.point = point
        self.act = act

    def _arm(self) -> None:
        if self.point:
            POINTS[self.point](deed(self.act, self.dag_id))

    def execute(self, context: Any) -> Any:
        """Set the trap, then do the work."""
        self._arm()
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Set the trap in this process too."""
        self._arm()
        return super().execute_complete(context, event)


def settings(*, daily: bool) -> dict[str, Any]:
    """Return the settings of a DAG that runs when told; a daily one has a schedule whose days are over."""
    days = {"schedule": "@daily", "end_date": pendulum.datetime(2025, 1, 9, tz="UTC")} if daily else {"schedule": None}
    return {
        **days,
        "catchup": False,
        "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
        "is_paused_upon_creation": False,
        "default_args": {"retries": 2, "retry_delay": timedelta(seconds=1), "duration": 2},
    }


def make_dag(
    row: str,
    *,
    daily: bool = False,
    store: bool = False,
    ledger: bool = False,
    mapped: int = 0,
    batch: int = 0,
    **arguments: Any,
) -> DAG:
    """
    Return a DAG of one task, whose prompt names its row.

    :param daily: It has days to backfill.
    :param store: It downloads its result.
    :param ledger: It keeps a second record in a folder.
    :param mapped: It is mapped, so often.
    :param batch: It is a batch of so many orders.
    """
    if store:
        arguments["destination"] = f"file://{FOLDER}/{row}"
    if ledger:
        arguments["ledger_path"] = f"file://{FOLDER}/ledger"
    with DAG(dag_id=row, **settings(daily=daily)) as dag:
        if mapped:
            prompts = [f"Clip {number} of row {row}" for number in range(mapped)]
            arguments.setdefault("evolink_conn_id", "evolink_mapped")
            Disturbed.partial(task_id="generate", **arguments).expand(prompt=prompts)
        elif batch:
            wanted = [{"prompt": f"Clip {number} of row {row}", "duration": 2} for number in range(batch)]
            EvoLinkBatchOperator(
                task_id="generate", model="wan2.7-text-to-video", requests=wanted, max_active=batch, **arguments
            )
        else:
            Disturbed(task_id="generate", prompt=f"Clip of row {row}", **arguments)
    return dag


for name, given in ROWS.items():
    globals()[name] = make_dag(name, **given)
