"""Traps for the DAGs under chaos: what happens to a task, at named points of its work."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk.execution_time.context import TaskStateStoreAccessor

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.ledger.ledger import Ledger
from airflow_provider_evolink.operators import EvoLinkBatchOperator, EvoLinkGenerateOperator
from airflow_provider_evolink.storage.result_fetch import ResultFetch

FOLDER = Path(os.environ["CHAOS_FOLDER"])
LATE = 12.0  # seconds; the lease of an order is 10
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


def hold_and_kill(row: str) -> None:
    """Say that the point is reached, and die when told: meanwhile somebody may change what the retry will find."""
    hold(row)
    kill_task()


def deed(name: str, row: str) -> Act:
    """Return what happens at the point: once for each row, on whichever try comes there first."""
    acts: dict[str, Act] = {
        "kill": kill_task,
        "kill_host": kill_host,
        "freeze": functools.partial(freeze_host, row),
        "hold": functools.partial(hold, row),
        "hold_and_kill": functools.partial(hold_and_kill, row),
        "sleep": functools.partial(time.sleep, LATE),
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


def is_intent(_: Any, key: str, value: Any, *__: Any) -> bool:
    """Whether an order is about to follow what is stored."""
    return isinstance(value, dict) and value.get("state") == "intent"


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
    "all_sent": lambda act: before(EvoLinkBatchOperator, "_defer_all", act),
    "intent_stored": lambda act: after(TaskStateStoreAccessor, "set", act, is_intent),
}


class Trapped:
    """
    An operator that meets something at a point of its work, once; see ``POINTS`` and ``deed``.

    :param point: Where. Nowhere by default.
    :param act: What.
    """

    point: str | None = None
    act = "kill"
    dag_id: str

    def _arm(self) -> None:
        if self.point:
            POINTS[self.point](deed(self.act, self.dag_id))

    def execute(self, context: Any) -> Any:
        """Set the trap, then do the work."""
        self._arm()
        return super().execute(context)  # type: ignore[misc]

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Set the trap in this process too."""
        self._arm()
        return super().execute_complete(context, event)  # type: ignore[misc]
