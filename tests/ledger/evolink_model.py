"""EvoLink, Airflow's store and a ledger folder in memory, with a clock of their own: what the state machine drives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.errors import (
    EvoLinkCreditsError,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.http.server_clock import ServerClock
from airflow_provider_evolink.api.jobs.job import Job

BEGIN = 1_800_000_000.0
KEY_LIFE = 24 * 3600.0


class Killed(BaseException):
    """A SIGKILL, as far as one process can play it: no handler of ours takes it for an error."""


class Clock:
    """Stands in for the module ``time``: sleeping takes no time."""

    def __init__(self) -> None:
        self.now = BEGIN

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - BEGIN + 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


@dataclass
class Order:
    """One paid order."""

    job_id: str
    key: str
    wish: int
    created: float
    status: str = "processing"
    code: str | None = None
    cleared: int = 0  # how often the task had been cleared when the try began that sent it

    @property
    def fails_for_good(self) -> bool:
        return self.code == "content_policy_violation"


class Server:
    """
    EvoLink's books.

    :param honored: A repeated key gets the first job, for a day.
    """

    def __init__(self, clock: Clock, *, honored: bool) -> None:
        self.clock, self.honored = clock, honored
        self.orders: list[Order] = []
        self.late: list[tuple[str, int]] = []

    def accept(self, key: str, wish: int) -> Order:
        """Take an order, or find the one of its key."""
        for order in self.orders if self.honored else ():
            if order.key == key and self.clock.now - order.created < KEY_LIFE:
                return order
        found = Order(f"task-{len(self.orders) + 1}", key, wish, self.clock.now)
        self.orders.append(found)
        return found

    def of(self, job_id: str) -> Order | None:
        return next((order for order in self.orders if order.job_id == job_id), None)


@dataclass
class Seams:
    """What the world lets happen inside a try."""

    point: Callable[[str], None]
    answer: Callable[[], str]
    sent: Callable[[str], int]
    on_accept: Callable[[Order], None]


class ModelClient(EvoLinkClient):
    """
    The real client's interface and its real ``wait``; the three calls go to the books.

    :param server: The books.
    :param seams: What happens in between.
    """

    def __init__(self, server: Server, seams: Seams, *, says_so: bool) -> None:
        facts = {"honors_idempotency_key": says_so, "is_local": True, "base_url": "http://model"}
        self.settings = SimpleNamespace(**facts)  # type: ignore[assignment]
        self.clock = ServerClock()
        self._server, self._seams = server, seams

    def close(self) -> None:
        pass

    def submit(self, body: Any, *, idempotency_key: Any = None, path: Any = None, permit: Any = None) -> Job:
        self._seams.point("before the order")
        for sending in range(3):
            permit.renew()
            self._seams.point("connected")
            permit.check()
            wish = self._seams.sent(idempotency_key)
            self._seams.point("order under way")
            answer = self._seams.answer()
            if answer != "throttled" or sending == 2:
                break
        return self._answered(answer, idempotency_key, wish)

    def _answered(self, answer: str, key: str, wish: int) -> Job:
        if answer == "throttled":
            raise EvoLinkRateLimited("too many")
        if answer == "refused":
            raise EvoLinkCreditsError("no credits")
        if answer == "unreachable":
            raise EvoLinkUnavailable("no connection", unsent=True)
        if answer == "late":
            self._server.late.append((key, wish))
        if answer in ("late", "never arrives"):
            raise EvoLinkSubmissionUnknown(f"lost; its key is {key}", idempotency_key=key)
        order = self._server.accept(key, wish)
        self._seams.on_accept(order)
        self._seams.point("order accepted")
        if answer == "answer lost":
            raise EvoLinkSubmissionUnknown(f"lost; its key is {key}", idempotency_key=key)
        return shown(order)

    def get_job(self, job_id: str, *, attempts: int = 3, redactor: Any = None, patience: Any = None) -> Job:
        self._seams.point("read")
        order = self._server.of(job_id)
        if order is None:
            raise EvoLinkNotFoundError("no such job", job_id=job_id)
        return shown(order)

    def list_jobs(self, model: str) -> list[Job]:
        return [shown(order) for order in reversed(self._server.orders)]


def shown(order: Order) -> Job:
    """Return a job as EvoLink shows it."""
    links = ("https://files.example/a.mp4",) if order.status == "completed" else ()
    error = {"code": order.code, "message": "no"} if order.code else None
    facts = {"id": order.job_id, "status": order.status, "created": order.created, "results": links, "error": error}
    return Job.model_validate({**facts, "type": "video", "model": "m", "task_info": {"estimated_time": 600}})


@dataclass
class Place:
    """One place for records: a row of the task state store, or a file of the folder."""

    name: str
    point: Callable[[str], None]
    content: str | None = None
    down: int = 0
    writes: list[dict[str, Any]] = field(default_factory=list)

    def get(self) -> Any:
        self._answer()
        found = self.content
        self.point(f"{self.name}: read")
        return None if found is None else json.loads(found)

    def set(self, value: Any, check: Callable[[], None] = lambda: None) -> None:
        self.point(f"{self.name}: before {value['state']}")
        check()
        self._answer()
        self.content = json.dumps(value)
        self.point(f"{self.name}: after {value['state']}")

    def peek(self) -> dict[str, Any] | None:
        return None if self.content is None else json.loads(self.content)

    def _answer(self) -> None:
        if self.down:
            self.down -= 1
            raise OSError(f"{self.name} does not answer")


ONLY_KEY = "evolink_generation"  # of the record of a task with one request


class Fenced:
    """
    Airflow's accessor of one try: a try or a clear later, its row is gone (404).

    :param place: The row.
    :param is_current: Whether no later try or clear has come.
    """

    def __init__(self, place: Place, is_current: Callable[[], bool]) -> None:
        self._place, self._is_current = place, is_current

    def get(self, key: str, default: Any = None) -> Any:
        self._check()
        return self._place.get() if key == ONLY_KEY else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._place.set(value, self._check)

    def _check(self) -> None:
        if not self._is_current():
            raise OSError("404: no such task instance")
